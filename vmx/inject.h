/* SPDX-License-Identifier: BSD-2-Clause */
/* Events on their way into the guest: re-injection, exceptions, NMIs, interrupts, windows. */
#pragma once

#include "vmx/events.h"
#include "vmx/vcpu.h"

/* After an exit that came during the delivery of an event: queues that event again, as it was. */
void inject_again(struct vcpu *vcpu);

/* Queues the #DB that these causes make, with DR6, DR7 and IA32_DEBUGCTL as its delivery leaves
 * them. */
void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes);

/* Before an entry: puts the event that is due into the VMCS, or opens the window for it. */
void inject_prepare(struct vcpu *vcpu);

/* Whether an event or, where RFLAGS.IF leaves them open, an interrupt would be delivered now that
 * ends a HLT. On the CPU of the vCPU's seat, loaded or not. */
bool inject_would_wake(const struct vcpu *vcpu, bool open);
