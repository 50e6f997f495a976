/* SPDX-License-Identifier: BSD-2-Clause */
/* Capability arithmetic: what VMX offers and lacks here, and how a control word comes about. */
#include "vmx/caps.h"
#include "arch/x86.h"

static struct control_caps control_caps_of(uint64_t msr)
{
    return (struct control_caps){(uint32_t)msr, (uint32_t)(msr >> 32)};
}

void vmx_caps_read(struct vmx_caps *caps, uint64_t (*read)(uint32_t msr))
{
    caps->basic = read(MSR_IA32_VMX_BASIC);
    caps->misc = read(MSR_IA32_VMX_MISC);
    caps->cr0_fixed0 = read(MSR_IA32_VMX_CR0_FIXED0);
    caps->cr0_fixed1 = read(MSR_IA32_VMX_CR0_FIXED1);
    caps->cr4_fixed0 = read(MSR_IA32_VMX_CR4_FIXED0);
    caps->cr4_fixed1 = read(MSR_IA32_VMX_CR4_FIXED1);

    /* SDM, "Basic VMX Information": bit 55 says that the TRUE capability MSRs exist. */
    uint32_t first =
        (caps->basic >> 55 & 1) != 0 ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS;
    caps->pin = control_caps_of(read(first));
    caps->proc = control_caps_of(read(first + 1));
    caps->exit = control_caps_of(read(first + 2));
    caps->entry = control_caps_of(read(first + 3));
    caps->proc2 = control_caps_of(read(MSR_IA32_VMX_PROCBASED_CTLS2));
    caps->ept_vpid = read(MSR_IA32_VMX_EPT_VPID_CAP);
}

struct requirement {
    size_t word; /* offset of a struct control_caps in struct vmx_caps */
    uint32_t bits;
    const char *name;
};

#define IN(field) offsetof(struct vmx_caps, field)

static const struct requirement required[] = {
    {IN(pin), PIN_EXTERNAL_INTERRUPT_EXITING, "external-interrupt exiting"},
    {IN(pin), PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, "virtual NMIs"},
    {IN(proc), PROC_TSC_OFFSETTING, "TSC offsetting"},
    {IN(proc), PROC_HLT_EXITING, "HLT exiting"},
    {IN(proc), PROC_TPR_SHADOW, "TPR shadow"},
    {IN(proc), PROC_UNCONDITIONAL_IO | PROC_MSR_BITMAPS, "I/O exiting and MSR bitmaps"},
    {IN(proc), PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW, "interrupt and NMI windows"},
    {IN(proc), PROC_SECONDARY, "secondary processor-based controls"},
    {IN(proc2), PROC2_EPT, "EPT (extended page tables)"},
    {IN(proc2), PROC2_UNRESTRICTED_GUEST, "unrestricted guest"},
    {IN(exit), EXIT_HOST_64BIT | EXIT_ACKNOWLEDGE_INTERRUPT,
     "64-bit host with interrupt acknowledge"},
    {IN(exit), EXIT_SAVE_EFER | EXIT_LOAD_EFER, "saving and loading IA32_EFER on exit"},
    {IN(exit), EXIT_SAVE_PAT | EXIT_LOAD_PAT, "saving and loading IA32_PAT on exit"},
    {IN(entry), ENTRY_IA32E_GUEST, "IA-32e mode guest"},
    {IN(entry), ENTRY_LOAD_EFER | ENTRY_LOAD_PAT, "loading IA32_EFER and IA32_PAT on entry"},
};

static unsigned require(bool present, const char *what, void (*missing)(const char *what))
{
    if (!present)
        missing(what);
    return present ? 0 : 1;
}

unsigned vmx_caps_check(const struct vmx_caps *caps, void (*missing)(const char *what))
{
    const uint64_t ept = EPTCAP_WALK_4 | EPTCAP_WB | EPTCAP_INVEPT | EPTCAP_INVEPT_ALL;
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        const struct control_caps *word =
            (const struct control_caps *)(const void *)((const char *)caps + required[i].word);
        count += require(control_allowed(*word, required[i].bits), required[i].name, missing);
    }
    bool cr3_is_free =
        (caps->proc.must_be_1 & (PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING)) == 0;
    count += require(cr3_is_free, "guest CR3 accesses without VM exits", missing);
    bool good_ept = !control_allowed(caps->proc2, PROC2_EPT) || (caps->ept_vpid & ept) == ept;
    count += require(good_ept, "4-level write-back EPT with INVEPT", missing);
    count += require((caps->basic >> 54 & 1) != 0, "information on INS and OUTS exits", missing);
    count += require((caps->basic >> 50 & 15) == 6, "write-back memory for the VMCS", missing);
    return count;
}

uint32_t control_word(struct control_caps caps, uint32_t wanted, uint32_t *lost)
{
    *lost = wanted & ~caps.may_be_1;
    return (wanted | caps.must_be_1) & caps.may_be_1;
}
