/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM's exits cost from its first entry on, by the events that its engine counts, and what
 * else that counts; printed at its end as a table, and reported as JSON, by class, too. */
#pragma once

#include <stdint.h>

/* Beside an engine's events: how a run of a vCPU began. Its first entry is booked on one of these,
 * with the time since the last exit of the vCPU that the CPU had before. */
enum { STATS_NO_SWITCH = 125, STATS_SWITCH_VCPU, STATS_SWITCH_VM };
#define STATS_EVENTS 128 /* an engine's events; a power of two, so that an index is a mask */

/* Of one vCPU. Two tables, as an index into 8 bytes is a part of the instruction. */
struct vcpu_stats {
    uint64_t faults_on_ram; /* exits on memory that the guest has: there should be none */
    uint64_t count[STATS_EVENTS];
    uint64_t tsc_root[STATS_EVENTS]; /* host TSC ticks in root mode, without waiting in HLT */
};

struct vm;

/* Prints the table of a VM that has ended. */
void stats_print(const struct vm *vm);

/* Reports the accounts (arch/report.h) of a VM that has ended, or, up to now, of one that runs. Any
 * CPU. */
void stats_report(const struct vm *vm);
