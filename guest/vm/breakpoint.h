/* SPDX-License-Identifier: BSD-2-Clause */
/* Data and I/O breakpoints of the guest on accesses that are emulated: the CPU has not made them,
 * so it has not looked. */
#pragma once

#include "vmx/insn.h"

/* DR7's R/W field: what an access is matched as. */
enum breakpoint_kind { BREAKPOINT_WRITE = 1, BREAKPOINT_IO = 2, BREAKPOINT_READ = 3 };

/* Whether any breakpoint is on. */
static inline bool breakpoints_on(void)
{
    return __builtin_expect((vmread(VMCS_GUEST_DR7) & 0xff) != 0, 0);
}

/* An access to bytes at a linear address or port has been carried out for the guest: if breakpoints
 * match, their #DB becomes due at the end of the instruction (SDM, "Data Memory and I/O Breakpoint
 * Exception Conditions"). Called if breakpoints_on(). */
void __attribute__((noinline, cold))
breakpoint_note(enum breakpoint_kind kind, uint64_t address, unsigned bytes);
