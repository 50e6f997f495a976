/* SPDX-License-Identifier: BSD-2-Clause */
/* Events on their way into the guest: re-injection, exceptions, NMIs, interrupts, windows. */
#pragma once

#include "vmx/insn.h"
#include "vmx/vcpu.h"

/* After an exit that came during the delivery of an event: queues that event again, as it was.
 * False: it did not. */
void inject_event_again(struct vcpu *vcpu, uint32_t info);
static inline bool inject_again(struct vcpu *vcpu)
{
    const uint32_t info = (uint32_t)vmread(VMCS_EXIT_IDT_VECTORING);
    if ((info & EVENT_VALID) == 0)
        return false;
    inject_event_again(vcpu, info);
    return true;
}

/* In the exit's interruption information, and in the qualification of an EPT violation: undefined
 * there where the exit came during the delivery of an event. */
#define UNBLOCKED_BY_IRET (1u << 12)

/* An IRET that faults is run again, but has let NMIs in already: blocks them (SDM, "Information for
 * VM Exits Due to Vectored Events"). */
void inject_iret_again(void);

/* Before an entry: puts the event that is due into the VMCS, or opens the window for it. */
void inject_prepare(struct vcpu *vcpu);
