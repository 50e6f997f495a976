/* SPDX-License-Identifier: BSD-2-Clause */
/* Which vCPU goes to another CPU: idle ones take and are given, busy ones take who is behind. */
#include "guest/vm/run_balance.h"

#include "guest/vm/run_alarm.h"

#include <stddef.h>

#define BUSY_LOOKS 16 /* queues that a CPU looks at when it has something to run */

/* The first idle CPU from `cpu` on where the vCPU may run; RUN_NO_CPU: none. */
static uint32_t next_idle(const struct run_queues *all, const struct run_vcpu *vcpu, uint32_t cpu)
{
    for (; cpu < all->count; cpu = (cpu / 64 + 1) * 64) {
        const uint64_t both = __atomic_load_n(&all->idle.bits[cpu / 64], __ATOMIC_SEQ_CST) &
                              vcpu->allowed.bits[cpu / 64] & ~0ull << cpu % 64;
        if (both != 0)
            return cpu / 64 * 64 + (uint32_t)__builtin_ctzll(both);
    }
    return RUN_NO_CPU;
}

/* Whether it was idle. The lock is held. */
bool run_leave_idle(struct run_queue *q)
{
    const bool was_idle = q->idle;
    q->idle = false;
    if (was_idle)
        __atomic_fetch_and(q->idle_word, ~q->idle_bit, __ATOMIC_SEQ_CST);
    return was_idle;
}

/* Whether one that waits may go to another CPU and run there. */
static bool may_move(const struct run_queue *from, const struct run_vcpu *vcpu, uint32_t cpu,
                     uint64_t now)
{
    uint64_t until;
    return vcpu != from->loaded && (vcpu->allowed.bits[cpu / 64] >> cpu % 64 & 1) != 0 &&
           !run_alarm_is_firing(vcpu) && run_share_allows(vcpu->share, now, &until) != 0;
}

/* Moves a waiting vCPU to another queue, with its alarms. Both locks are held. */
static void move(struct run_vcpu *vcpu, struct run_queue *from, struct run_queue *to, uint64_t now)
{
    const struct run_vcpu *least = run_leader(to);
    run_dequeue(from, vcpu);
    run_publish(from, now);
    for (struct run_alarm *a = vcpu->alarms; a != NULL; a = a->of_vcpu) {
        const uint64_t deadline = a->deadline;
        run_alarm_set(from, a, RUN_NEVER);
        run_alarm_set(to, a, deadline);
    }
    if (least != NULL)
        run_limit_vruntime(vcpu, least, run_long_claim(vcpu, least));
    __atomic_store_n(&vcpu->home, to, __ATOMIC_RELEASE);
    run_enqueue(to, vcpu);
    run_publish(to, now);
    to->taken++;
}

static bool is_behind(const struct run_queue *q, uint64_t there, const struct run_vcpu *least)
{
    return least == NULL || run_before(there + q->all->grain, run_vruntime(least));
}

/* Takes the one that is furthest behind from a queue whose lock is free. *busy: it was not. */
static struct run_vcpu *take(struct run_queue *q, struct run_queue *from,
                             const struct run_vcpu *least, uint64_t now, bool *busy)
{
    struct run_vcpu *taken = NULL;
    if (!spinlock_try(&from->lock)) {
        *busy = true;
        return NULL;
    }
    for (struct run_vcpu *v = from->waiting; v != NULL; v = v->next)
        if (may_move(from, v, q->index, now) &&
            (taken == NULL
                 ? is_behind(q, run_vruntime(v), least)
                 : v->share != taken->share && run_before(run_vruntime(v), run_vruntime(taken))))
            taken = v;
    if (taken != NULL)
        move(taken, from, q, now);
    spinlock_unlock(&from->lock);
    return taken;
}

/* Where vCPUs may not move, queues drift apart. A queue follows the others, with what it can claim
 * and may owe, as a whole: for the day when one comes that may move. */
static void follow(struct run_queue *q, const struct run_vcpu *least, uint64_t low, uint64_t high)
{
    const uint64_t claim = 4 * least->share->turn_cost, owes = claim + run_share_debt(least->share);
    const uint64_t own = run_vruntime(least);
    uint64_t jump = 0;
    if (run_before(own, low - claim))
        jump = low - claim - own;
    else if (run_before(high + owes, own))
        jump = high + owes - own;
    for (struct run_vcpu *v = q->waiting; v != NULL && jump != 0; v = v->next)
        v->offset += jump;
}

/* Looks into other queues for one to run rather than the least here, or NULL. */
struct run_vcpu *run_search(struct run_queue *q, const struct run_vcpu *least, uint64_t now,
                            bool *busy)
{
    const struct run_queues *all = q->all;
    const uint32_t looks = least != NULL ? (uint32_t)run_min(all->count, BUSY_LOOKS) : all->count;
    uint64_t low = 0, high = 0;
    bool seen = false;
    for (uint32_t i = 0; i < looks; i++) {
        q->cursor = q->cursor + 1 < all->count ? q->cursor + 1 : 0;
        struct run_queue *from = &all->queue[q->cursor];
        if (from == q || __atomic_load_n(&from->offered, __ATOMIC_ACQUIRE) == 0)
            continue;
        const uint64_t there = __atomic_load_n(&from->least, __ATOMIC_RELAXED);
        const uint64_t rightly = __atomic_load_n(&from->least_rightly, __ATOMIC_RELAXED);
        if (is_behind(q, there, least)) {
            struct run_vcpu *taken = take(q, from, least, now, busy);
            if (taken != NULL)
                return taken;
        }
        low = !seen || run_before(rightly, low) ? rightly : low;
        high = !seen || run_before(high, there) ? there : high;
        seen = true;
    }
    if (least != NULL && seen)
        follow(q, least, low, high);
    return NULL;
}

bool run_waits_elsewhere(const struct run_queue *q)
{
    return __atomic_load_n(&q->all->waiting, __ATOMIC_SEQ_CST) != q->offered;
}

/*
 * Nothing waits here. CPU A makes a vCPU ready, counts it (run_publish()), and then looks for an
 * idle CPU in the set (run_offer()). This CPU B puts itself into the set, and then looks at the
 * count. Without this order, or with less than seq_cst, both could look too early: the vCPU would
 * wait while a CPU that it may use sleeps.
 */
struct run_vcpu *run_idle_search(struct run_queue *q, uint64_t now)
{
    struct run_vcpu *found = NULL;
    bool busy;
    run_publish(q, now); /* what waits here may not run any more, for its cap */
    q->idle = true;
    __atomic_fetch_or(q->idle_word, q->idle_bit, __ATOMIC_SEQ_CST);
    do { /* who holds a lock that we try does not wait for ours */
        busy = false;
        if (run_waits_elsewhere(q))
            found = run_search(q, NULL, now, &busy);
    } while (found == NULL && busy);
    if (found != NULL)
        run_leave_idle(q);
    return found;
}

bool run_some_idle(const struct run_queues *all)
{
    uint64_t any = 0;
    for (uint32_t i = 0; i < all->count; i += 64)
        any |= __atomic_load_n(&all->idle.bits[i / 64], __ATOMIC_SEQ_CST);
    return any != 0;
}

/* Gives it to an idle CPU, and returns that CPU, which then picks. A CPU whose
 * lock is taken is not asked: it is about to look for itself, or somebody else gives it something.
 */
uint32_t run_offer(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    struct run_queues *all = q->all;
    uint32_t cpu = next_idle(all, vcpu, 0);
    for (; cpu != RUN_NO_CPU; cpu = next_idle(all, vcpu, cpu + 1)) {
        struct run_queue *to = &all->queue[cpu];
        if (to == q || !may_move(q, vcpu, cpu, now) || !spinlock_try(&to->lock))
            continue;
        const bool takes = (to->running == NULL || to->asleep) && to->offered == 0;
        if (takes)
            move(vcpu, q, to, now);
        spinlock_unlock(&to->lock);
        if (takes)
            return cpu;
    }
    return RUN_NO_CPU;
}

uint32_t run_offer_any(struct run_queue *q, uint64_t now)
{
    uint32_t cpu = RUN_NO_CPU;
    if (run_some_idle(q->all))
        for (struct run_vcpu *v = q->waiting; v != NULL && cpu == RUN_NO_CPU; v = v->next)
            cpu = run_offer(q, v, now);
    return cpu;
}

/* Ends the turn here sooner for one that waits and has just been woken. */
uint32_t run_hasten(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now)
{
    const struct run_vcpu *running = q->running;
    const uint64_t soon = now + q->all->short_turn, least = q->turn_start + q->all->short_turn;
    uint64_t end = run_min(q->turn_end, now + q->all->turn);
    if (vcpu->share == running->share) {
        const uint32_t count = __atomic_load_n(&vcpu->share->vcpu_count, __ATOMIC_RELAXED);
        __atomic_store_n(&vcpu->share->short_turns, count - 1, __ATOMIC_RELAXED);
        end = run_min(end, soon);
    } else if (run_before(run_vruntime(vcpu), run_vruntime(running))) {
        end = run_min(end, run_before(least, now) ? now : least);
    }
    if (end == q->turn_end)
        return RUN_NO_CPU;
    __atomic_store_n(&q->turn_end, end, __ATOMIC_RELAXED);
    return q->index;
}

/* Gives one that waits here to a CPU that runs another vCPU of its VM, to come soon there. False:
 * that CPU runs something else, or its lock is taken. */
static bool give_to_sibling(struct run_queue *q, struct run_vcpu *vcpu, struct run_queue *to,
                            uint64_t now)
{
    if (!spinlock_try(&to->lock))
        return false;
    const bool same = to->running != NULL && to->running->share == vcpu->share;
    if (same) {
        move(vcpu, q, to, now);
        (void)run_hasten(to, vcpu, now);
    }
    spinlock_unlock(&to->lock);
    return same;
}

/* Where at least two more wait here than on another CPU that runs a vCPU of the same VM, one of
 * that VM goes there: none of them is behind the others, so none would be taken, and one would run
 * twice as fast. Between VMs nothing changes by that. */
static uint32_t level(struct run_queue *q, uint64_t now)
{
    const struct run_queues *all = q->all;
    const uint32_t looks = (uint32_t)run_min(all->count - 1, BUSY_LOOKS);
    for (uint32_t i = 1; i <= looks && q->offered >= 2; i++) {
        const uint32_t cpu = (q->index + i) % all->count;
        struct run_queue *to = &all->queue[cpu];
        struct run_vcpu *v = q->waiting;
        if (__atomic_load_n(&to->offered, __ATOMIC_RELAXED) + 2 > q->offered)
            continue;
        while (v != NULL && (v->share != q->running->share || !may_move(q, v, cpu, now)))
            v = v->next;
        if (v != NULL && give_to_sibling(q, v, to, now))
            return cpu;
    }
    return RUN_NO_CPU;
}

/* Where one has waited for a while, and another CPU, on which fewer wait, runs a vCPU of the same
 * VM, it goes there, to take turns with that one. What its VM may use, that one uses all the while,
 * so that here other VMs would always come first. */
static uint32_t join(struct run_queue *q, uint64_t now)
{
    const struct run_queues *all = q->all;
    const uint32_t looks = (uint32_t)run_min(all->count - 1, BUSY_LOOKS);
    struct run_vcpu *v = q->waiting; /* the oldest */
    if (v == NULL || v->share == q->running->share || now - v->since < all->turn / 2)
        return RUN_NO_CPU;
    for (uint32_t i = 1; i <= looks; i++) {
        const uint32_t cpu = (q->index + i) % all->count;
        struct run_queue *to = &all->queue[cpu];
        if (__atomic_load_n(&to->offered, __ATOMIC_RELAXED) >= q->offered ||
            !may_move(q, v, cpu, now))
            continue;
        if (give_to_sibling(q, v, to, now))
            return cpu;
    }
    return RUN_NO_CPU;
}

/* Gives one that waits here to another CPU, and returns that. */
uint32_t run_spread(struct run_queue *q, uint64_t now)
{
    if (q->all->count == 1)
        return RUN_NO_CPU;
    uint32_t cpu = run_offer_any(q, now);
    if (cpu == RUN_NO_CPU)
        cpu = level(q, now);
    return cpu != RUN_NO_CPU ? cpu : join(q, now);
}
