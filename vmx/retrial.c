/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What led to a triple fault. The exit tells nothing of it but the instruction (SDM, "Information
 * for VM Exits During Event Delivery"), and its user wants to know the first exception. Nothing of
 * the guest has changed but perhaps CR2, so the instruction is executed once more, for itself: each
 * exception exits before its delivery, and so does the end of the instruction. Where that comes
 * first, an interrupt could not be delivered. Then the instruction has been executed after all, and
 * what it has written to memory stays there, as on a CPU to which the interrupt came one
 * instruction later; registers are put back, since they are printed. Where RAM outlives the triple
 * fault (on_crash = restart), a guest cannot tell one from the other: it knows no instruction at
 * which it was cut off.
 */
#include "arch/fault.h"
#include "guest/cpu/delivery.h"
#include "vmx/caps.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

/* The host's own interrupts may come in between, but not for ever. */
#define MAX_ENTRIES 100

/* The host's stack pointer among them, which vmx_run() has stored for its own stack. */
static const unsigned changed_fields[] = {VMCS_GUEST_RIP,           VMCS_GUEST_RSP,
                                          VMCS_GUEST_RFLAGS,        VMCS_GUEST_INTERRUPTIBILITY,
                                          VMCS_GUEST_PENDING_DEBUG, VMCS_HOST_RSP};
#define CHANGED_COUNT (sizeof(changed_fields) / sizeof(changed_fields[0]))

static bool is_hosts(uint32_t reason)
{
    if (reason == REASON_EXTERNAL_INTERRUPT) {
        interrupt_handle((uint8_t)vmread(VMCS_EXIT_EVENT));
        return true;
    }
    if (reason == REASON_EXCEPTION_OR_NMI && (vmread(VMCS_EXIT_EVENT) & 0xff) == VECTOR_NMI) {
        nmi_handle();
        return true;
    }
    return reason == REASON_PREEMPTION_TIMER || reason == REASON_INSTRUCTION_TIMEOUT;
}

/* Until something of the guest's own ends the instruction: its exit reason, or -1. */
static int64_t enter_once(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < MAX_ENTRIES; i++) {
        if (control_allowed(vmx_caps()->pin, PIN_PREEMPTION_TIMER))
            vmwrite(VMCS_GUEST_PREEMPTION_TIMER, UINT32_MAX);
        if (vmx_enter_first(&vcpu->regs, true) != 0)
            return -1;
        const uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON) & 0xffff;
        if (!is_hosts(reason))
            return reason;
    }
    return -1;
}

static void note_exception(struct undelivered *first)
{
    first->event.info = (uint32_t)vmread(VMCS_EXIT_EVENT) & ~(1u << 12); /* undefined */
    if ((first->event.info & EVENT_ERROR_CODE) != 0)
        first->event.error = (uint32_t)vmread(VMCS_EXIT_EVENT_ERROR);
    if ((first->event.info & 0xff) == VECTOR_PAGE_FAULT)
        first->address = vmread(VMCS_EXIT_QUALIFICATION);
}

/* The interrupts that may have been on their way are the last one that an entry has injected, and
 * the one that the virtualized APIC has in service: the one that cannot be delivered. */
static void note_interrupt(struct vcpu *vcpu, struct undelivered *first)
{
    const uint32_t injected = (uint32_t)vmread(VMCS_CTRL_ENTRY_EVENT);
    const uint32_t serviced =
        vcpu->assisted ? (uint32_t)vmread(VMCS_GUEST_INTERRUPT_STATUS) >> 8 & 0xff : 0;
    const struct event candidate[] = {
        {.info = EVENT_VALID | (injected & (EVENT_TYPE_MASK | 0xff))},
        {.info = EVENT_VALID | EVENT_INTERRUPT | serviced},
    };
    const struct cpu_table_register none = {0, 0};
    struct cpu_state state;
    char why[8];
    vmx_get_state(vcpu, STATE_ALL, &state);
    for (unsigned i = 0; i < 2; i++)
        if ((candidate[i].info & 0xff) != 0 &&
            delivery_explain(&vcpu->vm->mem, &state, vcpu->phys_bits, &none, &candidate[i], why,
                             sizeof(why))) {
            first->event = candidate[i];
            return;
        }
}

/* In the shadow of MOV SS no interrupt comes in between; it has to agree with RFLAGS.TF (SDM,
 * "Checks on Guest Non-Register State"). */
static void set_shadow(void)
{
    vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) & ~RFLAGS_TF);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
            (vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_NMI) | BLOCKED_BY_MOV_SS);
}

void vmx_retry(struct vcpu *vcpu, struct undelivered *first)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    const struct guest_regs regs = vcpu->regs;
    const bool shadow_stacks = control_allowed(vmx_caps()->exit, EXIT_LOAD_CET);
    const uint64_t ssp = shadow_stacks ? vmread(VMCS_HOST_SSP) : 0;
    uint64_t saved[CHANGED_COUNT];
    *first = (struct undelivered){0};
    for (unsigned i = 0; i < CHANGED_COUNT; i++)
        saved[i] = vmread(changed_fields[i]);
    if (vmx_step(vcpu, true)) {
        set_shadow();
        vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, UINT32_MAX);
        const int64_t reason = enter_once(vcpu);
        if (reason == REASON_EXCEPTION_OR_NMI)
            note_exception(first);
        vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, v->exceptions);
        vcpu->regs = regs;
        for (unsigned i = 0; i < CHANGED_COUNT; i++)
            vmwrite(changed_fields[i], saved[i]);
        if (shadow_stacks)
            vmwrite(VMCS_HOST_SSP, ssp);
        if (reason >= 0 && reason != REASON_EXCEPTION_OR_NMI)
            note_interrupt(vcpu, first);
    }
    (void)vmx_step(vcpu, false);
}
