/* SPDX-License-Identifier: BSD-2-Clause */
/* The physical page allocator: hides two sorted tables of free ranges behind one lock. */
#include "mm/page_alloc.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/spinlock.h"
#include "arch/string.h"

#define LOWEST (1ull << 20) /* below: real-mode tables, trampoline, firmware's leftovers */

uint64_t physmap_base;

struct range_table {
    uint32_t count;
    struct page_range range[PAGE_ALLOC_MAX_RANGES]; /* sorted, none touching the next */
};

/* What is free. A block of 2 MiB in which anything is the hypervisor's is its own for ever. The
 * others are in the guests' table, or guests have them. */
static struct {
    struct spinlock lock;
    struct range_table own, guests;
    uint64_t free_pages, hypervisor_pages;
    page_map_fn *set_mapped; /* NULL: not yet */
} state;

static uint64_t range_end(const struct page_range *r)
{
    return r->base + r->pages * PAGE_SIZE;
}

static void remove_slot(struct range_table *t, uint32_t i)
{
    t->count--;
    memmove(&t->range[i], &t->range[i + 1], (t->count - i) * sizeof(t->range[0]));
}

static bool insert_slot(struct range_table *t, uint32_t i, uint64_t base, uint64_t pages)
{
    if (t->count == PAGE_ALLOC_MAX_RANGES)
        return false;
    memmove(&t->range[i + 1], &t->range[i], (t->count - i) * sizeof(t->range[0]));
    t->range[i] = (struct page_range){base, pages};
    t->count++;
    return true;
}

/* The place of the first range that begins at an address or above. */
static uint32_t find(const struct range_table *t, uint64_t base)
{
    uint32_t i = 0;
    while (i < t->count && t->range[i].base < base)
        i++;
    return i;
}

static bool overlaps(const struct range_table *t, uint64_t base, uint64_t pages)
{
    const uint32_t i = find(t, base);
    return (i > 0 && range_end(&t->range[i - 1]) > base) ||
           (i < t->count && t->range[i].base < base + pages * PAGE_SIZE);
}

/* Gives a range to a table, merged with its neighbours. */
static enum status add_free(struct range_table *t, uint64_t base, uint64_t pages)
{
    const uint32_t i = find(t, base);
    const uint64_t end = base + pages * PAGE_SIZE;
    struct page_range *before = i > 0 ? &t->range[i - 1] : NULL;
    struct page_range *after = i < t->count ? &t->range[i] : NULL;
    if (overlaps(&state.own, base, pages) || overlaps(&state.guests, base, pages))
        return ERR_BAD_INPUT;
    bool joins_before = before != NULL && range_end(before) == base;
    if (after != NULL && after->base == end) {
        after->base = base;
        after->pages += pages;
        if (joins_before) {
            before->pages += after->pages;
            remove_slot(t, i);
        }
    } else if (joins_before) {
        before->pages += pages;
    } else if (!insert_slot(t, i, base, pages)) {
        return ERR_LIMIT;
    }
    state.free_pages += pages;
    return OK;
}

/* Free memory at start: whole blocks are for guests, what is beside them for the hypervisor. */
static enum status add_initial(uint64_t base, uint64_t pages)
{
    const uint64_t end = base + pages * PAGE_SIZE;
    uint64_t first = (base + PAGE_SIZE_2M - 1) & ~(PAGE_SIZE_2M - 1);
    uint64_t last = end & ~(PAGE_SIZE_2M - 1);
    if (first < base || first >= last)
        first = last = end;
    enum status s = OK;
    if (first > base)
        s = add_free(&state.own, base, (first - base) / PAGE_SIZE);
    if (s == OK && last > first)
        s = add_free(&state.guests, first, (last - first) / PAGE_SIZE);
    if (s == OK && end > last)
        s = add_free(&state.own, last, (end - last) / PAGE_SIZE);
    return s;
}

enum status page_alloc_init(const struct page_range *ranges, size_t count)
{
    memset(&state, 0, sizeof(state));
    for (size_t i = 0; i < count; i++) {
        struct page_range r = ranges[i];
        if (r.base % PAGE_SIZE != 0 || r.base > UINT64_MAX - PAGE_SIZE ||
            r.pages > (UINT64_MAX - r.base) / PAGE_SIZE)
            return ERR_BAD_INPUT;
        if (r.base < LOWEST) {
            uint64_t cut = (LOWEST - r.base) / PAGE_SIZE;
            r.base = LOWEST;
            r.pages = r.pages > cut ? r.pages - cut : 0;
        }
        enum status s = r.pages > 0 ? add_initial(r.base, r.pages) : OK;
        if (s != OK)
            return s;
    }
    return OK;
}

/* Where pages fit in the range, aligned, at its low or high end; false where they do not. */
static bool fit(const struct page_range *r, uint64_t pages, uint64_t align, bool high,
                uint64_t *base)
{
    if (pages > r->pages)
        return false;
    if (high) {
        *base = (range_end(r) - pages * PAGE_SIZE) & ~(align - 1);
        return *base >= r->base;
    }
    *base = (r->base + align - 1) & ~(align - 1);
    return *base >= r->base && *base <= range_end(r) - pages * PAGE_SIZE;
}

/* Cuts [base, base + pages) out of range i. */
static bool cut(struct range_table *t, uint32_t i, uint64_t base, uint64_t pages)
{
    struct page_range *r = &t->range[i];
    uint64_t below = (base - r->base) / PAGE_SIZE;
    uint64_t above = r->pages - below - pages;
    if (above > 0 && below > 0 && !insert_slot(t, i + 1, base + pages * PAGE_SIZE, above))
        return false;
    if (below > 0) {
        r->pages = below;
    } else if (above > 0) {
        *r = (struct page_range){base + pages * PAGE_SIZE, above};
    } else {
        remove_slot(t, i);
    }
    state.free_pages -= pages;
    return true;
}

static bool take(struct range_table *t, uint64_t pages, uint64_t align, bool high, uint64_t *base)
{
    for (uint32_t n = 0; n < t->count; n++) {
        const uint32_t i = high ? t->count - 1 - n : n;
        if (fit(&t->range[i], pages, align, high, base) && cut(t, i, *base, pages))
            return true;
    }
    return false;
}

/* The hypervisor needs more: it gets whole blocks of what no guest has. They are mapped before
 * anybody can be given a page of them. */
static bool grow(uint64_t pages, uint64_t align)
{
    const uint64_t block = PAGE_SIZE_2M / PAGE_SIZE;
    uint64_t base;
    if (pages > UINT64_MAX - block)
        return false;
    pages = (pages + block - 1) & ~(block - 1);
    if (!take(&state.guests, pages, align > PAGE_SIZE_2M ? align : PAGE_SIZE_2M, false, &base))
        return false;
    if (add_free(&state.own, base, pages) != OK) {
        (void)add_free(&state.guests, base, pages); /* where it has just been cut out */
        return false;
    }
    if (state.set_mapped != NULL)
        state.set_mapped(hpa(base), pages, true);
    return true;
}

static enum status alloc(uint64_t pages, uint64_t align_pages, bool guest, hpa_t *out)
{
    if (pages == 0 || align_pages == 0 || (align_pages & (align_pages - 1)) != 0 ||
        align_pages > UINT64_MAX / PAGE_SIZE)
        return ERR_BAD_INPUT;
    const uint64_t align = align_pages * PAGE_SIZE;
    uint64_t base = 0;
    spinlock_lock(&state.lock);
    const bool found =
        guest ? take(&state.guests, pages, align, true, &base)
              : take(&state.own, pages, align, false, &base) ||
                    (grow(pages, align) && take(&state.own, pages, align, false, &base));
    if (found && !guest)
        state.hypervisor_pages += pages;
    spinlock_unlock(&state.lock);
    if (!found)
        return ERR_NO_MEMORY;
    *out = hpa(base);
    return OK;
}

static void give_back(hpa_t base, uint64_t pages, bool guest)
{
    if (pages == 0)
        return;
    if (base.v % PAGE_SIZE != 0 || base.v < LOWEST || pages > (UINT64_MAX - base.v) / PAGE_SIZE)
        panic("page_free: %lx is not a page that was allocated", base.v);
    spinlock_lock(&state.lock);
    enum status s = add_free(guest ? &state.guests : &state.own, base.v, pages);
    bool counted = guest || state.hypervisor_pages >= pages;
    if (!guest && counted)
        state.hypervisor_pages -= pages;
    spinlock_unlock(&state.lock);
    if (s == ERR_BAD_INPUT || !counted)
        panic("page_free: %lu pages at %lx are free already", pages, base.v);
    if (s == ERR_LIMIT)
        log_line("page_free: too many free ranges, %lu pages at %lx are lost", pages, base.v);
}

enum status page_alloc(uint64_t pages, uint64_t align_pages, hpa_t *out)
{
    const enum status s = alloc(pages, align_pages, false, out);
    if (s == OK)
        memset(hpa_to_ptr(*out), 0, pages * PAGE_SIZE);
    return s;
}

enum status page_alloc_guest(uint64_t pages, uint64_t align_pages, hpa_t *out)
{
    return alloc(pages, align_pages, true, out);
}

void page_free(hpa_t base, uint64_t pages)
{
    give_back(base, pages, false);
}

void page_free_guest(hpa_t base, uint64_t pages)
{
    give_back(base, pages, true);
}

void page_alloc_unmap_guests(page_map_fn *set_mapped)
{
    state.set_mapped = set_mapped;
    for (uint32_t i = 0; i < state.guests.count; i++)
        set_mapped(hpa(state.guests.range[i].base), state.guests.range[i].pages, false);
}

uint64_t page_alloc_used_by_hypervisor(void)
{
    return state.hypervisor_pages * PAGE_SIZE;
}

uint64_t page_alloc_free_bytes(void)
{
    return state.free_pages * PAGE_SIZE;
}
