/* SPDX-License-Identifier: BSD-2-Clause */
/* What the CPUs of this kernel do at the same time. */
#pragma once

#include <stdint.h>

/* What the other CPUs run, all at once, until the first CPU has run it too and all have come back.
 */
typedef void race_fn(unsigned cpu);

/* Runs on all CPUs; returns when all have. */
void race(race_fn *fn);
unsigned race_cpus(void);

void check_rewriting(void);
void check_storms(void);
