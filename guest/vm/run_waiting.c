/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of those that wait in a run queue. */
#include "guest/vm/run_waiting.h"

#include <stddef.h>

/*
 * A vCPU comes beside the one with the least vruntime. What it has not used while it slept, or was
 * elsewhere, counts up to `claim`, and what it has used too much up to its debt: else it would keep
 * the others from running, or they it, for as long as that was.
 */
void run_limit_vruntime(struct run_vcpu *vcpu, const struct run_vcpu *least, uint64_t claim)
{
    const uint64_t own = run_vruntime(vcpu), low = run_vruntime(least) - claim;
    const uint64_t high = run_vruntime(least) + run_share_debt(vcpu->share);
    if (run_before(own, low))
        vcpu->offset += low - own;
    else if (run_before(high, own))
        vcpu->offset -= own - high;
}

/* Whether its VM's cap lets one that waits run. If not, this CPU is to pick when it does. */
static bool __attribute__((noinline))
cap_allows(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now)
{
    uint64_t until;
    const bool allows = run_share_allows(vcpu->share, now, &until) != 0;
    if (!allows)
        q->release = run_min(q->release, until);
    return allows;
}

/* Finds the two that are least and the oldest of those that wait and whose VM's cap lets them run,
 * and counts these. A pass over the queue is much of what a pick costs: see begin(). */
void run_find_least(struct run_queue *q, uint64_t now)
{
    struct run_vcpu *least_vcpu = NULL, *second_vcpu = NULL, *oldest = NULL;
    uint64_t least = 0, second = 0;
    uint32_t count = 0;
    q->release = RUN_NEVER;
    for (struct run_vcpu *v = q->waiting; v != NULL; v = v->next) {
        if (v->share->budget != 0 && !cap_allows(q, v, now))
            continue;
        const uint64_t own = run_vruntime(v);
        if (count++ == 0) {
            oldest = least_vcpu = v;
            least = own;
        } else if (run_before(own, least)) {
            second_vcpu = least_vcpu;
            second = least;
            least_vcpu = v;
            least = own;
        } else if (count == 2 || run_before(own, second)) {
            second_vcpu = v;
            second = own;
        }
    }
    q->ready = count;
    q->least_vcpu = least_vcpu;
    q->second_vcpu = second_vcpu;
    q->oldest_vcpu = oldest;
}

/* Tells other CPUs what run_find_least() has found. The count comes last and is seq_cst: see
 * run_idle_search(). */
void run_tell_others(struct run_queue *q)
{
    const uint32_t count = q->ready, more = count - q->offered;
    if (count != 0) {
        const uint64_t least = run_vruntime(q->least_vcpu);
        __atomic_store_n(&q->least, least, __ATOMIC_RELAXED);
        __atomic_store_n(&q->least_rightly, least - run_share_debt(q->least_vcpu->share),
                         __ATOMIC_RELAXED);
    }
    if (more != 0) {
        __atomic_store_n(&q->offered, count, __ATOMIC_RELEASE);
        __atomic_fetch_add(&q->all->waiting, more, __ATOMIC_SEQ_CST);
    }
}

/* After a change of the queue. */
void run_publish(struct run_queue *q, uint64_t now)
{
    run_find_least(q, now);
    run_tell_others(q);
}

void run_enqueue(struct run_queue *q, struct run_vcpu *vcpu)
{
    vcpu->next = NULL;
    *q->waiting_end = vcpu;
    q->waiting_end = &vcpu->next;
}

void run_dequeue(struct run_queue *q, const struct run_vcpu *vcpu)
{
    struct run_vcpu **at = &q->waiting;
    while (*at != vcpu)
        at = &(*at)->next;
    *at = vcpu->next;
    if (*at == NULL)
        q->waiting_end = at;
}

/* Who is furthest behind of all that are here; NULL: nobody is. */
const struct run_vcpu *run_leader(const struct run_queue *q)
{
    const struct run_vcpu *run = q->running;
    const struct run_vcpu *wait = q->least_vcpu != NULL ? q->least_vcpu : q->waiting;
    return run == NULL || (wait != NULL && run_before(run_vruntime(wait), run_vruntime(run))) ? wait
                                                                                              : run;
}
