/* SPDX-License-Identifier: BSD-2-Clause */
/* The timer of a local APIC: counts in its three modes and says when it has expired; interrupts are
 * the APIC's business. */
#pragma once

#include "drivers/bus/timers.h"

#include <stdbool.h>
#include <stdint.h>

/* Bits 18:17 of the LVT timer register; 3 is reserved and never expires. */
enum { VLAPIC_TIMER_ONE_SHOT, VLAPIC_TIMER_PERIODIC, VLAPIC_TIMER_DEADLINE };

struct vlapic_timer {
    struct timers *timers;      /* their clock is the bus clock which the divisor divides */
    const uint64_t *tsc_offset; /* guest TSC = clock + this */

    struct timer timer;
    uint64_t deadline; /* IA32_TSC_DEADLINE; 0: not armed */
    uint64_t expiry;   /* the other modes: when the count is 0, in clock ticks; 0: not counting */
    uint32_t initial;  /* initial count */
    uint8_t mode, shift;
};

/* Once, of a zeroed one. */
void vlapic_timer_init(struct vlapic_timer *timer, struct timers *timers,
                       const uint64_t *tsc_offset);

/* Not armed, one-shot, divisor 2. */
void vlapic_timer_reset(struct vlapic_timer *timer);

/* Writes to the registers (SDM, "APIC Timer" and "TSC-Deadline Mode") and the current count. */
void vlapic_timer_set_mode(struct vlapic_timer *timer, unsigned mode);
void vlapic_timer_set_divide(struct vlapic_timer *timer, uint32_t value);
void vlapic_timer_set_count(struct vlapic_timer *timer, uint32_t count);
void vlapic_timer_set_deadline(struct vlapic_timer *timer, uint64_t guest_tsc);
uint32_t vlapic_timer_count(const struct vlapic_timer *timer);

/* The APIC's own: the count or the deadline has been reached. */
void vlapic_timer_expired(struct vlapic_timer *timer);
