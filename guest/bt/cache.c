/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks of translated code: kept, found, linked, and dropped. */
#include "guest/bt/cache_parts.h"

#include "arch/string.h"

/* What code there is room for in the tables: blocks have that many bytes at least, on average, and
 * instructions, too; and there is a slot for that many. */
#define BYTES_PER_BLOCK 32u
#define BYTES_PER_INSN  4u
#define BYTES_PER_SLOT  16u
/* Entries of the look-up table and of the hash that one portion of a flush clears. */
#define FLUSH_PORTION 2048u
/* What a block takes of a portion, beside its slots. */
#define BLOCK 4

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
}

void bt_cache_sizes(struct bt_cache_sizes *out, uint32_t code_bytes)
{
    const uint64_t blocks = code_bytes / BYTES_PER_BLOCK + 1,
                   slots = code_bytes / BYTES_PER_SLOT + 1;
    *out = (struct bt_cache_sizes){
        .code = whole_pages(code_bytes),
        .slots = whole_pages(slots * 8),
        .lookup = BT_LOOKUPS * sizeof(struct bt_lookup),
        .shared = whole_pages(sizeof(struct bt_shared)),
        .block = whole_pages(blocks * sizeof(struct bt_block)),
        .insn = whole_pages(code_bytes / BYTES_PER_INSN * sizeof(struct translate_insn)),
        .slot = whole_pages(slots * sizeof(struct bt_slot)),
        .head = BT_HEADS * sizeof(uint32_t),
        .page = whole_pages((BT_PAGES + 1) * sizeof(struct bt_code_page)),
        .page_heads = 2 * BT_PAGES * sizeof(uint32_t),
        .mapping = whole_pages(BT_MAPPINGS * sizeof(struct bt_mapping)),
    };
    out->window = out->code + out->slots + out->lookup + out->shared;
    out->own =
        out->block + out->insn + out->slot + out->head + out->page + out->page_heads + out->mapping;
}

/* Takes the next part of an area. */
static void *take(uint8_t **area, uint64_t bytes)
{
    void *part = *area;
    *area += bytes;
    return part;
}

void bt_cache_place(struct bt_cache *cache, uint32_t code_bytes, uint8_t *window,
                    uint64_t window_at, uint8_t *own)
{
    struct bt_cache_sizes size;
    bt_cache_sizes(&size, code_bytes);
    cache->code_limit = code_bytes;
    cache->block_limit = code_bytes / BYTES_PER_BLOCK;
    cache->insn_limit = code_bytes / BYTES_PER_INSN;
    cache->slot_limit = code_bytes / BYTES_PER_SLOT;
    cache->code = take(&window, size.code);
    cache->slot_word = take(&window, size.slots);
    cache->lookup = take(&window, size.lookup);
    cache->shared = take(&window, size.shared);
    cache->code_at = window_at;
    cache->slots_at = cache->code_at + size.code;
    cache->lookup_at = cache->slots_at + size.slots;
    cache->shared_at = cache->lookup_at + size.lookup;
    cache->block = take(&own, size.block);
    cache->insn = take(&own, size.insn);
    cache->slot = take(&own, size.slot);
    cache->head = take(&own, size.head);
    cache->page = take(&own, size.page);
    cache->page_head_linear = take(&own, size.page_heads);
    cache->page_head_guest = cache->page_head_linear + BT_PAGES;
    cache->mapping = take(&own, size.mapping);
}

/* --- all of it --- */

/* Of an entry of the look-up table that is empty: no address that is looked up in it. */
static uint64_t no_pc(uint64_t index)
{
    return index == 0 ? 1 : 0;
}

void bt_cache_flush(struct bt_cache *cache, enum insn_mode mode)
{
    unsigned miss;
    cache->mode = mode;
    cache->stats.flushes++;
    cache->blocks = cache->entries = cache->insns = cache->slots = 0;
    cache->pages = cache->free_page = cache->mappings = cache->local_mappings = 0;
    cache->large_mappings = cache->free_mapping = 0;
    cache->check = cache->any_gone = false;
    memset(cache->page_head_linear, 0, 2 * BT_PAGES * sizeof(uint32_t));
    cache->lookup_code_at = cache->code_at;
    const unsigned bytes = translate_lookup(cache->code, mode, cache->code_at, cache->shared_at,
                                            cache->lookup_at, &miss);
    cache->miss_at = cache->code_at + miss;
    cache->code_start = cache->code_used = (bytes + BT_BLOCK_LINE - 1) & ~(BT_BLOCK_LINE - 1);
    cache->flushing = BT_HEADS;
}
_Static_assert(BT_HEADS == BT_LOOKUPS, "one index for both");

bool bt_cache_flush_portion(struct bt_cache *cache)
{
    for (unsigned i = 0; i < FLUSH_PORTION && cache->flushing != 0; i++) {
        cache->flushing--;
        cache->head[cache->flushing] = BT_NONE;
        cache->lookup[cache->flushing].minus_pc = no_pc(cache->flushing);
    }
    return cache->flushing == 0;
}

/* --- blocks --- */

static uint32_t *head_of(const struct bt_cache *cache, uint64_t pc)
{
    return &cache->head[pc % BT_HEADS];
}

static uint32_t index_of(const struct bt_cache *cache, const struct bt_block *block)
{
    return (uint32_t)(block - cache->block);
}

struct bt_block *bt_cache_find(const struct bt_cache *cache, uint64_t pc)
{
    for (uint32_t i = *head_of(cache, pc); i != BT_NONE; i = cache->block[i].next)
        if (cache->block[i].pc == pc)
            return &cache->block[i];
    return NULL;
}

/* Blocks stand in the order of their code. */
struct bt_block *bt_cache_at(const struct bt_cache *cache, uint64_t address, unsigned *offset)
{
    const uint64_t at = address - cache->code_at;
    uint32_t low = 1, high = cache->blocks;
    if (at < cache->code_start || at >= cache->code_used)
        return NULL;
    while (low < high) {
        const uint32_t middle = (low + high + 1) / 2;
        if (cache->block[middle].code <= at)
            low = middle;
        else
            high = middle - 1;
    }
    struct bt_block *block = &cache->block[low];
    *offset = (unsigned)(at - block->code);
    return *offset < block->code_bytes ? block : NULL;
}

const struct translate_insn *bt_cache_insn(const struct bt_cache *cache,
                                           const struct bt_block *block, unsigned offset)
{
    const struct translate_insn *insn = &cache->insn[block->first_insn];
    unsigned i = block->insns - 1u;
    while (i > 0 && insn[i].at > offset)
        i--;
    return &insn[i];
}

bool bt_cache_has_room(const struct bt_cache *cache)
{
    return cache->code_limit - cache->code_used >= TRANSLATE_MAX_CODE &&
           cache->blocks + cache->entries < cache->block_limit &&
           cache->insn_limit - cache->insns >= TRANSLATE_MAX_INSNS &&
           cache->slot_limit - cache->slots >= TRANSLATE_MAX_SLOTS;
}

void bt_cache_where(const struct bt_cache *cache, struct translate_input *input)
{
    input->mode = cache->mode;
    input->at = cache->code_at + cache->code_used;
    input->shared = cache->shared_at;
    input->slots = cache->slots_at + 8ull * (cache->slots + 1); /* slots count from 1 */
    input->lookup = cache->lookup_code_at;
}

/* By eight bytes, as an emulator notices each store beside code that it has seen. */
static void put_code(uint8_t *to, const struct translation *t)
{
    uint64_t word;
    for (unsigned i = 0; i < t->code_bytes; i += sizeof(word)) {
        memcpy(&word, t->code + i, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)(to + i), word, __ATOMIC_RELAXED);
    }
}
_Static_assert(TRANSLATE_MAX_CODE % sizeof(uint64_t) == 0,
               "put_code() may read all of the last word");

static void add_slots(struct bt_cache *cache, struct bt_block *block, const struct translation *t)
{
    block->first_slot = cache->slots + 1;
    block->slots = (uint8_t)t->slots;
    for (unsigned i = 0; i < t->slots; i++) {
        const uint32_t number = ++cache->slots;
        cache->slot[number] = (struct bt_slot){
            .target = t->slot[i].target,
            .stub = bt_cache_address(cache, block) + t->slot[i].stub,
        };
        __atomic_store_n(&cache->slot_word[number], cache->slot[number].stub, __ATOMIC_RELAXED);
    }
}

struct bt_block *bt_cache_add(struct bt_cache *cache, uint64_t pc, const struct translation *t,
                              struct bt_code_page *first, struct bt_code_page *second)
{
    const uint32_t number = ++cache->blocks;
    struct bt_block *block = &cache->block[number];
    uint32_t *head = head_of(cache, pc);
    *block = (struct bt_block){
        .pc = pc,
        .code = cache->code_used,
        .code_bytes = (uint16_t)t->code_bytes,
        .guest_bytes = (uint16_t)t->guest_bytes,
        .first_insn = cache->insns,
        .insns = (uint8_t)t->insns,
        .next = *head,
        .next_of_page = {first->first, second != NULL ? second->first : BT_NONE},
    };
    *head = number;
    first->first = number * 2;
    if (second != NULL)
        second->first = number * 2 + 1;
    memcpy(&cache->insn[cache->insns], t->insn, t->insns * sizeof(t->insn[0]));
    cache->insns += t->insns;
    put_code(cache->code + cache->code_used, t);
    add_slots(cache, block, t);
    cache->code_used += (t->code_bytes + BT_BLOCK_LINE - 1) & ~(BT_BLOCK_LINE - 1);
    cache->stats.blocks++;
    cache->stats.insns += t->insns;
    cache->stats.bytes_in += t->guest_bytes;
    cache->stats.bytes_out += t->code_bytes;
    return block;
}

/* The block's instruction at that address, or NULL. One behind STI is left only together with it.
 */
static const struct translate_insn *insn_at(const struct bt_cache *cache,
                                            const struct bt_block *block, uint64_t pc)
{
    const struct translate_insn *insn = &cache->insn[block->first_insn];
    unsigned low = 0, high = block->insns;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (insn[middle].guest < pc - block->pc)
            low = middle + 1;
        else
            high = middle;
    }
    return low < block->insns && insn[low].guest == pc - block->pc && !insn[low].shadow ? &insn[low]
                                                                                        : NULL;
}

struct bt_block *bt_cache_enter(struct bt_cache *cache, const struct bt_code_page *page,
                                uint64_t pc)
{
    const struct translate_insn *insn = NULL;
    struct bt_block *in;
    for (uint32_t link = page->first; insn == NULL; link = in->next_of_page[link % 2]) {
        if (link == BT_NONE)
            return NULL;
        in = &cache->block[link / 2];
        if (pc - in->pc < in->guest_bytes && !in->dead)
            insn = insn_at(cache, in, pc);
    }
    const uint32_t number = cache->block_limit - cache->entries++;
    uint32_t *head = head_of(cache, pc);
    cache->block[number] =
        (struct bt_block){.pc = pc, .code = in->code + insn->at, .next = *head, .entry = in->entry};
    *head = in->entry = number;
    return &cache->block[number];
}

/* --- ways from block to block --- */

uint32_t bt_cache_slot_of(const struct bt_cache *cache, const struct bt_block *block,
                          uint64_t address)
{
    for (uint32_t i = block->first_slot; i < block->first_slot + block->slots; i++)
        if (cache->slot[i].stub == address)
            return i;
    return BT_NONE;
}

static void set_slot(struct bt_cache *cache, uint32_t number, uint64_t to)
{
    __atomic_store_n(&cache->slot_word[number], to, __ATOMIC_RELAXED);
}

static void unlink_slot(struct bt_cache *cache, uint32_t number)
{
    struct bt_slot *slot = &cache->slot[number];
    set_slot(cache, number, slot->stub);
    if (slot->to == BT_NONE)
        return;
    if (slot->before != BT_NONE)
        cache->slot[slot->before].next = slot->next;
    else
        cache->block[slot->to].incoming = slot->next;
    if (slot->next != BT_NONE)
        cache->slot[slot->next].before = slot->before;
    slot->to = BT_NONE;
}

void bt_cache_link(struct bt_cache *cache, const struct bt_block *from, uint32_t number,
                   struct bt_block *to)
{
    struct bt_slot *slot = &cache->slot[number];
    if (from->dead || to->dead)
        return;
    unlink_slot(cache, number);
    slot->to = index_of(cache, to);
    slot->before = BT_NONE;
    slot->next = to->incoming;
    if (to->incoming != BT_NONE)
        cache->slot[to->incoming].before = number;
    to->incoming = number;
    set_slot(cache, number, bt_cache_address(cache, to));
    cache->stats.links++;
}

void bt_cache_link_known(struct bt_cache *cache, const struct bt_block *block)
{
    for (uint32_t i = block->first_slot; i < block->first_slot + block->slots; i++) {
        struct bt_block *to = bt_cache_find(cache, cache->slot[i].target);
        if (to != NULL)
            bt_cache_link(cache, block, i, to);
    }
}

void bt_cache_publish(struct bt_cache *cache, const struct bt_block *block)
{
    struct bt_lookup *entry = &cache->lookup[block->pc % BT_LOOKUPS];
    entry->code = bt_cache_address(cache, block);
    entry->minus_pc = cache->mode == INSN_64 ? -block->pc : (uint32_t)-block->pc;
    cache->stats.missed++;
}

void bt_cache_hide(struct bt_cache *cache, uint64_t pc)
{
    cache->lookup[pc % BT_LOOKUPS].minus_pc = no_pc(pc % BT_LOOKUPS);
}

/* --- what is no longer right --- */

/* Nothing finds it any more. */
static void forget(struct bt_cache *cache, struct bt_block *block, int *left)
{
    uint32_t *head = head_of(cache, block->pc);
    block->dead = true;
    for (; &cache->block[*head] != block; --*left)
        head = &cache->block[*head].next;
    *head = block->next;
    /* The guest may have written to the table: the entry is cleared whatever it says. */
    bt_cache_hide(cache, block->pc);
    *left -= BLOCK;
}

/* Nothing finds the block any more from the first call on; nothing leads there after the last. */
static bool drop_block(struct bt_cache *cache, struct bt_block *block, int *left)
{
    const uint32_t number = index_of(cache, block);
    if (!block->dead) {
        for (uint32_t i = number; i != BT_NONE; i = cache->block[i].entry)
            forget(cache, &cache->block[i], left);
        for (unsigned i = 0; i < block->slots; i++)
            unlink_slot(cache, block->first_slot + i);
    }
    for (uint32_t i = number; i != BT_NONE; i = cache->block[i].entry)
        while (cache->block[i].incoming != BT_NONE) {
            if (--*left < 0)
                return false;
            unlink_slot(cache, cache->block[i].incoming);
        }
    return (*left -= BLOCK + block->slots) >= 0;
}

/* A block leaves the list when nothing leads to it any more. */
bool bt_cache_drop_page(struct bt_cache *cache, struct bt_code_page *page, int *left)
{
    while (page->first != BT_NONE) {
        struct bt_block *block = &cache->block[page->first / 2];
        if (!drop_block(cache, block, left))
            return false;
        page->first = block->next_of_page[page->first % 2];
    }
    bt_cache_remove_page(cache, page);
    cache->stats.dropped_pages++;
    return true;
}

/* A block that begins in another page has its end in this one. */
static bool has_bytes(const struct bt_block *block, bool begins_here, uint64_t first, uint64_t last)
{
    const uint64_t start = begins_here ? block->pc % PAGE_SIZE : 0,
                   behind = begins_here ? start + block->guest_bytes
                                        : (block->pc + block->guest_bytes) % PAGE_SIZE;
    return first < behind && last >= start;
}

static bool drop_bytes(struct bt_cache *cache, struct bt_code_page *page,
                       const struct bt_change *change, int *left)
{
    for (uint32_t *link = &page->first; *link != BT_NONE;) {
        struct bt_block *block = &cache->block[*link / 2];
        uint32_t *next = &block->next_of_page[*link % 2];
        const bool has = has_bytes(block, *link % 2 == 0, change->first, change->last);
        if (--*left < 0 || ((has || block->dead) && !drop_block(cache, block, left)))
            return false;
        if (block->dead) /* or a guest that changes its code for ever makes the list longer */
            *link = *next;
        else
            link = next;
    }
    return true;
}

/* To go through the list again would be no progress: but all of it becomes shorter each time. What
 * looking has cost is taken off at the end, or it could use up each portion before the first block.
 */
bool bt_cache_drop(struct bt_cache *cache, struct bt_change *change, int *left)
{
    int looked = 1;
    for (uint32_t i = *bt_cache_guest_head(cache, change->page); i != BT_NONE;) {
        struct bt_code_page *page = &cache->page[i];
        const bool all = change->first == 0 && change->last == PAGE_SIZE - 1;
        i = page->next_guest;
        looked++;
        if (page->guest != change->page ||
            (all ? bt_cache_drop_page(cache, page, left) : drop_bytes(cache, page, change, left)))
            continue;
        change->first = 0;
        change->last = PAGE_SIZE - 1;
        return false;
    }
    *left -= looked;
    return true;
}
