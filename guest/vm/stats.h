/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM's exits cost from its first entry on, printed at its end as a table and as JSON. */
#pragma once

#include <stdint.h>

#define EXIT_REASON_COUNT 78  /* one more than the highest that the SDM defines */
#define EXIT_REASON_SLOTS 128 /* a power of two, so that an index is a mask */

struct exit_stat {
    uint64_t count;
    uint64_t tsc_root; /* host TSC ticks in root mode for these exits, without waiting in HLT */
};

/* Of one vCPU. */
struct vcpu_stats {
    uint64_t ept_violations_ram;
    struct exit_stat exit[EXIT_REASON_SLOTS];
};

struct vm;

/* Prints the table and the line "nadir-stats: {...}" of a VM that has ended. */
void stats_print(const struct vm *vm);
