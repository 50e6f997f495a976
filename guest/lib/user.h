/* SPDX-License-Identifier: BSD-2-Clause */
/* Code at CPL 3: segments, a TSS, and probes as test.h has them at CPL 0. */
#pragma once

#include "guest/lib/test.h"

/* Selectors after user_init(), in the order that SYSCALL and SYSRET want. */
enum {
    USER_KERNEL_CODE = 0x30,
    USER_KERNEL_DATA = 0x38,
    USER_CODE32 = 0x43,
    USER_DATA = 0x4b,
    USER_CODE64 = 0x53,
    USER_TSS = 0x58,
};

/* Loads a GDT and a task register that know CPL 3, and lets it at all memory. The TSS permits port
 * 0x61 and no other. */
void user_init(void);

/* From now on it permits count ports from first on, below 0x100, and no other. */
void user_permit(unsigned first, unsigned count);

/* How far the map of ports begins from where it was, and in the TSS at all. */
void user_move_map(int bytes);
void user_hide_map(void);

/* code_probe() at CPL 3, in 64-bit mode, with these bits of RFLAGS set. */
struct probe user_probe(struct code *code, uint64_t rflags);

/* user.asm: where user_probe() comes back, for what ends at CPL 0 by other means than a fault. */
void user_return(void);
