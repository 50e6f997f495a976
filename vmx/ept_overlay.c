/* SPDX-License-Identifier: BSD-2-Clause */
/* Copies the tables on the way to a page, and changes the copies. */
#include "vmx/ept_overlay.h"

#include "arch/string.h"
#include "mm/page_alloc.h"
#include "mm/table.h"

#define PERMS      7ull
#define LARGE      (1ull << 7)
#define TYPE_SHIFT 3
#define IGNORE_PAT (1ull << 6)

static bool is_own(const struct ept_overlay *overlay, uint64_t entry)
{
    for (uint32_t i = 0; i < overlay->count; i++)
        if (overlay->table[i].v == (entry & PTE_ADDRESS))
            return true;
    return false;
}

/* What a large page is, in the pages of the next level below. */
static void split(uint64_t *table, uint64_t entry, unsigned level)
{
    const uint64_t bytes = table_level_bytes(level - 1);
    if (level == 2)
        entry &= ~LARGE;
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(entry); i++)
        table[i] = entry + i * bytes;
}

/* A place for the name of one more table. */
static enum status make_room(struct ept_overlay *overlay)
{
    hpa_t page;
    if (overlay->count != 0)
        return overlay->count < EPT_OVERLAY_MAX ? OK : ERR_LIMIT;
    const enum status s = page_alloc(1, 1, &page);
    if (s == OK)
        overlay->table = hpa_to_ptr(page);
    return s;
}

static void free_room(struct ept_overlay *overlay)
{
    if (overlay->table != NULL)
        page_free(ptr_to_hpa(overlay->table), 1);
    overlay->table = NULL;
}

/* Makes the table that an entry of this level leads to, or would lead to, a copy. */
static enum status own_table(struct ept_overlay *overlay, uint64_t *entry, unsigned level)
{
    hpa_t copy;
    enum status s = make_room(overlay);
    if (s != OK)
        return s;
    s = page_alloc(1, 1, &copy);
    if (s != OK) {
        if (overlay->count == 0)
            free_room(overlay);
        return s;
    }
    overlay->table[overlay->count++] = copy;
    if (level <= TABLE_TOP_LEVEL && (*entry & PERMS) != 0 && (*entry & LARGE) != 0)
        split(hpa_to_ptr(copy), *entry, level);
    else if ((*entry & PERMS) != 0)
        memcpy(hpa_to_ptr(copy), table_of(*entry), PAGE_SIZE);
    *entry = copy.v | EPT_RWX;
    return OK;
}

enum status ept_overlay_show(struct ept_overlay *overlay, hpa_t root, gpa_t guest, hpa_t host,
                             unsigned perms)
{
    uint64_t top = (overlay->count == 0 ? root.v : overlay->table[0].v) | EPT_RWX;
    uint64_t *entry = &top;
    for (unsigned level = TABLE_TOP_LEVEL; level > 0; level--) {
        const enum status s = is_own(overlay, *entry) ? OK : own_table(overlay, entry, level + 1);
        if (s != OK)
            return s;
        entry = table_entry(table_of(*entry), guest.v, level);
    }
    *entry = host.v | perms | (uint64_t)MEMORY_WB << TYPE_SHIFT | IGNORE_PAT;
    return OK;
}

void ept_overlay_drop(struct ept_overlay *overlay)
{
    while (overlay->count > 0)
        page_free(overlay->table[--overlay->count], 1);
    free_room(overlay);
}
