/* SPDX-License-Identifier: BSD-2-Clause */
/* Which event comes to the guest next, and its delivery through the guest's tables. */
#include "arch/cpu.h"
#include "arch/string.h"
#include "guest/bt/bt.h"

/* In real mode there are no error codes. An NMI whose delivery this one has ended leaves NMIs
 * blocked. RFLAGS.RF is interpret_deliver()'s. */
void bt_inject(struct vcpu *vcpu, const struct event *event)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    if (vcpu->event.info != 0 && (vcpu->event.info & EVENT_TYPE_MASK) == EVENT_NMI)
        v->state.interruptibility |= BLOCKED_BY_NMI;
    vcpu->event = *event;
    if ((v->state.cr0 & CR0_PE) == 0)
        vcpu->event.info &= ~EVENT_ERROR_CODE;
    if ((event->info & 0xff) == VECTOR_PAGE_FAULT)
        bt_space_guest_fault(v, v->state.cr2);
}

/* The external interrupt that comes now, or -1. An ExtINT comes first. */
static int next_interrupt(struct bt_vcpu *v, bool open)
{
    struct vcpu *vcpu = &v->vcpu;
    struct vlapic *apic = &vcpu->apic;
    if (vlapic_extint_pending(apic)) {
        v->something_waits = !open;
        if (!open)
            return -1;
        vm_lock(vcpu->vm);
        const int vector = (int)vlapic_extint_acknowledge(apic);
        vm_unlock(vcpu->vm);
        v->something_waits = vlapic_extint_pending(apic) || vlapic_pending(apic) >= 0;
        return vector;
    }
    const int vector = vlapic_pending(apic);
    if (vector >= 0 && open)
        vlapic_accept(apic, (unsigned)vector);
    v->something_waits = vector >= 0 && (!open || vlapic_pending(apic) >= 0);
    return open ? vector : -1;
}

/* SDM, "Priority Among Concurrent Events": a trap of the instruction before, which the software CPU
 * raises, then NMIs, then interrupts. */
void bt_choose_event(struct bt_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    const bool later = vcpu->event.info != 0 || interpret_has_debug_trap(&v->env);
    v->something_waits = later; /* whether one waits is seen behind that */
    if (later)
        return;
    if (vcpu->nmis_pending != 0 && bt_takes_nmis(v)) {
        vcpu->nmis_pending--;
        vcpu->event.info = EVENT_VALID | EVENT_NMI | VECTOR_NMI;
        v->something_waits = true;
        return;
    }
    const int vector = next_interrupt(v, bt_takes_interrupts(v));
    v->something_waits |= vcpu->nmis_pending != 0;
    if (vector >= 0)
        vcpu->event.info = EVENT_VALID | EVENT_INTERRUPT | (unsigned)vector;
}

void __attribute__((noinline)) bt_deliver(struct bt_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    const struct event event = vcpu->event;
    const bool interrupt = (event.info & EVENT_TYPE_MASK) < EVENT_EXCEPTION;
    bool fault = false;
    if (event.info == 0)
        return;
    bt_exit_begin(v);
    const enum interpret_result result = interpret_deliver(&v->env, &event, &fault);
    if (result == INTERPRET_TASK)
        (void)vcpu_task_switch(vcpu, v->env.task.source, v->env.task.selector, 0);
    else if (!fault) /* else vcpu->event is what has come of both */
        vcpu->event.info = 0;
    bt_exit_end(v, interrupt ? BT_INTERRUPT : BT_EXCEPTION);
}
