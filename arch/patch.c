/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes to text that is mapped read-only, with CR0.WP off meanwhile: CR4.CET, which forbids that,
 * is not on yet. */
#include "arch/patch.h"

#include "arch/bytes.h"
#include "arch/cpu.h"
#include "arch/string.h"

#define JUMP_REL32 0xe9

extern const uint8_t branch_sites[]; /* thunks.asm */
extern uint8_t __text_start[];       /* boot/nadir.ld */

/* Returns CR0 as it was. */
static uint64_t open_text(void)
{
    const uint64_t cr0 = cpu_read_cr0();
    cpu_write_cr0(cr0 & ~CR0_WP);
    return cr0;
}

static void close_text(uint64_t cr0)
{
    cpu_write_cr0(cr0); /* serializing: what comes next is fetched anew */
}

/* Not inlined: tools/branches.py would take `at` + 5 for a function's address. */
void __attribute__((noinline)) patch_jump(void (*at)(void), void (*to)(void))
{
    uint8_t *code = (uint8_t *)(uintptr_t)at; /* NOLINT(performance-no-int-to-ptr) */
    const int32_t distance = (int32_t)((intptr_t)to - (intptr_t)(code + 5));
    const uint64_t cr0 = open_text();
    code[0] = JUMP_REL32;
    memcpy(&code[1], &distance, sizeof(distance));
    close_text(cr0);
}

void thunks_harden(void)
{
    const uint64_t cr0 = open_text();
    for (const uint8_t *site = branch_sites; site[4] != 0; site += 5 + site[4])
        memcpy(&__text_start[get_le32(site)], &site[5], site[4]);
    close_text(cr0);
}
