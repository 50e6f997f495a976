/* SPDX-License-Identifier: BSD-2-Clause */
/* An exception for a guest, by the rules of double faults. */
#include "guest/vm/vcpu.h"

static void queue_exception(struct vcpu *vcpu, struct event exception)
{
    if (event_combine(&vcpu->event, &exception))
        vcpu->engine->inject(vcpu, &exception);
    else
        vm_end_request(vcpu->vm, VM_TRIPLE_FAULT, 0, "triple fault");
}

void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector)
{
    queue_exception(vcpu, (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | vector});
}

void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error)
{
    queue_exception(
        vcpu, (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | vector,
                             .error = error});
}

void vcpu_inject_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error)
{
    const struct cpu_state state = {.cr2 = address};
    vcpu->engine->set_state(vcpu, STATE_CR2, &state);
    vcpu_inject_exception_error(vcpu, VECTOR_PAGE_FAULT, error);
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
