/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code map: which pages of guest memory have translated code, and which a CPU may have
 * writable. There is no list of the leaves that map a page: where one gets its first code that may
 * be writable, all writable leaves of all tables become read-only, in a sweep, and those that are
 * written to come back by their faults. Only tables that a writable leaf was put into since the
 * last sweep are looked at, so a sweep costs no more than what has been filled in between.
 *
 * A sweep is done in portions. While one is under way no leaf becomes writable: whoever asks for
 * one does the next portion. Its end is for all pages that have got code meanwhile.
 */
#include "mm/page_alloc.h"
#include "mm/shadow_parts.h"

/* Entries, or eight bytes of the map, that one portion looks at. */
#define PORTION 65536

static uint64_t map_pages(uint64_t pages) /* of the map itself, in whole words */
{
    return (pages + PAGE_SIZE - 1) / PAGE_SIZE;
}

enum status shadow_code_create(struct shadow *shadow)
{
    for (uint32_t i = 0; i < shadow->mem->count; i++) {
        hpa_t at;
        shadow->pages[i] = shadow->mem->slot[i].size / PAGE_SIZE;
        if (shadow->pages[i] == 0)
            continue;
        const enum status s = page_alloc(map_pages(shadow->pages[i]), 1, &at);
        if (s != OK)
            return s;
        shadow->code[i] = hpa_to_ptr(at);
    }
    return OK;
}

void shadow_code_destroy(struct shadow *shadow)
{
    for (unsigned i = 0; i < GUESTMEM_MAX_SLOTS; i++)
        if (shadow->code[i] != NULL)
            page_free(ptr_to_hpa(shadow->code[i]), map_pages(shadow->pages[i]));
}

uint8_t *shadow_code_byte(const struct shadow *shadow, gpa_t at)
{
    const struct guestmem_slot *slot = guestmem_slot(shadow->mem, at);
    if (slot == NULL)
        return NULL;
    const size_t i = (size_t)(slot - shadow->mem->slot);
    const uint64_t page = (at.v - slot->base.v) / PAGE_SIZE;
    return page < shadow->pages[i] ? &shadow->code[i][index_nospec(page, shadow->pages[i])] : NULL;
}

/* The translator changes its own bits with no lock. */
static void set_bits(uint8_t *byte, uint8_t bits)
{
    if ((__atomic_load_n(byte, __ATOMIC_RELAXED) & bits) != bits)
        __atomic_fetch_or(byte, bits, __ATOMIC_RELAXED);
}

bool shadow_has_code(const struct shadow *shadow, gpa_t at, uint64_t bytes)
{
    const uint8_t *byte = shadow_code_byte(shadow, at);
    uint8_t all = 0;
    for (uint64_t i = 0; i < bytes; i += PAGE_SIZE)
        all |= __atomic_load_n(byte++, __ATOMIC_RELAXED);
    return (all & SHADOW_HAS_CODE) != 0;
}

void shadow_becomes_writable(struct shadow *shadow, gpa_t at, uint64_t bytes)
{
    uint8_t *byte = shadow_code_byte(shadow, at);
    for (uint64_t i = 0; i < bytes; i += PAGE_SIZE)
        set_bits(byte++, SHADOW_MAY_BE_WRITABLE);
}

static void begin_sweep(struct shadow *shadow)
{
    shadow->sweep.active = true;
    shadow->sweep.chunk = shadow->chunks;
    shadow->sweep.index = 1;
    shadow->sweep.slot = 0;
    shadow->sweep.page = 0;
    shadow->stats.sweeps++;
}

static void protect_table(struct shadow_page *page, uint64_t *table)
{
    for (unsigned i = 0; (i = entry_next(table, page->used, i)) < TABLE_ENTRIES; i++)
        if ((table[i] & PTE_W) != 0 && !entry_is_table(table[i], page->level))
            entry_store(&table[i], table[i] & ~LEAF_WRITE);
    page->flags &= (uint8_t)~PAGE_HAS_WRITABLE;
}

/* False: the portion is done before all tables are. Chunks that come meanwhile need no look. */
static bool sweep_tables(struct shadow *shadow, unsigned *left)
{
    while (shadow->sweep.chunk != 0) {
        const uint32_t chunk = shadow->sweep.chunk;
        while (shadow->sweep.index < CHUNK_PAGES) {
            if (*left < TABLE_ENTRIES)
                return false;
            const uint32_t number = chunk + shadow->sweep.index++;
            struct shadow_page *page = shadow_page(number);
            --*left;
            if ((page->flags & PAGE_HAS_WRITABLE) == 0)
                continue;
            protect_table(page, page_table(number));
            *left -= TABLE_ENTRIES - 1;
        }
        shadow->sweep.chunk = shadow_page(chunk)->next;
        shadow->sweep.index = 1;
    }
    return true;
}

/* Clears SHADOW_MAY_BE_WRITABLE of all pages; the map ends with whole words. */
static bool sweep_map(struct shadow *shadow, unsigned *left)
{
    const uint64_t bits = 0x0101010101010101ull * SHADOW_MAY_BE_WRITABLE;
    for (; shadow->sweep.slot < shadow->mem->count; shadow->sweep.slot++) {
        uint64_t *word = (uint64_t *)(void *)shadow->code[shadow->sweep.slot];
        for (; shadow->sweep.page * 8 < shadow->pages[shadow->sweep.slot]; shadow->sweep.page++) {
            if (*left == 0)
                return false;
            --*left;
            if ((word[shadow->sweep.page] & bits) != 0)
                __atomic_fetch_and(&word[shadow->sweep.page], ~bits, __ATOMIC_RELAXED);
        }
        shadow->sweep.page = 0;
    }
    return true;
}

void shadow_sweep(struct shadow *shadow)
{
    unsigned left = PORTION;
    if (!sweep_tables(shadow, &left) || !sweep_map(shadow, &left))
        return;
    shadow->sweep.active = false;
    shadow->sweep_epoch = __atomic_add_fetch(&shadow->epoch, 1, __ATOMIC_SEQ_CST);
}

static enum shadow_result add(struct shadow *shadow, uint8_t *byte)
{
    set_bits(byte, SHADOW_HAS_CODE);
    if ((*byte & SHADOW_MAY_BE_WRITABLE) != 0 && !shadow->sweep.active)
        begin_sweep(shadow);
    if (shadow->sweep.active)
        shadow_sweep(shadow);
    if (shadow->sweep.active)
        return SHADOW_AGAIN;
    /* CPU A ends the sweep here; CPU B, which runs, may have the page writable in its TLB until it
     * enters again. What A translated before could be written to by B, and nobody would notice. */
    return shadow_has_seen(shadow, shadow->sweep_epoch) ? SHADOW_DONE : SHADOW_WAIT;
}

enum shadow_result shadow_code_add(struct shadow *shadow, gpa_t at)
{
    uint8_t *byte = shadow_code_byte(shadow, at);
    if (byte == NULL)
        return SHADOW_EMULATE;
    spinlock_lock(&shadow->lock);
    const enum shadow_result result = add(shadow, byte);
    if (CHECK_EXIT && result == SHADOW_DONE)
        shadow_note_code(shadow, at);
    spinlock_unlock(&shadow->lock);
    return result;
}

void shadow_code_remove(struct shadow *shadow, gpa_t at)
{
    uint8_t *byte = shadow_code_byte(shadow, at);
    if (byte == NULL)
        return;
    spinlock_lock(&shadow->lock);
    __atomic_fetch_and(byte, (uint8_t)~SHADOW_HAS_CODE, __ATOMIC_RELAXED);
    spinlock_unlock(&shadow->lock);
}
