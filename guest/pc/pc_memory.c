/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes RAM for a guest in the largest pieces there are, or what a reset has kept, and maps it,
 * with the holes of a PC. What lies at the VGA's window is the VGA's memory: the first piece has
 * that at least. */
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

/* RAM for base on; where no piece is large enough, halves the wish. */
static enum status take_ram(struct pc *pc, gpa_t base, uint64_t bytes, bool pages_1g)
{
    uint64_t wish = bytes;
    while (bytes > 0) {
        if (pc->ram_count == GUESTMEM_MAX_SLOTS)
            return ERR_NO_MEMORY; /* too fragmented */
        if (wish > bytes)
            wish = bytes;
        const enum status s = take_piece(&pc->ram[pc->ram_count], base, wish, pages_1g);
        if (s != OK) {
            if (wish <= PAGE_SIZE_2M)
                return s;
            wish = (wish / 2 + PAGE_SIZE_2M - 1) & ~(PAGE_SIZE_2M - 1);
            continue;
        }
        pc->ram_count++;
        base.v += wish;
        bytes -= wish;
    }
    return OK;
}

static enum status take(struct pc *pc, bool pages_1g)
{
    const uint64_t bytes = pc->vm.memory_bytes;
    const enum status s = take_ram(pc, gpa(0), layout_below_4g(bytes), pages_1g);
    if (s != OK)
        return s;
    return take_ram(pc, gpa(LAYOUT_4GIB), layout_above_4g(bytes), pages_1g);
}

/* The pieces in their order; the one that reaches the hole below 4 GiB ends there. */
static enum status map(struct pc *pc)
{
    gpa_t base = gpa(0);
    enum status s = OK;
    for (uint32_t i = 0; i < pc->ram_count && s == OK; i++) {
        const struct pc_ram *ram = &pc->ram[i];
        const uint64_t bytes = ram->pages * PAGE_SIZE;
        s = i == 0 ? add_first(pc, ram->base, bytes) : add_range(pc, ram->base, base, bytes);
        base.v += bytes;
        if (base.v == LAYOUT_HOLE)
            base = gpa(LAYOUT_4GIB);
    }
    return s;
}

enum status pc_memory_create(struct pc *pc, uint64_t mib, const struct engine_facts *facts)
{
    if (mib == 0 || mib > MEMORY_MAX_MIB)
        return ERR_BAD_INPUT;
    pc->vm.memory_bytes = mib * LAYOUT_MIB;
    const enum status s = pc->ram_count == 0 ? take(pc, facts->pages_1g) : OK;
    return s == OK ? map(pc) : s;
}

void pc_memory_free(struct pc_ram *ram, uint32_t *count)
{
    while (*count > 0) {
        (*count)--;
        page_free_guest(ram[*count].base, ram[*count].pages, lend);
    }
}
