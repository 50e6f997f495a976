/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-stamp counters of two CPUs, side by side: a guest's vCPU moves between CPUs, and its clock
 * must not go back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum tsc_side { TSC_LEADER, TSC_FOLLOWER };

/* What the two share; all zero but for `rounds` before they begin. */
struct tsc_sync {
    uint32_t rounds;     /* of each: how thoroughly it is looked */
    uint32_t turn;       /* enum tsc_side: whose */
    uint64_t last;       /* what the other one has read at its turn */
    uint64_t behind[2];  /* by how much, at most, each has seen itself behind that */
    uint32_t meeting[2]; /* how many times each has come to where both wait for each other */
};

/* Both call it, at the same time. The follower moves its own counter by IA32_TSC_ADJUST, where it
 * can, until neither is seen to be behind the other. True on both: so it is. */
bool tsc_sync_run(struct tsc_sync *sync, enum tsc_side side, bool can_adjust);
