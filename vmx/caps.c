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

void vmx_caps_mend(struct vmx_caps *caps, uint32_t signature)
{
    /* The errata have other names in each of Intel's specification updates: AAJ124, AAK139, AAM126,
     * AAN92, AAO95, AAP86, AAT59, AAU65, AAX65, BA86; and one Xeon E3 v2. */
    static const uint32_t wrong_timer[] = {0x106a0, 0x106a1, 0x106a4, 0x106a5, 0x106e5,
                                           0x20652, 0x20655, 0x206e6, 0x306a8};
    const uint32_t type_and_reserved = 0xf000f000u | 3u << 12;
    for (size_t i = 0; i < sizeof(wrong_timer) / sizeof(wrong_timer[0]); i++)
        if ((signature & ~type_and_reserved) == wrong_timer[i])
            caps->pin.may_be_1 &= ~PIN_PREEMPTION_TIMER;
}

/* What caps.h names, for that is what it is used of. */
static const struct {
    size_t word;
    uint32_t bits;
} used[] = {
    {IN(pin), PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS |
                  PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS},
    {IN(proc), PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_MWAIT_EXITING |
                   PROC_RDPMC_EXITING | PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING |
                   PROC_TPR_SHADOW | PROC_NMI_WINDOW | PROC_UNCONDITIONAL_IO | PROC_MONITOR_TRAP |
                   PROC_MSR_BITMAPS | PROC_MONITOR_EXITING | PROC_SECONDARY},
    {IN(proc2), PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_EPT | PROC2_RDTSCP |
                    PROC2_VIRTUALIZE_X2APIC | PROC2_VPID | PROC2_WBINVD_EXITING |
                    PROC2_UNRESTRICTED_GUEST | PROC2_APIC_REGISTER_VIRTUALIZATION |
                    PROC2_VIRTUAL_INTERRUPT_DELIVERY | PROC2_PAUSE_LOOP_EXITING | PROC2_INVPCID |
                    PROC2_ENCLS_EXITING | PROC2_XSAVES | PROC2_BUS_LOCK_DETECTION |
                    PROC2_INSTRUCTION_TIMEOUT},
    {IN(exit), EXIT_SAVE_DEBUG | EXIT_HOST_64BIT | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
                   EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_LOAD_CET},
    {IN(entry),
     ENTRY_LOAD_DEBUG | ENTRY_IA32E_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER | ENTRY_LOAD_CET},
};

static struct control_caps word_at(const struct vmx_caps *caps, size_t offset)
{
    return *(const struct control_caps *)(const void *)((const char *)caps + offset);
}

bool vmx_caps_cover(const struct vmx_caps *own, const struct vmx_caps *boot)
{
    const uint64_t ept = EPTCAP_WALK_4 | EPTCAP_WB | EPTCAP_2M | EPTCAP_1G | EPTCAP_INVEPT |
                         EPTCAP_INVEPT_ALL | EPTCAP_INVVPID | EPTCAP_INVVPID_ADDRESS |
                         EPTCAP_INVVPID_SINGLE | EPTCAP_INVVPID_ALL;
    /* Revision, size, 32-bit addresses and memory type of a VMCS, which moves between CPUs; the
     * rate of the preemption timer. */
    const uint64_t vmcs = 0x003dffff7fffffffull, rate = 31;
    bool good = ((own->basic ^ boot->basic) & vmcs) == 0 &&
                ((own->misc ^ boot->misc) & rate) == 0 &&
                (boot->ept_vpid & ept & ~own->ept_vpid) == 0;
    good = good && (own->cr0_fixed0 & ~boot->cr0_fixed0) == 0 &&
           (boot->cr0_fixed1 & ~own->cr0_fixed1) == 0 &&
           (own->cr4_fixed0 & ~boot->cr4_fixed0) == 0 && (boot->cr4_fixed1 & ~own->cr4_fixed1) == 0;
    for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
        const struct control_caps a = word_at(own, used[i].word), b = word_at(boot, used[i].word);
        good = good && (b.may_be_1 & used[i].bits & ~a.may_be_1) == 0 &&
               (a.must_be_1 & ~b.must_be_1) == 0 && (b.must_be_1 & ~a.may_be_1) == 0;
    }
    return good;
}

uint32_t control_word(struct control_caps caps, uint32_t wanted, uint32_t *lost)
{
    *lost = wanted & ~caps.may_be_1;
    return (wanted | caps.must_be_1) & caps.may_be_1;
}
