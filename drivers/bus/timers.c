/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of a VM's timers. A VM has about ten and few are armed, so it stays unsorted. */
#include "drivers/bus/timers.h"

#include <stddef.h>

static void find_next(struct timers *timers)
{
    uint64_t next = TIMER_NEVER;
    for (const struct timer *t = timers->list; t != NULL; t = t->next)
        if (t->deadline < next)
            next = t->deadline;
    timers->next = next;
}

void timers_add(struct timers *timers, struct timer *timer)
{
    timer->deadline = TIMER_NEVER;
    timer->next = timers->list;
    timers->list = timer;
    find_next(timers);
}

void timers_arm(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    uint64_t before = timer->deadline;
    timer->deadline = deadline;
    if (deadline <= timers->next)
        timers->next = deadline;
    else if (before == timers->next)
        find_next(timers);
}

void timers_run(struct timers *timers, uint64_t now)
{
    /* One pass: what a handler arms in the past waits for the next call, so this always ends. What
     * it arms later counts at once. The next deadline may come out too early, never too late: where
     * a handler puts off the next one, one that is about to be fired may be taken for it. */
    timers->next = TIMER_NEVER;
    for (struct timer *t = timers->list; t != NULL; t = t->next) {
        if (t->deadline <= now) {
            t->deadline = TIMER_NEVER;
            t->fire(t->dev, now);
        } else if (t->deadline < timers->next) {
            timers->next = t->deadline;
        }
    }
}

uint64_t timers_cycles_since(const struct timers *timers, uint64_t base, uint64_t rate)
{
    uint64_t now = timers_now(timers);
    return now <= base ? 0 : scale_u64(now - base, rate, timers->hz);
}

uint64_t timers_cycle_start(const struct timers *timers, uint64_t base, uint64_t rate, uint64_t n)
{
    /* Rounded up, so that timers_cycles_since() has reached n when the deadline has. */
    uint64_t ticks = scale_u64(n, timers->hz, rate);
    if (ticks >= TIMER_NEVER - 1 - base)
        return TIMER_NEVER;
    return base + ticks + 1;
}
