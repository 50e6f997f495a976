/* SPDX-License-Identifier: BSD-2-Clause */
/* vCPUs between run queues, for runqueue.c alone. The lock of *q is held; another queue's is only
 * tried. */
#pragma once

#include "guest/vm/run_waiting.h"

/* Whether it was idle. */
bool run_leave_idle(struct run_queue *q);

/* Whether anybody waits in another queue. */
bool run_waits_elsewhere(const struct run_queue *q);

/* Looks into other queues for one to run rather than *least, and takes it; NULL: there is none. Of
 * all that one CPU has, least is NULL; *busy: a lock was taken. */
struct run_vcpu *run_search(struct run_queue *q, const struct run_vcpu *least, uint64_t now,
                            bool *busy);

/* The same for a CPU that has nothing to run; it is idle if that finds nothing. */
struct run_vcpu *run_idle_search(struct run_queue *q, uint64_t now);

/* Gives one that waits here to an idle CPU, and returns that, which then picks; RUN_NO_CPU. */
uint32_t run_offer(struct run_queue *q, uint64_t now);

/* The same, or to a busy CPU where fewer of its VM wait. */
uint32_t run_spread(struct run_queue *q, uint64_t now);

/* Ends the turn here sooner for one that waits and has just been woken. Returns this CPU, if it is
 * to be interrupted for that, or RUN_NO_CPU. */
uint32_t run_hasten(struct run_queue *q, const struct run_vcpu *vcpu, uint64_t now);
