/* SPDX-License-Identifier: BSD-2-Clause */
/* CPU time: a run queue per host CPU over the vCPUs of any VMs, and the timed events of that CPU.
 * Pure: the caller tells the time (host TSC ticks), enters the guest and sends the interrupts. */
#pragma once

#include "arch/spinlock.h"

#define RUN_CPU_MAX    256
#define RUN_NO_CPU     UINT32_MAX /* nobody has to be interrupted */
#define RUN_NEVER      UINT64_MAX
#define RUN_WEIGHT_MAX 1000

/*
 * The run state of a vCPU. The queue's lock is held at each change; "its CPU" is the host CPU of
 * the queue where it is at home.
 *
 *                    run_queue_pick(), run_queue_yield(): its CPU
 *                 .-----------------------------------------------.
 *                 |                                               v
 *   add      +---------+   pick or yield took another: its CPU  +---------+
 *    |       |  READY  | <------------------------------------- | RUNNING |
 *    v       +---------+                                        +---------+
 *  the blocked   ^   ^  run_queue_resume(): any CPU              |      |
 *  state that    |   '---------------- PAUSED <------------------+      | run_queue_block(STOPPED):
 *  it is given   | run_queue_wake(): any CPU                     |      | its CPU
 *    |           '-- WAITS_FOR_SIPI, HALTED, HELD <--------------'      v
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
    VCPU_HELD,           /* wrote to a device that cannot take more yet */
    VCPU_PAUSED,         /* by a monitor */
    VCPU_STOPPED,        /* its VM has ended; never runs again */
    VCPU_READY,          /* waits in a queue */
    VCPU_RUNNING,        /* has its CPU */
};

struct run_cpus { /* a set of host CPUs */
    uint64_t bits[RUN_CPU_MAX / 64];
};

/*
 * CPU time of one VM. What its vCPUs run, on all CPUs together, moves its virtual time, the slower
 * the greater its weight. The VM with the least runs first, so each gets time by its weight.
 */
struct run_share {
    uint64_t time;        /* virtual; atomic. Compared as a difference, so it may wrap. */
    uint64_t inverse;     /* virtual ticks of one host tick, times 2^16 */
    uint64_t turn_cost;   /* virtual ticks of one turn */
    uint32_t vcpu_count;  /* atomic */
    uint32_t short_turns; /* its next so many turns are short ones; atomic, a hint */
    struct spinlock lock; /* over the rest, which is unused without a cap. Taken last. */
    int64_t left;         /* ticks that its vCPUs may run in this period */
    int64_t budget;       /* of a period; 0: no cap */
    uint64_t period, period_end;
};

/* A timed event. It lives where its vCPU is at home and moves with it: that CPU fires it. */
struct run_alarm {
    void (*fire)(void *dev, uint64_t now); /* may arm it again, take the VM's lock, wake vCPUs */
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
    uint8_t state;           /* enum vcpu_state; others may read it, as a hint */
    bool woken;              /* somebody wants it to look: run_vcpu_looks() */
    bool on_cpu;             /* its registers are in a CPU: run_vcpu_load(), run_vcpu_unload() */
    uint64_t offset;         /* its place in the queue is its VM's virtual time plus this */
    uint64_t since;          /* when it began to wait */
    uint64_t ran;            /* ticks in all */
    struct run_alarm *alarms;
    struct run_vcpu *next; /* in the queue */
};

struct run_list {
    struct run_vcpu *first, **end;
};

/* One host CPU. Its CPU alone calls pick, yield, block and fire. */
struct __attribute__((aligned(64))) run_queue {
    struct spinlock lock;
    uint32_t index; /* of its CPU */
    struct run_queues *all;
    struct run_vcpu *running;
    struct run_vcpu
        *loaded; /* the last that ran: its registers may be in the CPU, so none takes it */
    struct run_list waiting;   /* in the order in which they became ready */
    struct run_list throttled; /* ready, but their VM has run as much as its cap allows */
    uint64_t release;          /* when a period of theirs is over, or RUN_NEVER */
    uint64_t charged;          /* until when the running one's time has been accounted */
    uint64_t turn_start, turn_end;
    struct run_alarm *alarms;
    uint64_t next_alarm; /* the first deadline, or release */
    uint32_t length;     /* of waiting */
    uint32_t cursor;     /* the queue that it looks at next */
    bool was_patience;   /* the last turn went to one because it had waited long */
    bool look;           /* another CPU asks it to pick: something waits there */

    /* What other CPUs read without the lock, as a hint, before they try to take something. */
    uint32_t offered;       /* length, as counted in run_queues.waiting */
    uint64_t least;         /* least place of those that wait */
    uint64_t least_rightly; /* the same without the debt that its VM may have */
    uint64_t oldest;        /* since when the first waits */
    uint64_t picks, steals; /* counters */
};

struct run_queues {
    struct run_queue *queue; /* count elements */
    uint32_t count;
    uint32_t waiting;     /* in all queues; atomic */
    struct run_cpus idle; /* CPUs that sleep for want of anything to run; atomic */
    struct run_cpus lone; /* CPUs whose running vCPU has no end of turn, as nobody waits; atomic */
    uint64_t turn, short_turn, patience, period; /* ticks */
};

/* The queues, `count` of them, are the caller's memory. hz: host TSC ticks a second. */
void run_queues_init(struct run_queues *all, struct run_queue *queue, uint32_t count, uint64_t hz);

/* weight: 1 to RUN_WEIGHT_MAX. cap: percent of one CPU, 0: none. Before the VM's first vCPU. */
void run_share_init(const struct run_queues *all, struct run_share *share, uint32_t weight,
                    uint32_t cap, uint64_t now);

/* Adds a zeroed vCPU whose `allowed` is set, with `cpu` in it, in a blocked state. */
void run_vcpu_add(struct run_queues *all, struct run_vcpu *vcpu, struct run_share *share,
                  uint32_t cpu, enum vcpu_state state);

/* Takes it out of its queue, with its alarms, and makes it STOPPED. It is neither RUNNING nor
 * loaded: its CPU has blocked it as STOPPED before. From any CPU, but not from an alarm's fire(),
 * nor with a lock that fire() takes: waits for the end of that. Nobody else may arm its alarms any
 * more; a late wake must have returned before the memory goes. */
void run_vcpu_remove(struct run_vcpu *vcpu);

/*
 * The next turn on this CPU: puts the running vCPU back, if there is one, and chooses; NULL: there
 * is nothing to run, the CPU may sleep until run_queue_next_alarm() or an interrupt, and picks
 * again then. *interrupt: a CPU that the caller has to interrupt, or RUN_NO_CPU. If another vCPU
 * than the last is chosen, the caller unloads that one first (run_vcpu_unload()) and then loads the
 * chosen one (run_vcpu_load()), in this order. While there is none the last may stay loaded.
 */
struct run_vcpu *run_queue_pick(struct run_queue *queue, uint64_t now, uint32_t *interrupt);

/* The same for a running vCPU that spins: another one runs if any is ready here, first one of its
 * VM, which gets the rest of the turn: the holder of the lock may be among them. */
struct run_vcpu *run_queue_yield(struct run_queue *queue, uint64_t now, uint32_t *interrupt);

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
    return now >= __atomic_load_n(&queue->turn_end, __ATOMIC_RELAXED) ||
           __atomic_load_n(&queue->look, __ATOMIC_RELAXED);
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

/* Blocks the running vCPU: state is one of the blocked ones or VCPU_STOPPED. false: it was woken
 * since run_vcpu_looks(), still runs, and its CPU is to look again; never for VCPU_STOPPED. */
bool run_queue_block(struct run_queue *queue, enum vcpu_state state, uint64_t now);

/*
 * There is something to do for the vCPU. From any CPU, after the request has been written; the
 * VM's lock may be held. A blocked one becomes ready (not one that is PAUSED or STOPPED); of one
 * that is ready or runs, its CPU will look. Returns the CPU to interrupt (perhaps the caller's own,
 * which need not be), or RUN_NO_CPU.
 */
uint32_t run_queue_wake(struct run_vcpu *vcpu, uint64_t now);

/* The same for a PAUSED one, which becomes ready; from a monitor. Nothing in other states. */
uint32_t run_queue_resume(struct run_vcpu *vcpu, uint64_t now);

/* Gives a vCPU an alarm, whose fire and dev are set, not armed. The devices' timers of a VM are one
 * of vCPU 0. Before others use the alarm. */
void run_alarm_add(struct run_vcpu *vcpu, struct run_alarm *alarm);

/* Arms it, again if it is, for an absolute time; RUN_NEVER disarms. From any CPU, the VM's lock may
 * be held. fire() may be on its way still: it looks at its own state under its own lock. Returns
 * the CPU to interrupt, whose next alarm has come nearer, or RUN_NO_CPU. */
uint32_t run_alarm_arm(struct run_alarm *alarm, uint64_t deadline);

/* Fires what is due, in order, on its CPU, with no lock held. What fire() arms in the past waits
 * for the next call. */
void run_queue_fire(struct run_queue *queue, uint64_t now);

/* When the CPU has to leave the guest or sleep: for an alarm (run_queue_fire()), the end of the
 * turn, or one that its cap lets run again (run_queue_pick()). On its CPU, after each pick and each
 * interrupt from another CPU. */
static inline uint64_t run_queue_next_alarm(const struct run_queue *queue)
{
    const uint64_t alarm = __atomic_load_n(&queue->next_alarm, __ATOMIC_RELAXED);
    const uint64_t turn = __atomic_load_n(&queue->turn_end, __ATOMIC_RELAXED);
    return alarm < turn ? alarm : turn;
}
