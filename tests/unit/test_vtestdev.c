// link: drivers/virt/vtestdev.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the device by which kernels test a machine. */
#include "drivers/virt/vtestdev.h"

#include "tests/unit/device_test.h"

static struct vtestdev dev;

static int setup(void **state)
{
    (void)state;
    start_machine();
    dev = (struct vtestdev){.latch = {0}};
    assert_int_equal(vtestdev_init(&dev, &bus, pin_line(0)), OK);
    return 0;
}

static void lines(void **state)
{
    (void)state;
    out(0x200e, 1);
    assert_true(pin_high[14]);
    out(0x200e, 0x80);
    assert_int_equal(pin_rises[14], 1);
    bus_port_write(&bus, 0x2003, 2, 0x0100); /* two lines at once */
    assert_true(pin_high[4] && !pin_high[3]);
    out(0x200e, 0);
    assert_false(pin_high[14]);
    out(0x2018, 1);
    assert_int_equal(in(0x2000), 0xff);
}

static void latch(void **state)
{
    (void)state;
    bus_port_write(&bus, 0xe0, 4, 0x12345678);
    assert_int_equal(in(0xe1), 0x56);
    bus_port_write(&bus, 0xe2, 2, 0xabcd);
    assert_int_equal(bus_port_read(&bus, 0xe0, 4), 0xabcd5678);
}

static void memory(void **state)
{
    (void)state;
    bus_mmio_write(&bus, gpa(VTESTDEV_MEMORY + 3), 8, 0x1122334455667788);
    assert_int_equal(bus_mmio_read(&bus, gpa(VTESTDEV_MEMORY + 5), 4), 0x33445566);
    assert_int_equal(bus_mmio_read(&bus, gpa(VTESTDEV_MEMORY + 11), 1), 0);
    void *memory;
    assert_true(bus_mmio_is_plain(&bus, gpa(VTESTDEV_MEMORY), &memory));
    assert_memory_equal((uint8_t *)memory + 3, "\x88\x77", 2);
    const uint64_t last = VTESTDEV_MEMORY + VTESTDEV_MEMORY_BYTES - 1;
    bus_mmio_write(&bus, gpa(last), 1, 9);
    bus_mmio_write(&bus, gpa(last), 2, 7);
    assert_int_equal(bus_mmio_read(&bus, gpa(last), 1), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines, setup),
        cmocka_unit_test_setup(latch, setup),
        cmocka_unit_test_setup(memory, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
