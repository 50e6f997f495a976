// link: guest/pc/mptable.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table, walked as a kernel walks it. */
#include "guest/pc/mptable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE 0xf0000u

static uint32_t get(const uint8_t *p, unsigned bytes)
{
    uint32_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static uint8_t sum(const uint8_t *p, size_t bytes)
{
    uint8_t total = 0;
    while (bytes-- > 0)
        total = (uint8_t)(total + *p++);
    return total;
}

static void test_walk(void **state)
{
    (void)state;
    for (uint32_t vcpus = 1; vcpus <= 16; vcpus += 5) {
        const struct mptable_facts facts = {vcpus, 0x50654, 0x178bfbff};
        uint8_t out[1024];
        size_t used;
        assert_int_equal(mptable_build(out, sizeof(out), BASE, &facts, &used), OK);
        assert_memory_equal(out, "_MP_", 4);
        assert_int_equal(sum(out, 16), 0);
        assert_int_equal(out[8], 1);
        assert_int_equal(out[9], 4);
        assert_int_equal(out[11], 0); /* there is a table */
        const uint8_t *table = out + (get(out + 4, 4) - BASE);
        const uint32_t bytes = get(table + 4, 2);
        assert_memory_equal(table, "PCMP", 4);
        assert_int_equal(sum(table, bytes), 0);
        assert_ptr_equal(table + bytes, out + used);
        assert_int_equal(table[6], 4);
        assert_int_equal(get(table + 36, 4), 0xfee00000);

        unsigned count[5] = {0}, pins = 0;
        const uint8_t *p = table + 44;
        for (uint32_t i = 0; i < get(table + 34, 2); i++) {
            assert_in_range(p[0], 0, 4);
            if (p[0] == 0) {
                assert_int_equal(p[1], count[0]);
                assert_int_equal(p[3], count[0] == 0 ? 3 : 1);
                assert_int_equal(get(p + 4, 4), facts.signature);
                assert_int_equal(get(p + 8, 4), facts.features);
            } else if (p[0] == 1) {
                assert_memory_equal(p + 2, "ISA   ", 6);
            } else if (p[0] == 2) {
                assert_int_equal(p[3], 1);
                assert_int_equal(get(p + 4, 4), 0xfec00000);
            } else if (p[0] == 3) {
                assert_int_equal(p[7], p[5] == 0 ? 2 : p[5]);
                assert_int_equal(get(p + 2, 2), p[5] >= 9 && p[5] <= 11 ? 0xd : 0);
                assert_int_equal(pins & 1u << p[7], 0);
                pins |= 1u << p[7];
            } else {
                assert_int_equal(p[1], count[4] == 0 ? 3 : 1); /* ExtINT, NMI */
                assert_int_equal(p[7], count[4]);
            }
            count[p[0]]++;
            p += p[0] == 0 ? 20 : 8;
        }
        assert_ptr_equal(p, table + bytes);
        assert_int_equal(count[0], vcpus);
        assert_int_equal(count[1], 1);
        assert_int_equal(count[2], 1);
        assert_int_equal(pins, 0xfffe); /* all ISA lines; the timer's is 2 */
        assert_int_equal(count[4], 2);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    uint8_t out[1024];
    size_t used;
    struct mptable_facts facts = {1, 0, 0};
    assert_int_equal(mptable_build(out, sizeof(out), BASE, &facts, &used), OK);
    assert_int_equal(mptable_build(out, used - 1, BASE, &facts, &used), ERR_LIMIT);
    assert_int_equal(mptable_build(out, sizeof(out), BASE + 8, &facts, &used), ERR_BAD_INPUT);
    facts.vcpus = 0;
    assert_int_equal(mptable_build(out, sizeof(out), BASE, &facts, &used), ERR_BAD_INPUT);
    facts.vcpus = 256;
    assert_int_equal(mptable_build(out, sizeof(out), BASE, &facts, &used), ERR_BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
