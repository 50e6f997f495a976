// link: drivers/virt/vpic.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the 8259A pair against the data sheet. */
#include "drivers/virt/vpic.h"

#include "tests/unit/device_test.h"

enum { M = 0x20, MD, S = 0xa0, SD, EOI = 0x20 };

static struct vpic pic;

static void program(uint8_t icw1, uint8_t master_icw4)
{
    out(M, icw1);
    out(MD, 0x30);
    out(MD, 0x04);
    out(MD, master_icw4);
    out(S, icw1);
    out(SD, 0x38);
    out(SD, 0x02);
    out(SD, 0x01);
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vpic_init(&pic, &bus, pin_line(0)), OK);
    program(0x11, 0x01);
    return 0;
}

static void edge(unsigned pin)
{
    vpic_set(&pic, pin, false);
    vpic_set(&pic, pin, true);
}

static uint8_t isr(uint16_t port)
{
    out(port, 0x0b);
    return in(port);
}

static void edge_interrupt_and_eoi(void **state)
{
    (void)state;
    edge(4);
    assert_true(pin_high[0]);
    assert_true(pin_high[0]);
    assert_int_equal(in(M), 0x10); /* IRR */
    assert_int_equal(vpic_acknowledge(&pic), 0x34);
    assert_int_equal(in(M), 0);
    assert_int_equal(isr(M), 0x10);
    assert_false(pin_high[0]);
    out(M, EOI);
    assert_int_equal(isr(M), 0);
    assert_false(pin_high[0]); /* still high, but no new edge */
    edge(4);
    assert_true(pin_high[0]);
}

static void nesting_and_masks(void **state)
{
    (void)state;
    edge(5);
    assert_int_equal(vpic_acknowledge(&pic), 0x35);
    edge(6);
    assert_false(pin_high[0]);
    edge(1);
    assert_int_equal(vpic_acknowledge(&pic), 0x31);
    out(M, EOI); /* the highest in service: 1 */
    assert_int_equal(isr(M), 0x20);
    out(M, 0x65); /* specific, 5 */
    assert_true(pin_high[0]);
    out(MD, 0x40);
    assert_int_equal(in(MD), 0x40);
    assert_false(pin_high[0]);
    out(MD, 0);
    assert_int_equal(vpic_acknowledge(&pic), 0x36);
}

static void cascade(void **state)
{
    (void)state;
    edge(8);
    edge(15);
    assert_int_equal(vpic_acknowledge(&pic), 0x38);
    assert_int_equal(isr(M), 0x04);
    assert_int_equal(isr(S), 0x01);
    assert_false(pin_high[0]);
    out(S, EOI);
    assert_false(pin_high[0]); /* the master's IR2 is in service */
    out(M, EOI);
    assert_int_equal(vpic_acknowledge(&pic), 0x3f);
    vpic_set(&pic, 2, true); /* not a pin */
    vpic_set(&pic, 16, true);
    assert_false(pin_high[0]);
}

static void special_fully_nested_mode(void **state)
{
    (void)state;
    program(0x11, 0x11);
    edge(12);
    assert_int_equal(vpic_acknowledge(&pic), 0x3c);
    edge(5); /* below the cascade, which is in service */
    assert_false(pin_high[0]);
    edge(9);
    assert_true(pin_high[0]);
    assert_int_equal(vpic_acknowledge(&pic), 0x39);
    edge(1);
    assert_int_equal(vpic_acknowledge(&pic), 0x31);
    edge(8); /* below 1 */
    assert_false(pin_high[0]);
}

static void spurious(void **state)
{
    (void)state;
    edge(3);
    vpic_set(&pic, 3, false);
    assert_int_equal(vpic_acknowledge(&pic), 0x37);
    assert_int_equal(isr(M), 0);
}

static void level_triggered(void **state)
{
    (void)state;
    out(0x4d0, 0xff);
    out(0x4d1, 0xff);
    assert_int_equal(in(0x4d0), 0xf8);
    assert_int_equal(in(0x4d1), 0xde);
    vpic_set(&pic, 11, true);
    assert_int_equal(vpic_acknowledge(&pic), 0x3b);
    out(S, EOI);
    out(M, EOI);
    assert_true(pin_high[0]); /* still asserted */
    vpic_set(&pic, 11, false);
    assert_false(pin_high[0]);
}

static void automatic_eoi_and_rotation(void **state)
{
    (void)state;
    program(0x11, 0x03);
    out(M, 0x80);
    edge(0);
    edge(1);
    assert_int_equal(vpic_acknowledge(&pic), 0x30);
    assert_int_equal(isr(M), 0);
    edge(0);
    assert_int_equal(vpic_acknowledge(&pic), 0x31); /* 0 is the lowest now */
    assert_int_equal(vpic_acknowledge(&pic), 0x30);
}

static void rotation_by_command(void **state)
{
    (void)state;
    out(M, 0xc4); /* 4 is the lowest: 5 the highest */
    edge(4);
    edge(5);
    assert_int_equal(vpic_acknowledge(&pic), 0x35);
    out(M, 0xa0); /* rotate on non-specific EOI: 5 the lowest */
    edge(5);
    edge(6);
    assert_int_equal(vpic_acknowledge(&pic), 0x36);
    out(M, 0xe6); /* rotate on specific EOI */
    assert_int_equal(isr(M), 0);
    assert_int_equal(vpic_acknowledge(&pic), 0x34);
}

static void special_mask_mode(void **state)
{
    (void)state;
    edge(1);
    assert_int_equal(vpic_acknowledge(&pic), 0x31);
    edge(6);
    assert_false(pin_high[0]);
    out(MD, 0x02);
    assert_false(pin_high[0]);
    out(M, 0x68);
    assert_int_equal(vpic_acknowledge(&pic), 0x36);
    out(M, EOI); /* not the masked one */
    assert_int_equal(isr(M), 0x02);
    out(M, 0x48);
    out(M, EOI);
    assert_int_equal(isr(M), 0x00);
}

static void poll(void **state)
{
    (void)state;
    out(M, 0x0c);
    assert_int_equal(in(M)&0x80, 0);
    edge(5);
    out(M, 0x0c);
    assert_int_equal(in(M), 0x85);
    assert_int_equal(isr(M), 0x20);
    assert_false(pin_high[0]);
}

static void initialisation_forms(void **state)
{
    (void)state;
    edge(4);
    out(MD, 0xff);
    out(M, 0x12); /* single, no ICW4 */
    out(MD, 0x47);
    out(MD, 0xee); /* OCW1 already */
    assert_int_equal(in(MD), 0xee);
    assert_int_equal(in(M), 0); /* the edge is forgotten */
    edge(0);
    assert_int_equal(vpic_acknowledge(&pic), 0x40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(edge_interrupt_and_eoi, setup),
        cmocka_unit_test_setup(nesting_and_masks, setup),
        cmocka_unit_test_setup(cascade, setup),
        cmocka_unit_test_setup(special_fully_nested_mode, setup),
        cmocka_unit_test_setup(spurious, setup),
        cmocka_unit_test_setup(level_triggered, setup),
        cmocka_unit_test_setup(automatic_eoi_and_rotation, setup),
        cmocka_unit_test_setup(rotation_by_command, setup),
        cmocka_unit_test_setup(special_mask_mode, setup),
        cmocka_unit_test_setup(poll, setup),
        cmocka_unit_test_setup(initialisation_forms, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
