/* SPDX-License-Identifier: BSD-2-Clause */
/* Events on their way into the guest: re-injection, exceptions, NMIs, interrupts, windows. */
#pragma once

#include "vmx/vcpu.h"

/* VM-entry interruption information (SDM, "VM-Entry Controls for Event Injection"). */
#define EVENT_VALID               (1u << 31)
#define EVENT_ERROR_CODE          (1u << 11)
#define EVENT_TYPE_MASK           (7u << 8)
#define EVENT_INTERRUPT           (0u << 8)
#define EVENT_NMI                 (2u << 8)
#define EVENT_EXCEPTION           (3u << 8)
#define EVENT_SOFTWARE_INTERRUPT  (4u << 8)
#define EVENT_PRIVILEGED_SOFTWARE (5u << 8) /* INT1 */
#define EVENT_SOFTWARE_EXCEPTION  (6u << 8) /* INT3, INTO */

/* Interruptibility state. */
#define BLOCKED_BY_STI    (1u << 0)
#define BLOCKED_BY_MOV_SS (1u << 1)
#define BLOCKED_BY_NMI    (1u << 3)

/* After an exit that came while an event was being delivered: queues that event again, as it was.
 */
void inject_again(struct vcpu *vcpu);

/* Before an entry: puts the event, NMI or interrupt that is due into the VMCS, or opens the window
 * that waits for it. */
void inject_prepare(struct vcpu *vcpu);

/* Whether something would be delivered now that ends a HLT. */
bool inject_would_wake(const struct vcpu *vcpu);
