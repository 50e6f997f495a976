// link: drivers/virt/vpci.c vmx/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of PCI configuration mechanism #1 and the reset control register. */
#include "drivers/virt/vpci.h"

#include "tests/unit/device_test.h"

enum { ADDRESS = 0xcf8, RESET = 0xcf9, DATA = 0xcfc };

static struct vpci pci;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    return 0;
}

static uint32_t config(uint32_t address)
{
    bus_port_write(&bus, ADDRESS, 4, address);
    return bus_port_read(&bus, DATA, 4);
}

static void host_bridge(void **state)
{
    (void)state;
    assert_int_equal(config(0x80000000), 0x12378086);
    assert_int_equal(config(0x80000008) >> 8, 0x060000);
    assert_int_equal(bus_port_read(&bus, DATA + 2, 2), 0x0600);
    assert_int_equal(in(DATA + 3), 0x06);
    assert_int_equal(config(0x8000000c), 0);
    assert_int_equal(config(0x80000010), 0);
    bus_port_write(&bus, DATA, 4, 0xffffffff);
    assert_int_equal(config(0x80000010), 0);
    assert_int_equal(config(0x80000004), 0x0006);
    bus_port_write(&bus, DATA, 2, 0xffff);
    assert_int_equal(config(0x80000004), 0x0046);
}

static void nothing_else_is_there(void **state)
{
    (void)state;
    for (uint32_t at = 0x100; at < 0x1000000; at += 0x100)
        assert_int_equal(config(0x80000000 | at), 0xffffffff);
    assert_int_equal(config(0), 0xffffffff); /* not enabled */
}

static void linux_finds_mechanism_1(void **state)
{
    (void)state;
    bus_port_write(&bus, ADDRESS, 4, 0x80000008);
    out(0xcfb, 0x01);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 4), 0x80000008);
    bus_port_write(&bus, ADDRESS, 4, 0xffffffff);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 4), 0x80fffffc);
}

static void reset_register(void **state)
{
    (void)state;
    bus_port_write(&bus, ADDRESS, 4, 0x80000400);
    bus_port_write(&bus, RESET, 2, 0x0606);
    bus_port_write(&bus, RESET, 4, 0x06060606);
    assert_int_equal(power_end, VM_RUNS);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 4), 0x80000400);
    out(RESET, 0x02);
    assert_int_equal(power_end, VM_RUNS);
    assert_int_equal(in(RESET), 0x02);
    out(RESET, 0x06);
    assert_int_equal(power_end, VM_RESET);
    power_end = VM_RUNS;
    out(RESET, 0x0e);
    assert_int_equal(power_end, VM_RESET);
    vpci_reset(&pci);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 4), 0);
}

static void odd_accesses(void **state)
{
    (void)state;
    assert_int_equal(config(0x80000000), 0x12378086);
    assert_int_equal(bus_port_read(&bus, ADDRESS + 2, 4), 0xffffffff);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 2), 0xffff);
    assert_int_equal(bus_port_read(&bus, DATA + 2, 4), 0xffff1237);
    assert_int_equal(bus_port_read(&bus, DATA + 1, 2), 0x3780);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(host_bridge, setup),
        cmocka_unit_test_setup(nothing_else_is_there, setup),
        cmocka_unit_test_setup(linux_finds_mechanism_1, setup),
        cmocka_unit_test_setup(reset_register, setup),
        cmocka_unit_test_setup(odd_accesses, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
