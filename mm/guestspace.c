/* SPDX-License-Identifier: BSD-2-Clause */
/* The page tables of a VM: which of their entries are the hypervisor's, and which its own. */
#include "mm/guestspace.h"
#include "arch/string.h"
#include "mm/host_paging.h"
#include "mm/table.h"

/* Entries of a root: the guests' part, with the window, is private, what is around it is as in the
 * hypervisor's. */
#define PART_OF(address) ((address) / (1ull << 39) % TABLE_ENTRIES)
enum { GUESTS_FIRST = PART_OF(HOST_GUESTS_BASE), GUESTS_END = PART_OF(HOST_WINDOW_BASE) + 1 };
_Static_assert(PART_OF(HOST_SCREEN_BASE) == GUESTS_END, "the window's entry is the last of it");

uint64_t guestspace_offset;

enum status guestspace_create(hpa_t *root)
{
    const enum status s = page_alloc(1, 1, root);
    if (s != OK)
        return s;
    const uint64_t *from = hpa_to_ptr(host_paging_root());
    uint64_t *to = hpa_to_ptr(*root);
    for (unsigned i = TABLE_ENTRIES / 2; i < TABLE_ENTRIES; i++)
        if (i < GUESTS_FIRST || i >= GUESTS_END)
            to[i] = from[i];
    return OK;
}

static void free_tables(uint64_t entry, unsigned level)
{
    if ((entry & PTE_P) == 0 || (entry & PTE_PS) != 0)
        return;
    const uint64_t *table = table_of(entry);
    for (unsigned i = 0; i < TABLE_ENTRIES && level > 1; i++)
        free_tables(table[i], level - 1);
    page_free(ptr_to_hpa(table), 1);
}

void guestspace_destroy(hpa_t root)
{
    if (root.v == 0)
        return;
    const uint64_t *table = hpa_to_ptr(root);
    for (unsigned i = GUESTS_FIRST; i < GUESTS_END; i++)
        free_tables(table[i], TABLE_TOP_LEVEL - 1);
    page_free(root, 1);
}

enum status guestspace_map(hpa_t root, hpa_t base, uint64_t pages)
{
    return host_map_ram(root, HOST_GUESTS_BASE + base.v, base, pages * PAGE_SIZE);
}

void guestspace_zero(hpa_t root, hpa_t base, uint64_t pages, void (*between)(uint64_t done))
{
    const hpa_t before = guestspace_enter(root);
    const uint64_t bytes = pages * PAGE_SIZE;
    for (uint64_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < GUESTSPACE_ZERO_PORTION ? bytes - done : GUESTSPACE_ZERO_PORTION;
        memset(guestspace_ptr(hpa(base.v + done)), 0, n);
        if (between != NULL)
            between(done + n);
    }
    (void)guestspace_enter(before);
}
