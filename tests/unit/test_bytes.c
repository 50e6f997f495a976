// link:
/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers in bytes: each size at each alignment, and nothing written beside it. */
#include "arch/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t number = 0xf1e2d3c4b5a69788;

static void test_all_sizes(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 8; at++) {
        for (unsigned bytes = 1; bytes <= 8; bytes++) {
            const uint64_t want = number & UINT64_MAX >> (64 - 8 * bytes);
            uint8_t little[16], big[16];
            memset(little, 0x55, sizeof(little));
            memset(big, 0x55, sizeof(big));
            put_le(little + at, bytes, number);
            put_be(big + at, bytes, number);
            for (unsigned i = 0; i < sizeof(little); i++) {
                const bool in = i >= at && i < at + bytes;
                assert_int_equal(little[i], in ? want >> (8 * (i - at)) & 0xff : 0x55);
                assert_int_equal(big[i], in ? want >> (8 * (at + bytes - 1 - i)) & 0xff : 0x55);
            }
            assert_true(get_le(little + at, bytes) == want);
            assert_true(get_be(big + at, bytes) == want);
        }
        uint8_t bytes[16] = {0};
        put_le(bytes + at, 8, number);
        assert_int_equal(get_le16(bytes + at), 0x9788);
        assert_int_equal(get_le32(bytes + at), 0xb5a69788);
        assert_true(get_le64(bytes + at) == number);
    }
}

static void test_text_and_checksum(void **state)
{
    uint8_t table[8] = {[4] = 0xff, 0xff, 3, 0xaa};
    (void)state;
    put_text(table, "ABC");
    assert_memory_equal(table, "ABC\0\xff\xff\x03\xaa", 8);
    put_checksum(table, 7, 6);
    assert_int_equal(sum_bytes(table, 7), 0);
    assert_int_equal(table[6], (uint8_t) - ('A' + 'B' + 'C' + 0xff + 0xff));
    assert_int_equal(table[7], 0xaa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sizes),
        cmocka_unit_test(test_text_and_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
