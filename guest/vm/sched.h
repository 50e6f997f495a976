/* SPDX-License-Identifier: BSD-2-Clause */
/* The seats of a VM: which of a host CPU's vCPUs runs now, and when that CPU sleeps. Hides turns,
 * wake-ups and the VM's timers; a vCPU's own way is in vcpu.c. */
#pragma once

#include "guest/vm/vcpu.h"

/* Runs the vCPUs of a seat until the VM ends, on the seat's CPU, in VMX operation. Those that are
 * ready take turns of 2 ms, or 0.1 ms about a wake-up; where none is, the CPU sleeps. Answers
 * vm_show(). Not with the VM's lock held. Their VMCSs stay loaded: vcpu_put_away() is to follow.
 */
void sched_run(struct vm *vm, struct vm_seat *seat);

/* Runs the timers that are due; after a change of seat->timers.next or when it has come. */
void sched_run_timers(struct vm *vm, struct vm_seat *seat, uint64_t now);

/* Sleeps until a timer or an interrupt, for want of anything to do, and returns the ticks that this
 * took; ends the VM where nothing can come any more. */
uint64_t sched_sleep(struct vm *vm, struct vm_seat *seat);

/* Whether the vCPU that runs on a seat of several has to let another one have its turn; shortens
 * the turn where one has woken up. */
bool sched_turn_is_over(struct vm *vm, struct vm_seat *seat);
