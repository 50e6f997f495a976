/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's clock, the host's TSC, and its devices' timers; a device converts to its own rate. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

struct timer {
    uint64_t deadline;                     /* in clock ticks; TIMER_NEVER: not armed */
    void (*fire)(void *dev, uint64_t now); /* called once, disarmed; may arm again */
    void *dev;
    struct timer *next;
};

struct timers {
    uint64_t (*read)(void); /* the clock: RDTSC, or a test's own */
    uint64_t hz;            /* its measured rate, ticks per second */
    uint64_t next;          /* earliest deadline of all; kept by the functions below */
    struct timer *list;
};

static inline uint64_t timers_now(const struct timers *t)
{
    return t->read();
}

/* Ticks that what a guest asks for may take at a time: time and not a count, as its parts may be
 * cheap or dear. Behind that the rest is left to a timer that is due at once, or to the next exit,
 * and interrupts, other vCPUs and the VM's end are looked at in between. */
#define WORK_TICKS 8000u

static inline bool timers_work_is_over(const struct timers *t, uint64_t since)
{
    return timers_now(t) - since > WORK_TICKS;
}

/* Adds a disarmed timer at start; fire and dev are set by the caller before. */
void timers_add(struct timers *timers, struct timer *timer);

/* Arms (again) for an absolute time, a past one for the next timers_run; TIMER_NEVER disarms. */
void timers_arm(struct timers *timers, struct timer *timer, uint64_t deadline);

/* Fires every timer due at or before now. Called when timers->next has passed, with the lock of the
 * VM that they belong to. */
void timers_run(struct timers *timers, uint64_t now);

/* Cycles of a device's clock (rate a second) since base (clock ticks). Never negative. */
uint64_t timers_cycles_since(const struct timers *timers, uint64_t base, uint64_t rate);

/* The clock tick at which timers_cycles_since(timers, base, rate) is at least n; TIMER_NEVER when
 * it is too far away to matter. */
uint64_t timers_cycle_start(const struct timers *timers, uint64_t base, uint64_t rate, uint64_t n);

/* a * b / c with a 128-bit product; c != 0; saturates at UINT64_MAX. Converts between rates. */
static inline uint64_t scale_u64(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low, high, quotient, rest;
    __asm__("mulq %3" : "=a"(low), "=d"(high) : "0"(a), "r"(b) : "cc");
    if (high >= c)
        return UINT64_MAX;
    __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "0"(low), "1"(high), "r"(c) : "cc");
    return quotient;
}
