/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's shadow roots (mm/shadow.h) as the processor goes by them while code of the guest's runs
 * at CPL 3. It hides what has to be so on each way there and back: the right CR3, a TLB that has
 * nothing of what was taken away, and the timer that ends the guest's run when something is due.
 *
 * CR3 holds one of three roots while a vCPU is loaded: the VM's own (struct vm: root), as
 * vcpu_load() leaves it, or SHADOW_KERNEL or SHADOW_USER of this vCPU. The hypervisor finds itself
 * and the VM's RAM in each, so CR3 is written where another one is needed, and not at each exit.
 */
#pragma once

#include "arch/ring3.h"
#include "mm/shadow.h"

struct vcpu;

struct ring3_roots {
    /* The deadline that the CPU's timer is armed for, or 0: not known; since when, and behind how
     * many interrupts of it (struct cpu). */
    uint64_t armed, armed_at, armed_behind;
    struct shadow_cpu shadow;
};

/* The vCPU has been loaded, or its CPU may have slept by its timer. */
static inline void ring3_roots_forget_timer(struct ring3_roots *roots)
{
    roots->armed = 0;
}

/* What ring3_roots_run() does before and behind ring3_enter(): for a caller to whom a call of it
 * would cost too much, and who sets vcpu->tsc_exit at each exit. */
void ring3_roots_enter(struct ring3_roots *roots, const struct vcpu *vcpu, enum shadow_root root);
void ring3_roots_leave(struct ring3_roots *roots, const struct vcpu *vcpu, unsigned vector);

/* Runs code at CPL 3 in a root, as ring3_enter() does, and returns what that returns; the host's
 * interrupt that has ended it has been handled. The timer that ends it for the vCPU's next timer is
 * armed. The vCPU, whose roots they are, is loaded; interrupts are off. */
unsigned ring3_roots_run(struct ring3_roots *roots, const struct vcpu *vcpu, enum shadow_root root,
                         struct ring3_frame *frame);
