/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes to text that is mapped read-only, with CR0.WP off meanwhile: CR4.CET, which forbids that,
 * is not on yet. */
#include "arch/patch.h"

#include "arch/cpu.h"
#include "arch/string.h"

#define JUMP_REL32 0xe9

extern const struct thunk_pair {
    void (*thunk)(void), (*by_return)(void);
} thunk_pairs[], thunk_pairs_end[]; /* thunks.asm */

void patch_jump(void (*at)(void), void (*to)(void))
{
    const uint64_t cr0 = cpu_read_cr0();
    uint8_t *code = (uint8_t *)(uintptr_t)at; /* NOLINT(performance-no-int-to-ptr) */
    const int32_t distance = (int32_t)((intptr_t)to - (intptr_t)(code + 5));
    cpu_write_cr0(cr0 & ~CR0_WP);
    code[0] = JUMP_REL32;
    memcpy(&code[1], &distance, sizeof(distance));
    cpu_write_cr0(cr0); /* serializing: what comes next is fetched anew */
}

void thunks_harden(void)
{
    for (const struct thunk_pair *p = thunk_pairs; p < thunk_pairs_end; p++)
        patch_jump(p->thunk, p->by_return);
}
