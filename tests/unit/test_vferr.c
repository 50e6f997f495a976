// link: drivers/virt/vferr.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the coprocessor's error latch. */
#include "drivers/virt/vferr.h"

#include "tests/unit/device_test.h"

static struct vferr ferr;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vferr_init(&ferr, &bus, pin_line(13)), OK);
    return 0;
}

static void error_is_latched(void **state)
{
    (void)state;
    assert_false(pin_high[13]);
    assert_false(vferr_set(&ferr, true));
    assert_true(pin_high[13]);
    assert_false(vferr_set(&ferr, true)); /* the same error */
    assert_int_equal(pin_rises[13], 1);
    assert_false(vferr_set(&ferr, false)); /* cleared, but the port has not been written */
    assert_true(pin_high[13]);
    out(0xf0, 0xff);
    assert_false(pin_high[13]);
}

static void port_ignores_what_is_asserted(void **state)
{
    (void)state;
    assert_false(vferr_set(&ferr, true));
    out(0xf0, 0);
    assert_false(pin_high[13]);
    assert_true(vferr_set(&ferr, true)); /* IGNNE# */
    assert_true(vferr_set(&ferr, true));
    assert_int_equal(pin_rises[13], 1);
    assert_false(vferr_set(&ferr, false));
    assert_false(vferr_set(&ferr, true)); /* the next error is a new one */
    assert_int_equal(pin_rises[13], 2);
}

static void port_without_error_does_nothing(void **state)
{
    (void)state;
    out(0xf0, 0);
    assert_false(vferr_set(&ferr, true));
    assert_true(pin_high[13]);
    assert_int_equal(in(0xf0), 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(error_is_latched, setup),
        cmocka_unit_test_setup(port_ignores_what_is_asserted, setup),
        cmocka_unit_test_setup(port_without_error_does_nothing, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
