/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a paravirtual kernel writes to a page table by itself counts behind the next flush, whatever
 * the hypervisor has known of that table before: as Linux does it, which has all memory mapped in
 * the upper half, makes a page read-only there without a flush, and pins it.
 */
#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

#include <stdbool.h>

#define PAGE    4096ull
#define WORDS   512u
#define ADDRESS 0x000ffffffffff000ull
#define UPPER   0xffff888000000000ull /* the kernel's 2 MiB once more */
#define VIEW    0x40000000ull         /* by the table that is tried */

enum { PRESENT = 1, WRITABLE = 2 };

typedef uint64_t page[WORDS] __attribute__((aligned(4096)));

static page upper_pointers, upper_directory, upper_table, view_directory, tried, frames[3];
static uint64_t kernel_root;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    print("pvtables: %s\n", what);
    xen_end(false);
}

static uint64_t frame_of(const void *at)
{
    return (uint64_t)at;
}

static void map(uint64_t at, uint64_t entry, unsigned flush)
{
    must(xen_call(XEN_UPDATE_VA_MAPPING, at, entry, flush, 0) == 0, "update_va_mapping");
}

static void update(uint64_t *at, uint64_t entry)
{
    const uint64_t one[2] = {(uint64_t)at, entry};
    must(xen_call(XEN_MMU_UPDATE, (uint64_t)one, 1, 0, XEN_THIS_DOMAIN) == 0, "mmu_update");
}

static void mmuext(uint32_t command, uint64_t at)
{
    const struct xen_mmuext op = {command, at / PAGE, 0};
    must(xen_call(XEN_MMUEXT_OP, (uint64_t)&op, 1, 0, XEN_THIS_DOMAIN) == 0, "mmuext_op");
}

static void local_flush(void)
{
    mmuext(XEN_NEW_BASEPTR, kernel_root);
}

static void make_tables(void)
{
    const uint64_t base = (uint64_t)tried & ~(WORDS * PAGE - 1);
    uint64_t *const tables[] = {upper_pointers, upper_directory, upper_table, view_directory};
    uint64_t *pointers = (uint64_t *)(*(uint64_t *)kernel_root & ADDRESS);
    upper_pointers[0] = frame_of(upper_directory) | PRESENT | WRITABLE;
    upper_directory[base / (WORDS * PAGE)] = frame_of(upper_table) | PRESENT | WRITABLE;
    for (unsigned i = 0; i < WORDS; i++)
        upper_table[i] = (base + i * PAGE) | PRESENT | WRITABLE;
    for (unsigned i = 0; i < 4; i++)
        upper_table[(uint64_t)tables[i] / PAGE % WORDS] &= ~(uint64_t)WRITABLE;
    for (unsigned i = 0; i < 4; i++)
        map((uint64_t)tables[i], frame_of(tables[i]) | PRESENT, XEN_FLUSH_INVLPG);
    update((uint64_t *)kernel_root + (UPPER >> 39 & 511),
           frame_of(upper_pointers) | PRESENT | WRITABLE);
    update(pointers + 1, frame_of(view_directory) | PRESENT | WRITABLE);
}

static uint64_t seen(void)
{
    return *(volatile uint64_t *)VIEW;
}

_Noreturn void pv_main(const struct xen_start_info *info);
_Noreturn void pv_main(const struct xen_start_info *info)
{
    volatile uint64_t *by_upper = (volatile uint64_t *)(UPPER + (uint64_t)tried);
    xen_print();
    kernel_root = info->page_tables;
    for (unsigned i = 0; i < 3; i++)
        frames[i][0] = 0x100 + i;
    make_tables();
    map((uint64_t)tried, frame_of(tried) | PRESENT, XEN_FLUSH_INVLPG);
    by_upper[0] = frame_of(frames[0]) | PRESENT;
    map((uint64_t)by_upper, frame_of(tried) | PRESENT, XEN_FLUSH_NONE);
    mmuext(XEN_PIN_L1, (uint64_t)tried);
    update(&view_directory[0], frame_of(tried) | PRESENT | WRITABLE);
    must(seen() == 0x100, "the new table");
    local_flush();
    must(seen() == 0x100, "the new table, flushed");
    by_upper[0] = frame_of(frames[1]) | PRESENT;
    local_flush();
    must(seen() == 0x101, "a write behind a flush");
    mmuext(XEN_FLUSH_LOCAL, 0);
    must(seen() == 0x101, "all flushed");
    by_upper[0] = frame_of(frames[2]) | PRESENT;
    local_flush();
    must(seen() == 0x102, "a write to a table that is known");
    update(&view_directory[1], frame_of(tried) | PRESENT | WRITABLE);
    local_flush();
    must(seen() == 0x102, "a table in two places");
    by_upper[0] = frame_of(frames[0]) | PRESENT;
    local_flush();
    must(seen() == 0x100, "a write to a table in two places");
    print("pvtables: done\n");
    xen_end(true);
}
