/* SPDX-License-Identifier: BSD-2-Clause */
/* From a VM exit to its handler and back: the table, the step over an instruction, and the small
 * handlers. */
#include "vmx/exit.h"

#include "arch/log.h"
#include "arch/panic.h"
#include "arch/x86.h"
#include "guest/vm/step.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

#define REASON_FAILED_ENTRY (1u << 31)
#define EXIT_REASON_MASK    127u
/* Of any exit: a bus lock was asserted, too (SDM, "Basic VM-Exit Information"). */
#define REASON_WITH_BUS_LOCK (1u << 26)

/* Nothing to do: inject_prepare() looks at what the guest now can take. */
static enum exit_action exit_look_again(struct vcpu *vcpu)
{
    vcpu->attention = true;
    return EXIT_SAME;
}

/* The run loop sees for itself that a deadline has passed. */
static enum exit_action exit_nothing(struct vcpu *vcpu)
{
    (void)vcpu;
    return EXIT_SAME;
}

/* What only says that something has happened to the CPU (an SMI, an INIT) asks nothing of us: a
 * hypervisor below may show it unasked. An event in whose delivery it came comes again. */
static enum exit_action exit_unasked(struct vcpu *vcpu)
{
    inject_again(vcpu);
    return EXIT_SAME;
}

/* A failed entry (the reason's high bits are set), or an exit that nothing in the controls asks
 * for. */
static enum exit_action exit_unexpected(struct vcpu *vcpu)
{
    uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
    if ((reason & REASON_FAILED_ENTRY) != 0) {
        if ((reason & 0xffff) == REASON_ENTRY_MACHINE_CHECK)
            exit_machine_check(vcpu);
        else
            vmx_report_failed_entry(vcpu, 0);
        return EXIT_SAME;
    }
    vm_end_format(vcpu->vm, VM_CRASH, reason, "VM exit 0x%x (%s) was not asked for", reason,
                  exit_reason_name(reason & 0xffff));
    return EXIT_SAME;
}

/* PAUSE in a loop: where vCPUs share a CPU, whom it waits for may be another of them. */
static enum exit_action exit_pause(struct vcpu *vcpu)
{
    vcpu->yields = true;
    vcpu->attention = true;
    return EXIT_NEXT;
}

/* With BTF the trap is after branches only, and none of what is emulated is a branch. */
static bool steps_singly(uint64_t rflags)
{
    return (rflags & RFLAGS_TF) != 0 && (vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF) == 0;
}

static void single_step(uint64_t rflags)
{
    if (steps_singly(rflags))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

/*
 * SDM, "Relative Priority of Faults and VM Exits": faults by privilege level come before the exit.
 * Not every CPU that this runs on keeps to that in each instruction (an emulated one, or another
 * hypervisor below), and a program of the guest shall never do by an exit what it may not do: so
 * handlers of instructions of CPL 0 look themselves. What is always #UD or #GP needs no look, nor
 * does what any program may execute (CPUID, PAUSE), nor VMCALL, which answers each CPL. IN, OUT,
 * INS and OUTS are left to the CPU, too: the section names the I/O permission bits among what comes
 * first, the test kernel privilege shows that they do, and a second look would cost each access of
 * a driver.
 */
static enum exit_action exit_hlt(struct vcpu *vcpu)
{
    if (vmx_cpl() != 0)
        return vcpu_general_protection(vcpu);
    const uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    return vcpu_halt(vcpu, (rflags & RFLAGS_IF) != 0,
                     (vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_NMI) == 0,
                     vmread(VMCS_GUEST_PENDING_DEBUG) != 0 || steps_singly(rflags));
}

static enum exit_action exit_cpuid(struct vcpu *vcpu)
{
    if (vcpu_cpuid(vcpu))
        return EXIT_NEXT;
    return vcpu_cpuid_dynamic(vcpu, vmread(VMCS_GUEST_CR4));
}

static enum exit_action exit_vmcall(struct vcpu *vcpu)
{
    return vcpu_hypercall(vcpu, vmx_cpl());
}

/* SDM, "Treatment of Task Switches": the CPU has checked the gate or the descriptor already. */
static enum exit_action exit_task_switch(struct vcpu *vcpu)
{
    const uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    inject_again(vcpu);
    exit_end_step(vcpu);
    return vcpu_task_switch(vcpu, qualification >> 30 & 3, (uint16_t)qualification,
                            (unsigned)vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
}

void exit_end_step(struct vcpu *vcpu)
{
    if (!vmx_vcpu(vcpu)->stepping)
        return;
    (void)vmx_step(vcpu, false);
    step_done(vcpu);
}

/* An instruction has been executed on pages of its own, or is one that a debugger steps by, or one
 * behind an x87 error. */
static enum exit_action exit_monitor_trap(struct vcpu *vcpu)
{
    const struct vmx_vcpu *v = vmx_vcpu(vcpu);
    exit_end_step(vcpu);
    if (v->watched)
        vcpu_x87_stepped(vcpu);
    if ((v->debug_stops & DEBUG_STEP) != 0 && vcpu->vm->debug_stop != NULL)
        (void)vcpu->vm->debug_stop(vcpu, DEBUG_STEP);
    return EXIT_SAME;
}

/* Instructions of features that CPUID hides. */
static enum exit_action exit_undefined(struct vcpu *vcpu)
{
    vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE);
    return EXIT_SAME;
}

/* No performance counters are shown: every RDPMC index is invalid. */
static enum exit_action exit_rdpmc(struct vcpu *vcpu)
{
    return vcpu_general_protection(vcpu);
}

/* RAM and caches are coherent and not the guest's to throw away: INVD and WBINVD do nothing, as on
 * a CPU whose caches are clean. */
static enum exit_action exit_invd(struct vcpu *vcpu)
{
    return vmx_cpl() != 0 ? vcpu_general_protection(vcpu) : EXIT_NEXT;
}

static enum exit_action exit_rdmsr(struct vcpu *vcpu)
{
    return vmx_cpl() != 0 ? vcpu_general_protection(vcpu) : vcpu_rdmsr(vcpu);
}

static enum exit_action exit_wrmsr(struct vcpu *vcpu)
{
    return vmx_cpl() != 0 ? vcpu_general_protection(vcpu) : vcpu_wrmsr(vcpu);
}

/* SDM, "XSETBV—Set Extended Control Register": without CR4.OSXSAVE there is no such instruction. */
static enum exit_action exit_xsetbv(struct vcpu *vcpu)
{
    if ((vmx_guest_cr4(vcpu->vm) & CR4_OSXSAVE) == 0)
        return exit_undefined(vcpu);
    return vmx_cpl() != 0 ? vcpu_general_protection(vcpu) : vcpu_xsetbv(vcpu);
}

/* Every reason that the SDM defines: what it leads to, its class, and its name. Reserved numbers
 * included, so that none is NULL. */
/* clang-format off */
#define EXIT_REASONS(X) \
    X(REASON_EXCEPTION_OR_NMI, exit_exception_or_nmi, CLASS_EXCEPTION, "exception_or_nmi") \
    X(REASON_EXTERNAL_INTERRUPT, exit_external_interrupt, CLASS_INTERRUPT, "external_interrupt") \
    X(REASON_TRIPLE_FAULT, exit_triple_fault, CLASS_EXCEPTION, "triple_fault") \
    X(REASON_INIT, exit_unasked, CLASS_INTERRUPT, "init_signal") \
    X(REASON_SIPI, exit_unexpected, CLASS_INTERRUPT, "startup_ipi") \
    X(5, exit_unasked, CLASS_INTERRUPT, "io_smi") \
    X(6, exit_unasked, CLASS_INTERRUPT, "other_smi") \
    X(REASON_INTERRUPT_WINDOW, exit_look_again, CLASS_INTERRUPT, "interrupt_window") \
    X(REASON_NMI_WINDOW, exit_look_again, CLASS_INTERRUPT, "nmi_window") \
    X(REASON_TASK_SWITCH, exit_task_switch, CLASS_CPU, "task_switch") \
    X(REASON_CPUID, exit_cpuid, CLASS_CPU, "cpuid") \
    X(REASON_GETSEC, exit_undefined, CLASS_CPU, "getsec") \
    X(REASON_HLT, exit_hlt, CLASS_IDLE, "hlt") \
    X(REASON_INVD, exit_invd, CLASS_CPU, "invd") \
    X(REASON_INVLPG, exit_unexpected, CLASS_PAGE_TABLES, "invlpg") \
    X(REASON_RDPMC, exit_rdpmc, CLASS_CPU, "rdpmc") \
    X(REASON_RDTSC, exit_unexpected, CLASS_CPU, "rdtsc") \
    X(REASON_RSM, exit_undefined, CLASS_CPU, "rsm") \
    X(REASON_VMCALL, exit_vmcall, CLASS_SYSCALL, "vmcall") \
    X(REASON_VMCLEAR, exit_undefined, CLASS_CPU, "vmclear") \
    X(REASON_VMLAUNCH, exit_undefined, CLASS_CPU, "vmlaunch") \
    X(REASON_VMPTRLD, exit_undefined, CLASS_CPU, "vmptrld") \
    X(REASON_VMPTRST, exit_undefined, CLASS_CPU, "vmptrst") \
    X(REASON_VMREAD, exit_undefined, CLASS_CPU, "vmread") \
    X(REASON_VMRESUME, exit_undefined, CLASS_CPU, "vmresume") \
    X(REASON_VMWRITE, exit_undefined, CLASS_CPU, "vmwrite") \
    X(REASON_VMXOFF, exit_undefined, CLASS_CPU, "vmxoff") \
    X(REASON_VMXON, exit_undefined, CLASS_CPU, "vmxon") \
    X(REASON_CR_ACCESS, exit_cr_access, CLASS_CPU, "control_register_accesses") \
    X(REASON_MOV_DR, exit_unexpected, CLASS_CPU, "mov_dr") \
    X(REASON_IO, exit_io, CLASS_IO, "io_instruction") \
    X(REASON_RDMSR, exit_rdmsr, CLASS_CPU, "rdmsr") \
    X(REASON_WRMSR, exit_wrmsr, CLASS_CPU, "wrmsr") \
    X(REASON_ENTRY_GUEST_STATE, exit_unexpected, CLASS_OTHER, "entry_failure_guest_state") \
    X(REASON_ENTRY_MSR_LOADING, exit_unexpected, CLASS_OTHER, "entry_failure_msr_loading") \
    X(35, exit_unexpected, CLASS_OTHER, "reserved_35") \
    X(REASON_MWAIT, exit_undefined, CLASS_IDLE, "mwait") \
    X(REASON_MONITOR_TRAP_FLAG, exit_monitor_trap, CLASS_OTHER, "monitor_trap_flag") \
    X(38, exit_unexpected, CLASS_OTHER, "reserved_38") \
    X(REASON_MONITOR, exit_undefined, CLASS_IDLE, "monitor") \
    X(REASON_PAUSE, exit_pause, CLASS_IDLE, "pause") \
    X(REASON_ENTRY_MACHINE_CHECK, exit_unexpected, CLASS_OTHER, "entry_failure_machine_check") \
    X(42, exit_unexpected, CLASS_OTHER, "reserved_42") \
    X(REASON_TPR_BELOW_THRESHOLD, exit_tpr_below_threshold, CLASS_INTERRUPT, "tpr_below_threshold") \
    X(REASON_APIC_ACCESS, exit_apic_access, CLASS_MMIO, "apic_access") \
    X(REASON_VIRTUALIZED_EOI, exit_virtualized_eoi, CLASS_INTERRUPT, "virtualized_eoi") \
    X(REASON_GDTR_IDTR, exit_unexpected, CLASS_CPU, "access_to_gdtr_or_idtr") \
    X(REASON_LDTR_TR, exit_unexpected, CLASS_CPU, "access_to_ldtr_or_tr") \
    X(REASON_EPT_VIOLATION, exit_ept_violation, CLASS_MMIO, "ept_violation") \
    X(REASON_EPT_MISCONFIGURATION, exit_ept_misconfiguration, CLASS_MMIO, "ept_misconfiguration") \
    X(REASON_INVEPT, exit_undefined, CLASS_CPU, "invept") \
    X(REASON_RDTSCP, exit_unexpected, CLASS_CPU, "rdtscp") \
    X(REASON_PREEMPTION_TIMER, exit_nothing, CLASS_TIMER, "vmx_preemption_timer_expired") \
    X(REASON_INVVPID, exit_undefined, CLASS_CPU, "invvpid") \
    X(REASON_WBINVD, exit_invd, CLASS_CPU, "wbinvd") \
    X(REASON_XSETBV, exit_xsetbv, CLASS_CPU, "xsetbv") \
    X(REASON_APIC_WRITE, exit_apic_write, CLASS_INTERRUPT, "apic_write") \
    X(REASON_RDRAND, exit_unexpected, CLASS_CPU, "rdrand") \
    X(REASON_INVPCID, exit_unexpected, CLASS_PAGE_TABLES, "invpcid") \
    X(REASON_VMFUNC, exit_unexpected, CLASS_CPU, "vmfunc") \
    X(REASON_ENCLS, exit_undefined, CLASS_CPU, "encls") \
    X(REASON_RDSEED, exit_unexpected, CLASS_CPU, "rdseed") \
    X(REASON_PML_FULL, exit_unexpected, CLASS_PAGE_TABLES, "page_modification_log_full") \
    X(REASON_XSAVES, exit_unexpected, CLASS_CPU, "xsaves") \
    X(REASON_XRSTORS, exit_unexpected, CLASS_CPU, "xrstors") \
    X(REASON_PCONFIG, exit_unexpected, CLASS_CPU, "pconfig") \
    X(REASON_SPP, exit_unexpected, CLASS_PAGE_TABLES, "spp_related_event") \
    X(REASON_UMWAIT, exit_unexpected, CLASS_IDLE, "umwait") \
    X(REASON_TPAUSE, exit_unexpected, CLASS_IDLE, "tpause") \
    X(REASON_LOADIWKEY, exit_unexpected, CLASS_CPU, "loadiwkey") \
    X(REASON_ENCLV, exit_unexpected, CLASS_CPU, "enclv") \
    X(71, exit_unexpected, CLASS_OTHER, "reserved_71") \
    X(REASON_ENQCMD_PASID, exit_unexpected, CLASS_OTHER, "enqcmd_pasid_translation_failure") \
    X(REASON_ENQCMDS_PASID, exit_unexpected, CLASS_OTHER, "enqcmds_pasid_translation_failure") \
    X(REASON_BUS_LOCK, exit_bus_lock, CLASS_CPU, "bus_lock") \
    X(REASON_INSTRUCTION_TIMEOUT, exit_instruction_timeout, CLASS_OTHER, "instruction_timeout") \
    X(REASON_SEAMCALL, exit_undefined, CLASS_CPU, "seamcall") \
    X(REASON_TDCALL, exit_undefined, CLASS_CPU, "tdcall")
/* clang-format on */

_Static_assert(EXIT_REASON_COUNT <= EXIT_REASON_MASK, "each has a handler");

#define HANDLER(reason, handler, class, name) [reason] = (handler),
#define NAME(reason, handler, class, name)    [reason] = (name),
#define CLASS(reason, handler, class, name)   [reason] = (class),

/* As many as a mask leaves: see exit_dispatch(). */
static exit_handler *const handlers[EXIT_REASON_MASK + 1] = {
    EXIT_REASONS(HANDLER)[EXIT_REASON_COUNT... EXIT_REASON_MASK] = exit_unexpected};

static const char *const names[EXIT_REASON_COUNT] = {EXIT_REASONS(NAME)};
static const uint8_t classes[EXIT_REASON_COUNT] = {EXIT_REASONS(CLASS)};

const char *exit_reason_name(unsigned reason)
{
    return reason < EXIT_REASON_COUNT ? names[reason] : "a reason that the SDM does not define";
}

enum event_class exit_reason_class(unsigned reason)
{
    return (enum event_class)classes[reason];
}

static inline void end_shadow(void)
{
    uint64_t blocked = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    if ((blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) != 0)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                blocked & ~(uint64_t)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* SDM, "Instruction-Breakpoint Exception Condition": RF is set in what a trap or an interrupt
 * between iterations saves. */
static void iteration_done(void)
{
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    if ((rflags & RFLAGS_RF) == 0)
        vmwrite(VMCS_GUEST_RFLAGS, rflags | RFLAGS_RF);
    end_shadow();
    single_step(rflags);
}

/* The one place where RIP moves on (a task switch loads it with all else). Interruptibility, RF and
 * single-step are as after the instruction. */
static inline __attribute__((always_inline)) void step_over(uint64_t length)
{
    uint64_t next = vmread(VMCS_GUEST_RIP) + length;
    bool crossed_4g = (uint32_t)next < length; /* code outside 64-bit mode wraps there */
    if (crossed_4g && !vmx_in_64bit_mode())
        next &= UINT32_MAX;
    vmwrite(VMCS_GUEST_RIP, next);
    end_shadow();
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    if ((rflags & (RFLAGS_TF | RFLAGS_RF)) == 0)
        return;
    if ((rflags & RFLAGS_RF) != 0) /* an EPT violation saves it set, as a fault does */
        vmwrite(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    if ((rflags & RFLAGS_TF) != 0)
        single_step(rflags);
}

void exit_take_context(const struct emulate_context *ctx)
{
    vmwrite(VMCS_GUEST_RFLAGS, ctx->paging.rflags);
    vmwrite(VMCS_GUEST_RSP, ctx->rsp);
    if (ctx->debug_hits != 0)
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | ctx->debug_hits);
}

static inline __attribute__((always_inline)) void finish(const struct vcpu *vcpu,
                                                         enum exit_action action)
{
    if (action == EXIT_NEXT)
        step_over(vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
    else if (action == EXIT_NEXT_DECODED)
        step_over(vcpu->insn_length);
    else if (action == EXIT_ITERATION)
        iteration_done();
}

/* The reason has bits beside the basic one. Apart, so that no other exit pays for it. */
static void __attribute__((noinline)) dispatch_unusual(struct vcpu *vcpu)
{
    const uint32_t basic = (uint32_t)vmread(VMCS_EXIT_REASON) & ~REASON_WITH_BUS_LOCK;
    if (basic > EXIT_REASON_MASK) {
        exit_unexpected(vcpu);
        return;
    }
    exit_note_bus_lock(vcpu);
    finish(vcpu, handlers[basic & EXIT_REASON_MASK](vcpu));
}

void exit_dispatch(struct vcpu *vcpu, uint32_t reason)
{
    /* The mask, not a branch, bounds the index: also for a CPU that guesses. */
    const uint32_t index = reason & EXIT_REASON_MASK;
    if (index != reason)
        dispatch_unusual(vcpu);
    else
        finish(vcpu, handlers[index](vcpu));
}
