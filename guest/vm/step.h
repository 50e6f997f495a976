/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction, or one delivery of an event, that the CPU executes by itself on pages which it
 * cannot reach otherwise: copies of read-only memory, ones where neither memory nor a device is, or
 * a device's own page that is plain memory. No other vCPU sees them. */
#pragma once

#include "guest/vm/vcpu.h"

/* Whether what is at an address is a device's memory that only keeps what is written. What another
 * vCPU does meanwhile may make it wrong: step_begin() decides. */
bool step_is_device_memory(const struct vcpu *vcpu, gpa_t address);

/* Lets the CPU try again (EXIT_SAME), with a page for the guest-physical address, until
 * engine->step() is done. False: nothing has been done, since a device is there for which reads and
 * writes are more than memory. Where host memory is short, the VM ends. */
bool step_begin(struct vcpu *vcpu, gpa_t address);

/* The engine's, after engine->step(): the pages are no longer shown; also for a step that is given
 * up. Loaded. */
void step_done(struct vcpu *vcpu);
