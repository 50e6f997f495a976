/* SPDX-License-Identifier: BSD-2-Clause */
/* Fills in a VMCS: what exits and what does not (controls), and where exits go (host). */
#include "vmx/vmcs.h"

#include "arch/cpu.h"
#include "arch/desc.h"
#include "arch/fault.h"
#include "arch/panic.h"
#include "arch/percpu.h"
#include "arch/string.h"
#include "mm/page_alloc.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

enum msr_access { MSR_READ = 1, MSR_WRITE = 2, MSR_BOTH = 3 };

/* SDM, "MSR-Bitmap Address": 1 KiB each for reads low, reads high, writes low, writes high; 1 =
 * exit. */
static void msr_bitmap_set(const struct vmx_vcpu *v, uint32_t msr, unsigned access, bool exits)
{
    uint8_t *bitmap = hpa_to_ptr(v->msr_bitmap);
    uint32_t byte = (msr & 0x1fff) / 8 + (msr >= 0xc0000000 ? 1024 : 0);
    uint8_t bit = (uint8_t)(1u << (msr & 7));
    for (unsigned half = 0; half < 2; half++) {
        if ((access >> half & 1) == 0)
            continue;
        uint8_t *at = &bitmap[byte + half * 2048];
        *at = (uint8_t)(exits ? *at | bit : *at & ~bit);
    }
}

/*
 * MSRs that the guest uses without exits. The CPU checks their values itself, and each is either in
 * the VMCS or not used by the host.
 */
static const struct {
    uint32_t msr;
    unsigned access;
} open_msrs[] = {
    {MSR_IA32_FS_BASE, MSR_BOTH},
    {MSR_IA32_GS_BASE, MSR_BOTH},
    {MSR_IA32_KERNEL_GS_BASE, MSR_BOTH},
    {MSR_IA32_STAR, MSR_BOTH},
    {MSR_IA32_LSTAR, MSR_BOTH},
    {MSR_IA32_CSTAR, MSR_BOTH},
    {MSR_IA32_FMASK, MSR_BOTH},
    {MSR_IA32_SYSENTER_CS, MSR_BOTH},
    {MSR_IA32_SYSENTER_ESP, MSR_BOTH},
    {MSR_IA32_SYSENTER_EIP, MSR_BOTH},
    {MSR_IA32_PAT, MSR_BOTH},
    {MSR_IA32_EFER, MSR_READ},
    {MSR_IA32_TIME_STAMP_COUNTER, MSR_READ},
};

static void msr_bitmap_fill(const struct vmx_vcpu *v)
{
    memset(hpa_to_ptr(v->msr_bitmap), 0xff, PAGE_SIZE);
    for (size_t i = 0; i < sizeof(open_msrs) / sizeof(open_msrs[0]); i++)
        msr_bitmap_set(v, open_msrs[i].msr, open_msrs[i].access, false);
    if (control_allowed(vmx_caps()->proc2, PROC2_RDTSCP))
        msr_bitmap_set(v, MSR_IA32_TSC_AUX, MSR_BOTH, false);
}

/*
 * SDM, "Virtualizing MSR-Based APIC Accesses": with x2APIC virtualization, reads come from the
 * virtual-APIC page and writes of TPR, EOI and SELF_IPI are virtualized, if the MSR bitmap lets
 * them through.
 */
static void msr_bitmap_set_x2apic(const struct vmx_vcpu *v, bool open)
{
    /* The CPU would answer for registers that are absent, write-only or counting: these still exit.
     */
    static const struct {
        uint8_t first, last;
    } readable[] = {{0x02, 0x03}, {0x08, 0x08}, {0x0a, 0x0a}, {0x0d, 0x0d},
                    {0x0f, 0x28}, {0x30, 0x30}, {0x32, 0x38}, {0x3e, 0x3e}};
    for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
        for (uint32_t n = readable[i].first; n <= readable[i].last; n++)
            msr_bitmap_set(v, MSR_IA32_X2APIC_BASE + n, MSR_READ, !open);
    }
    msr_bitmap_set(v, MSR_IA32_X2APIC_TPR, MSR_WRITE, !open);
    msr_bitmap_set(v, MSR_IA32_X2APIC_EOI, MSR_WRITE, !open);
    msr_bitmap_set(v, MSR_IA32_X2APIC_SELF_IPI, MSR_WRITE, !open);
}

void vmcs_set_apic_mode(struct vmx_vcpu *v, bool x2apic)
{
    if (!v->vcpu.assisted)
        return;
    const uint32_t all = PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_VIRTUALIZE_X2APIC |
                         PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    uint32_t mode = PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    if (x2apic)
        mode |= PROC2_VIRTUALIZE_X2APIC | PROC2_APIC_REGISTER_VIRTUALIZATION;
    else if (v->vcpu.apic_frame == VM_APIC_PAGE_GPA / PAGE_SIZE)
        mode |= PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_APIC_REGISTER_VIRTUALIZATION;
    uint32_t proc2 = (v->proc2 & ~all) | mode;
    if (proc2 == v->proc2)
        return;
    v->proc2 = proc2;
    vmwrite(VMCS_CTRL_PROC2, proc2);
    msr_bitmap_set_x2apic(v, x2apic);
    /* Translations of the APIC page may be cached with or without the APIC-access rule. */
    if (!invept(INVALIDATE_ALL, 0))
        panic("INVEPT failed at a change of the APIC mode");
}

/* A control word that this CPU is known to allow (vmx_caps_check, or asked just before). */
static uint32_t control_demand(struct control_caps caps, uint32_t wanted)
{
    uint32_t lost;
    uint32_t word = control_word(caps, wanted, &lost);
    if (lost != 0)
        panic("control bits 0x%x are not allowed by this CPU", lost);
    return word;
}

/* Of the wanted bits those that the CPU allows: for what has a fall-back. */
static uint32_t optional(struct control_caps caps, uint32_t wanted)
{
    return wanted & caps.may_be_1;
}

static uint32_t secondary_controls(const struct vmx_vcpu *v)
{
    const struct vmx_caps *caps = vmx_caps();
    uint32_t word = PROC2_EPT | PROC2_UNRESTRICTED_GUEST;
    word |= optional(caps->proc2, PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES);
    /* WBINVD would throw other VMs' data out of the caches, and holds the CPU for milliseconds. */
    word |= optional(caps->proc2, PROC2_WBINVD_EXITING);
    /* SGX is hidden: without this its leaf functions would run natively. */
    word |= optional(caps->proc2, PROC2_ENCLS_EXITING);
    /* What would hold up the host, or all CPUs: microcode that comes to no end of an instruction,
     * and accesses with the bus locked. */
    word |= optional(caps->proc2, PROC2_BUS_LOCK_DETECTION | PROC2_INSTRUCTION_TIMEOUT);
    if ((caps->ept_vpid & EPTCAP_INVVPID_SINGLE) != 0)
        word |= optional(caps->proc2, PROC2_VPID);
    /* A vCPU that spins may wait for one that has no turn now. Or for a lock that it gives away for
     * an instruction or two: an emulator that runs CPUs by whole blocks of code would never let the
     * other one see that (SeaBIOS waits for other CPUs so). */
    if (v->vcpu.vm->vcpu_count > 1)
        word |= optional(caps->proc2, PROC2_PAUSE_LOOP_EXITING);
    if (v->vcpu.assisted)
        word |= PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    return control_demand(caps->proc2, word);
}

/* SDM, "APIC Virtualization and Virtual Interrupts"; and "Posted-Interrupt Processing". */
static void set_apic_controls(struct vmx_vcpu *v)
{
    vmwrite(VMCS_CTRL_APIC_ACCESS, vmx_vm(v->vcpu.vm)->apic_access_page.v);
    for (uint32_t i = 0; i < 4; i++)
        vmwrite((enum vmcs_field)(VMCS_CTRL_EOI_EXIT0 + 2 * i), 0);
    vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0);
    if (v->vcpu.posting) {
        vmwrite(VMCS_CTRL_POSTED_VECTOR, VECTOR_POSTED);
        vmwrite(VMCS_CTRL_POSTED_DESCRIPTOR, ptr_to_hpa(v->vcpu.apic.posted).v);
    }
    vmcs_set_apic_mode(v, false);
}

/* Which bits of CR0 and CR4 are the guest's own, what is loaded at an entry, and the fields of the
 * guest-state area that are no part of an architectural state. */
static void set_guest_rules(const struct vmx_vcpu *v)
{
    const struct vmx_caps *caps = vmx_caps();
    /* Unrestricted guest: PE and PG need not be as the fixed-bit MSRs say. MCE stays on in the CPU:
     * without it a machine check in the guest would shut the host down. */
    vmwrite(VMCS_CTRL_CR0_MASK, CR0_HOST_OWNED);
    vmwrite(VMCS_CTRL_CR4_MASK, ~v->vcpu.vm->cr4_allowed | CR4_MCE);
    vmwrite(VMCS_CTRL_ENTRY,
            control_demand(caps->entry, ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER |
                                            optional(caps->entry, ENTRY_LOAD_CET)));
    /* Guests are shown no CET, and have the hypervisor's neither. */
    if (control_allowed(caps->entry, ENTRY_LOAD_CET)) {
        vmwrite(VMCS_GUEST_S_CET, 0);
        vmwrite(VMCS_GUEST_SSP, 0);
        vmwrite(VMCS_GUEST_INTERRUPT_SSP_TABLE, 0);
    }
    vmwrite(VMCS_GUEST_ACTIVITY, 0);
    vmwrite(VMCS_GUEST_LINK_POINTER, UINT64_MAX);
    if (control_allowed(caps->pin, PIN_PREEMPTION_TIMER))
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, UINT32_MAX);
}

void vmcs_set_controls(struct vmx_vcpu *v)
{
    const struct vmx_caps *caps = vmx_caps();
    struct vcpu *vcpu = &v->vcpu;
    vcpu->posting = vcpu->assisted && control_allowed(caps->pin, PIN_POSTED_INTERRUPTS);
    msr_bitmap_fill(v);

    vmwrite(VMCS_CTRL_PIN,
            control_demand(caps->pin, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING |
                                          PIN_VIRTUAL_NMIS |
                                          (v->vcpu.posting ? PIN_POSTED_INTERRUPTS : 0) |
                                          optional(caps->pin, PIN_PREEMPTION_TIMER)));
    /* RDPMC, MWAIT and MONITOR exit because CPUID hides them; they fault there. */
    v->proc =
        control_demand(caps->proc, PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_MWAIT_EXITING |
                                       PROC_MONITOR_EXITING | PROC_RDPMC_EXITING | PROC_TPR_SHADOW |
                                       PROC_UNCONDITIONAL_IO | PROC_MSR_BITMAPS | PROC_SECONDARY);
    vmwrite(VMCS_CTRL_PROC, v->proc);
    v->proc2 = secondary_controls(v);
    vmwrite(VMCS_CTRL_PROC2, v->proc2);
    vmwrite(VMCS_CTRL_EXIT,
            control_demand(caps->exit, EXIT_SAVE_DEBUG | EXIT_HOST_64BIT |
                                           EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
                                           EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER |
                                           optional(caps->exit, EXIT_LOAD_CET)));
    /*
     * #AC and #DB: a guest can make their delivery raise them again without end, and no interrupt
     * would get through (CVE-2015-5307, CVE-2015-8104). #MC is the host's business.
     */
    v->exceptions = 1u << VECTOR_DEBUG | 1u << VECTOR_ALIGNMENT_CHECK | 1u << VECTOR_MACHINE_CHECK;
    vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, v->exceptions);
    set_guest_rules(v);
    vmwrite(VMCS_CTRL_PF_ERROR_MASK, 0);
    vmwrite(VMCS_CTRL_PF_ERROR_MATCH, 0);
    vmwrite(VMCS_CTRL_CR3_TARGET_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_EVENT, 0);
    vmwrite(VMCS_CTRL_MSR_BITMAP, v->msr_bitmap.v);
    vmwrite(VMCS_CTRL_TSC_OFFSET, v->vcpu.tsc_offset);
    vmwrite(VMCS_CTRL_VIRTUAL_APIC, ptr_to_hpa(v->vcpu.apic.page).v);
    vmwrite(VMCS_CTRL_TPR_THRESHOLD, 0);
    vmwrite(VMCS_CTRL_EPTP, ept_root_pointer(vmx_ept_root(v->vcpu.vm)));
    if ((v->proc2 & PROC2_VPID) != 0)
        vmwrite(VMCS_CTRL_VPID, v->vpid);
    if ((v->proc2 & PROC2_XSAVES) != 0)
        vmwrite(VMCS_CTRL_XSS_EXITING, 0);
    if ((v->proc2 & PROC2_PAUSE_LOOP_EXITING) != 0) {
        vmwrite(VMCS_CTRL_PLE_GAP, 128);     /* TSC ticks between two PAUSEs of one loop, at most */
        vmwrite(VMCS_CTRL_PLE_WINDOW, 4096); /* how long the loop may be */
    }
    if ((v->proc2 & PROC2_INSTRUCTION_TIMEOUT) != 0) /* in ticks of the crystal, 19 to 38 MHz */
        vmwrite(VMCS_CTRL_INSTRUCTION_TIMEOUT, 25000);
    if ((v->proc2 & PROC2_ENCLS_EXITING) != 0)
        vmwrite(VMCS_CTRL_ENCLS_EXITING, UINT64_MAX);
    if (v->vcpu.assisted)
        set_apic_controls(v);
}

extern void vmx_exit_point(void); /* vmenter.asm */

void vmcs_set_host(void)
{
    struct cpu *cpu = cpu_self();
    vmwrite(VMCS_HOST_CR0, cpu_read_cr0());
    vmwrite(VMCS_HOST_CR3, cpu_read_cr3());
    vmwrite(VMCS_HOST_CR4, cpu_read_cr4());
    vmwrite(VMCS_HOST_CS, DESC_CODE);
    vmwrite(VMCS_HOST_SS, DESC_DATA);
    vmwrite(VMCS_HOST_DS, DESC_DATA);
    vmwrite(VMCS_HOST_ES, DESC_DATA);
    vmwrite(VMCS_HOST_FS, 0);
    vmwrite(VMCS_HOST_GS, 0);
    vmwrite(VMCS_HOST_TR, DESC_TSS);
    vmwrite(VMCS_HOST_FS_BASE, 0);
    vmwrite(VMCS_HOST_GS_BASE, (uint64_t)cpu);
    vmwrite(VMCS_HOST_TR_BASE, (uint64_t)&cpu->tss);
    vmwrite(VMCS_HOST_GDTR_BASE, cpu_sgdt().base);
    vmwrite(VMCS_HOST_IDTR_BASE, cpu_sidt().base);
    vmwrite(VMCS_HOST_SYSENTER_CS, 0);
    vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
    vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
    vmwrite(VMCS_HOST_PAT, cpu_rdmsr(MSR_IA32_PAT));
    vmwrite(VMCS_HOST_EFER, cpu_rdmsr(MSR_IA32_EFER));
    vmwrite(VMCS_HOST_RIP, (uint64_t)vmx_exit_point);
    if (control_allowed(vmx_caps()->exit, EXIT_LOAD_CET)) {
        vmwrite(VMCS_HOST_S_CET, cpu_rdmsr(MSR_IA32_S_CET));
        vmwrite(VMCS_HOST_SSP, 0); /* where there is one, vmx_enter_first_hardened() knows it */
        vmwrite(VMCS_HOST_INTERRUPT_SSP_TABLE, cpu_rdmsr(MSR_IA32_INTERRUPT_SSP_TABLE_ADDR));
    }
}

void vmx_tsc_changed(struct vcpu *vcpu)
{
    vmwrite(VMCS_CTRL_TSC_OFFSET, vcpu->tsc_offset);
}

/* The bits that this vCPU's CPUID does not show are open to it, too: they concern nobody but the
 * guest, as vmx_exit_hardened() puts the host's value in before anything that it protects. */
void vmx_open_spec_control(struct vcpu *vcpu)
{
    msr_bitmap_set(vmx_vcpu(vcpu), MSR_IA32_SPEC_CTRL, MSR_BOTH, false);
    vcpu->spec_control_open = true;
}
