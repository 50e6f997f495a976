/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that only compute (guest/cpu/system.h) are executed for a guest by the processor: at
 * CPL 3, on the guest's registers, with the operand in a page of the hypervisor's. So none of x87,
 * MMX, SSE, AVX and AVX-512 is written in C.
 *
 * The guest's x87 and vector registers are in the CPU, and XCR0 is the guest's; the host's CR0.TS,
 * EM and NE, and CR4.OSFXSR, OSXSAVE, OSXMMEXCPT stay what they are for the host: what the guest's
 * say is looked at here.
 */
#pragma once

#include "guest/cpu/emulate.h"
#include "guest/cpu/system.h"
#include "guest/ring3/window.h"

enum ring3_result {
    RING3_DONE,      /* registers, flags and memory are as behind it; RIP is the caller's */
    RING3_RAISED,    /* an exception: env->raise() or env->translate() was called */
    RING3_X87_ERROR, /* #MF, which CR0.NE = 0 makes an interrupt (vcpu_x87_error()) */
    RING3_LOST,      /* it has touched what nobody has thought of; nothing has changed */
};

/* Executes the instruction at env->rip, of what->length bytes, as compute_decode() says. The vCPU
 * is loaded; where operands go is env's business, as for insn_emulate(). */
enum ring3_result ring3_compute(struct ring3_window *window, const struct emulate_env *env,
                                const struct compute *what, const uint8_t *bytes);
