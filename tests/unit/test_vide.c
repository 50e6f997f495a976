// link: drivers/virt/vide.c drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: drivers/virt/vpci.c mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
// link: drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the PCI function that switches the ATA channels. */
#include "drivers/virt/vide.h"

#include "tests/unit/device_test.h"

static struct vpci pci;
static struct vide ide;
static struct guestmem mem;
static uint8_t disk[VATA_SECTOR], disc[VATA_CD_SECTOR];

static int setup_with(bool with_cd)
{
    const struct vata_image image[VATA_CHANNELS][VATA_DRIVES] = {
        {{.data = disk, .bytes = sizeof(disk)}},
        {{.data = with_cd ? disc : NULL, .bytes = sizeof(disc), .is_cd = true}}};
    const struct irq_line irq[VATA_CHANNELS] = {pin_line(14), pin_line(15)};
    start_machine();
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    assert_int_equal(vide_init(&ide, image, &mem, &bus, &pci, &timers, irq), OK);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(false);
}

static int setup_cd(void **state)
{
    (void)state;
    return setup_with(true);
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
    assert_int_equal(bus_port_read(&bus, 0xc008, 4), 0); /* the second channel's: its own */
    out(0xc00a, 0x40);
    assert_int_equal(in(0xc00a), 0x40);
    assert_int_equal(in(0xc002), 0x20);
    config_write(VIDE_BMIBA, 0xd000);
    assert_int_equal(in(0xc002), 0xff);
    assert_int_equal(in(0xc00a), 0xff);
    assert_int_equal(in(0xd002), 0x20);
    assert_int_equal(in(0xd00a), 0x40);
    config_write(VIDE_BMIBA, 0xcf0); /* where PCI itself is: nothing changes for that */
    assert_int_equal(in(0xd002), 0xff);
    assert_int_equal(in(0xcf2), 0xff);
    assert_int_equal(config_read(0), 0x70108086);
    config_write(VIDE_BMIBA, 0xe000);
    assert_int_equal(in(0xe002), 0x20);
}

/* The second channel's own half of IDETIM, which says from power-on that it is on. */
static void second_channel(void **state)
{
    (void)state;
    assert_int_equal(config_read(VIDE_IDETIM), 0x80008000);
    assert_int_equal(in(0x177), 0xff);
    config_write(VPCI_COMMAND, VPCI_COMMAND_IO);
    assert_int_equal(in(0x175), 0xeb);
    assert_int_equal(in(0x1f5), 0);
    config_write(VIDE_IDETIM, VIDE_DECODE);
    assert_int_equal(in(0x175), 0xff);
    assert_int_equal(in(0x376), 0xff);
    assert_int_equal(in(0x1f7), 0x50);
    config_write(VIDE_IDETIM, (uint32_t)VIDE_DECODE << 16);
    assert_int_equal(in(0x175), 0xeb);
    assert_int_equal(in(0x1f7), 0xff);
    out(0x177, 0xe5); /* CHECK POWER MODE */
    assert_true(pin_high[15]);
    assert_false(pin_high[14]);
}

/* Without a drive it answers all the same, and IDETIM says that it is off. */
static void empty_second_channel(void **state)
{
    (void)state;
    assert_int_equal(config_read(VIDE_IDETIM), 0x8000);
    for (uint16_t port = 0x170; port < 0x178; port++)
        assert_int_equal(in(port), 0);
    assert_int_equal(in(0x376), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(identity, setup),
        cmocka_unit_test_setup(switched_on, setup),
        cmocka_unit_test_setup(bus_master_moves, setup),
        cmocka_unit_test_setup(second_channel, setup_cd),
        cmocka_unit_test_setup(empty_second_channel, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
