/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables: two address spaces, which have the kernel in common. */
#include "three.h"

#include "guest/lib/lib.h"

struct space space[SPACES] __attribute__((aligned(4096)));
uint64_t frame[FRAMES][512] __attribute__((aligned(4096)));
uint8_t trap_stack[TRAP_STACK_BYTES] __attribute__((aligned(16)));

static uint8_t user_code[PAGE] __attribute__((aligned(4096)));
static uint8_t user_stack[PAGE] __attribute__((aligned(4096)));
static uint64_t mark[SPACES][512] __attribute__((aligned(4096)));

static uint64_t *entry(unsigned n, uint64_t linear)
{
    return &space[n].table[linear / PAGE % 512];
}

/* Addresses are frames' numbers here: the kernel lies where it is loaded. Each level lets user code
 * in; what it may reach is said by the entries of the last one. */
void spaces_build(uint64_t kernel)
{
    const uint64_t flags = PRESENT | WRITABLE | USER;
    memcpy(user_code, user_image, (size_t)(user_image_end - user_image));
    for (unsigned n = 0; n < SPACES; n++) {
        struct space *s = &space[n];
        s->root[0] = kernel;
        s->root[1] = s->user_root[1] = (uint64_t)s->pointers | flags;
        s->pointers[0] = (uint64_t)s->directory | flags;
        s->directory[0] = (uint64_t)s->table | flags;
        *entry(n, USER_CODE) = (uint64_t)user_code | PRESENT | USER;
        *entry(n, USER_STACK - PAGE) = (uint64_t)user_stack | flags;
        *entry(n, USER_MARK) = (uint64_t)mark[n] | PRESENT;
        mark[n][0] = n;
    }
}
