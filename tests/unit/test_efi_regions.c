/* SPDX-License-Identifier: BSD-2-Clause */
/* The handoff's memory regions: merged, clipped, never page 0, never more than fit. */
// link: boot/efi_regions.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/efi_regions.h"

static struct handoff h;

static int reset(void **state)
{
    (void)state;
    memset(&h, 0, sizeof(h));
    return 0;
}

static void expect(uint32_t i, uint64_t base, uint64_t pages, enum region_kind kind)
{
    assert_in_range(i, 0, h.region_count - 1);
    assert_int_equal(h.region[i].base, base);
    assert_int_equal(h.region[i].pages, pages);
    assert_int_equal(h.region[i].kind, kind);
}

static void test_merges_neighbours(void **state)
{
    (void)state;
    regions_add(&h, 0x1000, 2, REGION_FREE);
    regions_add(&h, 0x3000, 1, REGION_FREE);
    regions_add(&h, 0x4000, 1, REGION_KEPT);
    regions_add(&h, 0x6000, 1, REGION_KEPT); /* a gap before it */
    assert_int_equal(h.region_count, 3);
    expect(0, 0x1000, 3, REGION_FREE);
    expect(1, 0x4000, 1, REGION_KEPT);
    expect(2, 0x6000, 1, REGION_KEPT);
}

static void test_page_0_is_never_free(void **state)
{
    (void)state;
    regions_add(&h, 0, 0xa0, REGION_FREE);
    assert_int_equal(h.region_count, 2);
    expect(0, 0, 1, REGION_RESERVED);
    expect(1, 0x1000, 0x9f, REGION_FREE);
    reset(NULL);
    regions_add(&h, 0, 1, REGION_FREE);
    assert_int_equal(h.region_count, 1);
    expect(0, 0, 1, REGION_RESERVED);
}

static void test_page_for_the_trampoline(void **state)
{
    (void)state;
    regions_add(&h, 0, 1, REGION_FREE); /* page 0 is not free */
    regions_add(&h, 0x100000, 16, REGION_FREE);
    assert_int_equal(regions_low_page(&h), 0);
    reset(NULL);
    regions_add(&h, 0, 2, REGION_FREE);
    regions_add(&h, 0x2000, 0x10, REGION_RUNTIME_DATA);
    assert_int_equal(regions_low_page(&h), 0x1000);
    regions_add(&h, 0x90000, 4, REGION_FREE);
    regions_add(&h, 0x94000, 12, REGION_RESERVED);
    assert_int_equal(regions_low_page(&h), 0x93000);
    reset(NULL);
    regions_add(&h, 0x80000, 0x1000, REGION_FREE); /* over its end */
    assert_int_equal(regions_low_page(&h), 0x9f000);
}

static void test_overlaps_are_not_free(void **state)
{
    (void)state;
    regions_add(&h, 0x1000, 8, REGION_FREE);
    regions_add(&h, 0x5000, 8, REGION_RESERVED); /* cuts the free one's end */
    regions_add(&h, 0x7000, 16, REGION_FREE);    /* loses its start */
    regions_add(&h, 0x8000, 1, REGION_FREE);     /* is there already */
    regions_add(&h, 0x17000, 1, REGION_MMIO);
    assert_int_equal(h.region_count, 4);
    expect(0, 0x1000, 4, REGION_FREE);
    expect(1, 0x5000, 8, REGION_RESERVED);
    expect(2, 0xd000, 10, REGION_FREE);
    expect(3, 0x17000, 1, REGION_MMIO);
    reset(NULL);
    regions_add(&h, 0x1000, 1, REGION_FREE);
    regions_add(&h, 0x1000, 4, REGION_ACPI); /* nothing is left of the first */
    assert_int_equal(h.region_count, 1);
    expect(0, 0x1000, 4, REGION_ACPI);
}

static void test_absurd_sizes(void **state)
{
    (void)state;
    regions_add(&h, 0x1000, 0, REGION_FREE);
    regions_add(&h, 1ull << 52, 1, REGION_FREE);
    regions_add(&h, UINT64_MAX, UINT64_MAX, REGION_FREE);
    assert_int_equal(h.region_count, 0);
    regions_add(&h, 0x1000, UINT64_MAX, REGION_RESERVED);
    expect(0, 0x1000, (1ull << 40) - 1, REGION_RESERVED);
    reset(NULL);
    regions_add(&h, 0x1234, 1, REGION_KEPT); /* firmware's maps are page-aligned, or made so */
    expect(0, 0x1000, 1, REGION_KEPT);
}

static void test_full_list_forgets_the_smallest_free(void **state)
{
    uint64_t base = 0x1000;

    (void)state;
    for (uint32_t i = 0; i < HANDOFF_MAX_REGIONS; i++, base += 0x10000)
        regions_add(&h, base, i == 100 ? 2 : 3, i % 2 == 0 ? REGION_FREE : REGION_KEPT);
    assert_int_equal(h.region_count, HANDOFF_MAX_REGIONS);
    regions_add(&h, base, 2, REGION_FREE); /* no larger than the smallest: is itself forgotten */
    expect(HANDOFF_MAX_REGIONS - 1, base - 0x10000, 3, REGION_KEPT);
    regions_add(&h, base, 5, REGION_FREE);
    assert_int_equal(h.region_count, HANDOFF_MAX_REGIONS);
    expect(HANDOFF_MAX_REGIONS - 1, base, 5, REGION_FREE);
    expect(99, 0x1000 + 99 * 0x10000, 3, REGION_KEPT);
    expect(100, 0x1000 + 101 * 0x10000, 3, REGION_KEPT);
    regions_add(&h, base + 0x10000, 1, REGION_KEPT); /* what is kept always finds room */
    expect(HANDOFF_MAX_REGIONS - 1, base + 0x10000, 1, REGION_KEPT);
    expect(0, 0x1000 + 0x10000, 3, REGION_KEPT); /* the first of the free ones with 3 pages */
}

static void test_full_without_free(void **state)
{
    (void)state;
    for (uint64_t i = 0; i <= HANDOFF_MAX_REGIONS; i++)
        regions_add(&h, 0x1000 + i * 0x2000, 1, REGION_KEPT);
    assert_int_equal(h.region_count, HANDOFF_MAX_REGIONS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_merges_neighbours, reset),
        cmocka_unit_test_setup(test_page_0_is_never_free, reset),
        cmocka_unit_test_setup(test_page_for_the_trampoline, reset),
        cmocka_unit_test_setup(test_overlaps_are_not_free, reset),
        cmocka_unit_test_setup(test_absurd_sizes, reset),
        cmocka_unit_test_setup(test_full_list_forgets_the_smallest_free, reset),
        cmocka_unit_test_setup(test_full_without_free, reset),
    };

    return cmocka_run_group_tests_name("efi_regions", tests, NULL, NULL);
}
