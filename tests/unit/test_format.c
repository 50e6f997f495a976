// SPDX-License-Identifier: BSD-2-Clause
// The log's formatter: every conversion, and never past the end.
// link: arch/format.c
#include "arch/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#pragma GCC diagnostic ignored "-Wformat" /* unknown and odd conversions are tested on purpose */
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-overflow"

#define CHECK(expected, ...)                                                              \
    do {                                                                                  \
        char out_[256];                                                                   \
        assert_int_equal(format_text(out_, sizeof(out_), __VA_ARGS__), strlen(expected)); \
        assert_string_equal(out_, expected);                                              \
    } while (0)

static void conversions(void **state)
{
    (void)state;
    CHECK("plain", "plain");
    CHECK("a b % c", "a %s %% %c", "b", 'c');
    CHECK("0 -1 2147483647 -2147483648", "%d %d %d %d", 0, -1, INT32_MAX, INT32_MIN);
    CHECK("4294967295 ffffffff", "%u %x", UINT32_MAX, UINT32_MAX);
    CHECK("18446744073709551615 ffffffffffffffff", "%lu %llx", UINT64_MAX,
          (unsigned long long)UINT64_MAX);
    CHECK("-9223372036854775808", "%ld", INT64_MIN);
    CHECK("7", "%zu", (size_t)7);
    CHECK("0xdeadbeef", "%p", (void *)0xdeadbeef);
    CHECK("(null)", "%s", (char *)NULL);
}

static void widths(void **state)
{
    (void)state;
    CHECK("[   42] [42   ] [00042]", "[%5d] [%-5d] [%05d]", 42, 42, 42);
    CHECK("[-0042] [  -42] [-42  ]", "[%05d] [%5d] [%-5d]", -42, -42, -42);
    CHECK("[  ab] [ab  ] [abcdef]", "[%4s] [%-4s] [%4s]", "ab", "ab", "abcdef");
    CHECK("0000000000001000", "%016lx", 0x1000ul);
    CHECK("[  x]", "[%3c]", 'x');
}

static void unknown_is_shown(void **state)
{
    (void)state;
    CHECK("%q and %", "%q and %");
}

static void never_past_the_end(void **state)
{
    (void)state;
    for (size_t size = 0; size < 40; size++) {
        char *out = malloc(size + 1); /* of its own, so that the sanitizer sees one byte too many */
        char *exact = realloc(out, size == 0 ? 1 : size);
        size_t n = format_text(exact, size, "%-20s%020d%900d", "abc", 5, 6);
        assert_int_equal(n, size == 0 ? 0 : size - 1);
        if (size != 0)
            assert_int_equal(strlen(exact), n);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions),
        cmocka_unit_test(widths),
        cmocka_unit_test(unknown_is_shown),
        cmocka_unit_test(never_past_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
