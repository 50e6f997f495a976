/* SPDX-License-Identifier: BSD-2-Clause */
/* How run queues begin, and how long turns are. */
#include "guest/vm/runqueue.h"

/* A turn is 2 ms; 0.1 ms among vCPUs of a VM that wake each other, for who has woken another one
 * may wait for the answer. Who has waited for a quarter second gets a short turn out of order. */
#define TURNS_PER_SECOND       500
#define SHORT_TURNS_PER_SECOND 10000
#define PATIENCE_PER_SECOND    4
#define PERIODS_PER_SECOND     100

void run_queues_init(struct run_queues *all, struct run_queue *queue, uint32_t count, uint64_t hz)
{
    *all = (struct run_queues){.queue = queue,
                               .count = count,
                               .turn = hz / TURNS_PER_SECOND,
                               .short_turn = hz / SHORT_TURNS_PER_SECOND,
                               .patience = hz / PATIENCE_PER_SECOND,
                               .period = hz / PERIODS_PER_SECOND};
    all->grain = run_share_cost(all->turn, RUN_WEIGHT_MAX);
    for (uint32_t i = 0; i < count; i++) {
        queue[i] = (struct run_queue){.index = i, .all = all};
        queue[i].waiting_end = &queue[i].waiting;
        queue[i].idle_word = &all->idle.bits[i / 64];
        queue[i].idle_bit = 1ull << i % 64;
        queue[i].release = queue[i].turn_end = queue[i].next_alarm = RUN_NEVER;
    }
}

void run_vcpu_add(struct run_queues *all, struct run_vcpu *vcpu, struct run_share *share,
                  uint32_t cpu, enum vcpu_state state)
{
    vcpu->share = share;
    vcpu->home = &all->queue[cpu];
    vcpu->state = (uint8_t)state;
    if (__atomic_fetch_add(&share->vcpu_count, 1, __ATOMIC_RELAXED) == 0)
        __atomic_fetch_add(&all->vm_count, 1, __ATOMIC_RELAXED);
}
