/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of a run queue's alarms. */
#include "guest/vm/run_alarm.h"

#include <stddef.h>

void run_alarm_set(struct run_queue *q, struct run_alarm *alarm, uint64_t deadline)
{
    struct run_alarm **at = &q->alarms;
    if (alarm->deadline != RUN_NEVER) {
        while (*at != alarm)
            at = &(*at)->next;
        *at = alarm->next;
    }
    alarm->deadline = deadline;
    if (deadline != RUN_NEVER) {
        for (at = &q->alarms; *at != NULL && (*at)->deadline <= deadline;)
            at = &(*at)->next;
        alarm->next = *at;
        *at = alarm;
    }
    __atomic_store_n(&q->next_alarm, q->alarms != NULL ? q->alarms->deadline : RUN_NEVER,
                     __ATOMIC_RELAXED);
}

bool run_alarm_is_firing(const struct run_vcpu *vcpu)
{
    const struct run_alarm *alarm = vcpu->alarms;
    while (alarm != NULL && !alarm->firing)
        alarm = alarm->of_vcpu;
    return alarm != NULL;
}
