/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes RAM for a guest in the largest pieces there are and maps it, with the holes of a PC. What
 * lies at the VGA's window is the VGA's memory: the first piece has that at least. */
#include "guest/pc/pc_memory.h"

#include "guest/pc/layout.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"

#define MEMORY_MAX_MIB (1u << 20)

/* Makes a piece of RAM part of the guest. */
static enum status add_range(struct pc *pc, hpa_t host, gpa_t base, uint64_t bytes)
{
    const enum status s = guestmem_add(&pc->vm.mem, base, bytes, hpa_to_ptr(host));
    if (s != OK)
        return s;
    return pc->vm.engine->map(&pc->vm, base, host, bytes, MAP_RWX);
}

/* The piece at 0. With firmware, [LAYOUT_SHADOW, 1 MiB) is apart, to be protected page by page. */
static enum status add_first(struct pc *pc, hpa_t host, uint64_t bytes)
{
    const uint64_t cuts[] = {0, LAYOUT_SHADOW, LAYOUT_MIB, bytes};
    if (!pc->firmware.present)
        return add_range(pc, host, gpa(0), bytes);
    enum status s = OK;
    for (unsigned i = 0; i < 3 && s == OK; i++)
        s = add_range(pc, hpa(host.v + cuts[i]), gpa(cuts[i]), cuts[i + 1] - cuts[i]);
    return s;
}

static void lend(void)
{
    (void)sched_lend();
}

/* Up to `bytes` contiguous, aligned for 1 GiB pages where they can be used, else for 2 MiB. */
static enum status take_piece(struct pc_ram *ram, gpa_t base, uint64_t bytes, bool pages_1g)
{
    if (pages_1g && base.v % PAGE_SIZE_1G == 0 && bytes >= PAGE_SIZE_1G &&
        page_alloc_guest(bytes / PAGE_SIZE, PAGE_SIZE_1G / PAGE_SIZE, lend, &ram->base) == OK) {
        ram->pages = bytes / PAGE_SIZE;
        return OK;
    }
    const enum status s =
        page_alloc_guest(bytes / PAGE_SIZE, PAGE_SIZE_2M / PAGE_SIZE, lend, &ram->base);
    ram->pages = s == OK ? bytes / PAGE_SIZE : 0;
    return s;
}

/* RAM from base on; where no piece is large enough, halves the wish. */
static enum status add_ram(struct pc *pc, gpa_t base, uint64_t bytes, bool pages_1g)
{
    uint64_t wish = bytes;
    while (bytes > 0) {
        if (pc->ram_count == GUESTMEM_MAX_SLOTS)
            return ERR_NO_MEMORY; /* too fragmented */
        struct pc_ram *ram = &pc->ram[pc->ram_count];
        if (wish > bytes)
            wish = bytes;
        enum status s = take_piece(ram, base, wish, pages_1g);
        if (s != OK) {
            if (wish <= PAGE_SIZE_2M)
                return s;
            wish = (wish / 2 + PAGE_SIZE_2M - 1) & ~(PAGE_SIZE_2M - 1);
            continue;
        }
        pc->ram_count++;
        s = base.v == 0 ? add_first(pc, ram->base, wish) : add_range(pc, ram->base, base, wish);
        if (s != OK)
            return s;
        base.v += wish;
        bytes -= wish;
    }
    return OK;
}

enum status pc_memory_create(struct pc *pc, uint64_t mib, const struct engine_facts *facts)
{
    if (mib == 0 || mib > MEMORY_MAX_MIB)
        return ERR_BAD_INPUT;
    const uint64_t bytes = mib * LAYOUT_MIB;
    const bool pages_1g = facts->pages_1g;
    pc->vm.memory_bytes = bytes;
    enum status s = add_ram(pc, gpa(0), layout_below_4g(bytes), pages_1g);
    if (s == OK)
        s = add_ram(pc, gpa(LAYOUT_4GIB), layout_above_4g(bytes), pages_1g);
    return s;
}

void pc_memory_destroy(struct pc *pc)
{
    for (uint32_t i = 0; i < pc->ram_count; i++)
        page_free_guest(pc->ram[i].base, pc->ram[i].pages);
}
