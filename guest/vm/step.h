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
 * are count bytes, are read when the CPU comes to their page, and those that it has written are
 * written in step_done(). False: nothing has been done, as it is not about this address, or is one
 * whose operands are not known. Not with the VM's lock held, as those below. */
bool step_on_device(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                    gpa_t address);

/* The same for an address that no operand explains, where neither works: the CPU itself reads a
 * descriptor or a gate there (write: pushes a frame). What it finds is what the device answers, and
 * beside that ones. For such an instruction, for the delivery of an event, for a page walk. */
void step_on_descriptor(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                        gpa_t address, bool write);
void step_on_delivery(struct vcpu *vcpu, gpa_t address, bool write);
void step_on_walk(struct vcpu *vcpu, gpa_t address);

/* The engine's, after engine->step(): the pages are no longer shown; also for a step that is given
 * up. Loaded. */
void step_done(struct vcpu *vcpu);

/* The rest of what is to be moved between its pages and devices, where vcpu->step.unfinished says
 * that there is a rest: before the vCPU is entered again. True: there still is. Not with the lock
 * held. */
bool step_continue(struct vcpu *vcpu);

/* The step, where there is one, is off, and has had no effect: for a handler that does the work, or
 * an instruction that shall begin anew. Loaded. */
void step_give_up(struct vcpu *vcpu);

/* Its pages are given back, with the vCPU. */
void step_destroy(struct vcpu *vcpu);
