/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that blocks are made of, and what the guest's page tables say of them. */
#include "guest/bt/cache_parts.h"

#include <stddef.h>

/* What a walk of the guest's page tables takes of a portion. */
#define WALK 32

static void set_guest_head(uint32_t *head, uint32_t number)
{
    __atomic_store_n(head, number, __ATOMIC_RELAXED); /* bt_cache_may_have() */
}

static uint64_t gib_of(uint64_t linear)
{
    return 1ull << (linear >> 30 & 63);
}

static void add_mapping(struct bt_cache *cache, unsigned number, const struct bt_mapping *mapping)
{
    cache->mapping[number] = *mapping;
    cache->local_mappings += !mapping->global;
    if (mapping->bytes > PAGE_SIZE)
        cache->large_mappings |= mapping->bytes > 1ull << 30 ? UINT64_MAX : gib_of(mapping->linear);
}

static void free_mapping(struct bt_cache *cache, struct bt_mapping *mapping)
{
    cache->local_mappings -= !mapping->global;
    *mapping = (struct bt_mapping){.bytes = 0, .guest = cache->free_mapping};
    cache->free_mapping = (uint32_t)(mapping - cache->mapping) + 1;
}

void bt_cache_remove_page(struct bt_cache *cache, struct bt_code_page *page)
{
    const uint32_t number = (uint32_t)(page - cache->page);
    uint32_t *head = bt_cache_linear_head(cache, page->linear);
    while (*head != number)
        head = &cache->page[*head].next_linear;
    *head = page->next_linear;
    head = bt_cache_guest_head(cache, page->guest);
    while (*head != number)
        head = &cache->page[*head].next_guest;
    set_guest_head(head, page->next_guest);
    if (cache->mapping[page->mapping].bytes == PAGE_SIZE)
        free_mapping(cache, &cache->mapping[page->mapping]);
    page->next_linear = cache->free_page;
    cache->free_page = number;
}

struct bt_code_page *bt_cache_page(const struct bt_cache *cache, uint64_t linear)
{
    const uint64_t number = linear / PAGE_SIZE;
    for (uint32_t i = *bt_cache_linear_head(cache, number); i != BT_NONE;
         i = cache->page[i].next_linear)
        if (cache->page[i].linear == number)
            return &cache->page[i];
    return NULL;
}

static bool is_mapping(const struct bt_mapping *m, uint64_t linear,
                       const struct guest_translation *found)
{
    const uint64_t within = found->bytes - 1;
    return m->linear == (linear & ~within) && m->bytes == found->bytes &&
           m->guest == found->at.v - (linear & within) && m->global == found->global && !m->gone;
}

/* Of a page that has none; BT_MAPPINGS: no room. One of 4 KiB is never another page's, too. */
static unsigned mapping_for(struct bt_cache *cache, uint64_t linear,
                            const struct guest_translation *found)
{
    const uint64_t within = found->bytes - 1;
    unsigned number;
    for (unsigned i = 0; found->bytes != PAGE_SIZE && i < cache->mappings; i++)
        if (is_mapping(&cache->mapping[i], linear, found))
            return i;
    if (cache->free_mapping != 0) {
        number = cache->free_mapping - 1;
        cache->free_mapping = (uint32_t)cache->mapping[number].guest;
    } else if (cache->mappings < BT_MAPPINGS) {
        number = cache->mappings++;
    } else {
        return BT_MAPPINGS;
    }
    add_mapping(cache, number,
                &(struct bt_mapping){
                    .linear = linear & ~within,
                    .bytes = found->bytes,
                    .guest = found->at.v - (linear & within),
                    .global = found->global,
                });
    return number;
}

struct bt_code_page *bt_cache_add_page(struct bt_cache *cache, uint64_t linear,
                                       const struct guest_translation *found)
{
    const unsigned mapping = mapping_for(cache, linear, found);
    uint32_t number = cache->free_page;
    if (mapping == BT_MAPPINGS || (number == BT_NONE && cache->pages == BT_PAGES))
        return NULL;
    if (number != BT_NONE)
        cache->free_page = cache->page[number].next_linear;
    else
        number = ++cache->pages;
    struct bt_code_page *page = &cache->page[number];
    *page = (struct bt_code_page){
        .linear = linear / PAGE_SIZE,
        .guest = found->at.v / PAGE_SIZE,
        .mapping = (uint16_t)mapping,
    };
    uint32_t *head = bt_cache_linear_head(cache, page->linear);
    page->next_linear = *head;
    *head = number;
    head = bt_cache_guest_head(cache, page->guest);
    page->next_guest = *head;
    set_guest_head(head, number);
    return page;
}

static void mapping_goes(struct bt_cache *cache, struct bt_mapping *mapping)
{
    mapping->gone = true;
    cache->any_gone = true;
    cache->gone_at = 0;
}

bool bt_cache_want_check(struct bt_cache *cache, bool all)
{
    if (!all && cache->local_mappings == 0)
        return false;
    cache->check_all = all || (cache->check && cache->check_all);
    cache->check = true;
    cache->check_at = 0;
    return true;
}

/* Whether it is as it was. */
static bool is_same(const struct bt_mapping *mapping, bt_cache_walk *walk, void *ctx)
{
    struct guest_translation found;
    return walk(ctx, mapping->linear, &found) && is_mapping(mapping, mapping->linear, &found);
}

static bool check(struct bt_cache *cache, bt_cache_walk *walk, void *ctx, int *left)
{
    for (; cache->check_at < cache->mappings; cache->check_at++) {
        struct bt_mapping *m = &cache->mapping[cache->check_at];
        if (m->bytes == 0 || m->gone || (m->global && !cache->check_all))
            continue;
        if ((*left -= WALK) < 0)
            return false;
        if (!is_same(m, walk, ctx))
            mapping_goes(cache, m);
    }
    cache->check = false;
    return true;
}

/* The page's mapping is gone: by another one, it may be the same page of guest memory. */
static bool is_still_there(struct bt_cache *cache, struct bt_code_page *page, bt_cache_walk *walk,
                           void *ctx)
{
    const uint64_t linear = page->linear * PAGE_SIZE;
    struct guest_translation found;
    if (!walk(ctx, linear, &found) || found.at.v / PAGE_SIZE != page->guest)
        return false;
    const unsigned mapping = mapping_for(cache, linear, &found);
    if (mapping == BT_MAPPINGS)
        return false;
    if (cache->mapping[page->mapping].bytes == PAGE_SIZE)
        free_mapping(cache, &cache->mapping[page->mapping]);
    page->mapping = (uint16_t)mapping;
    return true;
}

/* It stays, or goes. Where dropping it has begun, that is brought to its end. */
static bool settle_page(struct bt_cache *cache, struct bt_code_page *page, bt_cache_walk *walk,
                        void *ctx, int *left)
{
    if (page->first == BT_NONE || !cache->block[page->first / 2].dead) {
        if (*left < WALK)
            return false;
        *left -= WALK + (int)cache->mappings / 8;
        if (is_still_there(cache, page, walk, ctx))
            return true;
    }
    return bt_cache_drop_page(cache, page, left);
}

static bool drop_gone(struct bt_cache *cache, bt_cache_walk *walk, void *ctx, int *left)
{
    for (; cache->gone_at < BT_PAGES; cache->gone_at++)
        for (uint32_t i = cache->page_head_linear[cache->gone_at]; i != BT_NONE;) {
            struct bt_code_page *page = &cache->page[i];
            i = page->next_linear;
            if (cache->mapping[page->mapping].gone && !settle_page(cache, page, walk, ctx, left))
                return false;
        }
    for (unsigned i = 0; i < cache->mappings; i++)
        if (cache->mapping[i].gone)
            free_mapping(cache, &cache->mapping[i]);
    cache->any_gone = false;
    return true;
}

bool bt_cache_drop_wanted(struct bt_cache *cache, bt_cache_walk *walk, void *ctx, int *left)
{
    return (!cache->check || check(cache, walk, ctx, left)) &&
           (!cache->any_gone || drop_gone(cache, walk, ctx, left));
}

bool bt_cache_check_one(struct bt_cache *cache, uint64_t linear, bt_cache_walk *walk, void *ctx)
{
    const struct bt_code_page *page = bt_cache_page(cache, linear);
    const bool is_near = (cache->large_mappings & gib_of(linear)) != 0;
    for (unsigned i = 0; page == NULL && is_near && i < cache->mappings; i++) {
        struct bt_mapping *m = &cache->mapping[i];
        if (m->bytes > PAGE_SIZE && !m->gone && linear - m->linear < m->bytes &&
            !is_same(m, walk, ctx))
            mapping_goes(cache, m);
    }
    if (page != NULL && !is_same(&cache->mapping[page->mapping], walk, ctx))
        mapping_goes(cache, &cache->mapping[page->mapping]);
    return !cache->any_gone;
}
