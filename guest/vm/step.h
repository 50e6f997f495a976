/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction, or one delivery of an event, that the CPU executes by itself on pages which it
 * cannot reach otherwise: copies of read-only memory, ones where neither memory nor a device is, or
 * a device's own page that is plain memory, or what a device's registers answer. No other vCPU sees
 * them. */
#pragma once

#include "guest/vm/linear.h"

/* Whether what is at an address is a device's memory that only keeps what is written. What another
 * vCPU does meanwhile may make it wrong: step_begin() decides. */
bool step_is_device_memory(const struct vcpu *vcpu, gpa_t address);

/* Lets the CPU try again (EXIT_SAME), with a page for the guest-physical address, until
 * engine->step() is done. False: nothing has been done, since a device is there for which reads and
 * writes are more than memory. Where host memory is short, the VM ends. */
bool step_begin(struct vcpu *vcpu, gpa_t address);

/* The same on a device's registers: those that the instruction at ctx->rip reads, of which there
 * are count bytes, are read now, and those that it has written are written in step_done(). False:
 * nothing has been done, as it is not about this address, or is one whose operands are not known.
 * Not with the VM's lock held. */
bool step_on_device(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                    gpa_t address);

/* The same with no look at what is there: ones are read, and writes are lost. Always true. */
bool step_blindly(struct vcpu *vcpu, gpa_t address);

/* The engine's, after engine->step(): the pages are no longer shown; also for a step that is given
 * up. Loaded. */
void step_done(struct vcpu *vcpu);

/* The step, where there is one, is off, and has had no effect: for a handler that does the work, or
 * an instruction that shall begin anew. Loaded. */
void step_give_up(struct vcpu *vcpu);

/* Between step.c and step_device.c. A page of ones is shown at a page, as copy number
 * vcpu->step.count - 1 of the vCPU; a copy is there; and what has been written goes to the devices.
 * False: the VM ends. With the VM's lock held, but for the last. */
bool step_show_ones(struct vcpu *vcpu, gpa_t page);
bool step_has_copy(struct vcpu *vcpu, unsigned index);
void step_write_back(struct vcpu *vcpu);
