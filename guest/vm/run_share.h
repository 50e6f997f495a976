/* SPDX-License-Identifier: BSD-2-Clause */
/* CPU time of one VM: its virtual time, which goes by its weight, and its cap. */
#pragma once

#include "arch/spinlock.h"

#define RUN_NEVER      UINT64_MAX
#define RUN_WEIGHT_MAX 1000

/*
 * What the vCPUs of a VM run, on all CPUs together, moves its virtual time, the slower the greater
 * its weight. The VM with the least runs first (runqueue.c), so each gets time by its weight.
 */
struct run_share {
    uint64_t time;        /* virtual; atomic. Compared as a difference, so it may wrap. */
    uint64_t inverse;     /* virtual ticks of one host tick, times 2^16 */
    uint64_t turn_cost;   /* virtual ticks of one turn */
    uint32_t vcpu_count;  /* atomic */
    uint32_t short_turns; /* its next so many turns are short ones; atomic, a hint */
    int64_t budget;       /* ticks that its vCPUs may run in a period; 0: no cap */
    int64_t left;         /* what is left of that; atomic */
    struct spinlock lock; /* over the rest; taken last */
    uint64_t period, period_end;
};

/* weight: 1 to RUN_WEIGHT_MAX. cap: percent of one CPU, 0: none. turn and period: host ticks.
 * Before the VM's first vCPU is added. */
void run_share_init(struct run_share *share, uint32_t weight, uint32_t cap, uint64_t turn,
                    uint64_t period, uint64_t now);

/* Virtual ticks of a time that a VM of this weight runs. */
uint64_t run_share_cost(uint64_t ticks, uint32_t weight);

/* A vCPU of the VM has run so many host ticks. From any CPU. */
void run_share_charge(struct run_share *share, uint64_t ticks);

/* For a VM with a cap: see run_share_allows(). */
uint64_t run_share_left(struct run_share *share, uint64_t now, uint64_t *until);

/* How long a vCPU may run before the VM's cap stops it; 0: not before *until. From any CPU. */
static inline uint64_t run_share_allows(struct run_share *share, uint64_t now, uint64_t *until)
{
    return share->budget == 0 ? RUN_NEVER : run_share_left(share, now, until);
}

/* How far ahead of others a VM may be by right: each of its vCPUs may just have had a turn. */
static inline uint64_t run_share_debt(const struct run_share *share)
{
    return (__atomic_load_n(&share->vcpu_count, __ATOMIC_RELAXED) + 1) * share->turn_cost;
}

/* Whether one moment of virtual or host time is before another one; both may wrap. */
static inline bool run_before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0;
}

static inline uint64_t run_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
