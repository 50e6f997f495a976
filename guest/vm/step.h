/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction, or one delivery of an event, that the CPU executes by itself on pages which it
 * cannot reach otherwise: copies of read-only memory, ones where neither memory nor a device is, or
 * a device's own page that is plain memory. */
#pragma once

#include "guest/vm/vcpu.h"

/* Whether no access there has effects beyond memory: it is the guest's, nothing's, or a device's
 * that only keeps what is written. */
bool step_is_possible(const struct vcpu *vcpu, gpa_t address);

/* Whether it is a device's memory, as above. */
bool step_is_device_memory(const struct vcpu *vcpu, gpa_t address);

/* Lets the CPU try again, with a page for the guest-physical address, until engine->step() is done.
 * Always EXIT_SAME. */
enum exit_action step_begin(struct vcpu *vcpu, gpa_t address);

/* The engine's, after engine->step(): takes the pages away again; also for a step that is given up.
 * Loaded. */
void step_done(struct vcpu *vcpu);
