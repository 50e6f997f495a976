/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's translations: which blocks of guest code have been translated, where their code is, and
 * how they lead to one another. Each vCPU has its own, so nothing here is shared or locked.
 *
 * Code is appended, and never written to again, until all of it is dropped. A block that is no
 * longer right is dead: nothing leads to it any more, but its code and its tables stay, since the
 * vCPU may be in it; its own ways out lead to their stubs.
 *
 * Blocks are found by the guest's address of their first instruction, by the address of their code,
 * and by the page of guest memory that they were made of. Where the guest comes to an instruction
 * within a block by another way, that becomes a further entry of it, so that nothing is translated
 * twice: to those that lead there it is a block like any other, but it has no code of its own, and
 * goes with the block whose code it is in. What the guest's page tables say of these
 * pages is kept as mappings, one for each leaf of the guest's, to be looked at again where the
 * guest flushes. Pure, but for bt_cache_create() and bt_cache_destroy().
 */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"
#include "guest/bt/translate.h"
#include "mm/guest_translation.h"

#define BT_BLOCK_LINE 16u /* where code is aligned to */

#define BT_NONE 0u /* of the indices here, which count from 1 */

struct bt_block {
    uint64_t pc;   /* in the guest */
    uint32_t code; /* offset of its code in the cache */
    uint16_t code_bytes, guest_bytes;
    uint32_t first_insn, first_slot; /* in the pools */
    uint32_t next;                   /* of the same hash */
    uint32_t incoming;               /* the first slot that leads here */
    uint32_t next_of_page[2];        /* among the blocks of the page that it begins, and ends, in */
    uint32_t entry;                  /* the first of its further entries; and of one, the next */
    uint8_t insns, slots;
    uint8_t compared; /* so many times: check.h */
    bool dead;
};

/* A slot's own side: what the guest cannot reach. */
struct bt_slot {
    uint64_t target;       /* in the guest */
    uint64_t stub;         /* address of its HLT */
    uint32_t to;           /* block that it leads to, or BT_NONE */
    uint32_t before, next; /* among the slots that lead there */
};

/* A page of guest code, at one linear address. */
struct bt_code_page {
    uint64_t linear;                  /* page number */
    uint64_t guest;                   /* of guest memory, page number */
    uint32_t next_linear, next_guest; /* of the same hash; next_linear also: free ones */
    uint32_t first;                   /* block */
    uint16_t mapping;
};

/* A leaf of the guest's page tables. */
struct bt_mapping {
    uint64_t linear, bytes; /* bytes 0: free */
    uint64_t guest;         /* bytes of guest memory from there; of a free one, the next */
    bool global;
    bool gone; /* it is none any more: its pages are to be dropped */
};

/* What has changed of a page of guest memory. */
struct bt_change {
    uint64_t page;
    uint16_t first, last; /* bytes */
};

#define BT_HEADS    65536u
#define BT_PAGES    4096u
#define BT_MAPPINGS 2048u

struct bt_cache_stats {
    uint64_t blocks, insns;       /* translated */
    uint64_t bytes_in, bytes_out; /* of code */
    uint64_t missed;              /* indirect jumps that the look-up table did not have */
    uint64_t links, flushes, dropped_pages;
};

struct bt_cache {
    /* As the hypervisor reaches them, and as code at CPL 3 does. */
    uint8_t *code;
    uint64_t *slot_word;
    struct bt_lookup *lookup;
    struct bt_shared *shared;
    uint64_t code_at, slots_at, lookup_at, shared_at;
    uint64_t lookup_code_at, miss_at; /* translate_lookup()'s, of the mode that blocks are of */
    enum insn_mode mode;

    uint32_t code_limit, code_start, code_used; /* bytes; code_start: behind the common code */
    uint32_t block_limit, blocks;               /* block[1] to block[blocks] */
    uint32_t entries;                           /* further ones, from block[block_limit] down */
    uint32_t insn_limit, insns;
    uint32_t slot_limit, slots;
    struct bt_block *block;
    struct translate_insn *insn;
    struct bt_slot *slot;
    uint32_t *head; /* BT_HEADS, by the low bits of the address in the guest */
    struct bt_code_page *page;
    uint32_t *page_head_linear, *page_head_guest; /* BT_PAGES of each */
    uint32_t pages, free_page;
    struct bt_mapping *mapping;
    uint32_t mappings, free_mapping; /* the latter plus 1; 0: none */
    uint32_t local_mappings;         /* those that are not global */
    uint64_t large_mappings;         /* of each GiB, modulo 64: one above 4 KiB may be there */
    uint32_t check_at; /* mapping that is to be looked at next, where a check is wanted */
    bool check, check_all;
    bool any_gone;
    uint32_t gone_at; /* of page_head_linear: those before have no page of a mapping that is gone */
    uint32_t flushing; /* BT_HEADS + 1 - what is left to clear; 0: nothing */
    struct bt_cache_stats stats;

    hpa_t window_pages, own_pages; /* bt_cache_create()'s */
    hpa_t root;                    /* the tables that the former are mapped in, from code_at on */
    uint32_t window_count, own_count;
};

/* Makes room for code_bytes of code, maps what CPL 3 reaches of it into the window of the VM's page
 * tables, at vCPU `index`'s place. ERR_NO_MEMORY. Either way bt_cache_destroy() gives back what has
 * been made, when no vCPU of the VM is loaded any more: what is in the window is reached by all of
 * them, and each one's CPU may have it in its TLB until then. */
enum status bt_cache_create(struct bt_cache *cache, hpa_t root, unsigned index,
                            uint32_t code_bytes);
void bt_cache_destroy(struct bt_cache *cache);

/* How many bytes each part takes, for that much code. */
struct bt_cache_sizes {
    uint64_t code, slots, lookup, shared, window; /* window: all of them, in whole pages */
    uint64_t block, insn, slot, head, page, page_heads, mapping, own;
};
void bt_cache_sizes(struct bt_cache_sizes *out, uint32_t code_bytes);
/* Puts the parts into two areas of those sizes (window and own), which are zeroed, and of which the
 * first is seen by CPL 3 at window_at. */
void bt_cache_place(struct bt_cache *cache, uint32_t code_bytes, uint8_t *window,
                    uint64_t window_at, uint8_t *own);

/* Drops all, and begins anew for code of that mode. Done in portions: false: call again, and use
 * nothing else here meanwhile. The vCPU is not within the code. */
void bt_cache_flush(struct bt_cache *cache, enum insn_mode mode);
bool bt_cache_flush_portion(struct bt_cache *cache);

/* The block that begins there, or the entry; or NULL. */
struct bt_block *bt_cache_find(const struct bt_cache *cache, uint64_t pc);

/* The same for an instruction within a block of that page, of which an entry is made; NULL: there
 * is none. There is room for a block. */
struct bt_block *bt_cache_enter(struct bt_cache *cache, const struct bt_code_page *page,
                                uint64_t pc);

/* The block whose code an address is in, dead ones as well, or NULL; *offset: from its first byte.
 */
struct bt_block *bt_cache_at(const struct bt_cache *cache, uint64_t address, unsigned *offset);

/* The instruction of a block whose code has that offset. */
const struct translate_insn *bt_cache_insn(const struct bt_cache *cache,
                                           const struct bt_block *block, unsigned offset);

/* The page of code at a linear address, as it was found last; or NULL. */
struct bt_code_page *bt_cache_page(const struct bt_cache *cache, uint64_t linear);
/* What the guest's page tables say of an address that code is fetched from; false: none is. */
typedef bool bt_cache_walk(void *ctx, uint64_t linear, struct guest_translation *found);
/* Notes it, by what that says. NULL: no room, all is to be dropped. */
struct bt_code_page *bt_cache_add_page(struct bt_cache *cache, uint64_t linear,
                                       const struct guest_translation *found);

/* Whether a block fits, in any case; else all is to be dropped. */
bool bt_cache_has_room(const struct bt_cache *cache);
/* Fills in where the next block's code and slots will be. */
void bt_cache_where(const struct bt_cache *cache, struct translate_input *input);
/* Takes a translation that was made for there; its code begins in the first page, and ends in the
 * second one, or NULL. */
struct bt_block *bt_cache_add(struct bt_cache *cache, uint64_t pc, const struct translation *t,
                              struct bt_code_page *first, struct bt_code_page *second);

/* The slot whose stub is at that address, or BT_NONE. */
uint32_t bt_cache_slot_of(const struct bt_cache *cache, const struct bt_block *block,
                          uint64_t address);
/* Has a slot lead to a block, unless the slot's block is dead. */
void bt_cache_link(struct bt_cache *cache, const struct bt_block *from, uint32_t slot,
                   struct bt_block *to);
/* Has the slots of a new block lead to those blocks that are there already. */
void bt_cache_link_known(struct bt_cache *cache, const struct bt_block *block);
/* Has the look-up table lead to a block. */
void bt_cache_publish(struct bt_cache *cache, const struct bt_block *block);
/* Has it lead to none for an address. */
void bt_cache_hide(struct bt_cache *cache, uint64_t pc);

/* Undoes bt_cache_add_page(), where nothing has been made of the page. */
void bt_cache_remove_page(struct bt_cache *cache, struct bt_code_page *page);

/* Whether there may be code of a page of guest memory: false is sure. Another CPU may ask. */
static inline bool bt_cache_may_have(const struct bt_cache *cache, uint64_t page)
{
    return __atomic_load_n(&cache->page_head_guest[page % BT_PAGES], __ATOMIC_RELAXED) != BT_NONE;
}

/*
 * Dropping what is no longer right, in portions, as one page can have thousands of blocks, and one
 * block thousands of others that lead to it. *left is how much may be done yet: some ten
 * instructions of the host's each. False: it is used up; call again, and do not enter the code
 * before it is true.
 *
 * bt_cache_drop(): blocks that have one of the bytes; where that takes long, all of the page, in
 * *change as well. *left may be below 0 behind it though it is done.
 * bt_cache_drop_wanted(): looks at the mappings that bt_cache_want_check() has asked for, by
 * `walk`, and drops what is made of pages that are not the same any more. Where the guest has split
 * or joined large pages, they are.
 */
bool bt_cache_drop(struct bt_cache *cache, struct bt_change *change, int *left);
bool bt_cache_drop_wanted(struct bt_cache *cache, bt_cache_walk *walk, void *ctx, int *left);

/* The guest has flushed: all mappings of code are to be looked at, global ones only with all.
 * False: there are none. */
bool bt_cache_want_check(struct bt_cache *cache, bool all);
/* The same for the one that has that linear address, at once. False: it is not as it was. */
bool bt_cache_check_one(struct bt_cache *cache, uint64_t linear, bt_cache_walk *walk, void *ctx);

static inline uint64_t bt_cache_address(const struct bt_cache *cache, const struct bt_block *block)
{
    return cache->code_at + block->code;
}
