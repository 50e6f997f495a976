/* SPDX-License-Identifier: BSD-2-Clause */
/* Which rate of the time-stamp counter is to be believed. Several sources tell it: CPUID and an MSR
 * exactly but not always truly, timers truly but not always exactly. Pure; tsc.c reads the sources.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* In the order in which they are preferred, where they agree. */
enum rate_source {
    RATE_CRYSTAL,    /* CPUID leaf 15H, with the crystal's rate */
    RATE_HYPERVISOR, /* CPUID leaf 40000010H */
    RATE_HYPERV,     /* Hyper-V's MSR HV_X64_MSR_TSC_FREQUENCY */
    RATE_PM_TIMER,   /* measured: ACPI's power-management timer */
    RATE_HPET,
    RATE_PIT,
    RATE_NOMINAL, /* CPUID leaf 16H: rounded to 1 MHz, and of the CPU's base rate */
    RATE_SOURCES,
    RATE_NOBODY = RATE_SOURCES,
};

struct clock_rate {
    uint64_t hz;             /* 0: nobody knows */
    enum rate_source by;     /* who told it */
    enum rate_source second; /* who agrees within 1 %; RATE_NOBODY: see `odd` */
    uint64_t other_hz;       /* what the first of them said that does not agree; 0: none does */
    enum rate_source odd;    /* who that was, or RATE_NOBODY */
};

/* Asks sources (0: it does not exist here, or misbehaves) until two agree of which one at least is
 * a timer, for CPUID cannot confirm itself: an emulator's leaves can be those of the CPU that it
 * plays, while its timers run at another rate. Where no two agree a timer wins. Rates that no CPU
 * has count as 0. */
struct clock_rate clock_rate_choose(uint64_t (*ask)(enum rate_source source));

const char *clock_rate_source_name(enum rate_source source);

/* A timer that counts in one direction and wraps. */
struct rate_timer {
    uint32_t (*read)(void);
    uint64_t hz;
    uint32_t mask;
    bool counts_down;
};

/* The TSC's rate against it, in some 50 ms (on a busy host 200), 0 where it stands still. Whatever
 * delays the reading (a busy host, an SMI) makes a run seem longer, never shorter, so the least of
 * several is taken; a timer is dead only if it does not move in many readings, however long they
 * took. */
uint64_t clock_rate_measure(const struct rate_timer *timer);
