/* SPDX-License-Identifier: BSD-2-Clause */
/* Events on their way into the guest: re-injection, exceptions, NMIs, interrupts, windows. */
#pragma once

#include "guest/cpu/event.h"
#include "guest/vm/vcpu.h"

/* After an exit that came during the delivery of an event: queues that event again, as it was. */
void inject_again(struct vcpu *vcpu);

/* In the exit's interruption information, and in the qualification of an EPT violation: undefined
 * there where the exit came during the delivery of an event. */
#define UNBLOCKED_BY_IRET (1u << 12)

/* An IRET that faults is run again, but has let NMIs in already: blocks them (SDM, "Information for
 * VM Exits Due to Vectored Events"). */
void inject_iret_again(void);

/* Queues the #DB that these causes make, with DR6, DR7 and IA32_DEBUGCTL as its delivery leaves
 * them. */
void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes);

/* Before an entry: puts the event that is due into the VMCS, or opens the window for it. */
void inject_prepare(struct vcpu *vcpu);

/* Whether an event or, where RFLAGS.IF leaves them open, an interrupt would be delivered now that
 * ends a HLT. On the CPU of the vCPU's seat, loaded or not. */
bool inject_would_wake(const struct vcpu *vcpu, bool open);
