/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables of a Xen PV domain: four levels, leaves of 4 KiB. */
#include "guest/load/xen_tables.h"

#define TABLE_ENTRY (PTE_P | PTE_W | PTE_U | PTE_A)
#define LEAF        (PTE_P | PTE_A)
#define LEAF_WRITE  (PTE_W | PTE_D)

enum { ENTRIES = 512, LEVELS = 4 };

/* How much a table's entry is for: 4 KiB in those of level 1. */
static uint64_t span_of(unsigned level)
{
    return PAGE_SIZE << 9 * (level - 1);
}

enum status xen_take(struct xen_build *b, const char *what, uint64_t bytes, gpa_t *at)
{
    const uint64_t end = b->p->memory_bytes, left = b->next < end ? end - b->next : 0;
    if (bytes > left)
        return program_refuse(b->p, ERR_NO_MEMORY,
                              "%s, %llu KiB, does not fit into %llu MiB of memory behind what "
                              "comes before it, %llu KiB",
                              what, (unsigned long long)(bytes + 1023) / 1024,
                              (unsigned long long)(end / LAYOUT_MIB),
                              (unsigned long long)(b->next / 1024));
    *at = gpa(b->next);
    b->next += (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    return OK;
}

static enum status take_table(struct xen_build *b, gpa_t *at)
{
    const enum status s = xen_take(b, "a page table", PAGE_SIZE, at);
    if (s == OK && !guestmem_zero(b->p->mem, *at, PAGE_SIZE))
        return program_refuse(b->p, ERR_NO_MEMORY, "no memory for page tables");
    return s;
}

enum status xen_tables_begin(struct xen_build *b)
{
    struct xen_tables *t = &b->p->xen.kernel_tables;
    *t = (struct xen_tables){.count = {[LEVELS] = 1}};
    return take_table(b, &t->first);
}

/* The entry for va in its table of that level; those above are there. */
static uint64_t *entry_of(const struct xen_build *b, uint64_t va, unsigned level)
{
    gpa_t table = b->p->xen.kernel_tables.first;
    for (unsigned i = LEVELS;; i--) {
        const uint64_t index = va / span_of(i) % ENTRIES;
        uint64_t *entry =
            guestmem_window(b->p->mem, gpa(table.v + index * sizeof(*entry)), sizeof(*entry));
        if (i == level)
            return entry;
        table = gpa(*entry & PTE_ADDRESS);
    }
}

enum status xen_tables_add(struct xen_build *b, struct xen_tables *t, uint64_t va, uint64_t bytes)
{
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        const uint64_t span = span_of(level + 1), from = va & ~(span - 1);
        const uint64_t tables = (va - from + bytes + span - 1) / span;
        for (uint64_t i = 0; i < tables; i++) {
            uint64_t *entry = entry_of(b, from + i * span, level + 1);
            gpa_t at = gpa(0);
            if (b->p->between != NULL)
                b->p->between();
            if (*entry != 0) /* another range has it, too */
                continue;
            const enum status s = take_table(b, &at);
            if (s != OK)
                return s;
            *entry = at.v | TABLE_ENTRY;
            if (xen_table_pages(t) == 0)
                t->first = at;
            t->count[level]++;
        }
    }
    return OK;
}

void xen_tables_map(const struct xen_build *b, uint64_t va, gpa_t at, uint64_t pages)
{
    const struct xen_tables *t = &b->p->xen.kernel_tables;
    const uint64_t tables_end = t->first.v + xen_table_pages(t) * PAGE_SIZE;
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t page = at.v + i * PAGE_SIZE;
        const bool is_table = page >= t->first.v && page < tables_end;
        if (i % ENTRIES == 0 && b->p->between != NULL)
            b->p->between();
        *entry_of(b, va + i * PAGE_SIZE, 1) = page | LEAF | (is_table ? 0 : LEAF_WRITE);
    }
}
