/* SPDX-License-Identifier: BSD-2-Clause */
/* CPU time: a run queue per host CPU over the vCPUs of any VMs, and the timed events of that CPU.
 * Pure: the caller tells the time (host TSC ticks), enters the guest and sends the interrupts. */
#pragma once

#include "guest/vm/run_share.h"

#define RUN_CPU_MAX 256
#define RUN_NO_CPU  UINT32_MAX /* nobody has to be interrupted */

/*
 * The run state of a vCPU. The queue's lock is held at each change; "its CPU" is the host CPU of
 * the queue where it is at home.
 *
 *                                run_queue_next(): its CPU
 *                 .-----------------------------------------------.
 *                 |                                               v
 *   add      +---------+another is next, or put_back: its CPU  +---------+
 *    |       |  READY  | <------------------------------------- | RUNNING |
 *    v       +---------+                                        +---------+
 *  the blocked   ^   ^  run_queue_resume(): any CPU              |      |
 *  state that    |   '---------------- PAUSED <------------------+      | run_queue_block(STOPPED):
 *  it is given   | run_queue_wake(): any CPU                     |      | its CPU
 *    |           '-- WAITS_FOR_SIPI, HALTED, WAITS_FOR_IO <------'      v
 *    '------------->                        run_queue_block():      STOPPED <-- run_vcpu_remove():
 *                                           its CPU                             any CPU, from any
 *                                                                               state but RUNNING
 *
 * The blocked states differ for statistics, and in that PAUSED is not woken by events. A wake may
 * be vain: its CPU then looks at what the guest itself waits for (HLT, SIPI: the vCPU's own state,
 * which is not kept here) and blocks it again.
 */
enum vcpu_state {
    VCPU_WAITS_FOR_SIPI, /* after INIT, and from the start on but for the boot processor */
    VCPU_HALTED,         /* executed HLT */
    VCPU_WAITS_FOR_IO,   /* wrote to a device that cannot take more yet */
    VCPU_PAUSED,         /* by a monitor */
    VCPU_STOPPED,        /* its VM has ended; never runs again */
    VCPU_READY,          /* waits in a queue */
    VCPU_RUNNING,        /* has its CPU */
};

struct run_cpus { /* a set of host CPUs */
    uint64_t bits[RUN_CPU_MAX / 64];
};

/* A timed event. It lives where its vCPU is at home and moves with it: that CPU fires it. */
struct run_alarm {
    /* May take the VM's lock and wake vCPUs. Returns when it is to fire again; RUN_NEVER: it has
     * armed it by itself, or that is not needed. */
    uint64_t (*fire)(void *dev, uint64_t now);
    void *dev;
    uint64_t deadline; /* RUN_NEVER: not armed */
    bool firing;       /* its CPU is in fire(), or on the way: neither moved nor freed */
    struct run_vcpu *vcpu;
    struct run_alarm *of_vcpu; /* the next one of the same vCPU */
    struct run_alarm *next;    /* in the queue, by deadline */
};

/* Embedded in a vCPU. The home queue's lock is over everything but woken and allowed. */
struct run_vcpu {
    struct run_share *share;
    struct run_queue *home;  /* changes with both queues' locks held; read by lock_home() */
    struct run_cpus allowed; /* where it may run; does not change while it is added */
    enum vcpu_state state;   /* others may read it, as a hint */
    bool woken;              /* somebody wants it to look: run_vcpu_looks() */
    bool on_cpu;             /* its registers are in a CPU: run_vcpu_load(), run_vcpu_unload() */
    uint64_t offset;         /* its vruntime is its VM's virtual time plus this */
    uint64_t since;          /* when it began to wait */
    uint64_t ran;            /* ticks in all */
    struct run_alarm *alarms;
    struct run_vcpu *next; /* in the queue */
};

/* One host CPU. Its CPU alone calls next, put_back, block and fire, with interrupts off. Nothing
 * here is called by an interrupt handler. */
struct __attribute__((aligned(64))) run_queue {
    struct spinlock lock; /* over all of it; with it held, another queue's is only tried */
    uint32_t index;       /* of its CPU */
    struct run_queues *all;
    struct run_vcpu *running;
    struct run_vcpu *loaded; /* the last that was chosen: it stays, as the CPU may still have it */
    struct run_vcpu *waiting, **waiting_end;   /* all that are READY, the oldest first */
    uint32_t ready;                            /* those of them that their VM's cap lets run */
    struct run_vcpu *least_vcpu, *second_vcpu; /* the least vruntimes of these, or NULL */
    struct run_vcpu *oldest_vcpu;              /* valid in a pick alone, like the second */
    uint64_t release; /* when a cap lets one of the others run, or RUN_NEVER */
    uint64_t charged; /* until when the running one's time has been accounted */
    uint64_t turn_start, turn_end;
    struct run_alarm *alarms;
    uint64_t next_alarm, fire_until;
    uint32_t cursor;               /* the queue that it looks at next */
    uint64_t *idle_word, idle_bit; /* its place in run_queues.idle */
    bool idle;                     /* that has been set */
    bool asleep;                   /* its CPU sleeps with the running vCPU: run_queue_sleep() */
    bool was_late;                 /* the last turn went to one because it had waited for long */
    uint64_t picks, taken;         /* counters: turns, and vCPUs that came from other queues */
    uint64_t joins, joins_seen;    /* vCPUs that have become ready here; sched_look()'s */

    /* What other CPUs read without the lock, as a hint, before they try to take something: how many
     * wait that their cap lets run, as counted in run_queues.waiting; their least vruntime; the
     * same without the debt that its VM may have. */
    __attribute__((aligned(64))) uint32_t offered;
    uint64_t least, least_rightly;
};

struct run_queues {
    struct run_queue *queue; /* count elements */
    uint32_t count;
    uint32_t waiting;     /* in all queues; atomic */
    uint32_t vm_count;    /* that have vCPUs; atomic */
    struct run_cpus idle; /* CPUs that sleep for want of anything to run; atomic */
    uint64_t turn, short_turn, patience, period; /* ticks */
    uint64_t grain; /* who is so much behind is taken from another queue; virtual */
};

/* The queues, `count` of them, are the caller's memory. hz: host TSC ticks a second. */
void run_queues_init(struct run_queues *all, struct run_queue *queue, uint32_t count, uint64_t hz);

/* Adds a zeroed vCPU whose `allowed` is set, with `cpu` in it, in a blocked state. */
void run_vcpu_add(struct run_queues *all, struct run_vcpu *vcpu, struct run_share *share,
                  uint32_t cpu, enum vcpu_state state);

/* Takes it out of its queue, with its alarms, and makes it STOPPED. It is neither RUNNING nor
 * loaded: its CPU has blocked it as STOPPED before. From any CPU, but not from an alarm's fire(),
 * nor with a lock that fire() takes: waits for the end of that. Nobody else may arm its alarms any
 * more; a late wake must have returned before the memory goes. */
void run_vcpu_remove(struct run_vcpu *vcpu, uint64_t now);

/*
 * The next turn on this CPU: puts the running vCPU back, if there is one, and chooses; NULL: there
 * is nothing to run, the CPU may sleep until run_queue_next_alarm() or an interrupt, and asks again
 * then. yields: the running one spins; another one runs if any is ready here, first one of its VM,
 * which gets the rest of the turn, as the holder of the lock may be among them. *interrupt: a CPU
 * that the caller has to interrupt, or RUN_NO_CPU.
 *
 * If another vCPU than the last is chosen, the caller unloads that one first (run_vcpu_unload())
 * and then loads the chosen one (run_vcpu_load()), in this order; if it blocks the chosen one
 * without loading it, it unloads the last one all the same, which may be another CPU's by then.
 * While none is chosen the last may stay loaded.
 */
struct run_vcpu *run_queue_next(struct run_queue *queue, uint64_t now, bool yields,
                                uint32_t *interrupt);

/*
 * Around the use of a CPU's registers by a vCPU. CPU A has picked another vCPU, and saves the
 * registers of the one before, which waits in the queue already; then it calls run_vcpu_unload().
 * CPU B has taken that one out of the queue meanwhile, and waits in run_vcpu_load() until then.
 * Without this B would run it with old registers. None waits in a circle, as each unloads first.
 */
static inline void run_vcpu_unload(struct run_vcpu *vcpu)
{
    __atomic_store_n(&vcpu->on_cpu, false, __ATOMIC_RELEASE);
}

static inline void run_vcpu_load(struct run_vcpu *vcpu)
{
    while (__atomic_load_n(&vcpu->on_cpu, __ATOMIC_ACQUIRE))
        cpu_pause();
    __atomic_store_n(&vcpu->on_cpu, true, __ATOMIC_RELAXED);
}

/* Whether the running vCPU's turn is over; the CPU then picks. Looked at after each interrupt of
 * the guest by the host's timer or another CPU. */
static inline bool run_queue_turn_is_over(const struct run_queue *queue, uint64_t now)
{
    return now >= __atomic_load_n(&queue->turn_end, __ATOMIC_RELAXED);
}

/*
 * The running vCPU's CPU is about to look at what there is to do for it. CPU A, which asks for
 * something, writes its request and then sets woken (run_queue_wake()); CPU B clears woken here and
 * then looks at the requests. Without this order B could miss the request, see woken clear, and
 * block a vCPU for which there is something to do.
 */
static inline void run_vcpu_looks(struct run_vcpu *vcpu)
{
    (void)__atomic_exchange_n(&vcpu->woken, false, __ATOMIC_SEQ_CST);
}

/* The running vCPU has nothing to do, and nobody else wants its CPU: that sleeps, and keeps it, as
 * it will most likely go on here. False: somebody waits, the vCPU is to be blocked. Behind the
 * sleep, which is not charged, run_queue_awake(). */
bool run_queue_sleep(struct run_queue *queue, uint64_t now);
void run_queue_awake(struct run_queue *queue, uint64_t now);

/* The turn that has just begun ends at `end`, if it would not sooner: somebody else waits who is
 * not in the queue. */
void run_queue_limit_turn(struct run_queue *queue, uint64_t end);

/* Takes the CPU off the running vCPU, which is ready then and unloaded by the caller; nobody has
 * the CPU until the next pick. */
void run_queue_put_back(struct run_queue *queue, uint64_t now);

/* Blocks the running vCPU: state is one of the blocked ones or VCPU_STOPPED. false: it was woken
 * since run_vcpu_looks(), still runs, and its CPU is to look again; never for VCPU_STOPPED. */
bool run_queue_block(struct run_queue *queue, enum vcpu_state state, uint64_t now);

/*
 * There is something to do for the vCPU. From any CPU, after the request has been written; the
 * VM's lock may be held. A blocked one becomes ready (not one that is PAUSED or STOPPED); of one
 * that is ready or runs, its CPU will look. Returns the CPU to interrupt, or RUN_NO_CPU. If
 * it is the caller's own, that looks by itself before it enters a guest or sleeps.
 */
uint32_t run_queue_wake(struct run_vcpu *vcpu, uint64_t now);

/* The same for several vCPUs of one VM, up to RUN_WAKE_MAX, for less than one by one. The list is
 * used up. The CPUs to interrupt are added to *interrupt. */
#define RUN_WAKE_MAX 64
void run_queue_wake_all(struct run_vcpu **list, uint32_t count, uint64_t now,
                        struct run_cpus *interrupt);

/* As run_queue_wake() for a PAUSED one, which becomes ready; from a monitor. Nothing in other
 * states. */
uint32_t run_queue_resume(struct run_vcpu *vcpu, uint64_t now);

/* Gives a vCPU an alarm, whose fire and dev are set, not armed. The devices' timers of a VM are one
 * of vCPU 0. Before others use the alarm. */
void run_alarm_add(struct run_vcpu *vcpu, struct run_alarm *alarm);

/* Arms it, again if it is, for an absolute time; RUN_NEVER disarms. From any CPU, the VM's lock may
 * be held. fire() may be on its way still: it looks at its own state under its own lock. Returns
 * the CPU to interrupt, whose next alarm has come nearer, or RUN_NO_CPU. */
uint32_t run_alarm_arm(struct run_alarm *alarm, uint64_t deadline);

/* Fires what is due, in order, on its CPU, with no lock held. What fire() wants in the past waits
 * for the next call. Returns a CPU to interrupt, which takes a vCPU that has woken, or RUN_NO_CPU.
 */
uint32_t run_queue_fire(struct run_queue *queue, uint64_t now);

/* When the CPU has to leave the guest or sleep: for an alarm (run_queue_fire()), the end of the
 * turn, or one that its cap lets run again (run_queue_next()). On its CPU, after each pick and each
 * interrupt from another CPU. */
static inline uint64_t run_queue_next_alarm(const struct run_queue *queue)
{
    const uint64_t alarm = __atomic_load_n(&queue->next_alarm, __ATOMIC_RELAXED);
    const uint64_t turn = __atomic_load_n(&queue->turn_end, __ATOMIC_RELAXED);
    return run_min(alarm, turn);
}
