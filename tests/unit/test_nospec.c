// SPDX-License-Identifier: BSD-2-Clause
// The mask of an index.
#include "arch/nospec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_edges(void **state)
{
    (void)state;
    static const uint64_t limit[] = {1, 2, 77, 1ull << 31, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof(limit) / sizeof(limit[0]); i++) {
        const uint64_t end = limit[i];
        assert_true(index_nospec(0, end) == 0);
        assert_true(index_nospec(end - 1, end) == end - 1);
        assert_true(index_nospec(end / 2, end) == end / 2);
        assert_true(index_nospec(end, end) == 0);
        assert_true(index_nospec(UINT64_MAX, end) == 0);
        uint64_t last = end, beyond = end + 1, most = UINT64_MAX;
        assert_false(index_is_beyond(&last, end));
        assert_true(last == end);
        assert_true(end == UINT64_MAX || index_is_beyond(&beyond, end));
        assert_true(beyond == 0 && (end == UINT64_MAX || index_is_beyond(&most, end)));
    }
    assert_true(index_nospec(5, 0) == 0); /* nothing is below */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
