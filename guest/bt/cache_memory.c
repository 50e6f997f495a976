/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of a vCPU's translations: allocated, and mapped for CPL 3. */
#include "guest/bt/cache.h"

#include "arch/cpu.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

/* vCPUs' caches are apart by this, above the pages for single instructions (guest/ring3/window.h).
 * It is also how far a cache can reach. */
#define FIRST  (HOST_WINDOW_BASE + (1ull << 30))
#define STRIDE (64ull << 20)

enum status bt_cache_create(struct bt_cache *cache, hpa_t root, unsigned index, uint32_t code_bytes)
{
    const uint64_t at = FIRST + index * STRIDE;
    struct bt_cache_sizes size;
    bt_cache_sizes(&size, code_bytes);
    *cache = (struct bt_cache){
        .root = root,
        .code_at = at,
        .window_count = (uint32_t)(size.window / PAGE_SIZE),
        .own_count = (uint32_t)((size.own + PAGE_SIZE - 1) / PAGE_SIZE),
    };
    enum status s = page_alloc(cache->window_count, 1, &cache->window_pages);
    if (s == OK)
        s = page_alloc(cache->own_count, 1, &cache->own_pages);
    for (uint64_t i = 0; i < cache->window_count && s == OK; i++)
        s = host_map_user(root, at + i * PAGE_SIZE, hpa(cache->window_pages.v + i * PAGE_SIZE),
                          i < size.code / PAGE_SIZE ? HOST_USER_CODE : HOST_USER_DATA);
    if (s != OK) /* other vCPUs may have some of it in their CPUs' TLBs by now */
        return s;
    bt_cache_place(cache, code_bytes, hpa_to_ptr(cache->window_pages), at,
                   hpa_to_ptr(cache->own_pages));
    return OK;
}

/* The tables may outlive the vCPU: a reset of the VM keeps them with its memory. */
static void unmap(const struct bt_cache *cache)
{
    for (uint64_t i = 0; i < cache->window_count; i++)
        host_unmap_user(cache->root, cache->code_at + i * PAGE_SIZE);
    cpu_write_cr3(cpu_read_cr3()); /* this CPU may be in them */
}

void bt_cache_destroy(struct bt_cache *cache)
{
    if (cache->window_pages.v != 0) {
        unmap(cache);
        page_free(cache->window_pages, cache->window_count);
    }
    if (cache->own_pages.v != 0)
        page_free(cache->own_pages, cache->own_count);
    *cache = (struct bt_cache){0};
}
