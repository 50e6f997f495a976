// link: mm/mtrr.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory types by MTRR: precedence rules, boundaries, odd masks, against a page-by-page model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mm/mtrr.h"

#define ENABLE (1ull << 11)
#define FIXED  (1ull << 10)
#define VALID  (1ull << 11)
#define MASK36 ((1ull << 36) - 1)

static struct mtrr_state typical(void)
{
    struct mtrr_state m = {.capability = 0x508,
                           .default_type = ENABLE | FIXED | MEMORY_WB,
                           .phys_bits = 36,
                           .variable_count = 8};
    for (int i = 0; i < 2; i++)
        m.fixed[i] = 0x0606060606060606;
    m.fixed[2] = 0; /* A0000 to BFFFF: UC */
    for (int i = 3; i < 11; i++)
        m.fixed[i] = 0x0505050505050505;
    m.variable[0] = (struct mtrr_variable){0xc0000000, VALID | (MASK36 & ~0x3fffffffull)};
    return m;
}

static enum memory_type type(const struct mtrr_state *m, uint64_t base, uint64_t bytes)
{
    return mtrr_range_type(m, hpa(base), bytes);
}

static void test_typical(void **s)
{
    (void)s;
    struct mtrr_state m = typical();
    assert_int_equal(type(&m, 0, 4096), MEMORY_WB);
    assert_int_equal(type(&m, 0, 0xa0000), MEMORY_WB);
    assert_int_equal(type(&m, 0, 0xa0001), MEMORY_MIXED);
    assert_int_equal(type(&m, 0xa0000, 0x20000), MEMORY_UC);
    assert_int_equal(type(&m, 0xc0000, 0x40000), MEMORY_WP);
    assert_int_equal(type(&m, 0x100000, 0xbff00000), MEMORY_WB);
    assert_int_equal(type(&m, 0xc0000000, 1 << 30), MEMORY_UC);
    assert_int_equal(type(&m, 0xbffff000, 0x2000), MEMORY_MIXED);
    assert_int_equal(type(&m, 0xfffff000, 0x2000), MEMORY_MIXED);
    assert_int_equal(type(&m, 1ull << 32, 1ull << 32), MEMORY_WB);
    assert_int_equal(type(&m, 0x80000000, 1ull << 32), MEMORY_MIXED);
    assert_int_equal(type(&m, 1ull << 36, 4096), MEMORY_UC); /* beyond what the CPU can address */
    assert_int_equal(type(&m, UINT64_MAX & ~0xfffull, 4096), MEMORY_UC);
    assert_int_equal(type(&m, 1ull << 35, UINT64_MAX), MEMORY_WB);
}

static void test_runs(void **s)
{
    (void)s;
    struct mtrr_state m = typical();
    hpa_t end = hpa(0);
    assert_int_equal(mtrr_run(&m, hpa(0x100000), hpa(1ull << 33), &end), MEMORY_WB);
    assert_int_equal(end.v, 0xc0000000);
    assert_int_equal(mtrr_run(&m, end, hpa(1ull << 33), &end), MEMORY_UC);
    assert_int_equal(end.v, 1ull << 32);
    assert_int_equal(mtrr_run(&m, end, hpa((1ull << 32) + 4096), &end), MEMORY_WB);
    assert_int_equal(end.v, (1ull << 32) + 4096);
    assert_int_equal(mtrr_run(&m, hpa(1ull << 35), hpa(1ull << 40), &end), MEMORY_WB);
    assert_int_equal(end.v, 1ull << 36);
    assert_int_equal(mtrr_run(&m, end, hpa(1ull << 40), &end), MEMORY_UC);
    assert_int_equal(end.v, 1ull << 40);
}

static void test_disabled(void **s)
{
    (void)s;
    struct mtrr_state m = typical();
    m.default_type = MEMORY_WB; /* E = 0 */
    assert_int_equal(type(&m, 0, 1ull << 36), MEMORY_UC);
    m = typical();
    m.default_type &= ~FIXED;
    assert_int_equal(type(&m, 0, 1 << 20), MEMORY_WB);
    m = typical();
    m.capability = 8;
    assert_int_equal(type(&m, 0, 1 << 20), MEMORY_WB);
    m = typical();
    m.variable[0].mask &= ~VALID;
    assert_int_equal(type(&m, 0xc0000000, 1 << 30), MEMORY_WB);
}

static void test_precedence(void **s)
{
    (void)s;
    static const struct {
        uint8_t a, b, result;
    } cases[] = {
        {MEMORY_WB, MEMORY_WB, MEMORY_WB}, {MEMORY_UC, MEMORY_WB, MEMORY_UC},
        {MEMORY_WT, MEMORY_WB, MEMORY_WT}, {MEMORY_WB, MEMORY_WT, MEMORY_WT},
        {MEMORY_WC, MEMORY_WC, MEMORY_WC}, {MEMORY_WC, MEMORY_UC, MEMORY_UC},
        {MEMORY_WC, MEMORY_WB, MEMORY_UC}, /* undefined by the SDM: the safe one */
        {MEMORY_WP, MEMORY_WB, MEMORY_UC}, {2, MEMORY_WB, MEMORY_UC},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mtrr_state m = typical();
        uint64_t mask = VALID | (MASK36 & ~0xfffffffull);
        m.variable[0] = (struct mtrr_variable){0x80000000 | cases[i].a, mask};
        m.variable[1] = (struct mtrr_variable){0x80000000 | cases[i].b, mask};
        assert_int_equal(type(&m, 0x80000000, 0x10000000), cases[i].result);
    }
}

static void test_random_against_model(void **s)
{
    (void)s;
    srand(3);
    for (int round = 0; round < 3000; round++) {
        struct mtrr_state m = {
            .default_type = ENABLE | MEMORY_WB, .phys_bits = 24, .variable_count = 3};
        for (int i = 0; i < 3; i++) {
            uint64_t mask = round % 2 ? ~((0x1000ull << rand() % 10) - 1) : (uint64_t)rand() << 12;
            m.variable[i].mask = (rand() % 4 ? VALID : 0) | (mask & ~0xfffull);
            m.variable[i].base = ((uint64_t)rand() << 12) | (rand() % 2 ? MEMORY_UC : MEMORY_WT);
        }
        uint64_t base = (uint64_t)rand() % 0x1000 << 12, bytes = (1 + (uint64_t)rand() % 64) << 12;
        int expected = -1;
        for (uint64_t at = base; at < base + bytes && at < 1 << 24; at += 4096) {
            int t = -1;
            for (int i = 0; i < 3; i++) {
                uint64_t mask = m.variable[i].mask & 0xfff000;
                if (!(m.variable[i].mask & VALID) || (at & mask) != (m.variable[i].base & mask))
                    continue;
                int u = (int)(m.variable[i].base & 7);
                t = t < 0 || u == MEMORY_UC ? u : t;
            }
            t = t < 0 ? MEMORY_WB : t;
            expected = expected < 0 || expected == t ? t : MEMORY_MIXED;
        }
        assert_int_equal(type(&m, base, bytes), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typical),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_random_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
