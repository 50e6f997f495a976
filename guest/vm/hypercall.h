/* SPDX-License-Identifier: BSD-2-Clause */
/* Nadir's own hypercalls, as guest/hypercall.h describes them, under whatever engine: by the calls
 * of struct engine, a vCPU's registers, and its local APIC. */
#pragma once

#include "guest/vm/linear.h"

/* The calls from number NADIR_CALL_VERSION on, for vm->own_hypercall. The guest's kernel has made
 * it, and its registers are in vcpu->regs. EXIT_ITERATION: a part is done, and the guest executes
 * the instruction again. The vCPU is loaded, and the VM's lock is not held. */
enum exit_action hypercall_own(struct vcpu *vcpu);

/* Opens these, and HYPERCALL_NOP, to a VM's guest. */
void hypercall_open(struct vm *vm);

/* One call: hypercall.c's, and of the files that hold its calls. Each returns what it has to, by
 * hypercall_return() at its end. */
struct hypercall {
    struct vcpu *vcpu;
    struct emulate_context ctx; /* what the caller could do with memory */
    bool is_64bit;              /* the caller; else arguments are low halves */
    uint64_t since;             /* of the VM's clock: the call has begun */
};

static inline uint64_t hypercall_argument(const struct hypercall *call, enum gpr number)
{
    const uint64_t value = call->vcpu->regs.gpr[number];
    return call->is_64bit ? value : (uint32_t)value;
}

/* Moves an argument on, behind what is done of an array. */
static inline void hypercall_advance(const struct hypercall *call, enum gpr number, uint64_t by)
{
    const uint64_t value = hypercall_argument(call, number) + by;
    call->vcpu->regs.gpr[number] = call->is_64bit ? value : (uint32_t)value;
}

/* Whether the VM's end, interrupts and other vCPUs have waited long enough. */
static inline bool hypercall_is_over(const struct hypercall *call)
{
    const struct vcpu *vcpu = call->vcpu;
    return vm_has_ended(vcpu->vm) || vcpu->activity != ACTIVITY_ACTIVE ||
           timers_work_is_over(&vcpu->vm->timers, call->since);
}

/* Where 1 to 4096 bytes are that the caller has at a linear address, in RAM. 0, or
 * NADIR_BAD_ADDRESS; no fault is raised. */
int hypercall_area(struct hypercall *call, uint64_t linear, unsigned bytes, bool write,
                   struct emulate_operand *out);
/* Copies what hypercall_area() has found, or the first bytes of it: between a read and the write
 * behind it the guest may have changed it. */
void hypercall_read(const struct hypercall *call, const struct emulate_operand *area, void *to);
void hypercall_write(const struct hypercall *call, const struct emulate_operand *area,
                     const void *from, unsigned bytes);

/* NADIR_CALL_MEMORY, WRITE and STATS: each does a part of its array. */
enum exit_action hypercall_memory(struct hypercall *call);
enum exit_action hypercall_console(struct hypercall *call);
enum exit_action hypercall_stats(struct hypercall *call);
