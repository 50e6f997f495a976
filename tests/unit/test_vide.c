// link: drivers/virt/vide.c drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: drivers/virt/vpci.c mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the PCI function that switches the ATA channel. */
#include "drivers/virt/vide.h"

#include "tests/unit/device_test.h"

static struct vpci pci;
static struct vide ide;
static struct guestmem mem;
static uint8_t disk[VATA_SECTOR];

static int setup(void **state)
{
    (void)state;
    const struct vata_image image[VATA_DISKS] = {{disk, sizeof(disk)}, {NULL, 0}};
    start_machine();
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    assert_int_equal(vide_init(&ide, image, &mem, &bus, &pci, &timers, pin_line(14)), OK);
    return 0;
}

static uint32_t config_read(unsigned offset)
{
    bus_port_write(&bus, 0xcf8, 4, 0x80000900 | offset);
    return bus_port_read(&bus, 0xcfc, 4);
}

static void config_write(unsigned offset, uint32_t value)
{
    bus_port_write(&bus, 0xcf8, 4, 0x80000900 | offset);
    bus_port_write(&bus, 0xcfc, 4, value);
}

static void identity(void **state)
{
    (void)state;
    assert_int_equal(config_read(0), 0x70108086);
    assert_int_equal(config_read(8), 0x01018000);
    assert_int_equal(config_read(0x3c), 0); /* no pin: compatibility mode has IRQ 14 */
}

static void switched_on(void **state)
{
    (void)state;
    assert_int_equal(in(0x1f7), 0xff); /* at power-on I/O space is off */
    config_write(VPCI_COMMAND, VPCI_COMMAND_IO);
    assert_int_equal(in(0x1f7), 0x50);
    config_write(VIDE_IDETIM, 0);
    assert_int_equal(in(0x1f7), 0xff);
    config_write(VIDE_IDETIM, VIDE_DECODE);
    assert_int_equal(in(0x1f7), 0x50);
    config_write(VPCI_COMMAND, 0);
    assert_int_equal(in(0x1f7), 0xff);
}

static void bus_master_moves(void **state)
{
    (void)state;
    config_write(VIDE_BMIBA, 0xffffffff);
    assert_int_equal(config_read(VIDE_BMIBA), 0xfffffff1);
    config_write(VIDE_BMIBA, 0xc000);
    assert_int_equal(in(0xc000), 0xff);
    config_write(VPCI_COMMAND, VPCI_COMMAND_IO);
    assert_int_equal(in(0xc000), 0);
    out(0xc002, 0x20);
    assert_int_equal(in(0xc002), 0x20);
    assert_int_equal(bus_port_read(&bus, 0xc008, 4), 0); /* the second channel's */
    config_write(VIDE_BMIBA, 0xd000);
    assert_int_equal(in(0xc002), 0xff);
    assert_int_equal(in(0xd002), 0x20);
    config_write(VIDE_BMIBA, 0xcf0); /* where PCI itself is: nothing changes for that */
    assert_int_equal(in(0xd002), 0xff);
    assert_int_equal(config_read(0), 0x70108086);
    config_write(VIDE_BMIBA, 0xe000);
    assert_int_equal(in(0xe002), 0x20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(identity, setup),
        cmocka_unit_test_setup(switched_on, setup),
        cmocka_unit_test_setup(bus_master_moves, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
