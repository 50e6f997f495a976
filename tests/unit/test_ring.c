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
        ring_put(&r, 'y'); /* moves the place of the next round */
        assert_int_equal(ring_take(&r), 'y');
    }
}

/* Two writers, each of which keeps an account of what it has in the ring. */
static void shares_are_never_too_small(void **state)
{
    (void)state;
    static char bytes[4096];
    struct ring r = {
        .bytes = bytes, .size = 4096, .put = UINT32_MAX - 100, .take = UINT32_MAX - 100};
    struct ring_share share[2] = {0};
    uint32_t held[2] = {0}, put[2] = {0};
    uint8_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = (uint8_t)(seed * 5 + 3);
        const unsigned writer = seed >> 7;
        if (i % 3 != 2 && ring_put(&r, (char)writer)) {
            ring_share_put(&share[writer], 1);
            held[writer]++;
            put[writer]++;
        }
        for (unsigned n = seed % 5; n > 0 && i % 3 == 2; n--) {
            const int from = ring_take(&r);
            if (from >= 0)
                held[from]--;
        }
        for (unsigned w = 0; w < 2; w++) {
            const uint32_t most = ring_share_most(&share[w]);
            assert_in_range(ring_share_held(&share[w], &r), held[w], most);
        }
    }
    assert_true(put[0] > 1000 && put[1] > 1000);
    while (ring_take(&r) >= 0) {}
    for (unsigned w = 0; w < 2; w++)
        assert_int_equal(ring_share_held(&share[w], &r), 0);
    /* One of whom little is pending is not charged for what the other one has. */
    for (int i = 0; i < 4000; i++)
        (void)ring_put(&r, 0);
    ring_share_put(&share[0], 4000);
    (void)ring_put(&r, 1);
    ring_share_put(&share[1], 1);
    assert_int_equal(ring_share_held(&share[0], &r), 4000);
    assert_int_equal(ring_share_held(&share[1], &r), 1);
    /* What leaves is taken off at once, not when all has left. */
    for (uint32_t left = 4000; left-- > 0;) {
        (void)ring_take(&r);
        assert_in_range(ring_share_held(&share[0], &r), left, left + 1);
    }
    /* Who has not looked for long: others have come half round the counters meanwhile. */
    while (ring_take(&r) >= 0) {}
    r.put += 0x80000010;
    r.take += 0x80000010;
    ring_share_put(&share[0], 1);
    (void)ring_put(&r, 0);
    assert_in_range(ring_share_held(&share[0], &r), 1, 2);
    (void)ring_take(&r);
    assert_int_equal(ring_share_held(&share[0], &r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order_and_bounds),
                                       cmocka_unit_test(shares_are_never_too_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
