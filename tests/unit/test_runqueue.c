// link: guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c guest/vm/run_alarm.c guest/vm/run_share.c
// libs: -lpthread
/* SPDX-License-Identifier: BSD-2-Clause */
/* The run queues, in a simulation of host CPUs and guests: one nanosecond is one clock tick, and
 * interrupts between CPUs arrive at once. Then two threads, for the hand-overs. */
#include "guest/vm/runqueue.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define US     UINT64_C(1000)
#define MS     (1000 * US)
#define SECOND (1000 * MS)
#define CPUS   RUN_CPU_MAX
#define VMS    64
#define GUESTS 4096

struct guest;
typedef void act_fn(struct guest *g);

struct guest { /* a vCPU and the program on it */
    struct run_vcpu vcpu;
    struct run_alarm timer;
    struct run_share *share;
    act_fn *act;         /* what it does when `work` has been run; NULL: it works for ever */
    uint64_t work, done; /* ticks: of one piece, and of it */
    uint64_t entered;    /* when it got its CPU */
    uint64_t period;     /* of its timer */
    uint64_t woken_at;   /* 0: not waited for */
    uint64_t longest_wait, waiting_since;
    uint32_t runs, in_time, late; /* answers within `limit` */
    uint64_t limit;
    struct guest *peer;
};

static struct run_queues all;
static struct run_queue queue[CPUS];
static struct run_share share[VMS];
static struct guest guest[GUESTS];
static uint32_t guest_count;
static uint64_t now;
static bool interrupted[CPUS];

static struct guest *guest_of(struct run_vcpu *vcpu)
{
    return (struct guest *)(void *)((char *)vcpu - offsetof(struct guest, vcpu));
}

static void interrupt(uint32_t cpu)
{
    if (cpu != RUN_NO_CPU)
        interrupted[cpu] = true;
}

static void start(uint32_t cpus)
{
    memset(guest, 0, sizeof(guest));
    memset(interrupted, 0, sizeof(interrupted));
    guest_count = 0;
    now = 5 * SECOND;
    run_queues_init(&all, queue, cpus, SECOND);
    for (uint32_t i = 0; i < cpus; i++) { /* nothing to do: they sleep */
        uint32_t other;
        assert_null(run_queue_next(&queue[i], now, false, &other));
    }
}

static struct guest *add_on(uint32_t vm, uint64_t mask, act_fn *act, uint64_t work)
{
    struct guest *g = &guest[guest_count++];
    memset(g, 0, sizeof(*g));
    for (unsigned i = 0; i < CPUS / 64; i++)
        g->vcpu.allowed.bits[i] = mask;
    g->share = &share[vm];
    g->act = act;
    g->work = work;
    uint32_t cpu = (guest_count - 1) % all.count;
    while ((mask >> cpu % 64 & 1) == 0)
        cpu = (cpu + 1) % all.count;
    run_vcpu_add(&all, &g->vcpu, g->share, cpu, VCPU_HALTED);
    interrupt(run_queue_wake(&g->vcpu, now));
    return g;
}

static struct guest *add(uint32_t vm, act_fn *act, uint64_t work)
{
    return add_on(vm, UINT64_MAX, act, work);
}

static void make_vm(uint32_t vm, uint32_t weight, uint32_t cap)
{
    run_share_init(&share[vm], weight, cap, all.turn, all.period, now);
}

/* The vCPU is ready: from now on its waiting is measured. */
static void leave(struct run_vcpu *vcpu)
{
    struct guest *g = guest_of(vcpu);
    g->done += now - g->entered;
    g->waiting_since = now;
    run_vcpu_unload(vcpu);
}

static void enter(struct run_vcpu *vcpu)
{
    struct guest *g = guest_of(vcpu);
    run_vcpu_load(vcpu);
    run_vcpu_looks(vcpu);
    g->entered = now;
    g->runs++;
    if (g->waiting_since != 0 && now - g->waiting_since > g->longest_wait)
        g->longest_wait = now - g->waiting_since;
    if (g->woken_at != 0) {
        *(now - g->woken_at <= g->limit ? &g->in_time : &g->late) += 1;
        g->woken_at = 0;
    }
}

static void switch_to(struct run_vcpu *from, struct run_vcpu *to)
{
    if (from != NULL)
        leave(from);
    if (to != NULL)
        enter(to);
}

static void pick(uint32_t cpu)
{
    struct run_vcpu *last = queue[cpu].running;
    uint32_t other;
    struct run_vcpu *next = run_queue_next(&queue[cpu], now, false, &other);
    interrupt(other);
    assert_true(next == NULL || (next->allowed.bits[cpu / 64] >> cpu % 64 & 1) != 0);
    switch_to(last, next);
}

static uint64_t due(uint32_t cpu)
{
    const struct run_vcpu *vcpu = queue[cpu].running;
    uint64_t at = run_queue_next_alarm(&queue[cpu]);
    if (vcpu != NULL) {
        const struct guest *g = guest_of(queue[cpu].running);
        if (g->act != NULL && g->entered + (g->work - g->done) < at)
            at = g->entered + (g->work - g->done);
    }
    return interrupted[cpu] || at < now ? now : at;
}

/* What a host CPU does when it has left a guest, or woken up. */
static void cpu_works(uint32_t cpu)
{
    struct run_queue *q = &queue[cpu];
    interrupted[cpu] = false;
    interrupt(run_queue_fire(q, now));
    struct run_vcpu *vcpu = q->running;
    if (vcpu != NULL) {
        struct guest *g = guest_of(vcpu);
        run_vcpu_looks(vcpu);
        if (g->act != NULL && g->done + (now - g->entered) >= g->work) {
            g->done = 0;
            g->entered = now;
            g->act(g);
        }
    }
    if (q->running == NULL || run_queue_turn_is_over(q, now))
        pick(cpu);
}

/* No CPU sleeps while something that it may run waits elsewhere. */
static void check_idle(void)
{
    for (uint32_t i = 0; i < all.count; i++)
        for (struct run_vcpu *v = queue[i].waiting; v != NULL; v = v->next)
            for (uint32_t cpu = 0; cpu < all.count; cpu++)
                if (queue[cpu].running == NULL &&
                    (v->allowed.bits[cpu / 64] >> cpu % 64 & 1) != 0 && v->share->budget == 0)
                    assert_true(interrupted[cpu] || v == queue[i].loaded);
}

static void run_until(uint64_t end)
{
    for (;;) {
        uint64_t next = end;
        for (uint32_t i = 0; i < all.count; i++)
            if (due(i) < next)
                next = due(i);
        if (next >= end)
            break;
        now = next;
        for (uint32_t i = 0; i < all.count; i++)
            if (due(i) <= now)
                cpu_works(i);
        check_idle();
    }
    now = end;
    for (uint32_t i = 0; i < all.count; i++)
        if (queue[i].running != NULL)
            pick(i); /* accounts the time */
}

static uint64_t ran(uint32_t vm)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < guest_count; i++)
        if (guest[i].share == &share[vm])
            sum += guest[i].vcpu.ran;
    return sum;
}

/* part of whole, within percent of that part */
static void assert_share(uint64_t part, double of, uint64_t whole, double percent)
{
    const double got = (double)part / (double)whole;
    if (got < of * (1 - percent / 100) || got > of * (1 + percent / 100))
        fail_msg("share is %.4f, should be %.4f", got, of);
}

static void block(struct guest *g)
{
    struct run_queue *q = g->vcpu.home;
    assert_true(run_queue_block(q, VCPU_HALTED, now));
    run_vcpu_unload(&g->vcpu);
}

static void wake(struct guest *g)
{
    if (g->woken_at == 0 && g->vcpu.state < VCPU_READY) {
        g->woken_at = now;
        g->waiting_since = now;
    }
    interrupt(run_queue_wake(&g->vcpu, now));
}

static uint64_t timer_fires(void *dev, uint64_t at)
{
    (void)at;
    wake(dev);
    return RUN_NEVER;
}

/* Sleeps until its timer's next tick. */
static void act_sleep(struct guest *g)
{
    interrupt(run_alarm_arm(&g->timer, now - now % g->period + g->period));
    block(g);
}

static struct guest *add_sleeper(uint32_t vm, uint64_t work, uint64_t period, uint64_t limit)
{
    struct guest *g = add(vm, act_sleep, work);
    g->period = period;
    g->limit = limit;
    g->timer = (struct run_alarm){.fire = timer_fires, .dev = g};
    run_alarm_add(&g->vcpu, &g->timer);
    return g;
}

static void act_yield(struct guest *g)
{
    struct run_queue *q = g->vcpu.home;
    uint32_t other;
    struct run_vcpu *next = run_queue_next(q, now, true, &other);
    interrupt(other);
    switch_to(&g->vcpu, next); /* none, if its cap does not let it go on */
}

/* Wakes the next and halts: one of many runs at a time. */
static void act_chain(struct guest *g)
{
    wake(g->peer);
    block(g);
}

static void weights_on_one_cpu(void **state)
{
    (void)state;
    static const uint32_t scale[] = {1, 20, 100, 250};
    for (unsigned s = 0; s < 4; s++) {
        start(1);
        for (uint32_t vm = 0; vm < 3; vm++) {
            make_vm(vm, scale[s] << vm, 0);
            add(vm, NULL, 0);
        }
        run_until(now + SECOND);
        for (uint32_t vm = 0; vm < 3; vm++)
            assert_share(ran(vm), (1 << vm) / 7.0, SECOND, 5);
    }
}

static void seven_on_two_cpus(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 100, 1000};
    for (unsigned w = 0; w < 3; w++) {
        start(2);
        for (uint32_t vm = 0; vm < 7; vm++) {
            make_vm(vm, weights[w], 0);
            add(vm, NULL, 0);
        }
        run_until(now + SECOND);
        for (uint32_t vm = 0; vm < 7; vm++)
            assert_share(ran(vm), 2 / 7.0, SECOND, 5);
    }
}

static void seven_weights_on_two_cpus(void **state)
{
    (void)state;
    for (uint32_t scale = 1; scale <= 100; scale *= 10) {
        start(2);
        for (uint32_t vm = 0; vm < 7; vm++) {
            make_vm(vm, (vm + 1) * scale, 0);
            add(vm, NULL, 0);
        }
        run_until(now + SECOND);
        for (uint32_t vm = 0; vm < 7; vm++)
            assert_share(ran(vm), (vm + 1) / 14.0, SECOND, 5);
    }
}

/* What a VM cannot use, as it has one vCPU only, is the others' by their weights. */
static void heavy_vm_has_its_cpu(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 1000, 0);
    make_vm(1, 10, 0);
    make_vm(2, 20, 0);
    for (uint32_t vm = 0; vm < 3; vm++)
        add(vm, NULL, 0);
    run_until(now + SECOND);
    assert_share(ran(0), 1, SECOND, 5);
    assert_share(ran(1), 1 / 3.0, SECOND, 5);
    assert_share(ran(2), 2 / 3.0, SECOND, 5);
    make_vm(3, 1000, 0); /* and a new one does not wait for what that one has not used */
    struct guest *g = add(3, NULL, 0);
    const uint64_t before = ran(0);
    run_until(now + SECOND);
    assert_share(g->vcpu.ran, 1, SECOND, 5);
    assert_share(ran(0) - before, 1, SECOND, 5);
}

/* Two that have a CPU each do not look around often; the third does not suffer from that. */
static void late_third_on_two_cpus(void **state)
{
    (void)state;
    start(2);
    for (uint32_t vm = 0; vm < 3; vm++) {
        make_vm(vm, 100, 0);
        add(vm, NULL, 0);
        run_until(now + 50 * MS);
    }
    uint64_t before[3];
    for (uint32_t vm = 0; vm < 3; vm++)
        before[vm] = ran(vm);
    run_until(now + SECOND);
    for (uint32_t vm = 0; vm < 3; vm++)
        assert_share(ran(vm) - before[vm], 2 / 3.0, SECOND, 5);
}

/* It comes from a CPU where virtual time goes slowly to one where it has gone fast. */
static void mover_does_not_hoard(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 1000, 0);
    make_vm(1, 1, 0);
    make_vm(2, 1, 0);
    add_on(0, 1, NULL, 0);
    add_on(1, 2, NULL, 0);
    run_until(now + 5 * SECOND);
    const uint64_t before = ran(1);
    add(2, NULL, 0);
    run_until(now + SECOND);
    assert_share(ran(1) - before, 0.5, SECOND, 10);
    assert_share(ran(2), 0.5, SECOND, 10);
}

/* The other way round: who comes where virtual time is ahead is taken to where it is behind. */
static void slow_cpu_takes_its_part(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 1000, 0);
    make_vm(1, 1, 0);
    add(0, NULL, 0);
    add_on(1, 2, NULL, 0);
    run_until(now + 5 * SECOND);
    for (uint32_t vm = 2; vm < 6; vm++) {
        make_vm(vm, 1000, 0);
        add_on(vm, 2, NULL, 0)->vcpu.allowed.bits[0] = 3; /* it begins on the second CPU */
    }
    const uint64_t before = ran(0);
    run_until(now + SECOND);
    assert_share(ran(0) - before, 0.4, SECOND, 10);
    for (uint32_t vm = 2; vm < 6; vm++)
        assert_share(ran(vm), 0.4, SECOND, 10);
}

static void many_vcpus_get_no_more(void **state)
{
    (void)state;
    for (uint32_t cpus = 1; cpus <= 4; cpus *= 2) {
        start(cpus);
        make_vm(0, 100, 0);
        make_vm(1, 100, 0);
        for (uint32_t i = 0; i < 64; i++)
            add(0, NULL, 0);
        for (uint32_t i = 0; i < cpus; i++)
            add(1, NULL, 0);
        run_until(now + 2 * SECOND);
        assert_share(ran(0), cpus / 2.0, 2 * SECOND, 5);
        assert_share(ran(1), cpus / 2.0, 2 * SECOND, 5);
    }
}

/* Each vCPU sleeps nearly always, but one of the VM runs always. */
static void a_chain_gets_no_more(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    add(1, NULL, 0);
    struct guest *first = add(0, act_chain, 50 * US), *last = first;
    for (uint32_t i = 1; i < 64; i++) {
        struct guest *g = add(0, act_chain, 50 * US);
        last->peer = g;
        last = g;
    }
    last->peer = first;
    run_until(now + SECOND);
    assert_share(ran(0), 0.5, SECOND, 5);
}

static void a_sleeper_runs_soon(void **state)
{
    (void)state;
    for (uint32_t weight = 1; weight <= 100; weight *= 10) {
        start(1);
        for (uint32_t vm = 0; vm < 3; vm++) {
            make_vm(vm, weight << vm, 0);
            add(vm, NULL, 0);
        }
        make_vm(3, weight, 0);
        struct guest *g = add_sleeper(3, 30 * US, MS, 200 * US);
        run_until(now + SECOND);
        if (g->in_time < 990)
            fail_msg("weight %u: %u in time, %u late", weight, g->in_time, g->late);
        for (uint32_t vm = 0; vm < 3; vm++)
            assert_share(ran(vm), (1 << vm) / 7.0, SECOND - ran(3), 5);
    }
}

static void sleep_is_not_hoarded(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    add(0, NULL, 0);
    struct guest *g = add_sleeper(1, 10 * US, SECOND, SECOND);
    run_until(6 * SECOND - MS);
    g->act = NULL; /* CPU-bound from its next wake on */
    const uint64_t before = ran(0);
    run_until(6 * SECOND + 20 * MS);
    assert_share(ran(0) - before, 11 / 21.0, 21 * MS, 25);
}

static void caps_hold(void **state)
{
    (void)state;
    for (uint32_t cpus = 1; cpus <= 4; cpus++) {
        start(cpus);
        make_vm(0, 100, 25);
        make_vm(1, 100, 0);
        for (uint32_t i = 0; i < cpus; i++)
            add(0, NULL, 0);
        run_until(now + SECOND); /* alone */
        assert_share(ran(0), 0.25, SECOND, 2);
        for (uint32_t i = 0; i < cpus; i++)
            add(1, NULL, 0);
        const uint64_t before = ran(0);
        run_until(now + SECOND);
        assert_share(ran(0) - before, 0.25, SECOND, 2);
        assert_share(ran(1), cpus - 0.25, SECOND, 2);
    }
    start(2);
    make_vm(0, 100, 150);
    add(0, NULL, 0);
    add(0, NULL, 0);
    run_until(now + SECOND);
    assert_share(ran(0), 1.5, SECOND, 2);
}

static void affinity_is_kept(void **state)
{
    (void)state;
    start(4); /* pick() asserts the mask */
    for (uint32_t vm = 0; vm < 6; vm++) {
        make_vm(vm, 100, 0);
        add_on(vm, vm < 4 ? 1 : 6, vm == 3 ? act_yield : NULL, 70 * US);
    }
    run_until(now + SECOND);
    for (uint32_t vm = 0; vm < 3; vm++)
        assert_share(ran(vm), 0.25, SECOND, 30);
    assert_share(ran(4), 1, SECOND, 1);
    assert_share(ran(5), 1, SECOND, 1);
    assert_true(queue[3].running == NULL);
}

/* A VM that has a CPU for itself is far ahead in virtual time, or far behind. Who meets it there
 * shares with it from then on, and elsewhere with others as before. */
static void markets_meet(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        start(4);
        make_vm(0, way == 0 ? 1 : 1000, 0);
        add_on(0, 1, NULL, 0);
        for (uint32_t vm = 1; vm < 3; vm++) {
            make_vm(vm, 100, 0);
            for (unsigned i = 0; i < 4; i++)
                add_on(vm, 0xe, NULL, 0);
        }
        run_until(now + 5 * SECOND);
        assert_share(ran(1), 1.5, 5 * SECOND, 5);
        for (uint32_t vm = 3; vm < 5; vm++) {
            make_vm(vm, 100, 0);
            for (unsigned i = 0; i < 4; i++)
                add_on(vm, 0xf, NULL, 0);
        }
        uint64_t before[5], sum = 0;
        for (uint32_t vm = 0; vm < 5; vm++)
            before[vm] = ran(vm);
        run_until(now + 2 * SECOND);
        for (uint32_t vm = 0; vm < 5; vm++) {
            before[vm] = ran(vm) - before[vm];
            sum += before[vm];
        }
        assert_true(sum == 8 * SECOND);
        for (uint32_t vm = 1; vm < 5; vm++)
            assert_share(before[vm], way == 0 ? 1 : 0.75, 2 * SECOND, 5);
        if (way == 1)
            assert_share(before[0], 1, 2 * SECOND, 5);
        for (uint32_t i = 0; i < guest_count; i++)
            assert_true(guest[i].longest_wait < SECOND);
    }
}

/* One vCPU waits behind a heavy VM that may run nowhere else, while its siblings have CPUs for
 * themselves: it comes to one of those. */
static void siblings_share_their_cpus(void **state)
{
    (void)state;
    start(4);
    make_vm(0, 1000, 0);
    make_vm(1, 1, 0);
    add_on(0, 1, NULL, 0);
    for (unsigned i = 0; i < 4; i++)
        add(1, NULL, 0);
    run_until(now + 2 * SECOND);
    for (unsigned i = 1; i < 5; i++)
        assert_true(guest[i].vcpu.ran > SECOND / 2);
}

/* Four of one VM begin in one queue: the first two get a CPU each, the others wait in the first. It
 * does not stay so. */
static void siblings_are_levelled(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 100, 0);
    for (unsigned i = 0; i < 4; i++) {
        struct guest *g = &guest[guest_count++];
        memset(g->vcpu.allowed.bits, 0xff, sizeof(g->vcpu.allowed.bits));
        g->share = &share[0];
        run_vcpu_add(&all, &g->vcpu, g->share, 0, VCPU_HALTED);
        interrupt(run_queue_wake(&g->vcpu, now));
        run_until(now + MS);
    }
    run_until(now + SECOND);
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(guest[i].vcpu.ran, SECOND * 45 / 100, SECOND * 55 / 100);
}

/* One VM has a vCPU on each CPU, another one is beside the second: both have a CPU's time, and that
 * is no reason for the second to wait as long as the first one runs. */
static void siblings_take_turns(void **state)
{
    static const struct {
        unsigned vm, cpu;
    } where[] = {{0, 0}, {0, 1}, {1, 1}};
    (void)state;
    start(2);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct guest *g = &guest[guest_count++];
        memset(g->vcpu.allowed.bits, 0xff, sizeof(g->vcpu.allowed.bits));
        g->share = &share[where[i].vm];
        run_vcpu_add(&all, &g->vcpu, g->share, where[i].cpu, VCPU_HALTED);
        interrupt(run_queue_wake(&g->vcpu, now));
    }
    run_until(now + SECOND);
    for (unsigned i = 0; i < 3; i++)
        assert_true(guest[i].longest_wait < 6 * MS);
    assert_share(ran(1), 0.5, 2 * SECOND, 5);
    assert_in_range(guest[1].vcpu.ran, SECOND * 45 / 100, SECOND * 55 / 100);
}

static void yields_starve_nobody(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    for (unsigned i = 0; i < 3; i++)
        add(0, act_yield, 20 * US);
    add(1, NULL, 0);
    run_until(now + SECOND);
    assert_true(ran(0) + ran(1) == SECOND);
    assert_share(ran(1), 0.5, SECOND, 5);
    for (uint32_t i = 0; i < guest_count; i++)
        assert_true(guest[i].longest_wait < 20 * MS);
    start(1); /* alone it goes on */
    make_vm(0, 100, 0);
    add(0, act_yield, 20 * US);
    run_until(now + MS);
    assert_true(ran(0) == MS);
}

/* Two vCPUs: one asks by an IPI, spins for the answer, and asks again. */
static struct guest *pinger, *ponger;
static uint64_t asked_at;
static uint32_t answers, quick;

static void act_ping(struct guest *g)
{
    (void)g;
    if (asked_at == 0) {
        asked_at = now;
        wake(ponger);
    }
}

static void act_pong(struct guest *g)
{
    if (asked_at != 0) {
        answers++;
        quick += now - asked_at <= 250 * US;
        asked_at = 0;
    }
    if (g->period != 0)
        block(g);
}

static void ping_pong(void **state)
{
    (void)state;
    for (unsigned halts = 0; halts < 2; halts++) {
        start(1);
        answers = quick = 0;
        asked_at = 0;
        make_vm(0, 100, 0);
        make_vm(1, 100, 0);
        pinger = add(0, act_ping, 5 * US);
        ponger = add(0, act_pong, 5 * US);
        ponger->period = halts;
        add(1, NULL, 0);
        run_until(now + SECOND);
        if (answers < 2000 || quick < answers * 85 / 100)
            fail_msg("%u answers, %u quick", answers, quick);
        assert_share(ran(1), 0.5, SECOND, 5);
    }
}

static void nobody_starves(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 1, 0);
    make_vm(1, 1000, 0);
    make_vm(2, 1000, 0);
    struct guest *g = add(0, NULL, 0);
    add(1, act_yield, 30 * US);
    add(1, act_yield, 30 * US);
    add_sleeper(2, 900 * US, MS, MS);
    run_until(now + 10 * SECOND);
    assert_true(g->longest_wait < SECOND / 2);
    assert_share(ran(0), 0.0005, 10 * SECOND, 100);
    start(1); /* as many as there may be */
    for (uint32_t i = 0; i < GUESTS; i++) {
        if (i % 64 == 0)
            make_vm(i / 64, i == 0 ? 1 : 1000, 0);
        add(i / 64, NULL, 0);
    }
    run_until(now + 12 * SECOND);
    for (uint32_t i = 0; i < GUESTS; i++)
        assert_true(guest[i].runs > 0);
}

static void many_cpus(void **state)
{
    (void)state;
    start(CPUS);
    for (uint32_t i = 0; i < 640; i++) {
        if (i % 10 == 0)
            make_vm(i / 10, 100, 0);
        add(i / 10, NULL, 0);
    }
    run_until(now + SECOND / 4);
    for (uint32_t vm = 0; vm < VMS; vm++)
        assert_share(ran(vm), 4, SECOND / 4, 10);
}

static void woken_takes_idle_cpu(void **state)
{
    (void)state;
    start(3);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    add_on(0, 1, NULL, 0);
    struct guest *g = add_sleeper(1, 100 * US, MS, 0);
    run_until(now + 100 * MS);
    assert_int_equal(g->late, 0);
    assert_share(ran(0), 1, 100 * MS, 1);
}

/* A VM that comes and goes while others run; it is removed from whatever state it is in. */
static void churn(void **state)
{
    (void)state;
    start(3);
    for (uint32_t vm = 0; vm < 2; vm++) {
        make_vm(vm, 100, vm == 1 ? 40 : 0);
        add_sleeper(vm, 300 * US, MS, MS);
        add(vm, NULL, 0);
        add(vm, act_yield, 10 * US);
    }
    const uint32_t base = guest_count;
    unsigned seen[VCPU_RUNNING + 1] = {0};
    for (unsigned life = 0; life < 1000; life++) {
        make_vm(2, 1 + life % 1000, life % 3 * 20);
        for (unsigned i = 0; i < 4; i++)
            if (i % 2 == 0)
                add_sleeper(2, 200 * US, MS, MS);
            else
                add(2, NULL, 0);
        run_until(now + 3 * MS + life * 7 % 1000 * US);
        for (uint32_t i = base; i < guest_count; i++) {
            struct run_vcpu *v = &guest[i].vcpu;
            seen[v->state]++;
            if (v->state == VCPU_RUNNING) {
                const uint32_t cpu = v->home->index;
                wake(&guest[i]);
                wake(&guest[i]); /* it does not keep the end from coming */
                assert_true(run_queue_block(v->home, VCPU_STOPPED, now));
                run_vcpu_unload(v);
                pick(cpu);
            }
            run_vcpu_remove(v, now);
            assert_int_equal(v->state, VCPU_STOPPED);
            assert_int_equal(run_queue_wake(v, now), RUN_NO_CPU);
        }
        assert_int_equal(share[2].vcpu_count, 0);
        memset(&guest[base], 0x5a, sizeof(guest[0]) * 4);
        memset(&share[2], 0x5a, sizeof(share[2]));
        guest_count = base;
    }
    assert_true(seen[VCPU_HALTED] > 100 && seen[VCPU_READY] > 100 && seen[VCPU_RUNNING] > 100);
    for (uint32_t i = 0; i < base; i++)
        run_vcpu_remove(&guest[i].vcpu, now);
    for (uint32_t i = 0; i < 3; i++) {
        assert_null(queue[i].waiting);
        assert_null(queue[i].alarms);
        assert_int_equal(queue[i].offered, 0);
    }
    assert_int_equal(all.waiting, 0);
}

/* The ways in which a wake and a block can meet. */
static void wake_meets_block(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 4; way++) {
        start(1);
        make_vm(0, 100, 0);
        struct run_vcpu *v = &add(0, NULL, 0)->vcpu;
        pick(0);
        if (way == 0) /* before it looks: what it then finds counts */
            assert_int_equal(run_queue_wake(v, now), 0);
        run_vcpu_looks(v);
        if (way == 1) { /* behind the look: it does not block, once or twice */
            assert_int_equal(run_queue_wake(v, now), 0);
            assert_int_equal(run_queue_wake(v, now), RUN_NO_CPU);
            assert_false(run_queue_block(&queue[0], VCPU_HALTED, now));
            assert_int_equal(v->state, VCPU_RUNNING);
            run_vcpu_looks(v);
        }
        assert_true(run_queue_block(&queue[0], VCPU_HALTED, now));
        if (way == 2) /* before the CPU knows that it has nothing to do: it picks anyway */
            assert_int_equal(run_queue_wake(v, now), RUN_NO_CPU);
        run_vcpu_unload(v);
        pick(0);
        assert_ptr_equal(queue[0].running, way == 2 ? v : NULL);
        if (way == 3) { /* when the CPU sleeps */
            assert_int_equal(run_queue_wake(v, now), 0);
            pick(0);
            assert_ptr_equal(queue[0].running, v);
        }
    }
}

static void wake_chooses_a_cpu(void **state)
{
    (void)state;
    start(3);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    add_on(0, 1, NULL, 0);
    pick(0);
    struct guest *g = &guest[guest_count++];
    g->share = &share[1];
    g->vcpu.allowed.bits[0] = 5;
    run_vcpu_add(&all, &g->vcpu, g->share, 0, VCPU_HALTED);
    assert_int_equal(run_queue_wake(&g->vcpu, now), 2); /* idle, and allowed */
    assert_ptr_equal(g->vcpu.home, &queue[2]);
    pick(2);
    assert_ptr_equal(queue[2].running, &g->vcpu);
    assert_int_equal(run_queue_wake(&g->vcpu, now), 2); /* it runs there, and is to look */
}

/* A VM's vCPUs, of which some sleep on each CPU, one runs, and the last two are paused, are woken
 * at once: all that sleep are ready, each CPU knows it that has to look, and those that nothing
 * keeps idle have something to run. */
static void wake_many(uint32_t cpus, uint32_t vcpus, uint32_t cap)
{
    struct run_vcpu *list[RUN_WAKE_MAX];
    struct run_cpus cpu = {.bits = {0}};
    uint32_t given = 0;
    start(cpus);
    make_vm(0, 100, cap);
    struct guest *runs = add_on(0, 1, NULL, 0);
    pick(0);
    for (uint32_t i = 1; i < vcpus; i++) {
        struct guest *g = &guest[guest_count++];
        g->share = &share[0];
        memset(&g->vcpu.allowed, 0xff, sizeof(g->vcpu.allowed));
        run_vcpu_add(&all, &g->vcpu, g->share, i % cpus, i < vcpus - 2 ? VCPU_HALTED : VCPU_PAUSED);
    }
    now += 5 * MS;
    run_vcpu_looks(&runs->vcpu);
    for (uint32_t i = 0; i < vcpus; i++)
        list[i] = &guest[i].vcpu;
    run_queue_wake_all(list, vcpus, now, &cpu);
    for (uint32_t i = 0; i < vcpus; i++) {
        assert_true(guest[i].vcpu.woken);
        assert_int_equal(guest[i].vcpu.state, i == 0          ? VCPU_RUNNING
                                              : i < vcpus - 2 ? VCPU_READY
                                                              : VCPU_PAUSED);
        list[i] = &guest[i].vcpu;
    }
    assert_int_equal(all.waiting, vcpus - 3);
    assert_int_equal(cpu.bits[0] & 1, 1); /* it runs one of them, which is to look */
    for (uint32_t i = 1; i < cpus; i++) {
        given += queue[i].waiting != NULL;
        assert_int_equal(cpu.bits[i / 64] >> i % 64 & 1, queue[i].waiting != NULL);
    }
    assert_int_equal(given, vcpus - 3 < cpus - 1 ? vcpus - 3 : cpus - 1);
    if (queue[0].offered != 0)
        assert_true(queue[0].turn_end <= now + all.short_turn);
    const struct run_cpus before = cpu;
    run_queue_wake_all(list, vcpus, now, &cpu); /* they have not looked since */
    assert_memory_equal(&cpu, &before, sizeof(cpu));
    assert_int_equal(all.waiting, vcpus - 3);
}

static void woken_at_once(void **state)
{
    (void)state;
    for (uint32_t cap = 0; cap < 2; cap++) {
        wake_many(1, 64, cap * 1000);
        wake_many(1, 4, cap * 1000);
        wake_many(2, 64, cap * 1000);
        wake_many(5, 64, cap * 1000);
        wake_many(5, 6, cap * 1000);
        wake_many(64, 20, cap * 1000);
        wake_many(100, 64, cap * 1000);
    }
}

/* One that has just had its turn, and wakes again, does not preempt, but has its next one. */
static void woken_waits_for_a_turn(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    struct guest *g = add(0, NULL, 0);
    pick(0);
    now += MS;
    assert_true(run_queue_block(&queue[0], VCPU_HALTED, now));
    run_vcpu_unload(&g->vcpu);
    g = add(1, NULL, 0);
    pick(0);
    assert_true(run_queue_next_alarm(&queue[0]) == RUN_NEVER);
    assert_int_equal(run_queue_wake(&guest[0].vcpu, now), 0);
    assert_true(run_queue_next_alarm(&queue[0]) == now + 2 * MS);
}

/* A CPU sleeps with its vCPU, and others come: on its own queue, from another one, and a wake of
 * the sleeper itself. What it has slept is not its VM's to pay. */
static void sleeps_in_place(void **state)
{
    (void)state;
    uint32_t cpu;
    start(2);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    struct guest *a = add_on(0, 1, NULL, 0), *b = add_on(1, 1, NULL, 0), *c;
    assert_ptr_equal(run_queue_next(&queue[0], now, false, &cpu), &a->vcpu);
    enter(&a->vcpu);
    assert_false(run_queue_sleep(&queue[0], now)); /* b waits */
    assert_true(run_queue_turn_is_over(&queue[0], now));
    assert_true(run_queue_block(&queue[0], VCPU_HALTED, now));
    assert_ptr_equal(run_queue_next(&queue[0], now, false, &cpu), &b->vcpu);
    leave(&a->vcpu);
    enter(&b->vcpu);

    const uint64_t before = share[1].time;
    assert_true(run_queue_sleep(&queue[0], now));
    now += 3 * MS;
    assert_int_equal(run_queue_wake(&b->vcpu, now), 0); /* the sleeper's own */
    run_queue_awake(&queue[0], now);
    run_vcpu_looks(&b->vcpu);
    assert_int_equal(share[1].time, before);
    assert_false(run_queue_turn_is_over(&queue[0], now));

    assert_true(run_queue_sleep(&queue[0], now));
    now += 3 * MS;
    assert_int_equal(run_queue_wake(&a->vcpu, now), 0); /* comes beside the sleeper */
    run_queue_awake(&queue[0], now);
    assert_int_equal(share[1].time, before);
    assert_true(run_queue_turn_is_over(&queue[0], now));
    assert_true(run_queue_block(&queue[0], VCPU_HALTED, now));
    assert_ptr_equal(run_queue_next(&queue[0], now, false, &cpu), &a->vcpu);
    leave(&b->vcpu);
    enter(&a->vcpu);

    assert_true(run_queue_sleep(&queue[0], now)); /* from a queue whose CPU is busy */
    c = add_on(1, 2, NULL, 0);
    assert_ptr_equal(run_queue_next(&queue[1], now, false, &cpu), &c->vcpu);
    enter(&c->vcpu);
    struct guest *d = add_on(1, 3, NULL, 0);
    assert_true(d->vcpu.home == &queue[0] || d->vcpu.home == &queue[1]);
    assert_true(interrupted[0]);
    run_queue_awake(&queue[0], now);
    assert_true(run_queue_block(&queue[0], VCPU_HALTED, now));
    assert_ptr_equal(run_queue_next(&queue[0], now, false, &cpu), &d->vcpu);
}

static void paused_is_not_woken(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    struct guest *g = add(0, NULL, 0);
    run_until(now + MS);
    assert_true(run_queue_block(&queue[0], VCPU_PAUSED, now));
    run_vcpu_unload(&g->vcpu);
    pick(0);
    assert_null(queue[0].running);
    assert_int_equal(run_queue_wake(&g->vcpu, now), RUN_NO_CPU);
    pick(0);
    assert_null(queue[0].running);
    assert_int_equal(run_queue_resume(&g->vcpu, now), 0);
    assert_int_equal(run_queue_resume(&g->vcpu, now), RUN_NO_CPU);
    pick(0);
    assert_ptr_equal(queue[0].running, &g->vcpu);
}

static unsigned fired[4], order[8], fire_count;
static struct run_alarm alarm_[4];

static uint64_t note_alarm(void *dev, uint64_t at)
{
    const unsigned i = (unsigned)((struct run_alarm *)dev - alarm_);
    (void)at;
    assert_true(alarm_[i].firing);
    fired[i]++;
    order[fire_count++ % 8] = i;
    return i == 3 ? now - 1 : RUN_NEVER; /* in the past: for the next time */
}

/* As another CPU does right behind the look at the devices. */
static uint64_t arm_anew(void *dev, uint64_t at)
{
    run_alarm_arm(dev, at + 7);
    return at + 100;
}

static void what_fire_returns_is_older_than_what_has_been_armed(void **state)
{
    (void)state;
    start(1);
    make_vm(0, 100, 0);
    struct guest *g = add_on(0, 1, NULL, 0);
    struct run_alarm alarm = {.fire = arm_anew, .dev = &alarm};
    pick(0);
    run_alarm_add(&g->vcpu, &alarm);
    run_alarm_arm(&alarm, now + 1);
    now += 1;
    run_queue_fire(&queue[0], now);
    assert_true(run_queue_next_alarm(&queue[0]) == now + 7);
    run_alarm_arm(&alarm, RUN_NEVER);
}

static void alarms_fire_in_order(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 100, 0);
    struct guest *g = add_on(0, 1, NULL, 0);
    struct run_queue *q = &queue[0];
    memset(fired, 0, sizeof(fired));
    fire_count = 0;
    pick(0);
    for (unsigned i = 0; i < 4; i++) {
        alarm_[i] = (struct run_alarm){.fire = note_alarm, .dev = &alarm_[i]};
        run_alarm_add(&g->vcpu, &alarm_[i]);
    }
    assert_true(run_queue_next_alarm(q) == RUN_NEVER);
    assert_int_equal(run_alarm_arm(&alarm_[0], now + 300), 0);
    assert_int_equal(run_alarm_arm(&alarm_[1], now + 500), RUN_NO_CPU);
    assert_int_equal(run_alarm_arm(&alarm_[2], now + 100), 0);
    assert_true(run_queue_next_alarm(q) == now + 100);
    assert_int_equal(run_alarm_arm(&alarm_[2], now + 400), RUN_NO_CPU);
    assert_true(run_queue_next_alarm(q) == now + 300);
    now += 400;
    run_queue_fire(q, now);
    assert_int_equal(fire_count, 2);
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 2);
    assert_int_equal(run_alarm_arm(&alarm_[1], RUN_NEVER), RUN_NO_CPU);
    assert_true(run_queue_next_alarm(q) == RUN_NEVER);
    run_alarm_arm(&alarm_[3], now - 5);
    run_queue_fire(q, now);
    assert_int_equal(fired[3], 1);
    assert_true(run_queue_next_alarm(q) <= now + 1);
    now += 1;
    run_queue_fire(q, now);
    assert_int_equal(fired[3], 2);
    run_vcpu_remove(&(add_on(0, 1, NULL, 0))->vcpu, now);
    assert_true(run_queue_block(q, VCPU_STOPPED, now));
    run_vcpu_unload(&g->vcpu);
    run_vcpu_remove(&g->vcpu, now);
    assert_null(q->alarms);
    assert_true(run_queue_next_alarm(q) == RUN_NEVER);
}

static bool looked_for_work;

static uint64_t look_for_work(void *dev, uint64_t at)
{
    (void)at;
    (void)dev;
    looked_for_work = true;
    pick(1);
    assert_null(queue[1].running);
    return RUN_NEVER;
}

static void alarms_move_with_the_vcpu(void **state)
{
    (void)state;
    start(2);
    make_vm(0, 100, 0);
    make_vm(1, 100, 0);
    struct guest *other = add_on(1, 1, NULL, 0);
    pick(0);
    struct guest *g = add_on(0, 3, NULL, 0);
    if (g->vcpu.home != &queue[0]) { /* begins where the other one runs */
        run_vcpu_remove(&g->vcpu, now);
        g->vcpu = (struct run_vcpu){.allowed = g->vcpu.allowed};
        run_vcpu_add(&all, &g->vcpu, &share[0], 0, VCPU_HALTED);
        run_queue_wake(&g->vcpu, now);
    }
    assert_ptr_equal(g->vcpu.home, &queue[0]);
    struct run_alarm devices = {.fire = look_for_work}, timer = {.fire = look_for_work};
    run_alarm_add(&g->vcpu, &devices);
    run_alarm_add(&g->vcpu, &timer);
    run_alarm_arm(&devices, now + 10);
    run_alarm_arm(&timer, now + 1000);
    now += 10;
    const uint32_t taker = run_queue_fire(&queue[0], now);
    assert_true(
        looked_for_work); /* in vain, while the alarm was fired; then it is given the vCPU */
    assert_int_equal(taker, 1);
    assert_true(queue[0].next_alarm == RUN_NEVER);
    pick(1);
    assert_ptr_equal(queue[1].running, &g->vcpu);
    assert_true(run_queue_next_alarm(&queue[1]) == now + 990);
    assert_int_equal(run_alarm_arm(&devices, now + 500), 1);
    assert_int_equal(run_alarm_arm(&timer, now + 5), 1);
    assert_ptr_equal(queue[0].running, &other->vcpu);
}

/* --- threads: two host CPUs, which sleep until they are interrupted, and one that wakes --- */

#define ROUNDS 10000

static struct {
    struct run_vcpu vcpu[3];
    struct run_alarm alarm[3];
    struct run_share share;
    uint32_t requests[3]; /* that a vCPU has to take */
    bool interrupted[2], stop;
    uint64_t clock;
} race;

static uint64_t race_now(void)
{
    return __atomic_fetch_add(&race.clock, 100, __ATOMIC_RELAXED);
}

static void race_interrupt(uint32_t cpu)
{
    if (cpu != RUN_NO_CPU)
        __atomic_store_n(&race.interrupted[cpu], true, __ATOMIC_SEQ_CST);
}

static uint64_t race_fire(void *dev, uint64_t at)
{
    struct run_vcpu *v = dev;
    __atomic_store_n(&race.requests[v - race.vcpu], 1, __ATOMIC_SEQ_CST);
    race_interrupt(run_queue_wake(v, at));
    return RUN_NEVER;
}

static bool race_stops(void)
{
    return __atomic_load_n(&race.stop, __ATOMIC_ACQUIRE);
}

static void race_sleep(struct run_queue *q)
{
    while (!__atomic_exchange_n(&race.interrupted[q->index], false, __ATOMIC_SEQ_CST) &&
           race_now() < run_queue_next_alarm(q) && !race_stops())
        sched_yield();
}

static void *race_cpu(void *arg)
{
    struct run_queue *q = arg;
    struct run_vcpu *last = NULL;
    while (!race_stops()) {
        uint32_t other;
        race_interrupt(run_queue_fire(q, race_now()));
        struct run_vcpu *v = run_queue_next(q, race_now(), false, &other);
        race_interrupt(other);
        if (v == NULL) {
            race_sleep(q);
            continue;
        }
        if (last != NULL && v != last)
            run_vcpu_unload(last);
        if (v != last)
            run_vcpu_load(v);
        last = v;
        if (race_now() % 300 == 0) /* it runs on, and may be taken by the other CPU next time */
            continue;
        do {
            run_vcpu_looks(v);
            __atomic_store_n(&race.requests[v - race.vcpu], 0, __ATOMIC_SEQ_CST);
            if (race_now() % 400 == 0)
                sched_yield();
        } while (!run_queue_block(q, VCPU_HALTED, race_now()));
    }
    return NULL;
}

static void race_wake_all(void)
{
    struct run_vcpu *list[3] = {&race.vcpu[0], &race.vcpu[1], &race.vcpu[2]};
    struct run_cpus cpu = {.bits = {0}};
    for (unsigned i = 0; i < 3; i++)
        __atomic_store_n(&race.requests[i], 1, __ATOMIC_SEQ_CST);
    run_queue_wake_all(list, 3, race_now(), &cpu);
    for (uint32_t i = 0; i < 2; i++)
        race_interrupt((cpu.bits[0] >> i & 1) != 0 ? i : RUN_NO_CPU);
}

static void wakes_are_not_lost(void **state)
{
    (void)state;
    pthread_t cpu[2];
    start(2);
    memset(&race, 0, sizeof(race));
    run_share_init(&race.share, 100, 0, all.turn, all.period, 0);
    for (unsigned i = 0; i < 3; i++) {
        race.vcpu[i].allowed.bits[0] = 3;
        run_vcpu_add(&all, &race.vcpu[i], &race.share, i % 2, VCPU_HALTED);
        race.alarm[i] = (struct run_alarm){.fire = race_fire, .dev = &race.vcpu[i]};
        run_alarm_add(&race.vcpu[i], &race.alarm[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&cpu[i], NULL, race_cpu, &queue[i]);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned i = round % 3;
        __atomic_store_n(&race.requests[i], 1, __ATOMIC_SEQ_CST);
        if (round % 4 == 0)
            race_interrupt(run_queue_wake(&race.vcpu[i], race_now()));
        else if (round % 2 == 0)
            race_wake_all();
        else
            race_interrupt(run_alarm_arm(&race.alarm[i], race_now() + round % 7 * 100));
        const time_t begin = time(NULL);
        while (round % 5 != 0 && __atomic_load_n(&race.requests[i], __ATOMIC_SEQ_CST) != 0) {
            sched_yield();
            if (time(NULL) > begin + 60)
                fail_msg("round %u: the wake was lost", round);
        }
    }
    __atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(cpu[i], NULL);
    assert_true(queue[0].taken + queue[1].taken > 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_on_one_cpu),
        cmocka_unit_test(seven_on_two_cpus),
        cmocka_unit_test(seven_weights_on_two_cpus),
        cmocka_unit_test(heavy_vm_has_its_cpu),
        cmocka_unit_test(late_third_on_two_cpus),
        cmocka_unit_test(mover_does_not_hoard),
        cmocka_unit_test(slow_cpu_takes_its_part),
        cmocka_unit_test(many_vcpus_get_no_more),
        cmocka_unit_test(a_chain_gets_no_more),
        cmocka_unit_test(a_sleeper_runs_soon),
        cmocka_unit_test(sleep_is_not_hoarded),
        cmocka_unit_test(caps_hold),
        cmocka_unit_test(affinity_is_kept),
        cmocka_unit_test(markets_meet),
        cmocka_unit_test(siblings_share_their_cpus),
        cmocka_unit_test(siblings_are_levelled),
        cmocka_unit_test(siblings_take_turns),
        cmocka_unit_test(yields_starve_nobody),
        cmocka_unit_test(ping_pong),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(many_cpus),
        cmocka_unit_test(woken_takes_idle_cpu),
        cmocka_unit_test(churn),
        cmocka_unit_test(wake_meets_block),
        cmocka_unit_test(wake_chooses_a_cpu),
        cmocka_unit_test(woken_at_once),
        cmocka_unit_test(woken_waits_for_a_turn),
        cmocka_unit_test(sleeps_in_place),
        cmocka_unit_test(paused_is_not_woken),
        cmocka_unit_test(alarms_fire_in_order),
        cmocka_unit_test(what_fire_returns_is_older_than_what_has_been_armed),
        cmocka_unit_test(alarms_move_with_the_vcpu),
        cmocka_unit_test(wakes_are_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
