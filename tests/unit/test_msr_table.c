// SPDX-License-Identifier: BSD-2-Clause
// The table of a VM's MSRs: closed but for what was opened.
// link: guest/cpu/msr_table.c
#include "guest/cpu/msr_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct msr_table table;

static enum status add(uint32_t first, uint32_t last)
{
    return msr_table_add(&table, &(struct msr_range){.first = first, .last = last});
}

static int renew(void **state)
{
    (void)state;
    table = (struct msr_table){0};
    return 0;
}

static void test_find(void **state)
{
    (void)state;
    assert_null(msr_table_find(&table, 0x10));
    assert_int_equal(add(0x800, 0x8ff), OK);
    assert_int_equal(add(0x10, 0x10), OK);
    assert_int_equal(add(0xc0000080, 0xc0000084), OK);
    assert_int_equal(add(0, 1), OK);
    static const uint32_t closed[] = {2,     0xf,        0x11,       0x7ff,
                                      0x900, 0xc000007f, 0xc0000085, UINT32_MAX};
    for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++)
        assert_null(msr_table_find(&table, closed[i]));
    static const uint32_t open[] = {0, 1, 0x10, 0x800, 0x87f, 0x8ff, 0xc0000080, 0xc0000084};
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        const struct msr_range *range = msr_table_find(&table, open[i]);
        assert_non_null(range);
        assert_in_range(open[i], range->first, range->last);
    }
}

static void test_overlaps(void **state)
{
    (void)state;
    assert_int_equal(add(0x200, 0x20f), OK);
    assert_int_equal(add(0x20f, 0x210), ERR_BAD_INPUT);
    assert_int_equal(add(0x1ff, 0x200), ERR_BAD_INPUT);
    assert_int_equal(add(0x205, 0x205), ERR_BAD_INPUT);
    assert_int_equal(add(0, UINT32_MAX), ERR_BAD_INPUT);
    assert_int_equal(add(5, 4), ERR_BAD_INPUT);
    assert_int_equal(add(0x210, 0x210), OK);
    assert_int_equal(add(0x1ff, 0x1ff), OK);
    assert_int_equal(table.count, 3);
}

static void test_full(void **state)
{
    (void)state;
    for (uint32_t i = MSR_TABLE_MAX; i > 0; i--)
        assert_int_equal(add(10 * i, 10 * i + 1), OK);
    assert_int_equal(add(1, 1), ERR_LIMIT);
    for (uint32_t i = 1; i <= MSR_TABLE_MAX; i++)
        assert_int_equal(msr_table_find(&table, 10 * i + 1)->first, 10 * i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_find, renew),
        cmocka_unit_test_setup(test_overlaps, renew),
        cmocka_unit_test_setup(test_full, renew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
