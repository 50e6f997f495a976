/* SPDX-License-Identifier: BSD-2-Clause */
/* Fills in a VMCS: what exits and what does not (controls), where exits go (host), how the vCPU
 * starts (guest). */
#include "vmx/vmcs.h"

#include "arch/cpu.h"
#include "arch/desc.h"
#include "arch/fault.h"
#include "arch/msr.h"
#include "arch/panic.h"
#include "arch/percpu.h"
#include "arch/string.h"
#include "mm/page_alloc.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_TMCCT       0x390u /* the current count: never virtualized */

enum msr_access { MSR_READ = 1, MSR_WRITE = 2, MSR_BOTH = 3 };

/* SDM, "MSR-Bitmap Address": 1 KiB each for reads low, reads high, writes low, writes high; 1 =
 * exit. */
static void msr_bitmap_set(const struct vcpu *vcpu, uint32_t msr, unsigned access, bool exits)
{
    uint8_t *bitmap = hpa_to_ptr(vcpu->msr_bitmap);
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

static void msr_bitmap_fill(const struct vcpu *vcpu)
{
    memset(hpa_to_ptr(vcpu->msr_bitmap), 0xff, PAGE_SIZE);
    for (size_t i = 0; i < sizeof(open_msrs) / sizeof(open_msrs[0]); i++)
        msr_bitmap_set(vcpu, open_msrs[i].msr, open_msrs[i].access, false);
    if (control_allowed(vmx_caps()->proc2, PROC2_RDTSCP))
        msr_bitmap_set(vcpu, MSR_IA32_TSC_AUX, MSR_BOTH, false);
}

/*
 * SDM, "Virtualizing MSR-Based APIC Accesses": with x2APIC virtualization, reads come from the
 * virtual-APIC page and writes of TPR, EOI and SELF_IPI are virtualized, if the MSR bitmap lets
 * them through.
 */
static void msr_bitmap_set_x2apic(const struct vcpu *vcpu, bool open)
{
    /* The CPU would answer for registers that are absent, write-only or counting: these still exit.
     */
    static const struct {
        uint8_t first, last;
    } readable[] = {{0x02, 0x03}, {0x08, 0x08}, {0x0a, 0x0a}, {0x0d, 0x0d},
                    {0x0f, 0x28}, {0x30, 0x30}, {0x32, 0x38}, {0x3e, 0x3e}};
    for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
        for (uint32_t n = readable[i].first; n <= readable[i].last; n++)
            msr_bitmap_set(vcpu, MSR_IA32_X2APIC_BASE + n, MSR_READ, !open);
    }
    msr_bitmap_set(vcpu, MSR_IA32_X2APIC_TPR, MSR_WRITE, !open);
    msr_bitmap_set(vcpu, MSR_IA32_X2APIC_EOI, MSR_WRITE, !open);
    msr_bitmap_set(vcpu, MSR_IA32_X2APIC_SELF_IPI, MSR_WRITE, !open);
}

/* An APIC that is off, in x2APIC mode or elsewhere does not answer at the usual place. Where one is
 * such, accesses of all vCPUs are emulated: the EPT is theirs together. */
static void place_apic(struct vcpu *vcpu, uint64_t base)
{
    struct vm *vm = vcpu->vm;
    const uint64_t usual = VM_APIC_PAGE_GPA / PAGE_SIZE;
    const bool listens = (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
    const uint64_t frame = listens ? base / PAGE_SIZE : VCPU_NO_APIC_FRAME;
    const gpa_t page = gpa(frame * PAGE_SIZE), usual_page = gpa(VM_APIC_PAGE_GPA);
    if (frame == vcpu->apic_frame)
        return;
    if (listens && guestmem_slot(&vm->mem, page) != NULL) { /* memory for this vCPU only, then */
        vm_end_format(vm, VM_CRASH, 0, "a local APIC was moved to 0x%llx, where memory is",
                      (unsigned long long)page.v);
        return;
    }
    vm_lock(vm);
    vm->apics_elsewhere += (uint32_t)(frame != usual) - (uint32_t)(vcpu->apic_frame != usual);
    vcpu->apic_frame = frame;
    if (listens) /* ones, perhaps, for another vCPU's step (exit_rom.c) */
        (void)ept_protect(&vm->ept, page, PAGE_SIZE, 0);
    if (vm->apic_access_page.v != 0 &&
        (vm->apics_elsewhere == 0 ? ept_redirect(&vm->ept, usual_page, vm->apic_access_page, EPT_RW)
                                  : ept_protect(&vm->ept, usual_page, PAGE_SIZE, 0)) != OK)
        panic("no EPT entry for the APIC page");
    vm_unlock(vm);
    vm_ept_changed(vm);
}

void vmcs_set_apic_mode(struct vcpu *vcpu)
{
    const uint64_t base = vcpu->intc.read_base(vcpu->intc.chip);
    place_apic(vcpu, base);
    if (!vcpu->assisted)
        return;
    const uint32_t all = PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_VIRTUALIZE_X2APIC |
                         PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    uint32_t mode = PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    bool x2apic = (base & APIC_BASE_X2APIC) != 0;
    if (x2apic)
        mode |= PROC2_VIRTUALIZE_X2APIC | PROC2_APIC_REGISTER_VIRTUALIZATION;
    else if (vcpu->apic_frame == VM_APIC_PAGE_GPA / PAGE_SIZE)
        mode |= PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_APIC_REGISTER_VIRTUALIZATION;
    uint32_t proc2 = (vcpu->proc2 & ~all) | mode;
    if (proc2 == vcpu->proc2)
        return;
    vcpu->proc2 = proc2;
    vmwrite(VMCS_CTRL_PROC2, proc2);
    msr_bitmap_set_x2apic(vcpu, x2apic);
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

static uint32_t secondary_controls(const struct vcpu *vcpu)
{
    const struct vmx_caps *caps = vmx_caps();
    uint32_t word = PROC2_EPT | PROC2_UNRESTRICTED_GUEST;
    word |= optional(caps->proc2, PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES);
    /* WBINVD would throw other VMs' data out of the caches, and holds the CPU for milliseconds. */
    word |= optional(caps->proc2, PROC2_WBINVD_EXITING);
    /* SGX is hidden: without this its leaf functions would run natively. */
    word |= optional(caps->proc2, PROC2_ENCLS_EXITING);
    if ((caps->ept_vpid & EPTCAP_INVVPID_SINGLE) != 0)
        word |= optional(caps->proc2, PROC2_VPID);
    /* A vCPU that spins may wait for one that has no turn now. Or for a lock that it gives away for
     * an instruction or two: an emulator that runs CPUs by whole blocks of code would never let the
     * other one see that (SeaBIOS waits for other CPUs so). */
    if (vcpu->vm->vcpu_count > 1)
        word |= optional(caps->proc2, PROC2_PAUSE_LOOP_EXITING);
    if (vcpu->assisted)
        word |= PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    return control_demand(caps->proc2, word);
}

/* SDM, "APIC Virtualization and Virtual Interrupts"; and "Posted-Interrupt Processing". */
static void set_apic_controls(struct vcpu *vcpu)
{
    vmwrite(VMCS_CTRL_APIC_ACCESS, vcpu->vm->apic_access_page.v);
    for (uint32_t i = 0; i < 4; i++)
        vmwrite((enum vmcs_field)(VMCS_CTRL_EOI_EXIT0 + 2 * i), 0);
    vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0);
    if (vcpu->posting) {
        vmwrite(VMCS_CTRL_POSTED_VECTOR, VECTOR_POSTED);
        vmwrite(VMCS_CTRL_POSTED_DESCRIPTOR, ptr_to_hpa(vcpu->intc.posted).v);
    }
    vmcs_set_apic_mode(vcpu);
}

void vmcs_set_controls(struct vcpu *vcpu)
{
    const struct vmx_caps *caps = vmx_caps();
    msr_bitmap_fill(vcpu);

    vmwrite(VMCS_CTRL_PIN,
            control_demand(caps->pin, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING |
                                          PIN_VIRTUAL_NMIS |
                                          (vcpu->posting ? PIN_POSTED_INTERRUPTS : 0) |
                                          optional(caps->pin, PIN_PREEMPTION_TIMER)));
    /* RDPMC, MWAIT and MONITOR exit because CPUID hides them; they fault there. */
    vcpu->proc =
        control_demand(caps->proc, PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_MWAIT_EXITING |
                                       PROC_MONITOR_EXITING | PROC_RDPMC_EXITING | PROC_TPR_SHADOW |
                                       PROC_UNCONDITIONAL_IO | PROC_MSR_BITMAPS | PROC_SECONDARY);
    vmwrite(VMCS_CTRL_PROC, vcpu->proc);
    vcpu->proc2 = secondary_controls(vcpu);
    vmwrite(VMCS_CTRL_PROC2, vcpu->proc2);
    vmwrite(VMCS_CTRL_EXIT,
            control_demand(caps->exit, EXIT_SAVE_DEBUG | EXIT_HOST_64BIT |
                                           EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
                                           EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER));
    /*
     * #AC and #DB: a guest can make their delivery raise them again without end, and no interrupt
     * would get through (CVE-2015-5307, CVE-2015-8104). #MC is the host's business.
     */
    vmwrite(VMCS_CTRL_EXCEPTION_BITMAP,
            1u << VECTOR_DEBUG | 1u << VECTOR_ALIGNMENT_CHECK | 1u << VECTOR_MACHINE_CHECK);
    vmwrite(VMCS_CTRL_PF_ERROR_MASK, 0);
    vmwrite(VMCS_CTRL_PF_ERROR_MATCH, 0);
    vmwrite(VMCS_CTRL_CR3_TARGET_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_EVENT, 0);
    vmwrite(VMCS_CTRL_MSR_BITMAP, vcpu->msr_bitmap.v);
    vmwrite(VMCS_CTRL_TSC_OFFSET, vcpu->tsc_offset);
    vmwrite(VMCS_CTRL_VIRTUAL_APIC, ptr_to_hpa(vcpu->intc.page).v);
    vmwrite(VMCS_CTRL_TPR_THRESHOLD, 0);
    vmwrite(VMCS_CTRL_EPTP, ept_pointer(&vcpu->vm->ept));
    if ((vcpu->proc2 & PROC2_VPID) != 0)
        vmwrite(VMCS_CTRL_VPID, vcpu->vpid);
    if ((vcpu->proc2 & PROC2_XSAVES) != 0)
        vmwrite(VMCS_CTRL_XSS_EXITING, 0);
    if ((vcpu->proc2 & PROC2_PAUSE_LOOP_EXITING) != 0) {
        vmwrite(VMCS_CTRL_PLE_GAP, 128);     /* TSC ticks between two PAUSEs of one loop, at most */
        vmwrite(VMCS_CTRL_PLE_WINDOW, 4096); /* how long the loop may be */
    }
    if ((vcpu->proc2 & PROC2_ENCLS_EXITING) != 0)
        vmwrite(VMCS_CTRL_ENCLS_EXITING, UINT64_MAX);
    if (vcpu->assisted)
        set_apic_controls(vcpu);
}

extern void vmx_exit_point(void); /* vmenter.asm */

void vmcs_set_host(void)
{
    struct cpu *cpu = cpu_self();
    struct table_register gdtr, idtr;
    __asm__("sgdt %0" : "=m"(gdtr));
    __asm__("sidt %0" : "=m"(idtr));

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
    vmwrite(VMCS_HOST_GDTR_BASE, gdtr.base);
    vmwrite(VMCS_HOST_IDTR_BASE, idtr.base);
    vmwrite(VMCS_HOST_SYSENTER_CS, 0);
    vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
    vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
    vmwrite(VMCS_HOST_PAT, cpu_rdmsr(MSR_IA32_PAT));
    vmwrite(VMCS_HOST_EFER, cpu_rdmsr(MSR_IA32_EFER));
    vmwrite(VMCS_HOST_RIP, (uint64_t)vmx_exit_point);
}

/* CR4 bits that stand for a feature: the guest may set them where its CPUID shows it. */
static const struct {
    uint32_t leaf, reg, bit; /* reg: 1 EBX, 2 ECX, 3 EDX */
    uint64_t cr4;
} cr4_features[] = {
    {1, 3, 1, CR4_VME | CR4_PVI}, {1, 3, 4, CR4_TSD},      {1, 3, 2, CR4_DE},
    {1, 3, 3, CR4_PSE},           {1, 3, 6, CR4_PAE},      {1, 3, 7, CR4_MCE},
    {1, 3, 13, CR4_PGE},          {1, 3, 24, CR4_OSFXSR},  {1, 3, 25, CR4_OSXMMEXCPT},
    {1, 2, 17, CR4_PCIDE},        {1, 2, 26, CR4_OSXSAVE}, {7, 1, 0, CR4_FSGSBASE},
    {7, 1, 7, CR4_SMEP},          {7, 1, 20, CR4_SMAP},    {7, 2, 2, CR4_UMIP},
    {7, 2, 3, CR4_PKE},           {7, 2, 16, CR4_LA57},
};

uint64_t vmcs_cr4_allowed(const struct vcpu *vcpu)
{
    uint64_t allowed = CR4_PCE;
    for (size_t i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++) {
        const struct cpuid_entry *e = cpuid_table_find(&vcpu->vm->cpuid, cr4_features[i].leaf, 0);
        uint32_t reg[4] = {e->eax, e->ebx, e->ecx, e->edx};
        if ((reg[cr4_features[i].reg] >> cr4_features[i].bit & 1) != 0)
            allowed |= cr4_features[i].cr4;
    }
    return allowed & vmx_caps()->cr4_fixed1;
}

uint64_t vmcs_efer_allowed(const struct vcpu *vcpu)
{
    uint32_t features = cpuid_table_find(&vcpu->vm->cpuid, 0x80000001, 0)->edx;
    uint64_t allowed = 0;
    if ((features >> 11 & 1) != 0)
        allowed |= EFER_SCE;
    if ((features >> 20 & 1) != 0 && (vcpu->misc_enable & MISC_ENABLE_NO_XD) == 0)
        allowed |= EFER_NXE;
    if ((features >> 29 & 1) != 0)
        allowed |= EFER_LME | EFER_LMA;
    return allowed;
}

/* The VMCS keeps the segment registers' parts two encodings apart, in the order ES CS SS DS FS GS
 * LDTR TR. */
static void set_segment(unsigned number, const struct boot_segment *segment)
{
    vmwrite((enum vmcs_field)(VMCS_GUEST_ES + 2 * number), segment->selector);
    vmwrite((enum vmcs_field)(VMCS_GUEST_ES_LIMIT + 2 * number), segment->limit);
    vmwrite((enum vmcs_field)(VMCS_GUEST_ES_ACCESS + 2 * number), segment->access);
    vmwrite((enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * number), segment->base);
}

void vmcs_set_guest(struct vcpu *vcpu, const struct boot_state *state)
{
    const struct vmx_caps *caps = vmx_caps();
    const struct boot_segment *segments[] = {&state->es, &state->cs, &state->ss,   &state->ds,
                                             &state->fs, &state->gs, &state->ldtr, &state->tr};
    for (unsigned i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
        set_segment(i, segments[i]);
    vmwrite(VMCS_GUEST_GDTR_BASE, state->gdtr.base);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, state->gdtr.limit);
    vmwrite(VMCS_GUEST_IDTR_BASE, state->idtr.base);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, state->idtr.limit);

    /* Unrestricted guest: PE and PG need not be as the fixed-bit MSRs say. */
    uint64_t cr0_fixed = caps->cr0_fixed0 & ~(CR0_PE | CR0_PG);
    vmwrite(VMCS_CTRL_CR0_MASK, CR0_HOST_OWNED);
    vmwrite(VMCS_CTRL_CR0_SHADOW, state->cr0);
    vmwrite(VMCS_GUEST_CR0, (state->cr0 & ~(CR0_CD | CR0_NW)) | cr0_fixed);
    vmwrite(VMCS_GUEST_CR3, state->cr3);
    /* MCE stays on in the CPU: without it a machine check in the guest would shut the host down. */
    vmwrite(VMCS_CTRL_CR4_MASK, ~vmcs_cr4_allowed(vcpu) | CR4_MCE);
    vmwrite(VMCS_CTRL_CR4_SHADOW, state->cr4);
    vmwrite(VMCS_GUEST_CR4, state->cr4 | caps->cr4_fixed0 | CR4_MCE);
    vmwrite(VMCS_GUEST_EFER, state->efer);
    uint32_t entry = ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER;
    if ((state->efer & EFER_LMA) != 0)
        entry |= ENTRY_IA32E_GUEST;
    vmwrite(VMCS_CTRL_ENTRY, control_demand(caps->entry, entry));

    vmwrite(VMCS_GUEST_RIP, state->rip);
    vmwrite(VMCS_GUEST_RSP, state->rsp);
    vmwrite(VMCS_GUEST_RFLAGS, state->rflags);
    vmwrite(VMCS_GUEST_DR7, 0x400);
    vmwrite(VMCS_GUEST_DEBUGCTL, 0);
    vmwrite(VMCS_GUEST_PAT, PAT_RESET_VALUE);
    vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
    vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
    vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmwrite(VMCS_GUEST_ACTIVITY, 0);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_LINK_POINTER, UINT64_MAX);
    if (control_allowed(caps->pin, PIN_PREEMPTION_TIMER))
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, UINT32_MAX);

    vcpu->regs = (struct guest_regs){{[RAX] = state->rax,
                                      [RBX] = state->rbx,
                                      [RCX] = state->rcx,
                                      [RDX] = state->rdx,
                                      [RSI] = state->rsi,
                                      [RDI] = state->rdi,
                                      [RBP] = state->rbp}};
}
