// link: guest/bt/code.c guest/bt/cache.c guest/bt/cache_pages.c guest/bt/cache_memory.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which vCPU is told of which change of code, what becomes of its translations, and what stays
 * where there is no memory for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/bt/bt.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

#include <stdlib.h>
#include <string.h>

#define RAM   0x800000u
#define PAGES (RAM / PAGE_SIZE)
#define VCPUS 2u

static struct vm vm;
static struct bt_vm own;
static struct bt_vcpu vcpu[VCPUS];
static uint8_t *ram;
static uint8_t code_map[PAGES];
static uint64_t kicked;
static unsigned allocations, frees, maps, maps_left;
static enum shadow_result add_result;
static uint64_t moved; /* the mapping of this linear page leads to the next page */
static uint64_t now;

uint64_t physmap_base; /* pages are where their numbers say, as with the firmware's tables */

uint64_t cpu_rdtsc(void)
{
    return now += 10;
}

uint64_t cpu_read_cr3(void)
{
    return 0;
}

void cpu_write_cr3(uint64_t v)
{
    (void)v;
}

enum status page_alloc(uint64_t pages, uint64_t align, hpa_t *out)
{
    (void)align;
    allocations++;
    out->v = (uintptr_t)aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE);
    memset(hpa_to_ptr(*out), 0, pages * PAGE_SIZE);
    return OK;
}

void page_free(hpa_t base, uint64_t pages)
{
    (void)pages;
    frees++;
    free(hpa_to_ptr(base));
}

enum status host_map_user(hpa_t root, uint64_t virt, hpa_t page, enum host_user kind)
{
    (void)root;
    (void)virt;
    (void)page;
    (void)kind;
    if (maps == maps_left)
        return ERR_NO_MEMORY;
    maps++;
    return OK;
}

void host_unmap_user(hpa_t root, uint64_t virt)
{
    (void)root;
    (void)virt;
}

void vcpu_kick_all(struct vm *of, uint64_t which)
{
    assert_ptr_equal(of, &vm);
    kicked |= which;
}

uint8_t *shadow_code_byte(const struct shadow *shadow, gpa_t at)
{
    (void)shadow;
    return at.v < RAM ? &code_map[at.v / PAGE_SIZE] : NULL;
}

enum shadow_result shadow_code_add(struct shadow *shadow, gpa_t at)
{
    /* Whoever clears the bit from now on finds the page among this vCPU's. */
    assert_true(bt_cache_may_have(&vcpu[0].code->cache, at.v / PAGE_SIZE));
    if (add_result == SHADOW_DONE)
        *shadow_code_byte(shadow, at) |= SHADOW_HAS_CODE;
    return add_result;
}

void shadow_code_remove(struct shadow *shadow, gpa_t at)
{
    *shadow_code_byte(shadow, at) &= (uint8_t)~SHADOW_HAS_CODE;
}

/* Linear addresses are those of guest memory. */
bool guestwalk_examine(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                       enum walk_access access, struct guest_translation *out, uint32_t *error)
{
    (void)mem;
    (void)paging;
    (void)access;
    (void)error;
    *out = (struct guest_translation){.at = gpa(linear.v), .bytes = PAGE_SIZE};
    if (moved != 0 && linear.v / PAGE_SIZE == moved / PAGE_SIZE)
        out->at.v += PAGE_SIZE;
    return true;
}

uint64_t guestwalk_top(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear)
{
    (void)mem;
    (void)paging;
    (void)linear;
    return 0;
}

unsigned translate_lookup(uint8_t *to, enum insn_mode mode, uint64_t at, uint64_t shared,
                          uint64_t table, unsigned *miss)
{
    (void)mode;
    (void)at;
    (void)shared;
    (void)table;
    *to = 0x90;
    *miss = 0;
    return 1;
}

void bt_sites_drop(struct bt_sites *sites)
{
    sites->block = BT_NONE;
}

/* A block of 8 bytes, with the first one's value as its code. */
bool translate(struct translation *out, const struct translate_input *input)
{
    *out = (struct translation){.code_bytes = 16, .guest_bytes = 8, .insns = 1};
    out->code[0] = input->bytes[0];
    return true;
}

static int setup(void **state)
{
    (void)state;
    ram = calloc(1, RAM);
    memset(&vm, 0, sizeof(vm));
    memset(code_map, 0, sizeof(code_map));
    memset(vcpu, 0, sizeof(vcpu));
    own.shadow = (struct shadow *)&own;
    vm.engine_vm = &own;
    vm.memory_bytes = RAM;
    vm.vcpu_count = VCPUS;
    kicked = allocations = frees = maps = 0;
    maps_left = UINT32_MAX;
    add_result = SHADOW_DONE;
    moved = 0;
    assert_int_equal(guestmem_add(&vm.mem, gpa(0), RAM, ram), OK);
    for (unsigned i = 0; i < VCPUS; i++) {
        vm.vcpu[i] = &vcpu[i].vcpu;
        vcpu[i].vcpu.vm = &vm;
        vcpu[i].vcpu.index = i;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VCPUS; i++)
        bt_code_destroy(&vcpu[i]);
    assert_int_equal(allocations, frees);
    free(ram);
    return 0;
}

/* Returns after how many portions the vCPU may enter its code. */
static unsigned catch_up(struct bt_vcpu *v)
{
    unsigned portions = 1;
    for (; !bt_code_catch_up(v, INSN_64); portions++) {
        assert_true(v->batch_is_over); /* whatever else waits is looked at in between */
        v->batch_is_over = false;
        assert_in_range(portions, 1, 10000);
    }
    return portions;
}

static void begin(void)
{
    for (unsigned i = 0; i < VCPUS; i++) {
        assert_int_equal(bt_code_create(&vcpu[i]), OK);
        bt_code_want_flush(vcpu[i].code);
        (void)catch_up(&vcpu[i]);
        bt_code_leave(vcpu[i].code);
    }
}

static bool has(struct bt_vcpu *v, uint64_t pc)
{
    return bt_cache_find(&v->code->cache, pc) != NULL;
}

static struct bt_block *find(struct bt_vcpu *v, uint64_t pc)
{
    struct bt_block *block = bt_code_find(v, pc);
    assert_non_null(block);
    return block;
}

/* Only who has code of a page is told, and only who is in translated code is kicked, once. */
static void those_are_told_who_have_it(void **state)
{
    (void)state;
    begin();
    (void)find(&vcpu[0], 0x5000);
    (void)find(&vcpu[0], 0x5100);
    (void)find(&vcpu[0], 0x6000);
    bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x5004), 4);
    assert_int_equal(vcpu[0].code->changes.count, 1);
    assert_int_equal(vcpu[1].code->changes.count, 0);
    assert_int_equal(kicked, 0); /* it sleeps, say */
    bt_code_written(&vm, NULL, gpa(0x5005), 1);
    bt_code_written(&vm, NULL, gpa(0x7000), 1);
    assert_int_equal(vcpu[0].code->changes.count, 1);
    assert_true(has(&vcpu[0], 0x5000));
    assert_int_equal(vcpu[0].code->cache.shared->changed, 1);
    assert_int_equal(vcpu[1].code->cache.shared->changed, 0);
    assert_int_equal(catch_up(&vcpu[0]), 1);
    assert_int_equal(vcpu[0].code->cache.shared->changed, 0);
    assert_false(has(&vcpu[0], 0x5000));
    assert_true(has(&vcpu[0], 0x5100) && has(&vcpu[0], 0x6000));
    assert_int_equal(kicked, 0);

    bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x5ffe), 4); /* of both pages; it is inside */
    assert_int_equal(vcpu[0].code->changes.count, 2);
    assert_int_equal(kicked, 1);
    kicked = 0;
    bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x6000), 8); /* it has been kicked for the first one */
    assert_int_equal(kicked, 0);
    assert_int_equal(catch_up(&vcpu[0]), 1);
    assert_false(has(&vcpu[0], 0x6000));
    bt_code_written(&vm, &vcpu[0].vcpu, gpa(0x5100), 1); /* by itself */
    assert_int_equal(kicked, 0);
    assert_true(vcpu[0].code->stale);
    assert_int_equal(catch_up(&vcpu[0]), 1);
    assert_false(has(&vcpu[0], 0x5100));
}

/* A vCPU that sleeps while others change the same few pages again and again has not to drop more
 * than these; one that has too many pages changed drops all. */
static void a_list_has_room_for_pages(void **state)
{
    (void)state;
    begin();
    (void)find(&vcpu[0], 0x1000);
    for (unsigned i = 0; i < 3 * BT_CHANGES; i++) {
        (void)find(&vcpu[0], 0x5000 + 8 * (i % 512));
        bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x5000 + 8 * (i % 512)), 8);
    }
    const uint64_t flushes = vcpu[0].code->cache.stats.flushes;
    (void)catch_up(&vcpu[0]);
    assert_int_equal(vcpu[0].code->cache.stats.flushes, flushes);
    assert_true(has(&vcpu[0], 0x1000));
    assert_false(has(&vcpu[0], 0x5000));

    for (unsigned i = 0; i <= BT_CHANGES; i++)
        (void)find(&vcpu[0], 0x10000 + i * PAGE_SIZE);
    for (unsigned i = 0; i < BT_CHANGES; i++)
        bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x10000 + i * PAGE_SIZE), 1);
    assert_false(vcpu[0].code->changes.too_many);
    bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x10000 + 3 * PAGE_SIZE), 8); /* of one that is there */
    assert_int_equal(vcpu[0].code->changes.count, BT_CHANGES);
    assert_false(vcpu[0].code->changes.too_many);
    vcpu[0].code->sites.block = 1;
    bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x10000 + BT_CHANGES * PAGE_SIZE), 1);
    assert_true(vcpu[0].code->changes.too_many);
    (void)catch_up(&vcpu[0]);
    assert_int_equal(vcpu[0].code->cache.stats.flushes, flushes + 1);
    assert_false(has(&vcpu[0], 0x1000));
    assert_int_equal(vcpu[0].code->sites.block, BT_NONE);
    assert_int_equal(vcpu[0].code->changes.count, 0);
    assert_false(vcpu[0].code->changes.too_many);

    /* And there is room for them again, whether they were taken one by one or all at once. */
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < BT_CHANGES; i++) {
            (void)find(&vcpu[0], 0x10000 + i * PAGE_SIZE);
            bt_code_written(&vm, &vcpu[1].vcpu, gpa(0x10000 + i * PAGE_SIZE), 1);
        }
        assert_int_equal(vcpu[0].code->changes.count, BT_CHANGES);
        assert_false(vcpu[0].code->changes.too_many);
        if (round == 2)
            bt_code_want_flush(vcpu[0].code);
        (void)catch_up(&vcpu[0]);
        assert_int_equal(vcpu[0].code->changes.count, 0);
        assert_false(has(&vcpu[0], 0x10000));
    }
    assert_int_equal(vcpu[0].code->cache.stats.flushes, flushes + 2);
}

/* What takes long is done in portions, and what comes meanwhile is done, too. */
static void it_catches_up_in_portions(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 2000; i++)
        (void)find(&vcpu[0], 0x5000 + 8 * i);
    (void)find(&vcpu[0], 0x20000);
    bt_code_written(&vm, NULL, gpa(0x5000), 0x3000);
    assert_false(bt_code_catch_up(&vcpu[0], INSN_64));
    bt_code_written(&vm, NULL, gpa(0x20000), 1);
    assert_in_range(catch_up(&vcpu[0]), 5, 50);
    assert_false(has(&vcpu[0], 0x5000) || has(&vcpu[0], 0x7ff8) || has(&vcpu[0], 0x20000));
    assert_true(has(&vcpu[0], 0x8000));

    /* Mappings, as they are looked at when the guest flushes. */
    for (unsigned i = 0; i < 500; i++)
        (void)find(&vcpu[0], 0x100000 + i * PAGE_SIZE);
    moved = 0x100000 + 300 * PAGE_SIZE;
    bt_code_check(&vcpu[0], false);
    assert_true(vcpu[0].code->stale);
    assert_in_range(catch_up(&vcpu[0]), 10, 50);
    assert_false(has(&vcpu[0], moved));
    assert_true(has(&vcpu[0], moved + PAGE_SIZE) && has(&vcpu[0], 0x8000));
    moved = 0x100000;
    bt_code_check_one(&vcpu[0], gva(0x100010));
    assert_true(vcpu[0].code->stale);
    (void)catch_up(&vcpu[0]);
    assert_false(has(&vcpu[0], moved));
    assert_int_equal(bt_code_catch_up(&vcpu[0], INSN_64), true);
}

/* A page that cannot be watched now has no code: it is asked for again the next time. */
static void a_page_is_watched_or_left(void **state)
{
    (void)state;
    begin();
    add_result = SHADOW_WAIT;
    assert_null(bt_code_find(&vcpu[0], 0x5000));
    assert_int_equal(kicked, 2);
    assert_false(bt_cache_may_have(&vcpu[0].code->cache, 5));
    add_result = SHADOW_DONE;
    ram[0x5000] = 0x77;
    const struct bt_block *block = find(&vcpu[0], 0x5000);
    assert_int_equal(vcpu[0].code->cache.code[block->code], 0x77);
    assert_int_equal(code_map[5], SHADOW_HAS_CODE);
    /* The 16th write gives the page up, for both. */
    (void)find(&vcpu[1], 0x5000);
    for (unsigned i = 0; i < 15; i++)
        bt_code_give_up(&vcpu[0], gpa(0x5123));
    assert_int_equal(code_map[5] & SHADOW_HAS_CODE, SHADOW_HAS_CODE);
    bt_code_give_up(&vcpu[0], gpa(0x5123));
    assert_int_equal(code_map[5] & SHADOW_HAS_CODE, 0);
    (void)catch_up(&vcpu[0]);
    (void)catch_up(&vcpu[1]);
    assert_false(has(&vcpu[0], 0x5000) || has(&vcpu[1], 0x5000));
}

/* Other vCPUs of the VM run, and reach what has been mapped: nothing of it is another's before they
 * have stopped. */
static void what_was_mapped_is_kept(void **state)
{
    (void)state;
    maps_left = 40;
    assert_int_equal(bt_code_create(&vcpu[0]), ERR_NO_MEMORY);
    assert_null(vcpu[0].code);
    assert_int_equal(maps, 40);
    assert_int_equal(frees, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(those_are_told_who_have_it), TEST(a_list_has_room_for_pages),
        TEST(it_catches_up_in_portions),  TEST(a_page_is_watched_or_left),
        TEST(what_was_mapped_is_kept),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
