/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits by events: exceptions, NMIs and interrupts of the host, triple faults. */
#include "arch/fault.h"
#include "arch/mcheck.h"
#include "arch/panic.h"
#include "arch/x86.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

/* #DB is intercepted before DR6 and DR7 have changed (SDM, "Exit Qualification for Debug
 * Exceptions"). */
static void reflect_debug(struct vcpu *vcpu)
{
    /* Its delivery ends a shadow of STI or MOV SS. Left there, with RFLAGS.TF, VM entry would
     * demand a pending single-step, which this #DB is (SDM, "Checks on Guest Non-Register State").
     */
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
            vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
    uint32_t type = (uint32_t)vmread(VMCS_EXIT_EVENT) & EVENT_TYPE_MASK;
    if (type != EVENT_PRIVILEGED_SOFTWARE) {
        vcpu_inject_debug(vcpu, vmread(VMCS_EXIT_QUALIFICATION) & 0xe00full);
    } else { /* INT1 leaves the debug registers alone but for those bits */
        struct cpu_state state;
        vmx_get_state(vcpu, STATE_DEBUG, &state);
        state.dr6 |= DR6_SET_BY_DB;
        vmx_set_state(vcpu, STATE_DEBUG, &state);
        vcpu_inject_exception(vcpu, VECTOR_DEBUG);
        vcpu->event.info = EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG;
        vcpu->event.length = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
    }
}

/* INT3, which exits for a debugger only: its own, or the guest's. */
static void reflect_breakpoint(struct vcpu *vcpu)
{
    if (vcpu->vm->debug_stop != NULL && vcpu->vm->debug_stop(vcpu, DEBUG_BREAKPOINT))
        return;
    vcpu_inject_exception(vcpu, VECTOR_BREAKPOINT);
    vcpu->event.info = EVENT_VALID | EVENT_SOFTWARE_EXCEPTION | VECTOR_BREAKPOINT;
    vcpu->event.length = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
}

/* #MF of a guest whose CR0.NE is 0. Behind STI, too, the instruction waits for an interrupt. */
static enum exit_action take_x87_error(struct vcpu *vcpu)
{
    const uint64_t blocked = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocked & BLOCKED_BY_NMI);
    return vcpu_x87_error(vcpu, (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) != 0,
                          (blocked & BLOCKED_BY_NMI) == 0);
}

void exit_machine_check(struct vcpu *vcpu)
{
    if (mcheck_is_elsewhere())
        return;
    if (!mcheck_take())
        panic("machine check while VM %s ran", vcpu->vm->name);
    vm_end_format(vcpu->vm, VM_CRASH, 0, "a machine check: the hardware failed while it ran");
}

enum exit_action exit_exception_or_nmi(struct vcpu *vcpu)
{
    inject_again(vcpu);
    uint32_t info = (uint32_t)vmread(VMCS_EXIT_EVENT);
    if ((info & UNBLOCKED_BY_IRET) != 0)
        inject_iret_again();
    if ((info & 0xff) != VECTOR_NMI)
        exit_end_step(vcpu);
    switch (info & 0xff) {
    case VECTOR_NMI: nmi_handle(); break;
    case VECTOR_MACHINE_CHECK: exit_machine_check(vcpu); break;
    case VECTOR_DEBUG: reflect_debug(vcpu); break;
    case VECTOR_BREAKPOINT: reflect_breakpoint(vcpu); break;
    case VECTOR_X87_ERROR: return take_x87_error(vcpu);
    default: /* #AC, the only other one that is intercepted */
        vcpu_inject_exception_error(vcpu, info & 0xff, (uint32_t)vmread(VMCS_EXIT_EVENT_ERROR));
        break;
    }
    return EXIT_SAME;
}

/* Acknowledged by the exit (SDM, VM-exit control "acknowledge interrupt on exit"). Another
 * hypervisor below may exit without one, for what was its own business. */
enum exit_action exit_external_interrupt(struct vcpu *vcpu)
{
    inject_again(vcpu);
    const uint64_t info = vmread(VMCS_EXIT_EVENT);
    if ((info & EVENT_VALID) != 0)
        interrupt_handle((uint8_t)info);
    return EXIT_SAME;
}

void exit_note_bus_lock(struct vcpu *vcpu)
{
    vcpu->yields = true;
    vcpu->attention = true;
}

/* The instruction that has locked it is over. An event in whose delivery it came is not, perhaps.
 */
enum exit_action exit_bus_lock(struct vcpu *vcpu)
{
    inject_again(vcpu);
    exit_note_bus_lock(vcpu);
    return EXIT_SAME;
}

/* The CPU did not come to the end of an instruction in time, and has dropped what it had done of
 * it: the host has had its look, and the guest goes on (SDM, "Exit Qualification for Instruction
 * Timeout"). */
enum exit_action exit_instruction_timeout(struct vcpu *vcpu)
{
    const uint64_t context_invalid = 1;
    const uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    if ((qualification & context_invalid) != 0) {
        vm_end_format(vcpu->vm, VM_CRASH, 0,
                      "an instruction that does not end: the CPU gave it up, and with it the "
                      "vCPU's state");
        return EXIT_SAME;
    }
    if ((qualification & UNBLOCKED_BY_IRET) != 0)
        inject_iret_again();
    inject_again(vcpu);
    return EXIT_SAME;
}

enum exit_action exit_triple_fault(struct vcpu *vcpu)
{
    vmx_retry(vcpu, &vcpu->first);
    vcpu_triple_fault(vcpu);
    return EXIT_SAME;
}
