/* SPDX-License-Identifier: BSD-2-Clause */
/* Those that wait in a run queue: the list, its order, and what other CPUs are told of it. For the
 * run queue's own files; the queue's lock is held. */
#pragma once

#include "guest/vm/runqueue.h"

/* What orders them, the least first: the VM's virtual time with the vCPU's offset. It changes when
 * any vCPU of the VM runs. */
static inline uint64_t run_vruntime(const struct run_vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->share->time, __ATOMIC_RELAXED) + vcpu->offset;
}

/* What is a VM's by right beside the one with the least vruntime, if both were on different CPUs.
 */
static inline uint64_t run_long_claim(const struct run_vcpu *vcpu, const struct run_vcpu *least)
{
    return 4 * vcpu->share->turn_cost + run_share_debt(least->share);
}

/* Before a vCPU joins a queue where *least has the least vruntime: its own is put so that it is at
 * most `claim` ahead of that one, however long it slept, and at most its VM's debt behind. Else it
 * would keep the others from running, or they it, for as long as that was. */
void run_limit_vruntime(struct run_vcpu *vcpu, const struct run_vcpu *least, uint64_t claim);

/* Who is furthest behind of all that are here; NULL: nobody is. */
const struct run_vcpu *run_leader(const struct run_queue *q);

/* At the end of the list, and out of it. */
void run_enqueue(struct run_queue *q, struct run_vcpu *vcpu);
void run_dequeue(struct run_queue *q, const struct run_vcpu *vcpu);

/* Finds the two that are least and the oldest of those that wait and whose VM's cap lets them run,
 * and counts these. */
void run_find_least(struct run_queue *q, uint64_t now);

/* Tells other CPUs what run_find_least() has found. */
void run_tell_others(struct run_queue *q);

/* Both, after a change of the list. */
void run_publish(struct run_queue *q, uint64_t now);
