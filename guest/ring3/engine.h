/* SPDX-License-Identifier: BSD-2-Clause */
/* What the engines that do without VT-x have in common of struct engine (guest/vm/engine.h). */
#pragma once

#include "guest/vm/engine.h"

struct cpu;

/* Weaknesses of the CPU are measured, and told with the engine's name. */
enum status ring3_probe(const char *name, uint64_t cr4_allowed, struct engine_facts *facts);
enum status ring3_cpu_on(struct cpu *cpu);
void ring3_cpu_off(void);

/* struct guestmem has all of a VM's memory, and whoever runs by it looks there: nothing is to be
 * done when it changes, and nothing is held for it. */
enum status ring3_map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms);
enum status ring3_protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms);
enum status ring3_redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms);
void ring3_memory(const struct vm *vm, struct engine_memory *out);

/* No instruction needs pages of its own, or single steps of the processor. */
enum status ring3_show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms);
bool ring3_step(struct vcpu *vcpu, bool on);
bool ring3_set_debug(struct vcpu *vcpu, unsigned stops);
void ring3_nothing_changed(struct vcpu *vcpu);
