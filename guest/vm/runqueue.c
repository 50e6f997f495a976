/* SPDX-License-Identifier: BSD-2-Clause */
/* Who runs next on a host CPU: fair queueing by virtual time, between VMs, over all CPUs. */
#include "guest/vm/runqueue.h"
#include "guest/vm/run_alarm.h"
#include "guest/vm/run_balance.h"

#include <stddef.h>

/* Accounts what the running vCPU has run until now. */
static void charge(struct run_queue *q, uint64_t now)
{
    struct run_vcpu *vcpu = q->running;
    if (vcpu == NULL || q->asleep || !run_before(q->charged, now)) /* clocks differ a little */
        return;
    run_share_charge(vcpu->share, now - q->charged);
    vcpu->ran += now - q->charged;
    q->charged = now;
}

/* Its home may change until the lock of that is held. */
static struct run_queue *lock_home(const struct run_vcpu *vcpu)
{
    for (;;) {
        struct run_queue *q = __atomic_load_n(&vcpu->home, __ATOMIC_ACQUIRE);
        spinlock_lock(&q->lock);
        if (q == __atomic_load_n(&vcpu->home, __ATOMIC_RELAXED))
            return q;
        spinlock_unlock(&q->lock);
    }
}

/* The first of the VM that waits here. */
static struct run_vcpu *first_of(const struct run_queue *q, const struct run_share *share)
{
    struct run_vcpu *v = q->waiting;
    while (v != NULL && v->share != share)
        v = v->next;
    return v;
}

/* The VM that is furthest behind, and of it the vCPU that has waited longest. */
static struct run_vcpu *choose(struct run_queue *q, uint64_t now, uint64_t *end)
{
    struct run_vcpu *chosen = NULL;
    bool busy;
    run_find_least(q, now);
    const struct run_vcpu *least = q->least_vcpu;
    *end = now + q->all->turn;
    if (least == NULL)
        return run_idle_search(q, now);
    struct run_vcpu *best = first_of(q, least->share);
    q->was_late = !q->was_late && q->oldest_vcpu != best &&
                  run_before(q->oldest_vcpu->since + q->all->patience, now);
    if (q->was_late) {
        chosen = q->oldest_vcpu;
        run_limit_vruntime(chosen, least, run_long_claim(chosen, least));
        *end = now + q->all->short_turn;
    } else if (run_waits_elsewhere(q)) {
        chosen = run_search(q, least, now, &busy);
    }
    return chosen != NULL ? chosen : best;
}

/* The chosen one leaves the queue. What run_find_least() has found is still so but for that one,
 * and is not looked for again; under a cap it may have changed since, by what other CPUs have
 * charged. */
static void leave_queue(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    run_dequeue(q, vcpu);
    if (vcpu->share->budget != 0) {
        run_publish(q, now);
        return;
    }
    q->ready--;
    if (q->least_vcpu == vcpu)
        q->least_vcpu = q->second_vcpu;
    run_tell_others(q);
}

/* Begins the turn of one that waits here. Its end is when others want theirs; if none waits, it is
 * when this CPU looks whether others have begun to wait elsewhere, and are behind. */
static void begin(struct run_queue *q, struct run_vcpu *vcpu, uint64_t end, uint64_t now)
{
    struct run_share *share = vcpu->share;
    const uint32_t short_turns = __atomic_load_n(&share->short_turns, __ATOMIC_RELAXED);
    uint64_t until;
    leave_queue(q, vcpu, now);
    q->running = q->loaded = vcpu;
    __atomic_store_n(&vcpu->state, VCPU_RUNNING, __ATOMIC_SEQ_CST); /* see vm_memory_changed() */
    q->charged = q->turn_start = now;
    if (short_turns != 0) {
        __atomic_store_n(&share->short_turns, short_turns - 1, __ATOMIC_RELAXED);
        end = run_min(end, now + q->all->short_turn);
    }
    if (q->offered == 0 && !run_waits_elsewhere(q))
        end = __atomic_load_n(&q->all->vm_count, __ATOMIC_RELAXED) > 1 && q->all->count > 1
                  ? now + q->all->period
                  : RUN_NEVER;
    end = run_min(end, now + run_min(run_share_allows(share, now, &until), RUN_NEVER - now));
    __atomic_store_n(&q->turn_end, run_min(end, q->release), __ATOMIC_RELAXED);
}

/* Instead of one that spins, and waits here, another one of its VM goes on with the turn, so that
 * the VM does not get more than its share; or one of another VM has a short one. NULL: there is no
 * other one. */
static struct run_vcpu *choose_beside(struct run_queue *q, const struct run_vcpu *spinner,
                                      uint64_t now, uint64_t *end)
{
    uint64_t until;
    const bool may_run = run_share_allows(spinner->share, now, &until) != 0;
    struct run_vcpu *sibling = may_run ? first_of(q, spinner->share) : NULL;
    run_find_least(q, now);
    const struct run_vcpu *other = q->least_vcpu != spinner ? q->least_vcpu : q->second_vcpu;
    *end = q->turn_end;
    if (sibling != NULL && sibling != spinner)
        return sibling;
    *end = now + q->all->short_turn;
    return other != NULL ? first_of(q, other->share) : NULL;
}

static void put_back(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    q->running = NULL;
    __atomic_store_n(&vcpu->state, VCPU_READY, __ATOMIC_RELAXED);
    vcpu->since = now;
    run_enqueue(q, vcpu);
}

void run_queue_limit_turn(struct run_queue *q, uint64_t end)
{
    spinlock_lock(&q->lock);
    __atomic_store_n(&q->turn_end, run_min(q->turn_end, end), __ATOMIC_RELAXED);
    spinlock_unlock(&q->lock);
}

void run_queue_put_back(struct run_queue *q, uint64_t now)
{
    spinlock_lock(&q->lock);
    charge(q, now);
    put_back(q, q->running, now);
    run_publish(q, now);
    spinlock_unlock(&q->lock);
}

struct run_vcpu *run_queue_next(struct run_queue *q, uint64_t now, bool yields, uint32_t *interrupt)
{
    struct run_vcpu *last = q->running, *chosen = NULL;
    uint64_t end;
    spinlock_lock(&q->lock);
    run_leave_idle(q);
    charge(q, now);
    if (last != NULL) {
        put_back(q, last, now);
        if (yields && now < q->turn_end)
            chosen = choose_beside(q, last, now, &end);
    }
    if (chosen == NULL)
        chosen = choose(q, now, &end);
    if (chosen != NULL)
        begin(q, chosen, end, now);
    else
        __atomic_store_n(&q->turn_end, q->release, __ATOMIC_RELAXED);
    *interrupt = chosen != NULL && q->offered != 0 ? run_spread(q, now) : RUN_NO_CPU;
    q->picks++;
    spinlock_unlock(&q->lock);
    return chosen;
}

/*
 * CPU A puts a vCPU into the queue of this CPU B, and then sees that B sleeps: it does not look who
 * of the two is to run, but has B interrupted. B takes asleep back, and then looks whether somebody
 * waits. Without this order B's own vCPU could go on for ever, as its turn had no end.
 */
void run_queue_awake(struct run_queue *q, uint64_t now)
{
    q->charged = now;
    (void)__atomic_exchange_n(&q->asleep, false, __ATOMIC_SEQ_CST);
    if (q->offered != 0)
        __atomic_store_n(&q->turn_end, now, __ATOMIC_RELAXED);
    /* Another CPU may have taken it out of the set before it was in, and there it would stay. */
    q->idle = false;
    __atomic_fetch_and(q->idle_word, ~q->idle_bit, __ATOMIC_SEQ_CST);
}

/* As for an idle queue: see run_idle_search(). */
bool run_queue_sleep(struct run_queue *q, uint64_t now)
{
    charge(q, now);
    q->asleep = q->idle = true;
    __atomic_fetch_or(q->idle_word, q->idle_bit, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&q->all->waiting, __ATOMIC_SEQ_CST) == 0)
        return true;
    run_queue_awake(q, now);
    return false;
}

bool run_queue_block(struct run_queue *queue, enum vcpu_state state, uint64_t now)
{
    struct run_vcpu *vcpu = queue->running;
    spinlock_lock(&queue->lock);
    const bool blocks = state == VCPU_STOPPED || !__atomic_load_n(&vcpu->woken, __ATOMIC_SEQ_CST);
    if (blocks) {
        charge(queue, now);
        __atomic_store_n(&vcpu->state, state, __ATOMIC_RELAXED);
        queue->running = NULL;
        __atomic_store_n(&queue->turn_end, RUN_NEVER, __ATOMIC_RELAXED);
    }
    spinlock_unlock(&queue->lock);
    return blocks;
}

/* One more waits. Of what run_find_least() has found that changes no more than this: guests have
 * many woken at once, and a pass for each is as long as there are many. Under a cap the others may
 * be allowed to run by now, and are to be looked at: true. */
static bool join_queue(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    const struct run_vcpu *least = run_leader(q);
    if (least != NULL)
        run_limit_vruntime(vcpu, least, least->share->turn_cost);
    __atomic_store_n(&vcpu->state, VCPU_READY, __ATOMIC_RELAXED);
    vcpu->since = now;
    q->joins++;
    run_enqueue(q, vcpu);
    if (vcpu->share->budget != 0)
        return true;
    if (q->ready++ == 0 || run_before(run_vruntime(vcpu), run_vruntime(q->least_vcpu)))
        q->least_vcpu = vcpu;
    return false;
}

/* Behind that: who is to look at one that has joined, or RUN_NO_CPU. */
static uint32_t find_cpu(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    const bool nobody_runs = q->running == NULL || q->asleep;
    if (nobody_runs && run_leave_idle(q))
        return q->index;
    const uint32_t cpu = run_offer(q, vcpu, now);
    if (cpu != RUN_NO_CPU || nobody_runs) /* it is busy between turns, and will see this one then */
        return cpu;
    return run_hasten(q, vcpu, now);
}

static void tell_of_joined(struct run_queue *q, bool capped, uint64_t now)
{
    if (capped)
        run_publish(q, now);
    else
        run_tell_others(q);
}

static uint32_t make_ready(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    charge(q, now);
    tell_of_joined(q, join_queue(q, vcpu, now), now);
    return find_cpu(q, vcpu, now);
}

/* What a wake is to one that is not blocked. */
static uint32_t wake_unblocked(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now)
{
    if (vcpu->state == VCPU_RUNNING)
        return q->index;
    return vcpu->state == VCPU_READY && q->running != NULL ? run_hasten(q, vcpu, now) : RUN_NO_CPU;
}

/*
 * CPU A writes a request and sets woken; if that was set already, CPU B has not looked since, and
 * will, so there is nothing more to do. CPU B, which runs the vCPU, clears woken, looks, finds
 * nothing, and blocks the vCPU under the lock if woken is clear still; if it was set in between, B
 * looks again. If B came first, A finds the vCPU blocked when it has the lock, and makes it ready.
 * Without the lock around both, A could see it running and B could see woken clear.
 */
uint32_t run_queue_wake(struct run_vcpu *vcpu, uint64_t now)
{
    uint32_t cpu = RUN_NO_CPU;
    if (__atomic_exchange_n(&vcpu->woken, true, __ATOMIC_SEQ_CST))
        return cpu;
    struct run_queue *q = lock_home(vcpu);
    cpu = vcpu->state < VCPU_PAUSED ? make_ready(q, vcpu, now) : wake_unblocked(q, vcpu, now);
    spinlock_unlock(&q->lock);
    return cpu;
}

static void add_cpu(struct run_cpus *cpus, uint32_t cpu)
{
    if (cpu != RUN_NO_CPU)
        cpus->bits[cpu / 64] |= 1ull << cpu % 64;
}

/* Those that are at home here, in one go. The others stay in the list: returns how many. */
static uint32_t wake_here(struct run_queue *q, struct run_vcpu **list, uint32_t count, uint64_t now,
                          struct run_cpus *interrupt)
{
    struct run_vcpu *joined[RUN_WAKE_MAX];
    uint32_t joins = 0, others = 0;
    bool capped = false;
    charge(q, now);
    for (uint32_t i = 0; i < count; i++) {
        struct run_vcpu *vcpu = list[i];
        if (__atomic_load_n(&vcpu->home, __ATOMIC_RELAXED) !=
            q) { /* as long as the lock is held, it stays so */
            list[others++] = vcpu;
        } else if (vcpu->state < VCPU_PAUSED) {
            capped |= join_queue(q, vcpu, now);
            joined[joins++] = vcpu;
        } else {
            add_cpu(interrupt, wake_unblocked(q, vcpu, now));
        }
    }
    if (joins != 0)
        tell_of_joined(q, capped, now);
    for (uint32_t i = 0; i < joins; i++) {
        const bool none_is_idle = !run_some_idle(q->all);
        add_cpu(interrupt, find_cpu(q, joined[i], now));
        if (none_is_idle) /* so the turn here ends soon, and that is for all of them */
            break;
    }
    return others;
}

/* With each home's lock held once, and one look at what has changed there: a guest may have 64 of
 * its vCPUs woken by one instruction. */
void run_queue_wake_all(struct run_vcpu **list, uint32_t count, uint64_t now,
                        struct run_cpus *interrupt)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!__atomic_exchange_n(&list[i]->woken, true, __ATOMIC_SEQ_CST))
            list[left++] = list[i];
    while (left != 0) {
        struct run_queue *q = lock_home(list[0]);
        left = wake_here(q, list, left, now, interrupt);
        spinlock_unlock(&q->lock);
    }
}

uint32_t run_queue_resume(struct run_vcpu *vcpu, uint64_t now)
{
    struct run_queue *q = lock_home(vcpu);
    const uint32_t cpu = vcpu->state == VCPU_PAUSED ? make_ready(q, vcpu, now) : RUN_NO_CPU;
    spinlock_unlock(&q->lock);
    return cpu;
}

void run_alarm_add(struct run_vcpu *vcpu, struct run_alarm *alarm)
{
    struct run_queue *q = lock_home(vcpu);
    alarm->deadline = RUN_NEVER;
    alarm->vcpu = vcpu;
    alarm->of_vcpu = vcpu->alarms;
    vcpu->alarms = alarm;
    spinlock_unlock(&q->lock);
}

uint32_t run_alarm_arm(struct run_alarm *alarm, uint64_t deadline)
{
    struct run_queue *q = lock_home(alarm->vcpu);
    const uint64_t next = q->next_alarm;
    run_alarm_set(q, alarm, deadline > q->fire_until ? deadline : q->fire_until + 1);
    /* A CPU that fires alarms looks at the next one by itself, behind that. */
    const bool sooner = q->next_alarm < next && q->fire_until == 0;
    spinlock_unlock(&q->lock);
    return sooner ? q->index : RUN_NO_CPU;
}

/*
 * An alarm is marked as firing while its lock is free: CPU B, which would move or free it, sees the
 * mark under the lock and leaves it alone, or waits. Without this it could be gone when it is armed
 * again, or that would be in another CPU's list.
 *
 * CPU A, here, is told by fire() when the alarm is to come again. CPU B, which has used the same
 * devices right behind that, arms it by itself: that is the newer word, and stays. Without the look
 * at the deadline, A would put back an older one, which may be too late. Where B has disarmed it,
 * it fires once in vain.
 */
uint32_t run_queue_fire(struct run_queue *queue, uint64_t now)
{
    spinlock_lock(&queue->lock);
    queue->fire_until = now;
    while (queue->alarms != NULL && queue->alarms->deadline <= now) {
        struct run_alarm *alarm = queue->alarms;
        run_alarm_set(queue, alarm, RUN_NEVER);
        alarm->firing = true;
        spinlock_unlock(&queue->lock);
        const uint64_t again = alarm->fire(alarm->dev, now);
        spinlock_lock(&queue->lock);
        alarm->firing = false;
        if (again != RUN_NEVER && alarm->deadline == RUN_NEVER)
            run_alarm_set(queue, alarm, again > now ? again : now + 1);
    }
    queue->fire_until = 0;
    const bool offers = queue->running != NULL && queue->offered != 0;
    const uint32_t cpu = offers ? run_offer_any(queue, now) : RUN_NO_CPU;
    spinlock_unlock(&queue->lock);
    return cpu;
}

void run_vcpu_remove(struct run_vcpu *vcpu, uint64_t now)
{
    struct run_queue *q = lock_home(vcpu);
    while (run_alarm_is_firing(vcpu)) {
        spinlock_unlock(&q->lock);
        cpu_pause();
        q = lock_home(vcpu);
    }
    if (vcpu->state == VCPU_READY) {
        run_dequeue(q, vcpu);
        run_publish(q, now);
    }
    for (struct run_alarm *a = vcpu->alarms; a != NULL; a = a->of_vcpu)
        run_alarm_set(q, a, RUN_NEVER);
    if (q->loaded == vcpu)
        q->loaded = NULL;
    __atomic_store_n(&vcpu->state, VCPU_STOPPED, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&vcpu->share->vcpu_count, 1, __ATOMIC_RELAXED) == 0)
        __atomic_fetch_sub(&q->all->vm_count, 1, __ATOMIC_RELAXED);
    spinlock_unlock(&q->lock);
}
