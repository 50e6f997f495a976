/* SPDX-License-Identifier: BSD-2-Clause */
/* The handoff's list of memory regions, built from a map that may be odd or too long. */
#include "boot/efi_regions.h"

#include "arch/addr.h"

#include <stdbool.h>

#define ALL_PAGES (1ull << 40) /* of 52 address bits */
#define LOW_END   0xa0000ull   /* 640 KiB: from there on are screens and ROMs */

static uint64_t region_end(const struct handoff_region *r)
{
    return r->base + r->pages * PAGE_SIZE;
}

/* Makes room for one more by forgetting the smallest free region, if it is smaller than `pages`. */
static bool region_evict(struct handoff *h, uint64_t pages)
{
    uint32_t victim = h->region_count;
    for (uint32_t i = 0; i < h->region_count; i++)
        if (h->region[i].kind == REGION_FREE && h->region[i].pages < pages) {
            victim = i;
            pages = h->region[i].pages;
        }
    if (victim == h->region_count)
        return false;
    h->region_count--;
    for (uint32_t i = victim; i < h->region_count; i++)
        h->region[i] = h->region[i + 1];
    return true;
}

/* Where regions overlap, what is not free wins: firmware has been seen to list a range twice. */
void regions_add(struct handoff *h, uint64_t base, uint64_t pages, enum region_kind kind)
{
    struct handoff_region *last = h->region_count > 0 ? &h->region[h->region_count - 1] : 0;
    if (base / PAGE_SIZE >= ALL_PAGES || pages == 0)
        return;
    base &= ~(PAGE_SIZE - 1);
    uint64_t end =
        pages > ALL_PAGES - base / PAGE_SIZE ? ALL_PAGES * PAGE_SIZE : base + pages * PAGE_SIZE;
    if (base == 0 && kind == REGION_FREE) { /* so that address 0 is never memory to be used */
        regions_add(h, 0, 1, REGION_RESERVED);
        regions_add(h, PAGE_SIZE, pages - 1, REGION_FREE);
        return;
    }
    if (last != 0 && base < region_end(last)) {
        if (last->kind == REGION_FREE && kind != REGION_FREE) {
            last->pages = (base - last->base) / PAGE_SIZE;
            if (last->pages == 0)
                h->region_count--;
        } else {
            base = region_end(last);
        }
    }
    if (end <= base)
        return;
    pages = (end - base) / PAGE_SIZE;
    last = h->region_count > 0 ? &h->region[h->region_count - 1] : 0;
    if (last != 0 && last->kind == kind && region_end(last) == base) {
        last->pages += pages;
        return;
    }
    if (h->region_count == HANDOFF_MAX_REGIONS &&
        !region_evict(h, kind == REGION_FREE ? pages : UINT64_MAX))
        return;
    h->region[h->region_count++] =
        (struct handoff_region){.base = base, .pages = pages, .kind = kind};
}

uint64_t regions_low_page(const struct handoff *h)
{
    uint64_t page = 0;
    for (uint32_t i = 0; i < h->region_count; i++) {
        const struct handoff_region *r = &h->region[i];
        const uint64_t end = region_end(r) < LOW_END ? region_end(r) : LOW_END;
        if (r->kind == REGION_FREE && r->base < end)
            page = end - PAGE_SIZE; /* they are sorted */
    }
    return page;
}
