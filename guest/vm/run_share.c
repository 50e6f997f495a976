/* SPDX-License-Identifier: BSD-2-Clause */
/* Accounts the CPU time of a VM. */
#include "guest/vm/run_share.h"

#define SHIFT         16           /* of run_share.inverse */
#define TIME_PER_TICK 64           /* virtual ticks of a host tick at weight 1 */
#define RAN_MAX       (1ull << 40) /* ticks, so that the product with inverse does not overflow */

uint64_t run_share_cost(uint64_t ticks, uint32_t weight)
{
    return ticks * TIME_PER_TICK / weight;
}

void run_share_init(struct run_share *share, uint32_t weight, uint32_t cap, uint64_t turn,
                    uint64_t period, uint64_t now)
{
    *share = (struct run_share){.inverse = (TIME_PER_TICK << SHIFT) / weight,
                                .turn_cost = run_share_cost(turn, weight),
                                .period = period,
                                .period_end = now + period};
    share->left = share->budget = (int64_t)(period * cap / 100);
}

void run_share_charge(struct run_share *share, uint64_t ticks)
{
    const uint64_t counts = run_min(ticks, RAN_MAX);
    __atomic_fetch_add(&share->time, counts * share->inverse >> SHIFT, __ATOMIC_RELAXED);
    if (share->budget != 0)
        __atomic_fetch_sub(&share->left, (int64_t)counts, __ATOMIC_RELAXED);
}

/* What several vCPUs have run too much at once is taken from the next periods. */
uint64_t run_share_left(struct run_share *share, uint64_t now, uint64_t *until)
{
    spinlock_lock(&share->lock);
    int64_t left = __atomic_load_n(&share->left, __ATOMIC_RELAXED);
    for (; now >= share->period_end && left < share->budget; share->period_end += share->period) {
        const int64_t more = left < 0 ? share->budget : share->budget - left;
        left = __atomic_add_fetch(&share->left, more, __ATOMIC_RELAXED);
    }
    if (now >= share->period_end)
        share->period_end = now + share->period;
    *until = share->period_end;
    spinlock_unlock(&share->lock);
    return left > 0 ? (uint64_t)left : 0;
}
