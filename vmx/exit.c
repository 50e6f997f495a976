/* SPDX-License-Identifier: BSD-2-Clause */
/* From a VM exit to its handler and back: the table, the step over an instruction, and the small
 * handlers. */
#include "vmx/exit.h"

#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

#define RFLAGS_TF        (1ull << 8)
#define PENDING_DEBUG_BS (1ull << 14)
#define ACCESS_LONG      (1u << 13) /* CS.L in the access-rights format */

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

/* Instructions of features that CPUID hides. */
static enum exit_action exit_undefined(struct vcpu *vcpu)
{
    vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE);
    return EXIT_SAME;
}

/* No performance counters are shown: every RDPMC index is invalid. */
static enum exit_action exit_rdpmc(struct vcpu *vcpu)
{
    return exit_general_protection(vcpu);
}

/* RAM and caches are coherent and not the guest's to throw away: INVD does nothing, as on a CPU
 * whose caches are clean. */
static enum exit_action exit_invd(struct vcpu *vcpu)
{
    (void)vcpu;
    return EXIT_NEXT;
}

static enum exit_action exit_task_switch(struct vcpu *vcpu)
{
    vm_end_format(vcpu->vm, VM_CRASH, 0,
                  "a hardware task switch to selector 0x%llx, not supported yet",
                  (unsigned long long)(vmread(VMCS_EXIT_QUALIFICATION) & 0xffff));
    return EXIT_SAME;
}

/*
 * What a reason leads to. vectoring: the exit can come while an event is delivered
 * (SDM, "Information for VM Exits During Event Delivery"); that event must not get lost.
 */
static const struct exit_entry {
    exit_handler *handle;
    bool vectoring;
} table[EXIT_REASON_COUNT] = {
    [REASON_EXCEPTION_OR_NMI] = {exit_exception_or_nmi, true},
    [REASON_EXTERNAL_INTERRUPT] = {exit_external_interrupt, true},
    [REASON_TRIPLE_FAULT] = {exit_triple_fault, false},
    [REASON_INTERRUPT_WINDOW] = {exit_look_again, false},
    [REASON_NMI_WINDOW] = {exit_look_again, false},
    [REASON_TASK_SWITCH] = {exit_task_switch, false},
    [REASON_CPUID] = {exit_cpuid, false},
    [REASON_GETSEC] = {exit_undefined, false},
    [REASON_HLT] = {exit_hlt, false},
    [REASON_INVD] = {exit_invd, false},
    [REASON_RDPMC] = {exit_rdpmc, false},
    [REASON_RSM] = {exit_undefined, false},
    [REASON_VMCALL] = {exit_vmcall, false},
    [REASON_VMCLEAR] = {exit_undefined, false},
    [REASON_VMLAUNCH] = {exit_undefined, false},
    [REASON_VMPTRLD] = {exit_undefined, false},
    [REASON_VMPTRST] = {exit_undefined, false},
    [REASON_VMREAD] = {exit_undefined, false},
    [REASON_VMRESUME] = {exit_undefined, false},
    [REASON_VMWRITE] = {exit_undefined, false},
    [REASON_VMXOFF] = {exit_undefined, false},
    [REASON_VMXON] = {exit_undefined, false},
    [REASON_CR_ACCESS] = {exit_cr_access, false},
    [REASON_IO] = {exit_io, false},
    [REASON_RDMSR] = {exit_rdmsr, false},
    [REASON_WRMSR] = {exit_wrmsr, false},
    [REASON_MWAIT] = {exit_undefined, false},
    [REASON_MONITOR] = {exit_undefined, false},
    [REASON_TPR_BELOW_THRESHOLD] = {exit_tpr_below_threshold, false},
    [REASON_APIC_ACCESS] = {exit_apic_access, true},
    [REASON_VIRTUALIZED_EOI] = {exit_virtualized_eoi, false},
    [REASON_EPT_VIOLATION] = {exit_ept_violation, true},
    [REASON_EPT_MISCONFIGURATION] = {exit_ept_misconfiguration, true},
    [REASON_INVEPT] = {exit_undefined, false},
    [REASON_PREEMPTION_TIMER] = {exit_nothing, false},
    [REASON_INVVPID] = {exit_undefined, false},
    [REASON_XSETBV] = {exit_xsetbv, false},
    [REASON_APIC_WRITE] = {exit_apic_write, false},
    [REASON_ENCLS] = {exit_undefined, false},
};

/* The one place where RIP is written. Interruptibility and single-step are as after the
 * instruction. */
static void step_over(uint64_t length)
{
    uint64_t rip = vmread(VMCS_GUEST_RIP);
    uint64_t next = rip + length;
    if (((rip ^ next) >> 32) != 0 && (vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_LONG) == 0)
        next &= UINT32_MAX;
    vmwrite(VMCS_GUEST_RIP, next);
    uint64_t blocked = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    if ((blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) != 0)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                blocked & ~(uint64_t)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
    if ((vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF) != 0)
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

void exit_dispatch(struct vcpu *vcpu)
{
    uint32_t reason = vcpu->reason;
    if (reason >= EXIT_REASON_COUNT || table[reason].handle == NULL) {
        vm_end_format(vcpu->vm, VM_CRASH, reason, "VM exit %u (%s) was not asked for", reason,
                      exit_reason_name(reason));
        return;
    }
    const struct exit_entry *entry = &table[reason];
    if (entry->vectoring)
        inject_again(vcpu);
    enum exit_action action = entry->handle(vcpu);
    if (action == EXIT_NEXT)
        step_over(vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
    else if (action == EXIT_NEXT_DECODED)
        step_over(vcpu->insn_length);
}
