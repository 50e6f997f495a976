/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop of each host CPU. */
#include "guest/vm/sched.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "mm/guestspace.h"
#include "mm/page_alloc.h"

static struct {
    struct run_queues queues;
    bool stop;
} sched;

enum status sched_init(uint32_t cpu_count, uint64_t tsc_hz)
{
    hpa_t memory;
    const uint64_t bytes = cpu_count * sizeof(struct run_queue);
    const enum status s = page_alloc((bytes + PAGE_SIZE - 1) / PAGE_SIZE, 1, &memory);
    sched.stop = false;
    if (s == OK)
        run_queues_init(&sched.queues, hpa_to_ptr(memory), cpu_count, tsc_hz);
    return s;
}

struct run_queues *sched_queues(void)
{
    return &sched.queues;
}

static struct run_queue *own_queue(void)
{
    return &sched.queues.queue[cpu_self()->index];
}

void sched_interrupt(uint32_t cpu)
{
    const struct cpu *self = cpu_self();
    if (cpu == RUN_NO_CPU)
        return;
    if (cpu != self->index)
        smp_wake(cpu_by_index(cpu));
    else if (self->vcpu != NULL)
        ((struct vcpu *)self->vcpu)->attention = true;
}

void sched_stop(void)
{
    __atomic_store_n(&sched.stop, true, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < cpu_count(); i++)
        if (i != cpu_self()->index)
            smp_wake(cpu_by_index(i));
}

void sched_fire_alarms(struct run_queue *queue, uint64_t now)
{
    sched_interrupt(run_queue_fire(queue, now));
}

bool sched_look_at_queue(struct vcpu *vcpu)
{
    struct run_queue *queue = own_queue();
    if (run_queue_turn_is_over(queue, cpu_rdtsc()))
        return true;
    const uint64_t next = run_queue_next_alarm(queue);
    if (next != vcpu->host_timer.deadline)
        timers_arm(&vcpu->timers, &vcpu->host_timer, next);
    return false;
}

/* Nothing but an NMI, INIT or SIPI of another vCPU can wake a vCPU, and that is so for each. They
 * are looked at one by one, which shows them at one time if no request has come in between. */
static bool all_stuck(const struct vm *vm)
{
    const uint32_t before = __atomic_load_n(&vm->request_count, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *vcpu = vm->vcpu[i];
        const bool open = __atomic_load_n(&vcpu->halted_open, __ATOMIC_SEQ_CST) &&
                          vcpu->activity != ACTIVITY_WAIT_FOR_SIPI;
        if (open || vcpu_is_wanted(vcpu) || vlapic_device_may_wake(&vcpu->apic))
            return false;
    }
    return before == __atomic_load_n(&vm->request_count, __ATOMIC_SEQ_CST);
}

/* Whether nothing can wake it; end_if_stuck() looks whether another vCPU could. */
static inline bool may_be_stuck(const struct vcpu *vcpu)
{
    return (!vcpu->halted_open || vcpu->activity == ACTIVITY_WAIT_FOR_SIPI) &&
           !vm_has_ended(vcpu->vm);
}

/* Apart from the usual way to sleep, which is short. */
static void __attribute__((noinline)) end_if_stuck(struct vcpu *vcpu)
{
    if (!all_stuck(vcpu->vm))
        return;
    vm_end_request(vcpu->vm, VM_CRASH, 0,
                   vcpu->activity == ACTIVITY_FROZEN
                       ? "an x87 error with CR0.NE = 0 waits for IRQ 13 with interrupts disabled: "
                         "nothing can wake it"
                       : "halted with interrupts disabled: nothing can wake it");
}

uint64_t sched_sleep(struct vcpu *vcpu, bool *sleeps)
{
    struct run_queue *queue = own_queue();
    *sleeps = !sched_turn_is_over(vcpu);
    if (may_be_stuck(vcpu))
        end_if_stuck(vcpu);
    const uint64_t before = cpu_rdtsc();
    *sleeps = *sleeps && run_queue_sleep(queue, before);
    if (!*sleeps)
        return 0;
    if (!vcpu->attention)
        cpu_idle_until(vcpu->timers.next);
    const uint64_t now = cpu_rdtsc();
    run_queue_awake(queue, now);
    vcpu_run_timer(vcpu, now);
    sched_run_alarms(vcpu, now);
    vcpu->tsc_waited[vcpu->activity] += now - before;
    return now - before;
}

/* The run state that goes with what a vCPU waits for. */
static enum vcpu_state state_of(const struct vcpu *vcpu)
{
    switch ((enum vcpu_activity)vcpu->activity) {
    case ACTIVITY_WAIT_FOR_IO: return VCPU_WAITS_FOR_IO;
    case ACTIVITY_WAIT_FOR_SIPI: return VCPU_WAITS_FOR_SIPI;
    default: return VCPU_HALTED;
    }
}

/*
 * CPU A posts an interrupt: it sets a bit in struct posted and then, as the run state says that the
 * vCPU runs here, sends a notification only (vcpu_posted()). This CPU B writes the run state and
 * then looks at struct posted. Without that look, B could have collected before A's bit came, and A
 * could have read the state before B wrote it: nobody would wake the vCPU.
 */
bool sched_block(struct vcpu *vcpu)
{
    const uint64_t now = cpu_rdtsc();
    if (may_be_stuck(vcpu))
        end_if_stuck(vcpu);
    vcpu->tsc_blocked = now;
    if (!run_queue_block(own_queue(), state_of(vcpu), now)) {
        vcpu->tsc_blocked = 0;
        return false;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vcpu->apic.posted->outstanding != 0)
        vcpu_kick(vcpu);
    return true;
}

/* For the accounts: a switch is from the last exit of one vCPU to the entry of another. Sleep that
 * came in between is none of its time. */
static void note_switch(struct vcpu *vcpu, bool slept)
{
    const struct vcpu *before = cpu_self()->vcpu;
    const bool direct = before != NULL && before != vcpu && !slept;
    vcpu->began = !direct                  ? STATS_NO_SWITCH
                  : before->vm == vcpu->vm ? STATS_SWITCH_VCPU
                                           : STATS_SWITCH_VM;
    vcpu->tsc_exit = direct ? before->tsc_exit : cpu_rdtsc();
}

/* Whether a vCPU that waits has been woken for something. For a dump it has to be
 * loaded, though it goes on waiting then. */
static bool has_work(struct vcpu *vcpu)
{
    return vcpu_is_ready(vcpu) || vm_has_ended(vcpu->vm) || vcpu_dump_is_wanted(vcpu);
}

/*
 * CPU A has chosen a vCPU, and blocks it without having loaded it. The one before, which is loaded
 * still, waits in the queue; CPU B may have taken it since, and waits in run_vcpu_load() until A
 * puts it away. Without this A could go to sleep with it.
 */
static void leave_to_others(const struct vcpu *chosen)
{
    if (cpu_self()->vcpu != chosen)
        vcpu_put_away();
}

/* Books how long a blocked vCPU has waited, on what for. From its wake on it has waited for a turn
 * of its CPU, which is no wait of the guest's. */
static void book_wait(struct vcpu *vcpu)
{
    if (vcpu->run.since > vcpu->tsc_blocked)
        vcpu->tsc_waited[vcpu->activity] += vcpu->run.since - vcpu->tsc_blocked;
    vcpu->tsc_blocked = 0;
}

/* A turn of a vCPU, which the queue has chosen. */
static void run_turn(struct vcpu *vcpu, bool slept)
{
    if (vcpu->tsc_blocked != 0)
        book_wait(vcpu);
    const bool shows_end = vm_end_is_crash(vcpu->vm->end) && vcpu->vm->end_vcpu == vcpu;
    if (vm_has_ended(vcpu->vm) && !shows_end) {
        vcpu_stop(vcpu);
        return;
    }
    if (vcpu->activity != ACTIVITY_ACTIVE) { /* woken: in vain? */
        run_vcpu_looks(&vcpu->run);
        if (!has_work(vcpu) && sched_block(vcpu)) {
            leave_to_others(vcpu);
            return;
        }
        vcpu->attention = true; /* vcpu_prepare() has it go on, or wait */
    }
    note_switch(vcpu, slept);
    vcpu_load(vcpu);
    timers_arm(&vcpu->timers, &vcpu->host_timer, run_queue_next_alarm(vcpu->run.home));
    vcpu->engine->run(vcpu);
    if (vm_has_ended(vcpu->vm) && vcpu->run.state == VCPU_RUNNING)
        vcpu_stop(vcpu);
}

/* Sleeps, with the last vCPU still loaded: it is the one that most likely runs next. */
static void idle(struct run_queue *queue)
{
    const struct vcpu *loaded = cpu_self()->vcpu;
    uint64_t deadline = run_queue_next_alarm(queue);
    if (loaded != NULL && loaded->timers.next < deadline)
        deadline = loaded->timers.next;
    cpu_idle_until(deadline);
}

/* What is due; then who runs next, or NULL. */
static struct run_vcpu *pick(struct run_queue *queue, bool yields)
{
    const uint64_t now = cpu_rdtsc();
    struct vcpu *loaded = cpu_self()->vcpu;
    uint32_t interrupt;
    if (loaded != NULL && loaded->run.state != VCPU_RUNNING)
        vcpu_run_timer(loaded, now);
    if (now >= __atomic_load_n(&queue->next_alarm, __ATOMIC_RELAXED))
        sched_fire_alarms(queue, now);
    struct run_vcpu *next = run_queue_next(queue, now, yields, &interrupt);
    sched_interrupt(interrupt);
    return next;
}

/* Turns until sched_stop(), or one that is lent (false: nobody wants it). Both are one loop, so
 * that what is in it is inlined there. */
static bool take_turns(struct run_queue *queue, bool lends)
{
    bool yields = false, slept = lends;
    while (!__atomic_load_n(&sched.stop, __ATOMIC_SEQ_CST)) {
        struct run_vcpu *next = pick(queue, yields);
        yields = false;
        if (next == NULL) {
            if (lends)
                return false;
            idle(queue);
            slept = true;
            continue;
        }
        struct vcpu *vcpu = vcpu_of_run(next);
        if (lends)
            run_queue_limit_turn(queue, cpu_rdtsc() + sched.queues.turn);
        run_turn(vcpu, slept);
        slept = false;
        if (next == queue->running) {
            yields = vcpu->yields;
            vcpu->yields = false;
            if (lends)
                run_queue_put_back(queue, cpu_rdtsc());
        }
        if (lends)
            return true;
    }
    return false;
}

bool sched_lend(void)
{
    struct cpu *cpu = cpu_self();
    if (cpu->lending != SCHED_MAY_LEND)
        return false;
    cpu->lending = SCHED_HAS_LENT;
    const hpa_t before = guestspace_enter(hpa(0));
    const bool lent = take_turns(own_queue(), true);
    cpu->lending = SCHED_MAY_LEND;
    own_queue()->joins_seen = own_queue()->joins;
    vcpu_put_away();
    (void)guestspace_enter(before);
    return lent;
}

void sched_look(void)
{
    struct cpu *cpu = cpu_self();
    if (cpu->lending != SCHED_MAY_LEND)
        return;
    struct run_queue *queue = own_queue();
    const uint64_t now = cpu_rdtsc();
    if (now >= __atomic_load_n(&queue->next_alarm, __ATOMIC_RELAXED)) {
        cpu->lending = SCHED_HAS_LENT; /* what fires may do long work by itself */
        sched_fire_alarms(queue, now);
        cpu->lending = SCHED_MAY_LEND;
    }
    if (__atomic_load_n(&queue->joins, __ATOMIC_RELAXED) != queue->joins_seen)
        (void)sched_lend();
}

void sched_run(void)
{
    (void)take_turns(own_queue(), false);
    vcpu_put_away();
}
