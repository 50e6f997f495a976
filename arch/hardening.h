/* SPDX-License-Identifier: BSD-2-Clause */
/* What is done on this machine against CPU faults that a hostile guest could use (arch/weakness.h).
 * On a CPU that needs none of it, the ways of entry and exit are the short ones. */
#pragma once

#include "arch/weakness.h"

/* Looks at this CPU, prints its weaknesses, and patches code where measures need that.
 * Once, on the boot CPU, before another one has been started. threads_shared: see weakness.h.
 * shadow_stacks: the host may have them, and an entry notes where. */
void hardening_init(bool threads_shared, bool shadow_stacks);

/* On each CPU, before it runs guests: sets the MSRs that stay. */
void hardening_cpu_on(void);

/* IA32_ARCH_CAPABILITIES for guests. */
uint64_t hardening_told_to_guests(void);

/* What hardening_init() has decided. */
const struct weakness_measures *hardening_measures(void);
