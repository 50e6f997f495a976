// link: drivers/virt/vi8042.c vmx/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the keyboard controller without a keyboard. */
#include "drivers/virt/vi8042.h"

#include "tests/unit/device_test.h"

enum { DATA = 0x60, CMD = 0x64, PORT_A = 0x92, KEYBOARD = 1, MOUSE = 12 };

static struct vi8042 kbc;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vi8042_init(&kbc, &bus, pin_line(KEYBOARD), pin_line(MOUSE), power_recorder()),
                     OK);
    return 0;
}

static uint8_t ask(uint8_t command)
{
    out(CMD, command);
    assert_int_equal(in(CMD)&1, 1);
    return in(DATA);
}

static void tests_pass(void **state)
{
    (void)state;
    assert_int_equal(in(CMD), 0x14);
    assert_int_equal(ask(0xaa), 0x55);
    assert_int_equal(ask(0xab), 0x00);
    assert_int_equal(ask(0xa9), 0x00);
    assert_int_equal(ask(0xc0), 0x80);
    assert_int_equal(in(CMD)&1, 0);
}

static void configuration_byte(void **state)
{
    (void)state;
    out(CMD, 0x60);
    assert_int_equal(in(CMD)&8, 8);
    out(DATA, 0x45);
    assert_int_equal(in(CMD)&8, 0);
    assert_int_equal(ask(0x20), 0x45);
    out(CMD, 0xad);
    out(CMD, 0xa7);
    assert_int_equal(ask(0x20), 0x75);
    out(CMD, 0xae);
    out(CMD, 0xa8);
    assert_int_equal(ask(0x20), 0x45);
    out(CMD, 0x7f);
    out(DATA, 0xa5);
    assert_int_equal(ask(0x3f), 0xa5);
    assert_int_equal(ask(0x20), 0x45);
}

static void absent_devices_time_out_at_once(void **state)
{
    (void)state;
    out(DATA, 0xff); /* reset the keyboard */
    assert_int_equal(in(CMD)&0x61, 0x41);
    assert_true(pin_high[KEYBOARD]);
    assert_int_equal(in(DATA), 0xfe);
    assert_false(pin_high[KEYBOARD]);
    out(CMD, 0x60);
    out(DATA, 0x02); /* mouse interrupt only */
    out(CMD, 0xd4);
    out(DATA, 0xf2);
    assert_int_equal(in(CMD)&0x61, 0x61);
    assert_true(pin_high[MOUSE]);
    assert_false(pin_high[KEYBOARD]);
    (void)in(DATA);
    assert_int_equal(in(CMD)&0x61, 0);
    out(CMD, 0xd3); /* loop through the mouse's buffer, as drivers probe for it */
    out(DATA, 0x5a);
    assert_int_equal(in(CMD)&0x61, 0x21);
    assert_int_equal(in(DATA), 0x5a);
}

static void a20_gate(void **state)
{
    (void)state;
    assert_int_equal(in(PORT_A), 2);
    out(CMD, 0xd1);
    out(DATA, 0xdd);
    assert_int_equal(in(PORT_A), 0);
    assert_int_equal(ask(0xd0) & 3, 1);
    out(PORT_A, 2);
    assert_int_equal(ask(0xd0) & 3, 3);
    assert_int_equal(power_end, VM_RUNS);
}

static void resets(void **state)
{
    (void)state;
    out(CMD, 0xff); /* pulses nothing */
    assert_int_equal(power_end, VM_RUNS);
    out(CMD, 0xfe);
    assert_int_equal(power_end, VM_RESET);
    power_end = VM_RUNS;
    out(CMD, 0xd1);
    out(DATA, 0x02);
    assert_int_equal(power_end, VM_RESET);
    power_end = VM_RUNS;
    out(PORT_A, 3);
    assert_int_equal(power_end, VM_RESET);
    out(DATA, 0);
    vi8042_reset(&kbc);
    assert_int_equal(in(CMD), 0x14);
    assert_false(pin_high[KEYBOARD]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(tests_pass, setup),
        cmocka_unit_test_setup(configuration_byte, setup),
        cmocka_unit_test_setup(absent_devices_time_out_at_once, setup),
        cmocka_unit_test_setup(a20_gate, setup),
        cmocka_unit_test_setup(resets, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
