/* SPDX-License-Identifier: BSD-2-Clause */
/* Who runs next on a host CPU: fair queueing by virtual time, between VMs, over all CPUs. */
#include "guest/vm/runqueue.h"
#include "guest/vm/run_alarm.h"

#include <stddef.h>

#define BUSY_LOOKS 16 /* queues that a CPU looks at when it has something to run */

/* What orders them, the least first: the VM's virtual time with the vCPU's offset. It changes when
 * any vCPU of the VM runs. */
static uint64_t vruntime(const struct run_vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->share->time, __ATOMIC_RELAXED) + vcpu->offset;
}

/* What is a VM's by right beside the one with the least vruntime, if both were on different CPUs.
 */
static uint64_t long_claim(const struct run_vcpu *vcpu, const struct run_vcpu *least)
{
    return 4 * vcpu->share->turn_cost + run_share_debt(least->share);
}

/*
 * A vCPU comes beside the one with the least vruntime. What it has not used while it slept, or was
 * elsewhere, counts up to `claim`, and what it has used too much up to its debt: else it would keep
 * the others from running, or they it, for as long as that was.
 */
static void limit_vruntime(struct run_vcpu *vcpu, const struct run_vcpu *least, uint64_t claim)
{
    const uint64_t own = vruntime(vcpu), low = vruntime(least) - claim;
    const uint64_t high = vruntime(least) + run_share_debt(vcpu->share);
    if (run_before(own, low))
        vcpu->offset += low - own;
    else if (run_before(high, own))
        vcpu->offset -= own - high;
}

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
static bool leave_idle(struct run_queue *q)
{
    const bool was_idle = q->idle;
    q->idle = false;
    if (was_idle)
        __atomic_fetch_and(&q->all->idle.bits[q->index / 64], ~(1ull << q->index % 64),
                           __ATOMIC_SEQ_CST);
    return was_idle;
}

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
static void find_least(struct run_queue *q, uint64_t now)
{
    struct run_vcpu *least_vcpu = NULL, *second_vcpu = NULL, *oldest = NULL;
    uint64_t least = 0, second = 0;
    uint32_t count = 0;
    q->release = RUN_NEVER;
    for (struct run_vcpu *v = q->waiting; v != NULL; v = v->next) {
        if (v->share->budget != 0 && !cap_allows(q, v, now))
            continue;
        const uint64_t own = vruntime(v);
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

/* Tells other CPUs what find_least() has found. The count comes last and is seq_cst: see
 * idle_search(). */
static void tell_others(struct run_queue *q)
{
    const uint32_t count = q->ready, more = count - q->offered;
    if (count != 0) {
        const uint64_t least = vruntime(q->least_vcpu);
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
static void publish(struct run_queue *q, uint64_t now)
{
    find_least(q, now);
    tell_others(q);
}

static void enqueue(struct run_queue *q, struct run_vcpu *vcpu)
{
    vcpu->next = NULL;
    *q->waiting_end = vcpu;
    q->waiting_end = &vcpu->next;
}

static void dequeue(struct run_queue *q, const struct run_vcpu *vcpu)
{
    struct run_vcpu **at = &q->waiting;
    while (*at != vcpu)
        at = &(*at)->next;
    *at = vcpu->next;
    if (*at == NULL)
        q->waiting_end = at;
}

/* Who is furthest behind of all that are here; NULL: nobody is. */
static const struct run_vcpu *leader(const struct run_queue *q)
{
    const struct run_vcpu *run = q->running;
    const struct run_vcpu *wait = q->least_vcpu != NULL ? q->least_vcpu : q->waiting;
    return run == NULL || (wait != NULL && run_before(vruntime(wait), vruntime(run))) ? wait : run;
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
    const struct run_vcpu *least = leader(to);
    dequeue(from, vcpu);
    publish(from, now);
    for (struct run_alarm *a = vcpu->alarms; a != NULL; a = a->of_vcpu) {
        const uint64_t deadline = a->deadline;
        run_alarm_set(from, a, RUN_NEVER);
        run_alarm_set(to, a, deadline);
    }
    if (least != NULL)
        limit_vruntime(vcpu, least, long_claim(vcpu, least));
    __atomic_store_n(&vcpu->home, to, __ATOMIC_RELEASE);
    enqueue(to, vcpu);
    publish(to, now);
    to->taken++;
}

static bool is_behind(const struct run_queue *q, uint64_t there, const struct run_vcpu *least)
{
    return least == NULL || run_before(there + q->all->grain, vruntime(least));
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
            (taken == NULL ? is_behind(q, vruntime(v), least)
                           : v->share != taken->share && run_before(vruntime(v), vruntime(taken))))
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
    const uint64_t own = vruntime(least);
    uint64_t jump = 0;
    if (run_before(own, low - claim))
        jump = low - claim - own;
    else if (run_before(high + owes, own))
        jump = high + owes - own;
    for (struct run_vcpu *v = q->waiting; v != NULL && jump != 0; v = v->next)
        v->offset += jump;
}

/* Looks into other queues for one to run rather than the least here, or NULL. */
static struct run_vcpu *search(struct run_queue *q, const struct run_vcpu *least, uint64_t now,
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

static bool waits_elsewhere(const struct run_queue *q)
{
    return __atomic_load_n(&q->all->waiting, __ATOMIC_SEQ_CST) != q->offered;
}

/*
 * Nothing waits here. CPU A makes a vCPU ready, counts it (publish()), and then looks for an idle
 * CPU in the set (offer()). This CPU B puts itself into the set, and then looks at the count.
 * Without this order, or with less than seq_cst, both could look too early: the vCPU would wait
 * while a CPU that it may use sleeps.
 */
static struct run_vcpu *idle_search(struct run_queue *q, uint64_t now)
{
    struct run_vcpu *found = NULL;
    bool busy;
    publish(q, now); /* what waits here may not run any more, for its cap */
    q->idle = true;
    __atomic_fetch_or(&q->all->idle.bits[q->index / 64], 1ull << q->index % 64, __ATOMIC_SEQ_CST);
    do { /* who holds a lock that we try does not wait for ours */
        busy = false;
        if (waits_elsewhere(q))
            found = search(q, NULL, now, &busy);
    } while (found == NULL && busy);
    if (found != NULL)
        leave_idle(q);
    return found;
}

/* Whether any CPU is idle. */
static bool some_idle(const struct run_queues *all)
{
    uint64_t any = 0;
    for (uint32_t i = 0; i < all->count; i += 64)
        any |= __atomic_load_n(&all->idle.bits[i / 64], __ATOMIC_SEQ_CST);
    return any != 0;
}

/* Gives one that waits here to an idle CPU, and returns that CPU, which then picks. A CPU whose
 * lock is taken is not asked: it is about to look for itself, or somebody else gives it something.
 */
static uint32_t offer(struct run_queue *q, uint64_t now)
{
    struct run_queues *all = q->all;
    for (struct run_vcpu *v = q->waiting; v != NULL; v = v->next) {
        uint32_t cpu = next_idle(all, v, 0);
        for (; cpu != RUN_NO_CPU; cpu = next_idle(all, v, cpu + 1)) {
            struct run_queue *to = &all->queue[cpu];
            if (to == q || !may_move(q, v, cpu, now) || !spinlock_try(&to->lock))
                continue;
            const bool takes = (to->running == NULL || to->asleep) && to->offered == 0;
            if (takes)
                move(v, q, to, now);
            spinlock_unlock(&to->lock);
            if (takes)
                return cpu;
        }
    }
    return RUN_NO_CPU;
}

/* Ends the turn here sooner for one that waits and has just been woken. */
static uint32_t hasten(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now)
{
    const struct run_vcpu *running = q->running;
    const uint64_t soon = now + q->all->short_turn, least = q->turn_start + q->all->short_turn;
    uint64_t end = run_min(q->turn_end, now + q->all->turn);
    if (vcpu->share == running->share) {
        const uint32_t count = __atomic_load_n(&vcpu->share->vcpu_count, __ATOMIC_RELAXED);
        __atomic_store_n(&vcpu->share->short_turns, count - 1, __ATOMIC_RELAXED);
        end = run_min(end, soon);
    } else if (run_before(vruntime(vcpu), vruntime(running))) {
        end = run_min(end, run_before(least, now) ? now : least);
    }
    if (end == q->turn_end)
        return RUN_NO_CPU;
    __atomic_store_n(&q->turn_end, end, __ATOMIC_RELAXED);
    return q->index;
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
        if (v == NULL || !spinlock_try(&to->lock))
            continue;
        const bool same = to->running != NULL && to->running->share == v->share;
        if (same) {
            move(v, q, to, now);
            (void)hasten(to, v, now);
        }
        spinlock_unlock(&to->lock);
        if (same)
            return cpu;
    }
    return RUN_NO_CPU;
}

/* Gives one that waits here to another CPU, and returns that. */
static uint32_t spread(struct run_queue *q, uint64_t now)
{
    uint32_t cpu = RUN_NO_CPU;
    if (q->all->count > 1 && some_idle(q->all))
        cpu = offer(q, now);
    return cpu == RUN_NO_CPU && q->all->count > 1 ? level(q, now) : cpu;
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
    find_least(q, now);
    const struct run_vcpu *least = q->least_vcpu;
    *end = now + q->all->turn;
    if (least == NULL)
        return idle_search(q, now);
    struct run_vcpu *best = first_of(q, least->share);
    q->was_late = !q->was_late && q->oldest_vcpu != best &&
                  run_before(q->oldest_vcpu->since + q->all->patience, now);
    if (q->was_late) {
        chosen = q->oldest_vcpu;
        limit_vruntime(chosen, least, long_claim(chosen, least));
        *end = now + q->all->short_turn;
    } else if (waits_elsewhere(q)) {
        chosen = search(q, least, now, &busy);
    }
    return chosen != NULL ? chosen : best;
}

/* The chosen one leaves the queue. What find_least() has found is still so but for that one, and is
 * not looked for again; under a cap it may have changed since, by what other CPUs have charged. */
static void leave_queue(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    dequeue(q, vcpu);
    if (vcpu->share->budget != 0) {
        publish(q, now);
        return;
    }
    q->ready--;
    if (q->least_vcpu == vcpu)
        q->least_vcpu = q->second_vcpu;
    tell_others(q);
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
    __atomic_store_n(&vcpu->state, VCPU_RUNNING, __ATOMIC_RELAXED);
    q->charged = q->turn_start = now;
    if (short_turns != 0) {
        __atomic_store_n(&share->short_turns, short_turns - 1, __ATOMIC_RELAXED);
        end = run_min(end, now + q->all->short_turn);
    }
    if (q->offered == 0 && !waits_elsewhere(q))
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
    struct run_vcpu *sibling = first_of(q, spinner->share);
    find_least(q, now);
    const struct run_vcpu *other = q->least_vcpu != spinner ? q->least_vcpu : q->second_vcpu;
    *end = q->turn_end;
    if (sibling != spinner)
        return sibling;
    *end = now + q->all->short_turn;
    return other != NULL ? first_of(q, other->share) : NULL;
}

struct run_vcpu *run_queue_next(struct run_queue *q, uint64_t now, bool yields, uint32_t *interrupt)
{
    struct run_vcpu *last = q->running, *chosen = NULL;
    uint64_t end;
    spinlock_lock(&q->lock);
    leave_idle(q);
    charge(q, now);
    q->running = NULL;
    if (last != NULL) {
        __atomic_store_n(&last->state, VCPU_READY, __ATOMIC_RELAXED);
        last->since = now;
        enqueue(q, last);
        if (yields && now < q->turn_end)
            chosen = choose_beside(q, last, now, &end);
    }
    if (chosen == NULL)
        chosen = choose(q, now, &end);
    if (chosen != NULL)
        begin(q, chosen, end, now);
    else
        __atomic_store_n(&q->turn_end, q->release, __ATOMIC_RELAXED);
    *interrupt = chosen != NULL && q->offered != 0 ? spread(q, now) : RUN_NO_CPU;
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
    leave_idle(q);
}

/* As for an idle queue: see idle_search(). */
bool run_queue_sleep(struct run_queue *q, uint64_t now)
{
    charge(q, now);
    q->asleep = q->idle = true;
    __atomic_fetch_or(&q->all->idle.bits[q->index / 64], 1ull << q->index % 64, __ATOMIC_SEQ_CST);
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

static uint32_t make_ready(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now)
{
    charge(q, now);
    const struct run_vcpu *least = leader(q);
    if (least != NULL)
        limit_vruntime(vcpu, least, least->share->turn_cost);
    __atomic_store_n(&vcpu->state, VCPU_READY, __ATOMIC_RELAXED);
    vcpu->since = now;
    enqueue(q, vcpu);
    publish(q, now);
    if (q->running == NULL || q->asleep) /* not idle: it is about to look, and will see this one */
        return leave_idle(q) ? q->index : RUN_NO_CPU;
    const uint32_t cpu = offer(q, now);
    return cpu != RUN_NO_CPU ? cpu : hasten(q, vcpu, now);
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
    if (vcpu->state < VCPU_PAUSED)
        cpu = make_ready(q, vcpu, now);
    else if (vcpu->state == VCPU_RUNNING)
        cpu = q->index;
    else if (vcpu->state == VCPU_READY && q->running != NULL)
        cpu = hasten(q, vcpu, now);
    spinlock_unlock(&q->lock);
    return cpu;
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
 * at the deadline, A would put back an older one, which may be too late.
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
    const uint32_t cpu = offers ? offer(queue, now) : RUN_NO_CPU;
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
        dequeue(q, vcpu);
        publish(q, now);
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
