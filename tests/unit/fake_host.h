/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's CPUs for unit tests of what runs on them: a clock that the test moves, sleep that ends
 * at its deadline, and interrupts that are only counted. */
#pragma once

#include "arch/addr.h"
#include "arch/cpu.h"
#include "arch/percpu.h"

#define FAKE_HOST_CPUS 2

struct fake_host {
    uint64_t now; /* cpu_rdtsc() */
    struct cpu cpu[FAKE_HOST_CPUS];
    uint32_t self;                  /* whose code runs: cpu_self() */
    unsigned wakes[FAKE_HOST_CPUS]; /* by smp_wake() */
    unsigned notifications;         /* by lapic_send() */
    unsigned dumps;                 /* by vcpu_print() */
    uint64_t xcr0;
    hpa_t root[FAKE_HOST_CPUS]; /* of fake_space.h: guestspace_enter() */
    /* Instead of sleep until the deadline; NULL: the clock goes there, and ends the test if that is
     * never. */
    void (*idle)(uint64_t deadline);
    void (*at_rdtsc)(void); /* what another CPU does by then; NULL: nothing */
};

extern struct fake_host fake_host;

/* CPU 0 runs, nothing is loaded, and it is `now`. */
void fake_host_reset(uint64_t now);

/* What the CPU tells of itself: MAXPHYADDR 39, 48 bits of linear address, and hardly more. */
struct cpuid_regs fake_host_cpuid(uint32_t leaf, uint32_t subleaf);
