/* SPDX-License-Identifier: BSD-2-Clause */
/* vCPUs between run queues, for runqueue.c alone. The lock of *q is held; another queue's is only
 * tried. */
#pragma once

#include "guest/vm/run_waiting.h"

/* Takes the CPU out of the set of idle ones. Returns whether it was in. */
bool run_leave_idle(struct run_queue *q);

/* Whether anybody waits in another queue. */
bool run_waits_elsewhere(const struct run_queue *q);

/* Looks into other queues for a vCPU that is further behind than *least, the one that would run
 * here (NULL: nobody would, so any will do), and moves it into this queue. NULL: there is none.
 * *busy is set where a queue could not be looked into, because another CPU held its lock. */
struct run_vcpu *run_search(struct run_queue *q, const struct run_vcpu *least, uint64_t now,
                            bool *busy);

/* The same for a CPU that has nothing to run. Where it finds nothing, the CPU is in the set of idle
 * ones, to which others give what becomes ready. */
struct run_vcpu *run_idle_search(struct run_queue *q, uint64_t now);

/* Gives a vCPU that waits here to an idle CPU. Returns that CPU, which the caller interrupts so
 * that it picks, or RUN_NO_CPU: it may not go to an idle one. */
uint32_t run_offer(struct run_queue *q, struct run_vcpu *vcpu, uint64_t now);

/* Whether any CPU is idle. */
bool run_some_idle(const struct run_queues *all);

/* The same with the first of all that wait here who may. */
uint32_t run_offer_any(struct run_queue *q, uint64_t now);

/* The same; where no CPU is idle, to a busy one that runs the same VM and where fewer wait. */
uint32_t run_spread(struct run_queue *q, uint64_t now);

/* Ends the turn here sooner for one that waits and has just been woken. Returns this CPU, if it is
 * to be interrupted for that, or RUN_NO_CPU. */
uint32_t run_hasten(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now);
