/* SPDX-License-Identifier: BSD-2-Clause */
/* Data and I/O breakpoints of the guest on accesses that are emulated: the CPU has not made them,
 * so it has not looked. */
#pragma once

#include "guest/vm/linear.h"

/* DR7's R/W field: what an access is matched as. */
enum breakpoint_kind { BREAKPOINT_WRITE = 1, BREAKPOINT_IO = 2, BREAKPOINT_READ = 3 };

/* Whether any breakpoint is on. */
static inline bool breakpoints_on(const struct emulate_context *ctx)
{
    return __builtin_expect((ctx->dr7 & 0xff) != 0, 0);
}

/* An access to bytes at a linear address or port has been carried out for the guest: if breakpoints
 * match, their #DB becomes due at the end of the instruction (SDM, "Data Memory and I/O Breakpoint
 * Exception Conditions"): the pending debug exceptions to be added. Called if breakpoints_on(). */
uint64_t __attribute__((noinline, cold))
breakpoint_match(const struct emulate_context *ctx, enum breakpoint_kind kind, uint64_t address,
                 unsigned bytes);
