/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits by events: exceptions, NMIs and interrupts of the host, triple faults; and HLT and VMCALL,
 * which wait and ask. */
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/panic.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

#define DR7_GD            (1ull << 13)
#define DR6_CLEARED_BY_DB 0xfull /* what a new #DB clears: B0 to B3 */
/* Active low, and not what is reflected here: a bus lock, a transaction that is debugged. */
#define DR6_SET_BY_DB (1ull << 11 | 1ull << 16)
#define DEBUGCTL_BTF  (1ull << 1)

static uint64_t read_dr6(void)
{
    uint64_t value;
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}

static void write_dr6(uint64_t value)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(value));
}

/* The guest's DR0 to DR6 are in the CPU, the host uses none. */
void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes)
{
    write_dr6((read_dr6() & ~DR6_CLEARED_BY_DB) | DR6_SET_BY_DB | causes);
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_GD);
    vmwrite(VMCS_GUEST_DEBUGCTL, vmread(VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_BTF);
    vcpu_inject_exception(vcpu, VECTOR_DEBUG);
}

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
        write_dr6(read_dr6() | DR6_SET_BY_DB);
        vcpu_inject_exception(vcpu, VECTOR_DEBUG);
        vcpu->event = EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG;
        vcpu->event_length = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
    }
}

enum exit_action exit_exception_or_nmi(struct vcpu *vcpu)
{
    inject_again(vcpu);
    uint32_t info = (uint32_t)vmread(VMCS_EXIT_EVENT);
    if ((info & UNBLOCKED_BY_IRET) != 0)
        inject_iret_again();
    switch (info & 0xff) {
    case VECTOR_NMI: nmi_handle(); break;
    case VECTOR_MACHINE_CHECK: panic("machine check while VM %s ran", vcpu->vm->name);
    case VECTOR_DEBUG: reflect_debug(vcpu); break;
    default: /* #AC, the only other one that is intercepted */
        vcpu_inject_exception_error(vcpu, info & 0xff, (uint32_t)vmread(VMCS_EXIT_EVENT_ERROR));
        break;
    }
    return EXIT_SAME;
}

/* Acknowledged by the exit (SDM, VM-exit control "acknowledge interrupt on exit"). */
enum exit_action exit_external_interrupt(struct vcpu *vcpu)
{
    inject_again(vcpu);
    interrupt_handle((uint8_t)vmread(VMCS_EXIT_EVENT));
    return EXIT_SAME;
}

enum exit_action exit_triple_fault(struct vcpu *vcpu)
{
    vm_end_format(vcpu->vm, VM_CRASH, 0, "triple fault at RIP 0x%llx",
                  (unsigned long long)vmread(VMCS_GUEST_RIP));
    return EXIT_SAME;
}

/* The run loop waits; see vcpu_wait(). */
enum exit_action exit_hlt(struct vcpu *vcpu)
{
    vcpu->activity = VCPU_HALTED;
    vcpu->attention = true;
    return EXIT_NEXT;
}

enum exit_action exit_vmcall(struct vcpu *vcpu)
{
    uint64_t number = vcpu->regs.gpr[RAX];
    if ((vmread(VMCS_GUEST_SS_ACCESS) >> 5 & 3) != 0)
        return vcpu_return(vcpu, VMCALL_NOT_PERMITTED);
    if (number >= VM_MAX_HYPERCALLS || vcpu->vm->hypercall[number] == NULL)
        return vcpu_return(vcpu, VMCALL_UNKNOWN);
    return vcpu->vm->hypercall[number](vcpu);
}
