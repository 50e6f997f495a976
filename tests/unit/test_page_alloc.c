// link: mm/page_alloc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The physical page allocator: placement, merging, limits, and that misuse is a panic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/log.h"
#include "arch/panic.h"
#include "mm/page_alloc.h"

/* 1 MiB for the hypervisor, three blocks of 2 MiB for guests, 1 MiB for the hypervisor. */
#define RAM_PAGES 2048
#define RAM_BASE  0x100000ull
#define BLOCK     512u

static jmp_buf after_panic;
static uint8_t *ram;
static int lines_logged;

void panic(const char *format, ...)
{
    (void)format;
    longjmp(after_panic, 1);
}

void log_line(const char *format, ...)
{
    (void)format;
    lines_logged++;
}

#define assert_panics(call)               \
    do {                                  \
        if (setjmp(after_panic) == 0) {   \
            call;                         \
            fail_msg("no panic: " #call); \
        }                                 \
    } while (0)

static int setup(void **s)
{
    (void)s;
    free(ram);
    ram = aligned_alloc(PAGE_SIZE, RAM_PAGES * PAGE_SIZE);
    memset(ram, 0xcc, RAM_PAGES * PAGE_SIZE);
    physmap_base = (uint64_t)(uintptr_t)ram - RAM_BASE;
    struct page_range range = {RAM_BASE, RAM_PAGES};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    free(ram);
    ram = NULL;
    return 0;
}

static void test_low_and_high(void **s)
{
    (void)s;
    hpa_t a, b, g, h;
    assert_int_equal(page_alloc(1, 1, &a), OK);
    assert_int_equal(page_alloc(2, 1, &b), OK);
    assert_int_equal(page_alloc_guest(4, 1, &g), OK);
    assert_int_equal(page_alloc_guest(16, 256, &h), OK);
    assert_int_equal(a.v, RAM_BASE);
    assert_int_equal(b.v, RAM_BASE + PAGE_SIZE);
    assert_int_equal(g.v, 0x800000 - 4 * PAGE_SIZE);
    assert_int_equal(h.v, 0x700000);
    assert_int_equal(page_alloc_used_by_hypervisor(), 3 * PAGE_SIZE);
    assert_int_equal(page_alloc_free_bytes(), (RAM_PAGES - 23) * PAGE_SIZE);
    for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
        assert_int_equal(((uint8_t *)hpa_to_ptr(b))[i], 0);
    assert_int_equal(*(uint8_t *)hpa_to_ptr(hpa(b.v + 2 * PAGE_SIZE)), 0xcc);
    page_free(a, 1);
    page_free(b, 2);
    page_free_guest(g, 4);
    page_free_guest(h, 16);
    assert_int_equal(page_alloc_used_by_hypervisor(), 0);
    /* All merged again: the whole can be had at once. */
    assert_int_equal(page_alloc_guest(3 * BLOCK, 1, &a), OK);
    assert_int_equal(page_alloc_guest(1, 1, &b), ERR_NO_MEMORY);
    page_free_guest(a, 3 * BLOCK);
    assert_int_equal(page_alloc(3 * BLOCK, 1, &a), OK);
    assert_int_equal(page_alloc(BLOCK + 1, 1, &b), ERR_NO_MEMORY);
    page_free(a, 3 * BLOCK);
    assert_int_equal(page_alloc(RAM_PAGES, 1, &a), OK);
}

static uint8_t mapped[RAM_PAGES + 256]; /* of each page from 0 on */

static void set_mapped(hpa_t base, uint64_t pages, bool on)
{
    assert_int_equal(base.v % PAGE_SIZE_2M, 0);
    assert_int_equal(pages % BLOCK, 0);
    for (uint64_t i = base.v / PAGE_SIZE; i < base.v / PAGE_SIZE + pages; i++) {
        assert_int_equal(mapped[i], !on);
        mapped[i] = on;
    }
}

/* Whole blocks are for guests until the hypervisor takes them, which is for good. */
static void test_blocks(void **s)
{
    (void)s;
    hpa_t a, b, g;
    memset(mapped, 1, sizeof(mapped));
    page_alloc_unmap_guests(set_mapped);
    assert_int_equal(mapped[BLOCK - 1], 1);
    for (unsigned i = BLOCK; i < 4 * BLOCK; i++)
        assert_int_equal(mapped[i], 0);
    assert_int_equal(mapped[4 * BLOCK], 1);
    assert_int_equal(page_alloc_guest(BLOCK + 1, 1, &g), OK);
    assert_int_equal(mapped[g.v / PAGE_SIZE], 0);
    assert_int_equal(page_alloc(256, 1, &a), OK);
    assert_int_equal(page_alloc(200, 1, &b), OK); /* in the MiB at the end */
    assert_int_equal(mapped[BLOCK], 0);
    assert_int_equal(page_alloc(100, 1, &b), OK); /* not there any more */
    assert_int_equal(b.v, BLOCK * PAGE_SIZE);
    assert_int_equal(mapped[BLOCK], 1);
    assert_int_equal(mapped[2 * BLOCK], 0);
    assert_int_equal(page_alloc(BLOCK, 1, &a),
                     ERR_NO_MEMORY); /* a part of that block is a guest's */
    page_free(b, 100);
    page_free_guest(g, BLOCK + 1);
    assert_int_equal(mapped[BLOCK], 1);
    assert_int_equal(page_alloc_guest(2 * BLOCK + 1, 1, &g), ERR_NO_MEMORY);
    assert_int_equal(page_alloc_guest(2 * BLOCK, 1, &g), OK);
    assert_int_equal(g.v, 2 * BLOCK * PAGE_SIZE);
    assert_int_equal(page_alloc(BLOCK, 1, &a), OK); /* the block that is its own already */
    assert_int_equal(page_alloc(BLOCK, 1, &b), ERR_NO_MEMORY);
}

static void test_alignment(void **s)
{
    (void)s;
    hpa_t a, b;
    assert_int_equal(page_alloc(1, 512, &b), OK);
    assert_int_equal(b.v, 0x800000); /* what is its own comes first */
    assert_int_equal(page_alloc(1, 512, &a), OK);
    assert_int_equal(a.v, 0x200000);
    assert_int_equal(page_alloc(1, 2048, &b), ERR_NO_MEMORY);
    assert_int_equal(page_alloc(1, 3, &b), ERR_BAD_INPUT);
    assert_int_equal(page_alloc(1, 0, &b), ERR_BAD_INPUT);
    assert_int_equal(page_alloc(0, 1, &b), ERR_BAD_INPUT);
    assert_int_equal(page_alloc(UINT64_MAX, 1, &b), ERR_NO_MEMORY);
    assert_int_equal(page_alloc(1, 1ull << 63, &b), ERR_BAD_INPUT);
    assert_int_equal(page_alloc(1, 1ull << 51, &b), ERR_NO_MEMORY);
    assert_int_equal(page_alloc_guest(1, 1ull << 51, &b), ERR_NO_MEMORY);
    page_free(a, 1);
    assert_int_equal(page_alloc(256 + BLOCK, 1, &b), OK); /* 1 MiB + 2 MiB merged */
    assert_int_equal(b.v, RAM_BASE);
}

static void test_init_rejects(void **s)
{
    (void)s;
    struct page_range overlap[] = {{0x200000, 16}, {0x208000, 16}};
    assert_int_equal(page_alloc_init(overlap, 2), ERR_BAD_INPUT);
    struct page_range inside[] = {{0x200000, 1024}, {0x300000, 1}};
    assert_int_equal(page_alloc_init(inside, 2), ERR_BAD_INPUT);
    struct page_range odd = {0x200001, 16};
    assert_int_equal(page_alloc_init(&odd, 1), ERR_BAD_INPUT);
    struct page_range wraps = {0x200000, UINT64_MAX / PAGE_SIZE + 1};
    assert_int_equal(page_alloc_init(&wraps, 1), ERR_BAD_INPUT);
    static struct page_range many[PAGE_ALLOC_MAX_RANGES + 1];
    for (unsigned i = 0; i <= PAGE_ALLOC_MAX_RANGES; i++)
        many[i] = (struct page_range){0x200000 + 0x2000ull * i, 1};
    assert_int_equal(page_alloc_init(many, PAGE_ALLOC_MAX_RANGES), OK);
    assert_int_equal(page_alloc_init(many, PAGE_ALLOC_MAX_RANGES + 1), ERR_LIMIT);
}

static void test_init_clips_low_memory(void **s)
{
    (void)s;
    struct page_range r[] = {{0, 0xa0}, {0xc0000, 0x40 + 2}, {0x180000, 1}};
    assert_int_equal(page_alloc_init(r, 3), OK);
    assert_int_equal(page_alloc_free_bytes(), 3 * PAGE_SIZE);
    hpa_t a;
    assert_int_equal(page_alloc(1, 1, &a), OK);
    assert_int_equal(a.v, 0x100000);
}

static void test_misuse_panics(void **s)
{
    (void)s;
    hpa_t a;
    assert_int_equal(page_alloc(4, 1, &a), OK);
    page_free(hpa(a.v + PAGE_SIZE), 1);
    assert_panics(page_free(hpa(a.v + PAGE_SIZE), 1));
    setup(NULL);
    assert_int_equal(page_alloc(4, 1, &a), OK);
    page_free(hpa(a.v + PAGE_SIZE), 1);
    assert_panics(page_free(a, 2));
    setup(NULL);
    assert_int_equal(page_alloc(4, 1, &a), OK);
    page_free(hpa(a.v + PAGE_SIZE), 2);
    assert_panics(page_free(hpa(a.v + 2 * PAGE_SIZE), 1));
    setup(NULL);
    assert_panics(page_free(hpa(0), 1));
    assert_panics(page_free(hpa(RAM_BASE + 1), 1));
    assert_panics(page_free(hpa(RAM_BASE), UINT64_MAX));
    setup(NULL);
    assert_panics(page_free(hpa(BLOCK * PAGE_SIZE), 1)); /* a guest's, and free */
}

/* Random requests against a map of who owns each page. */
static void test_random(void **s)
{
    (void)s;
    static uint8_t owner[RAM_PAGES];
    static struct {
        hpa_t base;
        uint64_t pages;
        int guest;
    } live[64];
    memset(owner, 0, sizeof(owner));
    memset(mapped, 1, sizeof(mapped));
    page_alloc_unmap_guests(set_mapped);
    srand(7);
    for (int round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rand() % 64;
        if (live[i].pages > 0) {
            uint64_t first = (live[i].base.v - RAM_BASE) / PAGE_SIZE;
            memset(&owner[first], 0, live[i].pages);
            if (live[i].guest)
                page_free_guest(live[i].base, live[i].pages);
            else
                page_free(live[i].base, live[i].pages);
            live[i].pages = 0;
            continue;
        }
        uint64_t pages = 1 + (uint64_t)rand() % 30, align = 1ull << rand() % 6;
        live[i].guest = rand() % 2;
        enum status st = live[i].guest ? page_alloc_guest(pages, align, &live[i].base)
                                       : page_alloc(pages, align, &live[i].base);
        if (st != OK)
            continue;
        assert_int_equal(live[i].base.v % (align * PAGE_SIZE), 0);
        assert_true(live[i].base.v >= RAM_BASE);
        for (uint64_t p = 0; p < pages; p++)
            assert_int_equal(mapped[live[i].base.v / PAGE_SIZE + p], !live[i].guest);
        uint64_t first = (live[i].base.v - RAM_BASE) / PAGE_SIZE;
        assert_true(first + pages <= RAM_PAGES);
        for (uint64_t p = first; p < first + pages; p++) {
            assert_int_equal(owner[p], 0);
            owner[p] = 1;
        }
        live[i].pages = pages;
    }
    uint64_t used = 0;
    for (unsigned p = 0; p < RAM_PAGES; p++)
        used += owner[p];
    assert_int_equal(page_alloc_free_bytes(), (RAM_PAGES - used) * PAGE_SIZE);
    assert_int_equal(lines_logged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_low_and_high, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_init_rejects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_init_clips_low_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_misuse_panics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
