/* SPDX-License-Identifier: BSD-2-Clause */
/* An exception for a guest, by the rules of double faults, and what came first of several. */
#include "guest/vm/vcpu.h"

void vcpu_triple_fault(struct vcpu *vcpu)
{
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    vm_end_format(vcpu->vm, VM_TRIPLE_FAULT, 0, "triple fault at RIP 0x%lx", state.rip);
}

/* What is delivered already is the first, unless it is an exception, which may have come of one.
 * address: of #PF. */
static void queue_exception(struct vcpu *vcpu, struct event exception, uint64_t address)
{
    const struct event before = vcpu->event;
    if (!event_combine(&before, &exception)) {
        vcpu_triple_fault(vcpu);
        return;
    }
    vcpu->engine->inject(vcpu, &exception);
    if ((before.info & EVENT_VALID) == 0)
        vcpu->first = (struct undelivered){vcpu->event, address};
    else if ((before.info & EVENT_TYPE_MASK) != EVENT_EXCEPTION)
        vcpu->first = (struct undelivered){before, 0};
}

void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector)
{
    queue_exception(vcpu, (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | vector}, 0);
}

static void queue_error(struct vcpu *vcpu, unsigned vector, uint32_t error, uint64_t address)
{
    queue_exception(
        vcpu,
        (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | vector,
                       .error = error},
        address);
}

void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error)
{
    queue_error(vcpu, vector, error, 0);
}

void vcpu_inject_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error)
{
    const struct cpu_state state = {.cr2 = address};
    vcpu->engine->set_state(vcpu, STATE_CR2, &state);
    queue_error(vcpu, VECTOR_PAGE_FAULT, error, address);
}

void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes)
{
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_DEBUG, &state);
    state.dr6 = (state.dr6 & ~DR6_BREAKPOINTS) | DR6_SET_BY_DB | causes;
    state.dr7 &= ~DR7_GD;
    state.debugctl &= ~DEBUGCTL_BTF;
    vcpu->engine->set_state(vcpu, STATE_DEBUG, &state);
    vcpu_inject_exception(vcpu, VECTOR_DEBUG);
}
