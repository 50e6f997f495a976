/* SPDX-License-Identifier: BSD-2-Clause */
/* The physical page allocator: hides a sorted table of free ranges behind one lock. */
#include "mm/page_alloc.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/spinlock.h"
#include "arch/string.h"

#define ZERO_AT_ONCE (1ull << 20) /* bytes */

#define LOWEST (1ull << 20) /* below: real-mode tables, trampoline, firmware's leftovers */

uint64_t physmap_base;

static struct {
    struct spinlock lock;
    uint32_t count;
    struct page_range range[PAGE_ALLOC_MAX_RANGES]; /* free; sorted, none touching the next */
    uint64_t free_pages, hypervisor_pages;
} state;

static uint64_t range_end(const struct page_range *r)
{
    return r->base + r->pages * PAGE_SIZE;
}

static void remove_slot(uint32_t i)
{
    state.count--;
    memmove(&state.range[i], &state.range[i + 1], (state.count - i) * sizeof(state.range[0]));
}

static bool insert_slot(uint32_t i, uint64_t base, uint64_t pages)
{
    if (state.count == PAGE_ALLOC_MAX_RANGES)
        return false;
    memmove(&state.range[i + 1], &state.range[i], (state.count - i) * sizeof(state.range[0]));
    state.range[i] = (struct page_range){base, pages};
    state.count++;
    return true;
}

/* Gives a range to the table, merged with its neighbours. */
static enum status add_free(uint64_t base, uint64_t pages)
{
    uint32_t i = 0;
    uint64_t end = base + pages * PAGE_SIZE;
    while (i < state.count && state.range[i].base < base)
        i++;
    struct page_range *before = i > 0 ? &state.range[i - 1] : NULL;
    struct page_range *after = i < state.count ? &state.range[i] : NULL;
    if ((before != NULL && range_end(before) > base) || (after != NULL && after->base < end))
        return ERR_BAD_INPUT;
    bool joins_before = before != NULL && range_end(before) == base;
    if (after != NULL && after->base == end) {
        after->base = base;
        after->pages += pages;
        if (joins_before) {
            before->pages += after->pages;
            remove_slot(i);
        }
    } else if (joins_before) {
        before->pages += pages;
    } else if (!insert_slot(i, base, pages)) {
        return ERR_LIMIT;
    }
    state.free_pages += pages;
    return OK;
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
        enum status s = r.pages > 0 ? add_free(r.base, r.pages) : OK;
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
static bool take(uint32_t i, uint64_t base, uint64_t pages)
{
    struct page_range *r = &state.range[i];
    uint64_t below = (base - r->base) / PAGE_SIZE;
    uint64_t above = r->pages - below - pages;
    if (above > 0 && below > 0 && !insert_slot(i + 1, base + pages * PAGE_SIZE, above))
        return false;
    if (below > 0) {
        r->pages = below;
    } else if (above > 0) {
        *r = (struct page_range){base + pages * PAGE_SIZE, above};
    } else {
        remove_slot(i);
    }
    state.free_pages -= pages;
    return true;
}

static enum status alloc(uint64_t pages, uint64_t align_pages, bool guest, hpa_t *out)
{
    if (pages == 0 || align_pages == 0 || (align_pages & (align_pages - 1)) != 0 ||
        align_pages > UINT64_MAX / PAGE_SIZE)
        return ERR_BAD_INPUT;
    bool found = false;
    uint64_t base = 0;
    spinlock_lock(&state.lock);
    for (uint32_t n = 0; n < state.count && !found; n++) {
        uint32_t i = guest ? state.count - 1 - n : n;
        found = fit(&state.range[i], pages, align_pages * PAGE_SIZE, guest, &base) &&
                take(i, base, pages);
    }
    if (found && !guest)
        state.hypervisor_pages += pages;
    spinlock_unlock(&state.lock);
    if (!found)
        return ERR_NO_MEMORY;
    *out = hpa(base);
    return OK;
}

static void zero(hpa_t base, uint64_t pages, void (*between)(void))
{
    const uint64_t end = base.v + pages * PAGE_SIZE;
    for (uint64_t at = base.v; at < end; at += ZERO_AT_ONCE) {
        memset(hpa_to_ptr(hpa(at)), 0, end - at < ZERO_AT_ONCE ? end - at : ZERO_AT_ONCE);
        if (between != NULL)
            between();
    }
}

static void give_back(hpa_t base, uint64_t pages, bool guest)
{
    if (pages == 0)
        return;
    if (base.v % PAGE_SIZE != 0 || base.v < LOWEST || pages > (UINT64_MAX - base.v) / PAGE_SIZE)
        panic("page_free: %lx is not a page that was allocated", base.v);
    spinlock_lock(&state.lock);
    enum status s = add_free(base.v, pages);
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
        zero(*out, pages, NULL);
    return s;
}

enum status page_alloc_guest(uint64_t pages, uint64_t align_pages, void (*between)(void),
                             hpa_t *out)
{
    const enum status s = alloc(pages, align_pages, true, out);
    if (s == OK)
        zero(*out, pages, between);
    return s;
}

void page_free(hpa_t base, uint64_t pages)
{
    give_back(base, pages, false);
}

void page_free_guest(hpa_t base, uint64_t pages, void (*between)(void))
{
    zero(base, pages, between);
    give_back(base, pages, true);
}

uint64_t page_alloc_used_by_hypervisor(void)
{
    return state.hypervisor_pages * PAGE_SIZE;
}

uint64_t page_alloc_free_bytes(void)
{
    return state.free_pages * PAGE_SIZE;
}
