// link: guest/bt/cache.c guest/bt/cache_pages.c guest/bt/site.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Translations kept, found, linked and dropped: what a vCPU's own table of blocks promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/bt/site.h"
#include "guest/cpu/system.h"

#include <stdlib.h>
#include <string.h>

#define CODE_BYTES (64u * 1024)
#define WINDOW_AT  0x400000000ull
#define KERNEL     0xffffffff81000000ull

static struct bt_cache cache;
static uint8_t *window, *own;

unsigned translate_lookup(uint8_t *to, enum insn_mode mode, uint64_t at, uint64_t shared,
                          uint64_t table, unsigned *miss)
{
    assert_int_equal(at, cache.code_at);
    assert_int_equal(shared, cache.shared_at);
    assert_int_equal(table, cache.lookup_at);
    (void)mode;
    memset(to, 0x90, 70);
    *miss = 69;
    return 70;
}

static int setup(void **state)
{
    struct bt_cache_sizes size;
    (void)state;
    bt_cache_sizes(&size, CODE_BYTES);
    window = calloc(1, size.window);
    own = calloc(1, size.own);
    cache = (struct bt_cache){0};
    bt_cache_place(&cache, CODE_BYTES, window, WINDOW_AT, own);
    bt_cache_flush(&cache, INSN_64);
    while (!bt_cache_flush_portion(&cache)) {}
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(window);
    free(own);
    return 0;
}

static struct bt_code_page *page_of(uint64_t linear, uint64_t guest, uint64_t bytes, bool global)
{
    const struct guest_translation t = {.at = gpa(guest), .bytes = bytes, .global = global};
    struct bt_code_page *page = bt_cache_page(&cache, linear);
    return page != NULL ? page : bt_cache_add_page(&cache, linear, &t);
}

/* A block of two instructions of 4 bytes, with a way out to either target. */
static struct bt_block *add(uint64_t pc, uint64_t first, uint64_t second)
{
    struct translate_input in = {.pc = pc};
    struct translation t = {.code_bytes = 40, .guest_bytes = 8, .insns = 2, .slots = 2};
    struct bt_code_page *page = page_of(pc, pc & 0xffffff, 2 << 20, true);
    bt_cache_where(&cache, &in);
    assert_true(bt_cache_has_room(&cache));
    assert_int_equal(in.at % BT_BLOCK_LINE, 0);
    memset(t.code, (int)(pc & 0xff), sizeof(t.code));
    t.insn[1] = (struct translate_insn){.at = 20, .guest = 4};
    t.slot[0] = (struct translate_slot){first, 30};
    t.slot[1] = (struct translate_slot){second, 39};
    struct bt_block *block = bt_cache_add(&cache, pc, &t, page, NULL);
    assert_int_equal(bt_cache_address(&cache, block), in.at);
    assert_int_equal(cache.slots_at + 8ull * block->first_slot, in.slots);
    assert_memory_equal(cache.code + block->code, t.code, t.code_bytes);
    return block;
}

/* Where a slot leads to, as code at CPL 3 finds it. */
static uint64_t leads_to(const struct bt_block *block, unsigned slot)
{
    return cache.slot_word[block->first_slot + slot];
}

/* Whatever address is looked up in it, that is not it. */
static bool is_empty(unsigned entry)
{
    return -cache.lookup[entry].minus_pc % BT_LOOKUPS != entry;
}

static void link_slot(struct bt_block *from, unsigned slot, struct bt_block *to)
{
    bt_cache_link(&cache, from, from->first_slot + slot, to);
}

/* In portions of that size; returns how many. */
static unsigned drop(uint64_t at, unsigned bytes, int portion)
{
    struct bt_change change = {at / PAGE_SIZE, at % PAGE_SIZE,
                               (uint16_t)(at % PAGE_SIZE + bytes - 1)};
    for (unsigned portions = 1;; portions++) {
        int left = portion;
        if (bt_cache_drop(&cache, &change, &left))
            return portions;
        assert_in_range(portions, 1, 100000);
    }
}

static void drop_bytes(uint64_t at, unsigned bytes)
{
    assert_int_equal(drop(at, bytes, 100), 1);
}

static void drop_page(uint64_t at)
{
    (void)drop(at, PAGE_SIZE, 100);
}

/* Pages that are looked at for a change of another one, which is found among them, cost, too: who
 * makes changes all the time is not gone after for ever. */
static void looking_is_counted(void **state)
{
    struct bt_change change = {.page = 5 + BT_PAGES, .last = 7};
    int left = 100;
    (void)state;
    for (unsigned i = 0; i < 600; i++)
        assert_non_null(
            page_of(KERNEL + PAGE_SIZE * (BT_PAGES + i), 5 * PAGE_SIZE, PAGE_SIZE, true));
    assert_true(bt_cache_drop(&cache, &change, &left));
    assert_in_range(left + 1000, 0, 500);
    change.page = 6; /* and so does one that there is no page for */
    left = 100;
    assert_true(bt_cache_drop(&cache, &change, &left));
    assert_int_equal(left, 99);
}

static void blocks_are_found(void **state)
{
    struct bt_block *block[100];
    unsigned offset;
    (void)state;
    assert_null(bt_cache_find(&cache, KERNEL));
    assert_null(bt_cache_at(&cache, WINDOW_AT, &offset)); /* the common code is no block's */
    for (unsigned i = 0; i < 100; i++)
        block[i] = add(KERNEL + 0x10000ull * (i % 3) + 8ull * i, 0, 0);
    for (unsigned i = 0; i < 100; i++) {
        const uint64_t at = bt_cache_address(&cache, block[i]);
        assert_ptr_equal(bt_cache_find(&cache, block[i]->pc), block[i]);
        assert_ptr_equal(bt_cache_at(&cache, at, &offset), block[i]);
        assert_int_equal(offset, 0);
        assert_ptr_equal(bt_cache_at(&cache, at + 39, &offset), block[i]);
        assert_int_equal(offset, 39);
        assert_null(bt_cache_at(&cache, at + 40, &offset));
        assert_int_equal(bt_cache_insn(&cache, block[i], 19)->guest, 0);
        assert_int_equal(bt_cache_insn(&cache, block[i], 20)->guest, 4);
        assert_int_equal(bt_cache_slot_of(&cache, block[i], at + 30), block[i]->first_slot);
        assert_int_equal(bt_cache_slot_of(&cache, block[i], at + 39), block[i]->first_slot + 1);
        assert_int_equal(bt_cache_slot_of(&cache, block[i], at + 31), BT_NONE);
        assert_int_equal(leads_to(block[i], 0), at + 30);
        assert_int_equal(leads_to(block[i], 1), at + 39);
    }
    assert_null(bt_cache_find(&cache, KERNEL + 1));
    assert_null(bt_cache_at(&cache, WINDOW_AT - 1, &offset));
    assert_null(bt_cache_at(&cache, WINDOW_AT + cache.code_used, &offset));
    assert_int_equal(cache.stats.bytes_in, 800);
    assert_int_equal(cache.stats.bytes_out, 4000);
}

static void nothing_leads_to_a_dead_block(void **state)
{
    (void)state;
    struct bt_block *a = add(KERNEL, 0, 0), *b = add(KERNEL + 0x100, 0, 0),
                    *c = add(KERNEL + 0x1000, 0, 0);
    unsigned offset;
    link_slot(a, 0, c);
    link_slot(a, 1, c);
    link_slot(b, 0, c);
    link_slot(c, 0, c);
    link_slot(c, 1, a);
    bt_cache_publish(&cache, c);
    assert_int_equal(leads_to(a, 0), bt_cache_address(&cache, c));
    assert_int_equal(leads_to(c, 1), bt_cache_address(&cache, a));
    assert_int_equal(cache.lookup[c->pc % BT_LOOKUPS].minus_pc + c->pc, 0);
    assert_int_equal(cache.lookup[c->pc % BT_LOOKUPS].code, bt_cache_address(&cache, c));
    bt_cache_hide(&cache, c->pc);
    assert_true(is_empty(c->pc % BT_LOOKUPS));
    bt_cache_publish(&cache, c);

    link_slot(a, 1, b); /* somewhere else from now on */
    assert_int_equal(leads_to(a, 1), bt_cache_address(&cache, b));
    drop_page(c->pc & 0xfff000);
    assert_true(c->dead && !a->dead && !b->dead);
    assert_int_equal(leads_to(a, 0), bt_cache_address(&cache, a) + 30);
    assert_int_equal(leads_to(a, 1), bt_cache_address(&cache, b));
    assert_int_equal(leads_to(b, 0), bt_cache_address(&cache, b) + 30);
    assert_int_equal(leads_to(c, 0), bt_cache_address(&cache, c) + 30);
    assert_int_equal(leads_to(c, 1), bt_cache_address(&cache, c) + 39);
    assert_int_equal(a->incoming, BT_NONE);
    assert_true(is_empty(c->pc % BT_LOOKUPS));
    assert_null(bt_cache_find(&cache, c->pc));
    assert_null(bt_cache_page(&cache, c->pc));
    /* The vCPU may still be in it. */
    assert_ptr_equal(bt_cache_at(&cache, bt_cache_address(&cache, c) + 25, &offset), c);
    link_slot(c, 0, a);
    link_slot(a, 0, c);
    assert_int_equal(leads_to(c, 0), bt_cache_address(&cache, c) + 30);
    assert_int_equal(leads_to(a, 0), bt_cache_address(&cache, a) + 30);

    struct bt_block *again = add(KERNEL + 0x1000, 0, 0);
    assert_ptr_equal(bt_cache_find(&cache, KERNEL + 0x1000), again);
    link_slot(a, 0, again);
    assert_int_equal(leads_to(a, 0), bt_cache_address(&cache, again));
}

/* A new block leads to those that are there, itself too, and to no others. */
static void a_new_block_is_linked(void **state)
{
    (void)state;
    struct bt_block *old = add(KERNEL, 0, 0), *dead = add(KERNEL + 0x1000, 0, 0);
    drop_page(0x1000);
    assert_true(dead->dead);
    struct bt_block *own = add(KERNEL + 0x10, KERNEL, KERNEL + 0x10),
                    *other = add(KERNEL + 0x20, KERNEL + 0x1000, KERNEL + 0x30);
    bt_cache_link_known(&cache, own);
    bt_cache_link_known(&cache, other);
    assert_int_equal(leads_to(own, 0), bt_cache_address(&cache, old));
    assert_int_equal(leads_to(own, 1), bt_cache_address(&cache, own));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(leads_to(other, i), cache.slot[other->first_slot + i].stub);
    drop_bytes(0, 1);
    assert_int_equal(leads_to(own, 0), cache.slot[own->first_slot].stub);
    drop_bytes(0x10, 1);
    assert_int_equal(own->incoming, BT_NONE);
    assert_int_equal(leads_to(own, 1), cache.slot[own->first_slot + 1].stub);
}

static void a_write_kills_what_it_touches(void **state)
{
    (void)state;
    struct bt_block *a = add(KERNEL + 0xf00, 0, 0), *b = add(KERNEL + 0xf08, 0, 0),
                    *far = add(KERNEL + 0x5f08, 0, 0);
    struct translation t = {.code_bytes = 20, .guest_bytes = 9, .insns = 1};
    struct bt_code_page *first = page_of(KERNEL + 0xffc, 0xffc, 2 << 20, true),
                        *second = page_of(KERNEL + 0x1000, 0x1000, 2 << 20, true);
    struct bt_block *both = bt_cache_add(&cache, KERNEL + 0xffc, &t, first, second);
    drop_bytes(0xef0, 16);
    assert_true(!a->dead && !b->dead && !both->dead);
    drop_bytes(0xf10, 8);
    assert_true(!a->dead && !b->dead);
    drop_bytes(0x1005, 1);
    assert_false(both->dead);
    drop_bytes(0xf0f, 8);
    assert_true(!a->dead && b->dead);
    drop_bytes(0xeff, 2);
    assert_true(a->dead && !both->dead && !far->dead);
    drop_bytes(0x1004, 1);
    assert_true(both->dead);
    drop_page(0); /* dead ones are still in its list */
    drop_page(0x1000);
    assert_null(bt_cache_page(&cache, KERNEL));
    assert_non_null(bt_cache_page(&cache, KERNEL + 0x5000));
}

/* Dead blocks are not looked at again: a page's list is as long as it has blocks. */
static void a_page_forgets_dead_blocks(void **state)
{
    (void)state;
    struct bt_block *stays = add(KERNEL + 0x100, 0, 0);
    for (unsigned i = 0; i < 50; i++) {
        (void)add(KERNEL, 0, 0);
        drop_bytes(0, 1);
    }
    const struct bt_code_page *page = bt_cache_page(&cache, KERNEL);
    assert_ptr_equal(&cache.block[page->first / 2], stays);
    assert_int_equal(stays->next_of_page[0], BT_NONE);
    assert_false(stays->dead);
    assert_null(bt_cache_find(&cache, KERNEL));
}

struct seen {
    unsigned calls;
    uint64_t other; /* the mapping of this linear address is not the same any more */
    uint64_t split; /* bytes: of the large pages' parts; 0: they are whole */
};

/* What page_of() has been told: KERNEL is in large, global pages. */
static bool walk(void *ctx, uint64_t linear, struct guest_translation *found)
{
    struct seen *seen = ctx;
    const bool is_large = linear >= KERNEL;
    seen->calls++;
    *found = (struct guest_translation){
        .at = gpa(is_large ? linear & 0xffffff : linear),
        .bytes = !is_large          ? PAGE_SIZE
                 : seen->split != 0 ? seen->split
                                    : 2 << 20,
        .global = is_large,
    };
    if (linear == 0x7000 || linear == 0x8000)
        found->at = gpa(0x9000);
    return seen->other == 0 || (linear & ~(found->bytes - 1)) != seen->other;
}

/* Returns in how many portions. */
static unsigned drop_wanted(struct seen *seen, int portion)
{
    for (unsigned portions = 1;; portions++) {
        int left = portion;
        if (bt_cache_drop_wanted(&cache, walk, seen, &left))
            return portions;
        assert_in_range(portions, 1, 100000);
    }
}

static void check(bool all, struct seen *seen)
{
    bt_cache_want_check(&cache, all);
    (void)drop_wanted(seen, 100);
}

static void check_one(uint64_t linear, struct seen *seen)
{
    (void)bt_cache_check_one(&cache, linear, walk, seen);
    (void)drop_wanted(seen, 100);
}

static void mappings_are_checked(void **state)
{
    struct seen seen = {.calls = 0};
    (void)state;
    struct bt_block *large = add(KERNEL, 0, 0), *large2 = add(KERNEL + 0x3000, 0, 0);
    struct bt_code_page *small = page_of(0x7000, 0x9000, PAGE_SIZE, false),
                        *alias = page_of(0x8000, 0x9000, PAGE_SIZE, false);
    struct translation t = {.code_bytes = 20, .guest_bytes = 4, .insns = 1};
    struct bt_block *low = bt_cache_add(&cache, 0x7000, &t, small, NULL),
                    *low2 = bt_cache_add(&cache, 0x8000, &t, alias, NULL);
    check(false, &seen);
    assert_int_equal(seen.calls, 2); /* the large page is global */
    check(true, &seen);
    assert_int_equal(seen.calls, 2 + 3);
    seen.other = 0x8000;
    check_one(0x7123, &seen);
    assert_false(low->dead || low2->dead);
    check(false, &seen);
    assert_true(low2->dead && !low->dead && !large->dead);
    assert_null(bt_cache_page(&cache, 0x8000));
    seen.other = KERNEL;
    check_one(KERNEL + 0x1ff000, &seen); /* no code there, but in its leaf */
    assert_true(large->dead && large2->dead && !low->dead);
    seen = (struct seen){.calls = 0};
    check(true, &seen);
    assert_int_equal(seen.calls, 1);
    assert_non_null(page_of(0xa000, 0xa000, PAGE_SIZE, false)); /* in the place of one dropped */
}

/* The guest splits a large page, moves one of its parts, and joins them again: what was made of the
 * others stays, and one of 4 KiB leaves nothing behind. */
static void pages_outlast_their_mappings(void **state)
{
    struct seen seen = {.split = PAGE_SIZE, .other = KERNEL + 0x3000};
    (void)state;
    struct bt_block *stays = add(KERNEL, 0, 0), *goes = add(KERNEL + 0x3000, 0, 0);
    const struct bt_code_page *page = bt_cache_page(&cache, KERNEL);
    check(true, &seen);
    assert_true(goes->dead && !stays->dead);
    assert_ptr_equal(bt_cache_page(&cache, KERNEL), page);
    assert_null(bt_cache_page(&cache, KERNEL + 0x3000));
    assert_int_equal(cache.mapping[page->mapping].bytes, PAGE_SIZE);
    check(true, &seen);
    assert_false(stays->dead);
    seen = (struct seen){.calls = 0};
    check_one(KERNEL, &seen);
    assert_false(stays->dead);
    assert_int_equal(cache.mapping[page->mapping].bytes, 2 << 20);
    seen.calls = 0;
    check(true, &seen);
    assert_int_equal(seen.calls, 1);
    drop_page(0);
    assert_true(stays->dead);
}

/* Whoever comes to the second instruction of a block finds it there, and loses it with the block.
 */
static void blocks_have_further_entries(void **state)
{
    (void)state;
    struct bt_block *block = add(KERNEL + 0x10, 0, 0), *from = add(KERNEL + 0x100, 0, 0);
    const struct bt_code_page *page = bt_cache_page(&cache, KERNEL);
    unsigned offset;
    assert_null(bt_cache_enter(&cache, page, KERNEL + 0x12));
    assert_null(bt_cache_enter(&cache, page, KERNEL + 0x18));
    assert_null(bt_cache_find(&cache, KERNEL + 0x14));
    struct bt_block *entry = bt_cache_enter(&cache, page, KERNEL + 0x14);
    assert_ptr_equal(bt_cache_find(&cache, KERNEL + 0x14), entry);
    assert_ptr_equal(bt_cache_find(&cache, KERNEL + 0x10), block);
    assert_int_equal(bt_cache_address(&cache, entry), bt_cache_address(&cache, block) + 20);
    assert_ptr_equal(bt_cache_at(&cache, bt_cache_address(&cache, entry), &offset), block);
    assert_int_equal(offset, 20);
    link_slot(from, 0, entry);
    link_slot(from, 1, block);
    bt_cache_publish(&cache, entry);
    assert_int_equal(leads_to(from, 0), bt_cache_address(&cache, entry));
    assert_false(is_empty((KERNEL + 0x14) % BT_LOOKUPS));
    drop_bytes(0x10, 1); /* not one of the entry's */
    assert_true(block->dead && entry->dead && !from->dead);
    assert_null(bt_cache_find(&cache, KERNEL + 0x14));
    assert_null(bt_cache_enter(&cache, page, KERNEL + 0x14));
    assert_true(is_empty((KERNEL + 0x14) % BT_LOOKUPS));
    assert_int_equal(leads_to(from, 0), cache.slot[from->first_slot].stub);
    assert_int_equal(leads_to(from, 1), cache.slot[from->first_slot + 1].stub);

    /* Not behind STI: whoever leaves it there has to tell. */
    block = add(KERNEL + 0x20, 0, 0);
    cache.insn[block->first_insn + 1].shadow = true;
    assert_null(bt_cache_enter(&cache, page, KERNEL + 0x24));
}

/* A page with hundreds of blocks, each of which all others lead to. */
static void dropping_is_done_in_portions(void **state)
{
    enum { BLOCKS = 300 };
    struct bt_block *first = add(KERNEL, 0, 0), *other = add(KERNEL + 0x4000, 0, 0);
    struct seen seen = {.other = KERNEL};
    (void)state;
    for (unsigned i = 1; i < BLOCKS; i++) {
        struct bt_block *block = add(KERNEL + 8ull * i, 0, 0);
        link_slot(block, 0, first);
        link_slot(block, 1, other);
    }
    /* One byte: the list alone is longer than a portion, so the page goes. */
    assert_in_range(drop(8, 1, 50), 10, 100);
    assert_null(bt_cache_page(&cache, KERNEL));
    assert_true(first->dead && first->incoming == BT_NONE);
    assert_false(other->dead);
    assert_int_equal(other->incoming, BT_NONE);

    /* One block that many lead to. Half-way through nothing finds it any more. */
    first = add(KERNEL + 0x1000, 0, 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        link_slot(add(KERNEL + 0x2000 + 8ull * i, 0, 0), 0, first);
    struct bt_change change = {1, 0, PAGE_SIZE - 1};
    int left = 50;
    assert_false(bt_cache_drop(&cache, &change, &left));
    assert_null(bt_cache_find(&cache, KERNEL + 0x1000));
    assert_int_not_equal(first->incoming, BT_NONE);
    assert_in_range(drop(0x1000, PAGE_SIZE, 50), 4, 10);
    assert_int_equal(first->incoming, BT_NONE);
    assert_true(bt_cache_may_have(&cache, 2));
    assert_false(bt_cache_may_have(&cache, 1));

    /* A mapping that is gone, and comes back when its page has begun to go: all of that goes all
     * the same, and a new one stays. */
    bt_cache_want_check(&cache, true);
    bt_cache_want_check(&cache, false); /* does not take that back */
    left = 200;
    assert_false(bt_cache_drop_wanted(&cache, walk, &seen, &left));
    assert_int_equal(seen.calls, 2);
    seen.other = 0;
    assert_in_range(drop_wanted(&seen, 50), 4, 100);
    assert_false(other->dead); /* of the next page */
    assert_null(bt_cache_page(&cache, KERNEL + 0x2000));
    (void)add(KERNEL, 0, 0);
    assert_int_equal(drop_wanted(&seen, 50), 1);
    assert_non_null(bt_cache_find(&cache, KERNEL));
}

/* Many mappings: so many walks are not made in one go. */
static void checking_is_done_in_portions(void **state)
{
    struct seen seen = {.calls = 0};
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        (void)page_of(0x100000 + PAGE_SIZE * i, 0x100000 + PAGE_SIZE * i, PAGE_SIZE, false);
    bt_cache_want_check(&cache, false);
    assert_in_range(drop_wanted(&seen, 512), 10, 20);
    assert_int_equal(seen.calls, 200);
    struct bt_code_page *page = page_of(0x500000, 0x500000, PAGE_SIZE, false);
    bt_cache_remove_page(&cache, page);
    assert_null(bt_cache_page(&cache, 0x500000));
    assert_false(bt_cache_may_have(&cache, 0x500));
}

static void full_and_flushed(void **state)
{
    unsigned blocks = 0, portions = 1;
    (void)state;
    while (bt_cache_has_room(&cache)) {
        (void)add(KERNEL + 8ull * blocks++, 0, 0);
        bt_cache_publish(&cache, &cache.block[blocks]);
    }
    assert_in_range(blocks, (CODE_BYTES - TRANSLATE_MAX_CODE) / 48 - 4, CODE_BYTES / 48);
    bt_cache_flush(&cache, INSN_32);
    while (!bt_cache_flush_portion(&cache))
        portions++;
    assert_in_range(portions, 2, 100); /* some microseconds each */
    assert_null(bt_cache_find(&cache, KERNEL));
    assert_null(bt_cache_page(&cache, KERNEL));
    for (unsigned i = 0; i < BT_LOOKUPS; i++)
        assert_true(is_empty(i));
    struct bt_block *block = add(0x1000, 0, 0);
    bt_cache_publish(&cache, block);
    assert_int_equal(cache.lookup[0x1000].minus_pc, 0xfffff000); /* of 32 bits */

    unsigned pages = 1;
    while (bt_cache_add_page(&cache, 0x100000ull + PAGE_SIZE * pages,
                             &(struct guest_translation){.at = gpa(0), .bytes = PAGE_SIZE}) != NULL)
        pages++;
    assert_in_range(pages, BT_MAPPINGS - 1, BT_MAPPINGS);
}

static struct interpret_known executed;

bool interpret_note(const struct interpret_env *env, struct interpret_known *out)
{
    *out = executed;
    return env->kind != 0;
}

static struct bt_site *note(struct bt_sites *sites, const struct bt_block *block, unsigned insn,
                            unsigned op)
{
    struct interpret_env env = {.kind = 1};
    const struct translate_insn *left = &cache.insn[block->first_insn + insn];
    const uint64_t at = bt_cache_address(&cache, block) + left->at;
    executed = (struct interpret_known){.insn = {.op = (uint8_t)op, .reg = 8}};
    bt_sites_leave(sites, &cache, at, block, left);
    bt_sites_note(sites, &env);
    return bt_sites_find(sites, &cache, at);
}

static void sites_go_with_their_block(void **state)
{
    static struct bt_sites sites;
    const struct interpret_env none = {.kind = 0}, one = {.kind = 1};
    (void)state;
    bt_sites_drop(&sites);
    struct bt_block *block = add(KERNEL, 0, 0), *other = add(KERNEL + 0x1000, 0, 0);
    struct translate_insn *second = &cache.insn[block->first_insn + 1];
    const uint64_t at = bt_cache_address(&cache, block) + second->at;
    assert_null(bt_sites_find(&sites, &cache, at));
    second->spilled = 6;
    struct bt_site *site = note(&sites, block, 1, SYSTEM_CPUID);
    assert_non_null(site);
    assert_int_equal(site->pc, KERNEL + 4);
    assert_int_equal(site->spilled, 6);
    assert_int_equal(site->next, BT_NONE);
    assert_int_equal(site->known.insn.op, SYSTEM_CPUID);
    assert_null(bt_sites_find(&sites, &cache, at + 1));
    assert_true(note(&sites, other, 0, SYSTEM_MOV_TO_CR)->light);
    assert_false(note(&sites, other, 0, SYSTEM_LGDT)->light);

    bt_sites_note(&sites, &one); /* nothing has been left since */
    assert_int_equal(bt_sites_find(&sites, &cache, at)->known.insn.op, SYSTEM_CPUID);
    bt_sites_leave(&sites, &cache, at + 3, block, second);
    bt_sites_note(&sites, &none); /* what was to be fetched has raised a fault */
    bt_sites_note(&sites, &one);
    assert_null(bt_sites_find(&sites, &cache, at + 3));
    second->shadow = true;
    bt_sites_leave(&sites, &cache, at + 3, block, second);
    bt_sites_note(&sites, &one);
    assert_null(bt_sites_find(&sites, &cache, at + 3));

    drop_bytes((KERNEL + 4) & 0xffffff, 1);
    assert_null(bt_sites_find(&sites, &cache, at));
    const uint64_t of_other = bt_cache_address(&cache, other);
    assert_non_null(bt_sites_find(&sites, &cache, of_other));
    bt_sites_drop(&sites);
    assert_null(bt_sites_find(&sites, &cache, of_other));
}

static void what_goes_the_short_way(void **state)
{
    static const struct {
        struct insn insn;
        bool light;
    } row[] = {
        {{.op = SYSTEM_MOV_TO_CR, .reg = 3}, true},
        {{.op = SYSTEM_MOV_TO_CR, .reg = 0}, false},
        {{.op = SYSTEM_MOV_TO_CR, .reg = 4}, false},
        {{.op = SYSTEM_INVLPG, .segment = SEG_DS}, true},
        {{.op = SYSTEM_INVLPG, .segment = SEG_GS}, false},
        {{.op = SYSTEM_HLT}, false},
        {{.op = SYSTEM_XSETBV}, false},
        {{.op = INSN_INS}, false},
        {{.op = 255}, false},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        assert_int_equal(bt_site_is_light(&(struct interpret_known){.insn = row[i].insn}),
                         row[i].light);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_leads_to_a_dead_block, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_block_is_linked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_kills_what_it_touches, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_forgets_dead_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(mappings_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_outlast_their_mappings, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_have_further_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(dropping_is_done_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(checking_is_done_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(full_and_flushed, setup, teardown),
        cmocka_unit_test_setup_teardown(looking_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(sites_go_with_their_block, setup, teardown),
        cmocka_unit_test(what_goes_the_short_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
