/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of a vCPU's cache share: cache.c, which has blocks, and cache_pages.c, which has
 * the pages that they are made of. */
#pragma once

#include "guest/bt/cache.h"

/* The page's list by its hash. */
static inline uint32_t *bt_cache_linear_head(const struct bt_cache *cache, uint64_t linear)
{
    return &cache->page_head_linear[linear % BT_PAGES];
}

static inline uint32_t *bt_cache_guest_head(const struct bt_cache *cache, uint64_t guest)
{
    return &cache->page_head_guest[guest % BT_PAGES];
}

/* Drops all blocks of a page, and the page. As bt_cache_drop(). */
bool bt_cache_drop_page(struct bt_cache *cache, struct bt_code_page *page, int *left);
