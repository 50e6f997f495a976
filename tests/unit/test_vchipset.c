// link: drivers/virt/vchipset.c drivers/virt/vpci.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the two bridges' registers, and of what the host bridge's PAM registers say. */
#include "drivers/virt/vchipset.h"

#include "tests/unit/device_test.h"

static struct vpci pci;
static struct vchipset chipset;
static unsigned shadow_changes;

static void shadow_changed(void *ctx)
{
    assert_ptr_equal(ctx, &shadow_changes);
    shadow_changes++;
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    shadow_changes = 0;
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    assert_int_equal(vchipset_init(&chipset, &pci), OK);
    chipset.shadow_changed = shadow_changed;
    chipset.shadow_ctx = &shadow_changes;
    return 0;
}

static uint32_t config(uint32_t address)
{
    bus_port_write(&bus, 0xcf8, 4, 0x80000000 | address);
    return bus_port_read(&bus, 0xcfc, 4);
}

static void bridges(void **state)
{
    (void)state;
    assert_int_equal(config(0x0), 0x12378086);
    assert_int_equal(config(0x8) >> 8, 0x060000);
    assert_int_equal(config(0xc) >> 16 & 0xff, 0);
    assert_int_equal(config(0x2c), 0x11001af4);
    bus_port_write(&bus, 0xcfc, 4, 0);
    assert_int_equal(config(0x2c), 0x11001af4);
    assert_int_equal(config(0x10), 0);
    assert_int_equal(config(0x4) & 0xffff, 0x0006);
    bus_port_write(&bus, 0xcfc, 2, 0xffff);
    assert_int_equal(config(0x4) & 0xffff, 0x0146);
    assert_int_equal(config(0x800), 0x70008086);
    assert_int_equal(config(0x808) >> 8, 0x060100);
    assert_int_equal(config(0x80c) >> 16 & 0xff, 0x80); /* more functions */
    assert_int_equal(config(0x860), 0x80808080);
    assert_int_equal(config(0x900), 0xffffffff);
}

static void shadow(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VCHIPSET_PIECES; i++) {
        const struct vchipset_shadow s = vchipset_shadow(&chipset, i);
        assert_false(s.read_ram || s.write_ram);
    }
    (void)config(0x58);
    bus_port_write(&bus, 0xcfd, 1, 0xff); /* PAM0: 0xf0000 */
    assert_int_equal(shadow_changes, 1);
    assert_int_equal(config(0x58), 0x00003000);
    assert_true(vchipset_shadow(&chipset, 12).read_ram && vchipset_shadow(&chipset, 12).write_ram);
    bus_port_write(&bus, 0xcfe, 1, 0x21); /* PAM1: 0xc0000, 0xc4000 */
    assert_true(vchipset_shadow(&chipset, 0).read_ram && !vchipset_shadow(&chipset, 0).write_ram);
    assert_true(!vchipset_shadow(&chipset, 1).read_ram && vchipset_shadow(&chipset, 1).write_ram);
    (void)config(0x5c);
    bus_port_write(&bus, 0xcfc, 4, 0xffffffff); /* PAM3 to PAM6: 0xd0000 to 0xeffff */
    assert_int_equal(config(0x5c), 0x33333333);
    assert_false(vchipset_shadow(&chipset, 3).read_ram);
    for (unsigned i = 4; i < 12; i++)
        assert_true(vchipset_shadow(&chipset, i).read_ram);
    assert_int_equal(shadow_changes, 3);
    (void)config(0x70);
    bus_port_write(&bus, 0xcfe, 1, 0xff);
    assert_int_equal(config(0x70) >> 16 & 0xff, 0x7a);
    assert_int_equal(shadow_changes, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bridges, setup),
        cmocka_unit_test_setup(shadow, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
