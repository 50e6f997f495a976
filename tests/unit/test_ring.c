// SPDX-License-Identifier: BSD-2-Clause
// The console's ring of bytes: order, fullness, wrapping of place and of the counters.
// link:
#include "arch/ring.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void keeps_order_and_bounds(void **state)
{
    (void)state;
    char bytes[8];
    const char *text;
    /* From a start just before the counters wrap. */
    struct ring r = {.bytes = bytes, .size = 8, .put = UINT32_MAX - 4, .take = UINT32_MAX - 4};
    assert_int_equal(ring_take(&r), -1);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++)
            assert_true(ring_put(&r, (char)(200 + i)));
        assert_false(ring_put(&r, 'x'));
        assert_int_equal(ring_held(&r), 8);
        for (int i = 0; i < 5; i++)
            assert_int_equal(ring_take(&r), 200 + i); /* a byte, not a signed char */
        int next = 205;
        while (ring_held(&r) != 0) {
            size_t n = ring_peek(&r, &text);
            assert_in_range(n, 1, 3);
            for (size_t i = 0; i < n; i++)
                assert_int_equal((uint8_t)text[i], next++);
            ring_drop(&r, (uint32_t)n);
        }
        assert_int_equal(next, 208);
        assert_int_equal(ring_peek(&r, &text), 0);
        ring_put_all(&r, "012345", 6); /* in one piece or two */
        assert_int_equal(ring_held(&r), 6);
        for (int i = 0; i < 6; i++)
            assert_int_equal(ring_take(&r), '0' + i);
        ring_put(&r, 'y'); /* moves the place of the next round */
        assert_int_equal(ring_take(&r), 'y');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order_and_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
