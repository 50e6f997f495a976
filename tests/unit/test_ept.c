// link: vmx/ept.c vmx/ept_overlay.c mm/page_alloc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* EPT: page sizes, lookups, refusals, and that the checker finds each misconfiguration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/log.h"
#include "arch/panic.h"
#include "mm/page_alloc.h"
#include "tests/unit/ept_lookup.h"
#include "vmx/ept_overlay.h"

#define RAM_PAGES 512
#define RAM_BASE  0x100000ull
#define MIB       (1ull << 20)
#define GIB       (1ull << 30)

static const struct ept_caps all_caps = {true, true, 39};
static uint8_t *ram;
static struct ept ept;

void panic(const char *format, ...)
{
    fail_msg("panic: %s", format);
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

static unsigned tables_freed;

static void behind_table(void)
{
    tables_freed++;
}

static int setup(void **s)
{
    (void)s;
    ram = aligned_alloc(PAGE_SIZE, RAM_PAGES * PAGE_SIZE);
    physmap_base = (uint64_t)(uintptr_t)ram - RAM_BASE;
    struct page_range range = {RAM_BASE, RAM_PAGES};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    assert_int_equal(ept_init(&ept, &all_caps), OK);
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    ept_destroy(&ept, behind_table);
    uint64_t left = page_alloc_used_by_hypervisor();
    free(ram);
    return left == 0 ? 0 : -1;
}

static enum status map(uint64_t guest, uint64_t host, uint64_t bytes)
{
    return ept_map(&ept, gpa(guest), hpa(host), bytes, EPT_RWX, MEMORY_WB);
}

static uint64_t lookup(uint64_t guest)
{
    hpa_t h = {~0ull};
    return ept_lookup(&ept, gpa(guest), &h, NULL) ? h.v : ~0ull;
}

static void assert_leaves(uint64_t k4, uint64_t m2, uint64_t g1)
{
    assert_int_equal(ept.leaves[EPT_LEAF_4K], k4);
    assert_int_equal(ept.leaves[EPT_LEAF_2M], m2);
    assert_int_equal(ept.leaves[EPT_LEAF_1G], g1);
    assert_true(ept_check(&ept, NULL));
}

/* The raw entry that translates an address at a level. */
static uint64_t *raw(uint64_t guest, unsigned level)
{
    uint64_t *table = hpa_to_ptr(ept.root);
    for (unsigned l = 4;; l--) {
        uint64_t *e = &table[guest >> (12 + 9 * (l - 1)) & 511];
        if (l == level)
            return e;
        table = hpa_to_ptr(hpa(*e & 0x000ffffffffff000ull));
    }
}

static void test_largest_pages(void **s)
{
    (void)s;
    assert_int_equal(map(0, 4 * GIB, 3 * GIB), OK);
    assert_leaves(0, 0, 3);
    assert_int_equal(map(3 * GIB, 2 * GIB + 2 * MIB, GIB), OK); /* not congruent to 1 GiB */
    assert_leaves(0, 512, 3);
    assert_int_equal(map(4 * GIB, 16 * MIB + 4096, 4 * MIB), OK); /* nor to 2 MiB */
    assert_leaves(1024, 512, 3);
    assert_int_equal(map(5 * GIB - 4096, 8 * GIB - 4096, GIB + 2 * MIB + 8192), OK);
    assert_leaves(1026, 513, 4);
    assert_int_equal(lookup(5 * GIB - 4096), 8 * GIB - 4096);
    assert_int_equal(lookup(5 * GIB + 123), 8 * GIB + 123);
    assert_int_equal(lookup(6 * GIB + 2 * MIB + 4095), 9 * GIB + 2 * MIB + 4095);
    assert_int_equal(lookup(6 * GIB + 2 * MIB + 4096), ~0ull);
    assert_int_equal(lookup(5 * GIB - 4097), ~0ull);
    assert_int_equal(lookup(2 * GIB + 5), 6 * GIB + 5);
    assert_int_equal(lookup(1ull << 48), ~0ull);
    assert_int_equal(ept.table_pages * PAGE_SIZE, page_alloc_used_by_hypervisor());
}

static void test_without_large_pages(void **s)
{
    (void)s;
    ept.caps.pages_1g = false;
    assert_int_equal(map(0, GIB, GIB), OK);
    assert_leaves(0, 512, 0);
    ept.caps.pages_2m = false;
    assert_int_equal(map(GIB, GIB, 2 * MIB), OK);
    assert_int_equal(ept.leaves[EPT_LEAF_4K], 512);
    assert_false(ept_check(&ept, NULL)); /* now the 2 MiB pages are misconfigurations */
}

static void test_entry_bits(void **s)
{
    (void)s;
    unsigned perms = 0;
    assert_int_equal(ept_root_pointer(ept.root), ept.root.v | 0x1e);
    assert_int_equal(ept_map(&ept, gpa(0), hpa(0x7000), 4096, EPT_R, MEMORY_UC), OK);
    assert_int_equal(*raw(0, 1), 0x7000 | 1 | 0x40);
    assert_int_equal(ept_map(&ept, gpa(GIB), hpa(GIB), GIB, EPT_RWX, MEMORY_WB), OK);
    assert_int_equal(*raw(GIB, 3), GIB | 7 | 6 << 3 | 0x40 | 0x80);
    assert_true(ept_lookup(&ept, gpa(5), NULL, &perms));
    assert_int_equal(perms, EPT_R);
    assert_leaves(1, 0, 1);
}

/* The types of the SDM's table "Memory Types That Can Be Encoded"; 2, 3 and 7 are none. */
static void test_memory_types(void **s)
{
    (void)s;
    static const enum memory_type good[] = {MEMORY_UC, MEMORY_WC, MEMORY_WT, MEMORY_WP, MEMORY_WB};
    static const unsigned bad[] = {2, 3, 7, 8};
    for (unsigned i = 0; i < 5; i++) {
        gpa_t at = gpa(i * PAGE_SIZE);
        assert_int_equal(ept_map(&ept, at, hpa(0x7000), PAGE_SIZE, EPT_RW, good[i]), OK);
        assert_int_equal(*raw(at.v, 1), 0x7000 | 0x40 | EPT_RW | (uint64_t)good[i] << 3);
    }
    assert_leaves(5, 0, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(
            ept_map(&ept, gpa(GIB), hpa(0), PAGE_SIZE, EPT_RW, (enum memory_type)bad[i]),
            ERR_BAD_INPUT);
}

/* The last page that 4 levels reach, and the last that the host's addresses do. */
static void test_last_pages(void **s)
{
    (void)s;
    const uint64_t guest = (1ull << 48) - PAGE_SIZE, host = (1ull << 39) - PAGE_SIZE;
    assert_int_equal(map(guest, host, PAGE_SIZE), OK);
    assert_int_equal(lookup(guest + 1), host + 1);
    assert_int_equal(ept_protect(&ept, gpa(guest), PAGE_SIZE, EPT_R), OK);
    assert_int_equal(ept_redirect(&ept, gpa(guest), hpa(host), EPT_R), OK);
    assert_leaves(1, 0, 0);
}

/* Portion by portion the pages are as large as in one go, and no portion has more entries than a
 * table. */
static void test_portions(void **s)
{
    (void)s;
    static const struct {
        uint64_t guest, host, bytes;
        uint64_t portions, leaves[3];
    } rows[] = {
        {0, 0, PAGE_SIZE, 1, {1, 0, 0}},
        {0x1000, 0x1000, 2 * MIB, 2, {512, 0, 0}},
        {MIB, 5 * MIB, 64 * MIB, 2, {512, 31, 0}},
        {MIB, 4 * MIB, 8 * MIB, 5, {2048, 0, 0}},
        {0, 2 * MIB, 3 * GIB, 3, {0, 1536, 0}},
        {GIB - 2 * MIB, 4 * GIB - 2 * MIB, 3 * GIB, 4, {0, 512, 2}},
        {GIB, GIB, 2 * GIB + 5 * MIB, 3, {256, 2, 2}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t portions = 0, most;
        for (uint64_t at = 0, n; at < rows[i].bytes; at += n, portions++) {
            const uint64_t before = ept.leaves[0] + ept.leaves[1] + ept.leaves[2];
            n = ept_portion(&ept, gpa(rows[i].guest + at), hpa(rows[i].host + at),
                            rows[i].bytes - at);
            assert_int_equal(map(rows[i].guest + at, rows[i].host + at, n), OK);
            most = ept.leaves[0] + ept.leaves[1] + ept.leaves[2] - before;
            assert_in_range(most, 1, 2 * 512);
        }
        assert_int_equal(portions, rows[i].portions);
        assert_leaves(rows[i].leaves[0], rows[i].leaves[1], rows[i].leaves[2]);
        for (uint64_t at = 0; at < rows[i].bytes; at += rows[i].bytes / 64 & ~(PAGE_SIZE - 1)) {
            assert_int_equal(lookup(rows[i].guest + at), rows[i].host + at);
            if (rows[i].bytes == PAGE_SIZE)
                break;
        }
        ept_destroy(&ept, behind_table);
        assert_int_equal(ept_init(&ept, &all_caps), OK);
    }
}

static void test_destroy_twice(void **s)
{
    (void)s;
    assert_int_equal(map(0, 0, PAGE_SIZE), OK);
    tables_freed = 0;
    ept_destroy(&ept, behind_table);
    assert_int_equal(tables_freed, 4);
    assert_int_equal(ept.root.v, 0);
    assert_int_equal(ept.table_pages, 0);
    assert_int_equal(ept.leaves[EPT_LEAF_4K], 0);
    assert_int_equal(page_alloc_used_by_hypervisor(), 0);
    ept_destroy(&ept, behind_table);
}

static void test_refusals(void **s)
{
    (void)s;
    assert_int_equal(map(1, 0, 4096), ERR_BAD_INPUT);
    assert_int_equal(map(0, 1, 4096), ERR_BAD_INPUT);
    assert_int_equal(map(0, 0, 4095), ERR_BAD_INPUT);
    assert_int_equal(map(0, 0, 0), ERR_BAD_INPUT);
    assert_int_equal(map(1ull << 48, 0, 4096), ERR_BAD_INPUT);
    assert_int_equal(map((1ull << 48) - 4096, 0, 8192), ERR_BAD_INPUT);
    assert_int_equal(map(0, 1ull << 39, 4096), ERR_BAD_INPUT);
    assert_int_equal(map(0, 0, ~0xfffull), ERR_BAD_INPUT);
    gpa_t g = gpa(0);
    hpa_t h = hpa(0);
    assert_int_equal(ept_map(&ept, g, h, 4096, EPT_W, MEMORY_WB), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, EPT_X, MEMORY_WB), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, EPT_W | EPT_X, MEMORY_WB), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, 0, MEMORY_WB), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, 15, MEMORY_WB), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, EPT_RW, (enum memory_type)2), ERR_BAD_INPUT);
    assert_int_equal(ept_map(&ept, g, h, 4096, EPT_RW, MEMORY_MIXED), ERR_BAD_INPUT);
    assert_leaves(0, 0, 0);
    assert_int_equal(map(0, 0, 4096), OK);
    assert_int_equal(map(0, 0, 4096), ERR_BAD_INPUT); /* there already */
    assert_int_equal(map(GIB, GIB, GIB), OK);
    assert_int_equal(map(GIB + 4096, 0, 4096), ERR_BAD_INPUT); /* inside a large page */
}

static void test_protect(void **s)
{
    (void)s;
    unsigned perms;
    assert_int_equal(map(2 * MIB - 0x4000, 2 * MIB - 0x4000, 2 * MIB + 0x4000), OK);
    assert_leaves(4, 1, 0);
    assert_int_equal(ept_protect(&ept, gpa(2 * MIB - 0x3000), 0x2000, EPT_R | EPT_X), OK);
    assert_true(ept_lookup(&ept, gpa(2 * MIB - 0x3000), NULL, &perms));
    assert_int_equal(perms, EPT_R | EPT_X);
    assert_true(ept_lookup(&ept, gpa(2 * MIB - 0x4000), NULL, &perms));
    assert_int_equal(perms, EPT_RWX);
    assert_int_equal(ept_protect(&ept, gpa(2 * MIB - 0x3000), 2 * MIB + 0x3000, 0), OK);
    assert_leaves(1, 0, 0);
    assert_int_equal(lookup(2 * MIB), ~0ull);
    assert_int_equal(ept_protect(&ept, gpa(2 * MIB - 0x3000), 2 * MIB + 0x3000, EPT_R), OK);
    assert_leaves(4, 1, 0);
    assert_int_equal(lookup(3 * MIB), 3 * MIB);

    assert_int_equal(ept_protect(&ept, gpa(2 * MIB), MIB, EPT_R), ERR_BAD_INPUT); /* half a page */
    assert_int_equal(ept_protect(&ept, gpa(3 * MIB), MIB, EPT_R), ERR_BAD_INPUT);
    assert_int_equal(ept_protect(&ept, gpa(4 * MIB), PAGE_SIZE, EPT_R), ERR_BAD_INPUT);
    assert_int_equal(map(4 * MIB, 4 * MIB, 2 * MIB), OK);
    assert_int_equal(ept_protect(&ept, gpa(3 * MIB), 2 * MIB, EPT_R), ERR_BAD_INPUT); /* halves */
    const gpa_t there = gpa(2 * MIB - 0x1000), nothing = gpa(2 * MIB - 0x5000);
    assert_int_equal(ept_protect(&ept, nothing, PAGE_SIZE, EPT_R), ERR_BAD_INPUT);
    assert_int_equal(ept_protect(&ept, there, PAGE_SIZE, EPT_W), ERR_BAD_INPUT);
    assert_int_equal(ept_protect(&ept, there, 0, EPT_R), ERR_BAD_INPUT);
    assert_leaves(4, 2, 0);
}

static void test_redirect(void **s)
{
    (void)s;
    unsigned perms;
    assert_int_equal(map(2 * MIB - 0x1000, 0x5000, 0x1000), OK);
    assert_int_equal(map(2 * MIB, 2 * MIB, 2 * MIB), OK);
    assert_int_equal(ept_redirect(&ept, gpa(2 * MIB - 0x1000), hpa(0x9000), EPT_R), OK);
    assert_int_equal(lookup(2 * MIB - 0x1000), 0x9000);
    assert_true(ept_lookup(&ept, gpa(2 * MIB - 0x1000), NULL, &perms));
    assert_int_equal(perms, EPT_R);
    assert_leaves(1, 1, 0);
    assert_int_equal(ept_redirect(&ept, gpa(2 * MIB), hpa(0x9000), EPT_R), ERR_BAD_INPUT);
    assert_int_equal(ept_redirect(&ept, gpa(MIB), hpa(0x9000), EPT_R), ERR_BAD_INPUT);
    assert_int_equal(ept_redirect(&ept, gpa(2 * MIB - 0x1000), hpa(1ull << 39), EPT_R),
                     ERR_BAD_INPUT);
    assert_int_equal(ept_redirect(&ept, gpa(2 * MIB - 0x1000), hpa(0x9000), EPT_W), ERR_BAD_INPUT);
}

/* What an overlay, seen as an EPT, has at an address. */
static uint64_t seen(const struct ept_overlay *overlay, uint64_t guest, unsigned *perms)
{
    const struct ept view = {.root = overlay->table[0], .caps = all_caps};
    hpa_t h;
    return ept_lookup(&view, gpa(guest), &h, perms) ? h.v : ~0ull;
}

static enum status show(struct ept_overlay *overlay, uint64_t guest, uint64_t host)
{
    return ept_overlay_show(overlay, ept.root, gpa(guest), hpa(host), EPT_RWX);
}

static void test_overlay(void **s)
{
    (void)s;
    struct ept_overlay overlay = {0};
    unsigned perms;
    assert_int_equal(map(2 * MIB - 0x2000, 0x5000, 0x2000), OK);
    assert_int_equal(map(2 * MIB, 2 * MIB, 2 * MIB), OK);
    const uint64_t used = page_alloc_used_by_hypervisor();
    assert_int_equal(ept_protect(&ept, gpa(2 * MIB - 0x2000), 0x2000, EPT_R), OK);
    assert_int_equal(show(&overlay, 2 * MIB - 0x1000, 0x9000), OK);
    assert_int_equal(overlay.count, 4);
    assert_int_equal(seen(&overlay, 2 * MIB - 0x1000, &perms), 0x9000);
    const uint64_t *table = hpa_to_ptr(overlay.table[3]); /* of the type that the host has, too */
    assert_int_equal(table[511], 0x9000 | EPT_RWX | MEMORY_WB << 3 | 1 << 6);
    assert_int_equal(perms, EPT_RWX);
    assert_int_equal(seen(&overlay, 2 * MIB - 0x2000, &perms), 0x5000);
    assert_int_equal(perms, EPT_R);
    assert_int_equal(seen(&overlay, 2 * MIB + 0x123, &perms), 2 * MIB + 0x123);
    assert_int_equal(lookup(2 * MIB - 0x1000), 0x6000); /* the EPT itself is as it was */
    assert_true(ept_check(&ept, NULL));
    assert_int_equal(show(&overlay, 0x3000, 0xa000), OK); /* by the same tables */
    assert_int_equal(overlay.count, 4);
    assert_int_equal(show(&overlay, 0xfee00000, 0xb000), OK); /* two of them are new */
    assert_int_equal(overlay.count, 6);
    assert_int_equal(seen(&overlay, 0x3000, NULL), 0xa000);
    assert_int_equal(seen(&overlay, 0xfee00000, NULL), 0xb000);
    assert_int_equal(seen(&overlay, 2 * MIB - 0x1000, NULL), 0x9000);
    assert_int_equal(lookup(0xfee00000), ~0ull);
    uint64_t far = 1ull << 40; /* three tables each */
    for (; overlay.count + 3 <= EPT_OVERLAY_MAX; far += 1ull << 40)
        assert_int_equal(show(&overlay, far, 0xc000), OK);
    assert_int_equal(show(&overlay, far, 0xc000), ERR_LIMIT);
    assert_int_equal(overlay.count, EPT_OVERLAY_MAX);
    ept_overlay_drop(&overlay);
    assert_int_equal(overlay.count, 0);
    assert_int_equal(page_alloc_used_by_hypervisor(), used);
    assert_int_equal(lookup(2 * MIB - 0x1000), 0x6000);
}

/* A page in a large one: the others in it stay what they are. */
static void test_overlay_in_large_pages(void **s)
{
    (void)s;
    struct ept_overlay overlay = {0};
    unsigned perms;
    const uint64_t used = page_alloc_used_by_hypervisor();
    assert_int_equal(ept_map(&ept, gpa(2 * MIB), hpa(6 * MIB), 2 * MIB, EPT_R, MEMORY_WB), OK);
    assert_int_equal(map(1024 * MIB, 2048 * MIB, 1024 * MIB), OK);
    assert_int_equal(ept.leaves[EPT_LEAF_1G], 1);
    assert_int_equal(show(&overlay, 2 * MIB + 0x3000, 0x9000), OK);
    assert_int_equal(overlay.count, 4);
    assert_int_equal(seen(&overlay, 2 * MIB + 0x3000, &perms), 0x9000);
    assert_int_equal(perms, EPT_RWX);
    assert_int_equal(seen(&overlay, 4 * MIB - 0x1000, &perms), 8 * MIB - 0x1000);
    assert_int_equal(perms, EPT_R);
    assert_int_equal(seen(&overlay, 2 * MIB + 0x2123, NULL), 6 * MIB + 0x2123);
    assert_int_equal(show(&overlay, 1030 * MIB, 0xa000), OK);
    assert_int_equal(overlay.count, 6); /* in pages of 2 MiB, of which one is split, too */
    assert_int_equal(seen(&overlay, 1030 * MIB, NULL), 0xa000);
    assert_int_equal(seen(&overlay, 1030 * MIB + 0x1000, NULL), 2054 * MIB + 0x1000);
    assert_int_equal(seen(&overlay, 1024 * MIB, NULL), 2048 * MIB);
    assert_int_equal(seen(&overlay, 2048 * MIB - 1, NULL), 3072 * MIB - 1);
    const struct ept view = {
        .root = overlay.table[0], .caps = all_caps, .table_pages = overlay.count};
    struct ept_error where;
    (void)ept_check(&view, &where); /* but for the counts */
    assert_int_equal(where.level, 0);
    ept_overlay_drop(&overlay);
    assert_null(overlay.table);
    assert_true(page_alloc_used_by_hypervisor() > used); /* by ept's own tables */
    assert_true(ept_check(&ept, NULL));
}

static void test_out_of_memory(void **s)
{
    (void)s;
    hpa_t rest;
    assert_int_equal(page_alloc(RAM_PAGES - 3, 1, &rest), OK); /* two pages are left */
    assert_int_equal(map(0, 0, GIB), OK);
    assert_int_equal(map(GIB, 0, 4096), ERR_NO_MEMORY);
    assert_true(ept_check(&ept, NULL));
    page_free(rest, RAM_PAGES - 3);
}

static void test_checker(void **s)
{
    (void)s;
    assert_int_equal(map(0, GIB, GIB), OK);
    assert_int_equal(map(GIB, 2 * MIB, 2 * MIB), OK);
    assert_int_equal(map(2 * GIB, 0x5000, 4096), OK);
    assert_true(ept_check(&ept, NULL));
    static const struct {
        uint64_t guest;
        unsigned level;
        uint64_t flip; /* bits toggled in a good entry */
    } bad[] = {
        {0, 3, 1},                /* WX without R */
        {0, 3, 3},                /* X only, unsupported */
        {0, 3, 5},                /* W only */
        {0, 3, 1 << 12},          /* address below the page's size */
        {0, 3, 1ull << 39},       /* beyond MAXPHYADDR */
        {0, 3, 4 << 3},           /* type 2 */
        {0, 3, 1 << 3},           /* type 7 */
        {0, 4, 0x80},             /* PML4E bit 7 */
        {0, 4, 0x8},              /* PML4E bit 3 */
        {GIB, 2, 1 << 20},        /* address below the page's size */
        {GIB, 3, 0x10},           /* PDPTE bit 4 */
        {2 * GIB, 2, 0x40},       /* PDE bit 6 */
        {2 * GIB, 1, 5 << 3},     /* type 3 */
        {2 * GIB, 1, 1ull << 51}, /* beyond MAXPHYADDR */
        {2 * GIB, 2, 1ull << 45}, /* beyond MAXPHYADDR, in a table entry */
        {0, 4, 1ull << 45},       /* likewise */
        {GIB, 3, 0x8},            /* PDPTE bit 3 */
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t *e = raw(bad[i].guest, bad[i].level);
        struct ept_error error = {{1}, 0, 0};
        *e ^= bad[i].flip;
        assert_false(ept_check(&ept, &error));
        assert_int_equal(error.level, bad[i].level);
        assert_int_equal(error.entry, *e);
        assert_int_equal(error.guest.v, bad[i].guest);
        *e ^= bad[i].flip;
    }
    *raw(2 * GIB, 1) |= 0x300; /* accessed, dirty: the CPU's */
    assert_true(ept_check(&ept, NULL));
    for (unsigned i = 0; i < 3; i++) { /* the counts */
        ept.leaves[i]++;
        assert_false(ept_check(&ept, NULL));
        ept.leaves[i]--;
    }
    /* A misconfiguration that nothing lies behind is one, too. */
    assert_int_equal(ept_protect(&ept, gpa(2 * GIB), PAGE_SIZE, 0), OK);
    assert_true(ept_check(&ept, NULL));
    *raw(2 * GIB, 2) ^= 0x40;
    assert_false(ept_check(&ept, NULL));
    *raw(2 * GIB, 2) ^= 0x40;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_largest_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_large_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_entry_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_protect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redirect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlay_in_large_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checker, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
