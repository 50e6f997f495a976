/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of a run queue's alarms, for runqueue.c alone. The queue's lock is held. */
#pragma once

#include "guest/vm/runqueue.h"

/* Puts it into the list by its deadline, or takes it out: RUN_NEVER. */
void run_alarm_set(struct run_queue *q, struct run_alarm *alarm, uint64_t deadline);

/* Whether one of a vCPU's alarms is being fired. */
bool run_alarm_is_firing(const struct run_vcpu *vcpu);
