// link: drivers/virt/vpci.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the PCI bus: configuration mechanism #1, write masks, BARs, and the reset control
 * register. */
#include "drivers/virt/vpci.h"

#include "tests/unit/device_test.h"

enum { ADDRESS = 0xcf8, RESET = 0xcf9, DATA = 0xcfc };

static struct vpci pci;
static struct vpci_function device, other;
static unsigned moves, writes, last_offset, last_bytes;
static uint32_t moved_to[VPCI_BARS];

static const struct vpci_register rows[] = {
    {0x00, 4, 0x12341af4, 0}, {VPCI_COMMAND, 2, 0, 7},  {VPCI_CLASS, 4, 0x01018000, 0},
    {0x20, 4, 1, 0xfffffff0}, {0x24, 4, 0, 0xfffff000}, {VPCI_INTERRUPT_LINE, 2, 0x0200, 0xff},
    {0x40, 1, 0xa5, 0x0f},
};

static void written(void *dev, unsigned offset, unsigned bytes)
{
    assert_ptr_equal(dev, &device);
    writes++;
    last_offset = offset;
    last_bytes = bytes;
}

static void bar_moved(void *dev, unsigned bar, uint32_t base)
{
    assert_ptr_equal(dev, &device);
    moves++;
    moved_to[bar] = base;
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    device = (struct vpci_function){.dev = &device, .written = written, .bar_moved = bar_moved};
    other = (struct vpci_function){.dev = &other};
    moves = writes = 0;
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    assert_int_equal(vpci_add(&pci, &device, VPCI_DEVFN(1, 2), rows, 7), OK);
    return 0;
}

static uint32_t select(unsigned offset)
{
    bus_port_write(&bus, ADDRESS, 4, 0x80000a00 | offset);
    return bus_port_read(&bus, DATA, 4);
}

static void write32(unsigned offset, uint32_t value)
{
    (void)select(offset);
    bus_port_write(&bus, DATA, 4, value);
}

static void configuration_space(void **state)
{
    (void)state;
    assert_int_equal(select(0), 0x12341af4);
    assert_int_equal(bus_port_read(&bus, DATA + 2, 2), 0x1234);
    assert_int_equal(in(DATA + 1), 0x1a);
    assert_int_equal(select(0xfc), 0);
    write32(0, 0);
    assert_int_equal(select(0), 0x12341af4);
    write32(0x40, 0x12345678);
    assert_int_equal(select(0x40), 0xa8);
    assert_int_equal(last_offset, 0x40);
    assert_int_equal(last_bytes, 4);
    (void)select(0x3c);
    out(DATA, 11);
    assert_int_equal(select(0x3c), 0x020b);
    assert_int_equal(last_offset, 0x3c);
    assert_int_equal(last_bytes, 1);
    assert_int_equal(writes, 3);
}

static void nothing_else_is_there(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 0x1000000; at += 0x100) {
        bus_port_write(&bus, ADDRESS, 4, 0x80000000 | at);
        assert_int_equal(bus_port_read(&bus, DATA, 4), at == 0xa00 ? 0x12341af4 : 0xffffffff);
        if (at != 0xa00)
            bus_port_write(&bus, DATA, 4, 0);
    }
    bus_port_write(&bus, ADDRESS, 4, 0xa00); /* not enabled */
    assert_int_equal(bus_port_read(&bus, DATA, 4), 0xffffffff);
    vpci_write(&pci, 0, 4, 2, 7);
    vpci_write(&pci, VPCI_DEVFN(1, 2), 3, 2, 7); /* not in one double word */
    assert_int_equal(writes, 0);
}

static void base_addresses(void **state)
{
    (void)state;
    write32(0x20, 0xffffffff);
    assert_int_equal(select(0x20), 0xfffffff1); /* 16 ports */
    write32(0x24, 0xffffffff);
    assert_int_equal(select(0x24), 0xfffff000);
    write32(0x10, 0xffffffff);
    assert_int_equal(select(0x10), 0);
    assert_int_equal(moves, 0); /* neither space is enabled */
    write32(0x20, 0xc123);
    write32(0x24, 0xfebf0123);
    write32(4, VPCI_COMMAND_IO);
    assert_int_equal(moves, 1);
    assert_int_equal(moved_to[4], 0xc120);
    write32(4, 7);
    assert_int_equal(moves, 2);
    assert_int_equal(moved_to[5], 0xfebf0000);
    (void)select(0x20);
    out(DATA + 1, 0xd1);
    assert_int_equal(moved_to[4], 0xd120);
    write32(0x20, 0xd120);
    assert_int_equal(moves, 3);
    write32(4, VPCI_COMMAND_MEMORY);
    assert_int_equal(moves, 4);
    assert_true(moved_to[4] == VPCI_NOWHERE);
}

static void full(void **state)
{
    (void)state;
    static struct vpci_function many[VPCI_MAX_FUNCTIONS];
    assert_int_equal(vpci_add(&pci, &other, VPCI_DEVFN(1, 2), NULL, 0), ERR_BAD_INPUT);
    for (unsigned i = 1; i < VPCI_MAX_FUNCTIONS; i++)
        assert_int_equal(vpci_add(&pci, &many[i], VPCI_DEVFN(2 + i, 0), NULL, 0), OK);
    assert_int_equal(vpci_add(&pci, &other, VPCI_DEVFN(0, 0), NULL, 0), ERR_LIMIT);
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
}

static void odd_accesses(void **state)
{
    (void)state;
    assert_int_equal(select(0), 0x12341af4);
    assert_int_equal(bus_port_read(&bus, ADDRESS + 2, 4), 0xffffffff);
    assert_int_equal(bus_port_read(&bus, ADDRESS, 2), 0xffff);
    assert_int_equal(bus_port_read(&bus, DATA + 2, 4), 0xffff1234);
    assert_int_equal(bus_port_read(&bus, DATA + 1, 2), 0x341a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(configuration_space, setup),
        cmocka_unit_test_setup(nothing_else_is_there, setup),
        cmocka_unit_test_setup(base_addresses, setup),
        cmocka_unit_test_setup(full, setup),
        cmocka_unit_test_setup(linux_finds_mechanism_1, setup),
        cmocka_unit_test_setup(reset_register, setup),
        cmocka_unit_test_setup(odd_accesses, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
