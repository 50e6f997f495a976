/* SPDX-License-Identifier: BSD-2-Clause */
/* The entries and exits of CPUs with weaknesses or shadow stacks, which do more than the short ones
 * (vmenter.asm). */
#pragma once

#include <stdbool.h>

/* By hardening_measures(). Once, on the boot CPU, before another one has been started.
 * shadow_stacks: the host may have them, and an entry notes where. */
void vmx_harden_entries(bool shadow_stacks);
