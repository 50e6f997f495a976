/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes RAM for a guest in the largest pieces there are, or what a reset has kept, and maps it,
 * with the holes of a PC. What lies at the VGA's window is the VGA's memory: the first piece has
 * that at least. */
#include "guest/pc/pc_memory.h"

#include "arch/panic.h"
#include "guest/load/xen_domain.h"
#include "guest/pc/layout.h"
#include "guest/vm/sched.h"
#include "mm/guestspace.h"
#include "mm/page_alloc.h"

#define MEMORY_MAX_MIB (1u << 20)

/* Makes a piece of RAM part of the guest. */
static enum status add_range(struct pc *pc, hpa_t host, gpa_t base, uint64_t bytes)
{
    const enum status s = guestmem_add(&pc->vm.mem, base, bytes, guestspace_ptr(host));
    if (s != OK)
        return s;
    return pc->vm.engine->map(&pc->vm, base, host, bytes, MAP_RWX);
}

/* Of a PC with firmware: the RAM around the chip set's pieces, the pieces, and the ROM image. */
_Static_assert(PC_RAM_PIECES + 1 + VCHIPSET_PIECES + 1 <= GUESTMEM_MAX_SLOTS, "slots for all");

/* The piece at 0. With firmware, what lies below 1 MiB for the chip set is apart, piece by piece:
 * each can be another one's, page by page. */
static enum status add_first(struct pc *pc, hpa_t host, uint64_t bytes)
{
    if (!pc->firmware.present)
        return add_range(pc, host, gpa(0), bytes);
    enum status s = add_range(pc, host, gpa(0), LAYOUT_SHADOW);
    for (unsigned i = 0; i < VCHIPSET_PIECES && s == OK; i++) {
        const uint64_t start = vchipset_piece_start(i);
        s = add_range(pc, hpa(host.v + start), gpa(start), vchipset_piece_start(i + 1) - start);
    }
    if (s != OK)
        return s;
    return add_range(pc, hpa(host.v + LAYOUT_MIB), gpa(LAYOUT_MIB), bytes - LAYOUT_MIB);
}

/* Behind a portion of zeroing. A CPU has no more than this of it between others' turns, and is not
 * slower for those who want the CPU all the time: they get one for each MiB. */
static void lend(uint64_t done)
{
    if (done % LAYOUT_MIB == 0)
        (void)sched_lend();
    else
        sched_look();
}

/* In portions, which leave the largest pages whole. */
static enum status map_for_host(hpa_t root, hpa_t base, uint64_t pages)
{
    const uint64_t large = PAGE_SIZE_1G / PAGE_SIZE, some = large / 16;
    enum status s = OK;
    for (uint64_t done = 0, n; done < pages && s == OK; done += n) {
        const uint64_t frame = base.v / PAGE_SIZE + done, left = pages - done;
        n = frame % large == 0 && left >= large ? large : some - frame % some;
        n = n < left ? n : left;
        s = guestspace_map(root, hpa(frame * PAGE_SIZE), n);
        sched_look();
    }
    return s;
}

enum status pc_memory_take(struct pc_memory *memory, struct pc_ram *ram, uint64_t pages,
                           uint64_t align_pages)
{
    hpa_t base;
    enum status s = page_alloc_guest(pages, align_pages, &base);
    if (s != OK)
        return s;
    if (guestspace_is_readable(base) ||
        guestspace_is_readable(hpa(base.v + (pages - 1) * PAGE_SIZE)))
        panic("RAM for a guest, at 0x%lx, is mapped where it should not be", base.v);
    *ram = (struct pc_ram){base, pages, false};
    s = map_for_host(memory->root, base, pages);
    if (s != OK)
        return s;
    ram->mapped = true;
    guestspace_zero(memory->root, base, pages, lend);
    return OK;
}

/* Up to `bytes` contiguous, aligned for 1 GiB pages where they can be used, else for 2 MiB. */
static enum status take_piece(struct pc_memory *memory, gpa_t base, uint64_t bytes, bool pages_1g)
{
    struct pc_ram *ram = &memory->piece[memory->count];
    enum status s = ERR_NO_MEMORY;
    if (pages_1g && base.v % PAGE_SIZE_1G == 0 && bytes >= PAGE_SIZE_1G)
        s = pc_memory_take(memory, ram, bytes / PAGE_SIZE, PAGE_SIZE_1G / PAGE_SIZE);
    if (s != OK && ram->pages == 0)
        s = pc_memory_take(memory, ram, bytes / PAGE_SIZE, PAGE_SIZE_2M / PAGE_SIZE);
    if (ram->pages != 0)
        memory->count++;
    return s;
}

/* RAM for base on; where no piece is large enough, halves the wish. */
static enum status take_ram(struct pc *pc, gpa_t base, uint64_t bytes, bool pages_1g)
{
    struct pc_memory *memory = &pc->memory;
    uint64_t wish = bytes;
    while (bytes > 0) {
        const uint32_t before = memory->count;
        if (before == PC_RAM_PIECES)
            return ERR_NO_MEMORY; /* too fragmented */
        if (wish > bytes)
            wish = bytes;
        const enum status s = take_piece(memory, base, wish, pages_1g);
        if (s != OK) {
            if (wish <= PAGE_SIZE_2M || memory->count != before) /* taken, and no tables for it */
                return s;
            wish = (wish / 2 + PAGE_SIZE_2M - 1) & ~(PAGE_SIZE_2M - 1);
            continue;
        }
        base.v += wish;
        bytes -= wish;
    }
    return OK;
}

/* A domain's RAM has no holes; and what lies behind it is kept where a PC has its ROM. */
static enum status domain_memory_take(struct pc *pc, bool pages_1g)
{
    const enum status s = take_ram(pc, gpa(0), pc->vm.memory_bytes, pages_1g);
    return s == OK ? pc_memory_take(&pc->memory, &pc->memory.rom, XEN_BEHIND_PAGES, 1) : s;
}

static enum status take(struct pc *pc, bool pages_1g)
{
    const uint64_t bytes = pc->vm.memory_bytes;
    if (pc->paravirtual)
        return domain_memory_take(pc, pages_1g);
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
    for (uint32_t i = 0; i < pc->memory.count && s == OK; i++) {
        const struct pc_ram *ram = &pc->memory.piece[i];
        const uint64_t bytes = ram->pages * PAGE_SIZE;
        s = i == 0 ? add_first(pc, ram->base, bytes) : add_range(pc, ram->base, base, bytes);
        base.v += bytes;
        if (base.v == LAYOUT_HOLE && !pc->paravirtual)
            base = gpa(LAYOUT_4GIB);
    }
    if (s == OK && pc->paravirtual)
        s = add_range(pc, pc->memory.rom.base, xen_shared_info_at(pc->vm.memory_bytes),
                      XEN_BEHIND_PAGES * PAGE_SIZE);
    return s;
}

enum status pc_memory_create(struct pc *pc, uint64_t mib, const struct engine_facts *facts)
{
    if (mib == 0 || mib > MEMORY_MAX_MIB)
        return ERR_BAD_INPUT;
    pc->vm.memory_bytes = mib * LAYOUT_MIB;
    enum status s = OK;
    if (pc->memory.count == 0) {
        s = guestspace_create(&pc->memory.root);
        if (s == OK)
            s = take(pc, facts->pages_1g);
    }
    pc->vm.root = pc->memory.root;
    return s == OK ? map(pc) : s;
}

static void zero(const struct pc_memory *memory, const struct pc_ram *ram)
{
    if (ram->mapped)
        guestspace_zero(memory->root, ram->base, ram->pages, lend);
}

/* The frames last: when another VM can have them, nothing leads to them any more. */
void pc_memory_free(struct pc_memory *memory)
{
    for (uint32_t i = 0; i < memory->count; i++)
        zero(memory, &memory->piece[i]);
    zero(memory, &memory->rom);
    guestspace_destroy(memory->root);
    for (uint32_t i = 0; i < memory->count; i++)
        page_free_guest(memory->piece[i].base, memory->piece[i].pages);
    page_free_guest(memory->rom.base, memory->rom.pages);
    *memory = (struct pc_memory){.count = 0};
}
