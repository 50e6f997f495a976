/* SPDX-License-Identifier: BSD-2-Clause */
/* The timer of a local APIC; SDM, "APIC Timer" and "TSC-Deadline Mode". */
#include "guest/vm/vlapic_timer.h"

static uint64_t to_ticks(const struct vlapic_timer *t, uint32_t count)
{
    return (uint64_t)count << t->shift;
}

/* ticks: 0 stops. */
static void count_down(struct vlapic_timer *t, uint64_t ticks)
{
    t->expiry = ticks == 0 ? 0 : timers_now(t->timers) + ticks;
    timers_arm(t->timers, &t->timer, ticks == 0 ? TIMER_NEVER : t->expiry);
}

static void next_period(struct vlapic_timer *t, uint64_t now)
{
    uint64_t period = to_ticks(t, t->initial); /* not 0, or nothing would count */
    /* Periods that passed while the guest was not running are lost, the phase is not. */
    t->expiry += period;
    if (t->expiry <= now)
        t->expiry += ((now - t->expiry) / period + 1) * period;
    /* 122 us between interrupts, as the RTC's fastest: a guest that asks for more, or whose exits
     * are slow (under another hypervisor), would do nothing but take them. */
    uint64_t soonest = now + (t->timers->hz >> 13);
    timers_arm(t->timers, &t->timer, t->expiry < soonest ? soonest : t->expiry);
}

static void fire(void *dev, uint64_t now)
{
    struct vlapic_timer *t = dev;
    if (t->mode == VLAPIC_TIMER_PERIODIC)
        next_period(t, now);
    else
        t->deadline = t->expiry = 0;
    vlapic_timer_expired(t);
}

uint32_t vlapic_timer_count(const struct vlapic_timer *t)
{
    if (t->expiry == 0)
        return 0;
    uint64_t now = timers_now(t->timers), left = 0, period = to_ticks(t, t->initial);
    if (now < t->expiry)
        left = t->expiry - now;
    else if (t->mode == VLAPIC_TIMER_PERIODIC) /* late: nobody has run the timers yet */
        left = period - (now - t->expiry) % period;
    return (uint32_t)((left + (1ull << t->shift) - 1) >> t->shift);
}

void vlapic_timer_set_mode(struct vlapic_timer *t, unsigned mode)
{
    /* To or from TSC-deadline mode (or the reserved one) disarms; between one-shot and periodic the
     * count goes on. */
    if (mode != t->mode && ((mode | t->mode) & 2) != 0) {
        t->deadline = 0;
        count_down(t, 0);
    }
    t->mode = mode & 3;
}

void vlapic_timer_set_divide(struct vlapic_timer *t, uint32_t value)
{
    uint32_t count = vlapic_timer_count(t);
    t->shift = (((value >> 1 & 4) | (value & 3)) + 1) & 7;
    if (t->expiry != 0)
        count_down(t, to_ticks(t, count == 0 ? 1 : count));
}

void vlapic_timer_set_count(struct vlapic_timer *t, uint32_t count)
{
    if (t->mode > VLAPIC_TIMER_PERIODIC)
        return;
    t->initial = count;
    count_down(t, to_ticks(t, count));
}

void vlapic_timer_set_deadline(struct vlapic_timer *t, uint64_t guest_tsc)
{
    if (t->mode != VLAPIC_TIMER_DEADLINE)
        return;
    uint64_t offset = *t->tsc_offset, when = guest_tsc - offset;
    /* The guest's clock is behind ours (usually) or ahead of it: a time beyond either end of our
     * clock is the past or the far future, not the other end. */
    if ((int64_t)offset >= 0)
        when = guest_tsc < offset ? 0 : when;
    else
        when = when < guest_tsc ? TIMER_NEVER : when;
    t->deadline = guest_tsc;
    timers_arm(t->timers, &t->timer, guest_tsc == 0 ? TIMER_NEVER : when);
}

void vlapic_timer_reset(struct vlapic_timer *t)
{
    t->mode = VLAPIC_TIMER_ONE_SHOT;
    t->shift = 1;
    t->initial = 0;
    t->deadline = 0;
    count_down(t, 0);
}

void vlapic_timer_init(struct vlapic_timer *t, struct timers *timers, const uint64_t *tsc_offset)
{
    t->timers = timers;
    t->tsc_offset = tsc_offset;
    t->timer.fire = fire;
    t->timer.dev = t;
    timers_add(t->timers, &t->timer);
    vlapic_timer_reset(t);
}
