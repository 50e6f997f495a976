/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages of the shadow's tables, and when one that has been taken away can be used again.
 *
 * CPU A takes a table away: no entry leads to it any more. CPU B, which runs a vCPU of the same VM,
 * may still walk it, by its paging-structure caches. If A made another table of it at once, B would
 * take an entry of that for its page's. So: A puts the table into limbo, and when it needs pages,
 * raises the epoch and waits until each vCPU either does not run or has entered since; B, which
 * enters, reads the epoch after it has said that it runs, and drops its translations if that is a
 * new one. Both write first and read then, with a full barrier between, so one of them sees the
 * other. What lies below such a table is taken apart only when a page is needed, so that dropping
 * one entry of a root, or everything, takes no time.
 */
#include "mm/page_alloc.h"
#include "mm/shadow_parts.h"

#include "arch/string.h"

#define LIMIT_LEAST 32 /* what all pages of one instruction take, and more */
#define NEEDED      3  /* tables for one leaf */

static void push(struct shadow_list *list, uint32_t number)
{
    shadow_page(number)->next = list->first;
    list->first = number;
}

void shadow_put_page(struct shadow *shadow, uint32_t number)
{
    push(&shadow->limbo, number);
}

bool shadow_has_seen(struct shadow *shadow, uint64_t epoch)
{
    for (unsigned i = 0; i < SHADOW_MAX_CPUS; i++) {
        struct shadow_cpu *cpu = shadow->cpu[i];
        if (cpu != NULL && __atomic_load_n(&cpu->running, __ATOMIC_SEQ_CST) != 0 &&
            __atomic_load_n(&cpu->seen, __ATOMIC_ACQUIRE) < epoch)
            return false;
    }
    return true;
}

bool shadow_is_settled(struct shadow *shadow)
{
    return shadow_has_seen(shadow, __atomic_load_n(&shadow->epoch, __ATOMIC_SEQ_CST));
}

/* A free page; what lies below it becomes free. 0: none. */
static uint32_t take_free(struct shadow *shadow)
{
    const uint32_t number = shadow->free.first;
    if (number == 0)
        return 0;
    struct shadow_page *page = shadow_page(number);
    uint64_t *table = page_table(number);
    shadow->free.first = page->next;
    for (unsigned i = 0; page->level > 1 && (i = entry_next(table, page->used, i)) < TABLE_ENTRIES;
         i++)
        if (entry_is_table(table[i], page->level))
            push(&shadow->free, page_number(table[i]));
    for (unsigned i = 0; i < TABLE_ENTRIES; i += GROUP)
        if ((page->used >> i / GROUP & 1) != 0)
            memset(&table[i], 0, GROUP * sizeof(table[0]));
    return number;
}

/* A page that has not been used before. 0: none. */
static uint32_t take_fresh(struct shadow *shadow)
{
    if (shadow->taken == shadow->limit)
        return 0;
    if (shadow->next_fresh % CHUNK_PAGES == 0) {
        hpa_t chunk;
        if (page_alloc(CHUNK_PAGES, CHUNK_PAGES, &chunk) != OK)
            return 0;
        const uint32_t number = page_number(chunk.v);
        shadow_page(number)->next = shadow->chunks;
        shadow->chunks = number;
        shadow->next_fresh = number + 1;
    }
    shadow->taken++;
    return shadow->next_fresh++;
}

/* Makes pages free that were taken away, as far as no vCPU goes by them. */
static bool reclaim(struct shadow *shadow)
{
    if (shadow->pending.first == 0 && shadow->limbo.first != 0) {
        shadow->pending = shadow->limbo;
        shadow->limbo.first = 0;
        shadow->pending_epoch = __atomic_add_fetch(&shadow->epoch, 1, __ATOMIC_SEQ_CST);
    }
    if (shadow->pending.first == 0 || !shadow_has_seen(shadow, shadow->pending_epoch))
        return false;
    shadow->free = shadow->pending;
    shadow->pending.first = 0;
    return true;
}

enum shadow_result shadow_reserve(struct shadow *shadow)
{
    while (shadow->spares < NEEDED) {
        uint32_t number = take_free(shadow);
        if (number == 0)
            number = take_fresh(shadow);
        if (number != 0) {
            shadow->spare[shadow->spares++] = number;
            continue;
        }
        if (reclaim(shadow))
            continue;
        if (shadow->pending.first != 0)
            return SHADOW_WAIT;
        shadow->stats.dropped_all++;
        shadow_drop_subtrees(shadow);
    }
    return SHADOW_DONE;
}

uint32_t shadow_take_page(struct shadow *shadow, unsigned level)
{
    const uint32_t number = shadow->spare[--shadow->spares];
    struct shadow_page *page = shadow_page(number);
    page->next = 0;
    page->level = (uint8_t)level;
    page->flags = 0;
    page->used = 0;
    return number;
}

enum status shadow_create(const struct guestmem *mem, uint64_t limit, struct shadow **out)
{
    hpa_t at;
    enum status s = page_alloc((sizeof(struct shadow) + PAGE_SIZE - 1) / PAGE_SIZE, 1, &at);
    if (s != OK)
        return s;
    struct shadow *shadow = hpa_to_ptr(at);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < mem->count; i++)
        bytes += mem->slot[i].size;
    shadow->mem = mem;
    shadow->limit = limit != 0 ? limit : bytes / 64 / PAGE_SIZE + CHUNK_PAGES;
    if (shadow->limit < LIMIT_LEAST)
        shadow->limit = LIMIT_LEAST;
    s = shadow_code_create(shadow);
    if (s == OK) { /* the first chunk is there before the guest runs: with that alone it can */
        shadow->spare[0] = take_fresh(shadow);
        shadow->spares = shadow->spare[0] != 0;
        if (shadow->spares == 0)
            s = ERR_NO_MEMORY;
    }
    if (s == OK)
        *out = shadow;
    else
        shadow_destroy(shadow);
    return s;
}

void shadow_destroy(struct shadow *shadow)
{
    for (uint32_t chunk = shadow->chunks, next; chunk != 0; chunk = next) {
        next = shadow_page(chunk)->next;
        page_free(ptr_to_hpa(page_table(chunk)), CHUNK_PAGES);
    }
    shadow_code_destroy(shadow);
    page_free(ptr_to_hpa(shadow), (sizeof(*shadow) + PAGE_SIZE - 1) / PAGE_SIZE);
}
