/* SPDX-License-Identifier: BSD-2-Clause */
/* What each host CPU does once the machine runs: the next vCPU of its run queue, its alarms, sleep.
 * The order in which vCPUs run is guest/vm/runqueue.h's; here it meets engines and interrupts. */
#pragma once

#include "guest/vm/vcpu.h"

/* Makes the run queues of all CPUs. Boot CPU, before any other calls sched_run(). */
enum status sched_init(uint32_t cpu_count, uint64_t tsc_hz);
struct run_queues *sched_queues(void);

/* Runs vCPUs until sched_stop(). On each CPU where the engine is on. */
void sched_run(void);

/* Makes sched_run() return on every CPU, soon. From any CPU. */
void sched_stop(void);

/* Acts on what a function of the run queues has returned: interrupts that CPU, or, if it is this
 * one, has it look at its queue before it enters a guest. RUN_NO_CPU: nothing. */
void sched_interrupt(uint32_t cpu);

/*
 * Long work between turns, as a VM's end and its next life, is done in portions: behind each one
 * sched_lend() gives the CPU to a vCPU that is ready for a turn. Only within vm->stopped(), where
 * no vCPU is loaded and no lock held; elsewhere, and within such a turn, nothing happens.
 */
enum sched_lending { SCHED_LENDS_NOT, SCHED_MAY_LEND, SCHED_HAS_LENT };
bool sched_lend(void); /* whether one had a turn */

/* The same, to be called more often: at each 20,000 instructions. Fires alarms that are due, and
 * lends the CPU where a vCPU has become ready since it was lent last; those that want it all the
 * time have it behind the portions. */
void sched_look(void);

/* For a loaded vCPU that waits: sleeps until something may have happened, and returns the ticks
 * that took; *sleeps is false where another vCPU wants the CPU, and no time has passed. */
uint64_t sched_sleep(struct vcpu *vcpu, bool *sleeps);

/* Blocks a loaded vCPU that waits, so that its CPU may run another one. False: something has come,
 * it is to look again. */
bool sched_block(struct vcpu *vcpu);

/* Fires the alarms that are due on the CPU of a loaded vCPU. */
void sched_fire_alarms(struct run_queue *queue, uint64_t now);
static inline void sched_run_alarms(const struct vcpu *vcpu, uint64_t now)
{
    if (now >= __atomic_load_n(&vcpu->run.home->next_alarm, __ATOMIC_RELAXED))
        sched_fire_alarms(vcpu->run.home, now);
}

/* Whether the turn of this CPU's vCPU is over; else its host_timer is set to when it may be, or an
 * alarm is due. Where the queue's next event is what the timer is set to, neither can be so: a
 * timer that has fired is not set. */
bool sched_look_at_queue(struct vcpu *vcpu);
static inline bool sched_turn_is_over(struct vcpu *vcpu)
{
    return run_queue_next_alarm(vcpu->run.home) != vcpu->host_timer.deadline &&
           sched_look_at_queue(vcpu);
}
