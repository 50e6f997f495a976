// link: guest/vm/vcpu_mtrr.c guest/cpu/msr_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* MTRRs of two vCPUs of one VM. */
#include "guest/vm/vcpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct vm vm;
static struct vcpu vcpu[2];

static int setup(void **state)
{
    (void)state;
    vm = (struct vm){.vcpu_count = 2};
    for (unsigned i = 0; i < 2; i++) {
        vcpu[i] = (struct vcpu){.vm = &vm, .phys_bits = 39};
        vcpu_mtrr_set_up(&vcpu[i]);
    }
    assert_int_equal(vcpu_mtrr_open(&vm), OK);
    return 0;
}

static uint64_t get(unsigned cpu, uint32_t msr)
{
    const struct msr_range *r = msr_table_find(&vm.msrs, msr);
    uint64_t value;
    assert_true(r != NULL && r->dev == NULL && r->read(&vcpu[cpu], msr, &value));
    return value;
}

static bool set(unsigned cpu, uint32_t msr, uint64_t value)
{
    const struct msr_range *r = msr_table_find(&vm.msrs, msr);
    return r->write != NULL && r->write(&vcpu[cpu], msr, value);
}

static const struct {
    uint32_t msr;
    uint64_t firmware, good, bad;
} rows[] = {
    {0x200, 0xc0000000, 0x7ff0000006, 0x7ff0000002},
    {0x201, 0x7fc0000800, 0x7ff0000000, 0x7ff0000c00},
    {0x20e, 0, 0x80000001, 0x8000000006},
    {0x20f, 0, 0x7f80000800, 0x8000000800},
    {0x250, 0x0606060606060606, 0x0605040100060606, 0x0306060606060606},
    {0x258, 0x0606060606060606, 0, 2},
    {0x259, 0, 0x0101010101010101, 0x0700000000000000},
    {0x268, 0x0606060606060606, 0x0505050505050505, 3},
    {0x26f, 0x0606060606060606, 0x0404040404040404, 0xff},
    {0x2ff, 0xc06, 0x800, 0x1006},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void each_has_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(get(0, rows[i].msr), rows[i].firmware);
        assert_int_equal(get(1, rows[i].msr), rows[i].firmware);
        assert_true(set(1, rows[i].msr, rows[i].good));
        assert_false(set(1, rows[i].msr, rows[i].bad));
        for (size_t j = 0; j < ROWS; j++) {
            assert_int_equal(get(0, rows[j].msr), rows[j].firmware);
            assert_int_equal(get(1, rows[j].msr), j <= i ? rows[j].good : rows[j].firmware);
        }
    }
    vcpu_mtrr_power_on(&vcpu[1]);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(get(0, rows[i].msr), rows[i].firmware);
        assert_int_equal(get(1, rows[i].msr), 0);
    }
}

static void what_there_is(void **state)
{
    (void)state;
    assert_int_equal(get(0, 0xfe), 8 | 1 << 8 | 1 << 10); /* pairs, fixed ones, WC */
    assert_false(set(0, 0xfe, 8));
    assert_null(msr_table_find(&vm.msrs, 0x210));
    assert_null(msr_table_find(&vm.msrs, 0x1ff));
    assert_null(msr_table_find(&vm.msrs, 0x251));
    assert_null(msr_table_find(&vm.msrs, 0x270));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_has_its_own, setup),
        cmocka_unit_test_setup(what_there_is, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
