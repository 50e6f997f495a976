/* SPDX-License-Identifier: BSD-2-Clause */
/* What is done on this machine against CPU faults that a hostile guest could use (arch/weakness.h).
 * On a CPU that needs none of it, the ways of entry and exit are the short ones. */
#pragma once

#include "arch/percpu.h"
#include "arch/weakness.h"

/* Looks at this CPU, prints its weaknesses, and patches the way to CPL 3 (arch/ring3.asm) and
 * indirect branches where measures need that. On the boot CPU, before another one has been started;
 * what an engine has asked for once is there for all. threads_shared: see weakness.h. */
void hardening_init(bool threads_shared);

/* On each CPU, before it runs guests: sets the MSRs that stay. */
void hardening_cpu_on(void);

/* IA32_ARCH_CAPABILITIES for guests. */
uint64_t hardening_told_to_guests(void);

/* What hardening_init() has decided. */
const struct weakness_measures *hardening_measures(void);

/* This CPU runs for the VM of that number (never 0) next: what another one has taught the branch
 * predictors is forgotten. */
void hardening_enter_domain(struct cpu *cpu, uint64_t number);
