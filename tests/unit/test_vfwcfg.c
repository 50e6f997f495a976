// link: drivers/virt/vfwcfg.c vmx/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of fw_cfg as firmware reads it. */
#include "drivers/virt/vfwcfg.h"

#include "tests/unit/device_test.h"

static struct vfwcfg fwcfg;
static unsigned refreshes;

static void refresh(void *ctx)
{
    (*(char *)ctx)++;
    refreshes++;
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    refreshes = 0;
    assert_int_equal(vfwcfg_init(&fwcfg, &bus), OK);
    return 0;
}

static void select(uint16_t key)
{
    bus_port_write(&bus, 0x510, 2, key);
}

static uint64_t read_le(unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)in(0x511) << (8 * i);
    return value;
}

static void numbers(void **state)
{
    (void)state;
    vfwcfg_add_number(&fwcfg, VFWCFG_CPUS, 3, 2);
    vfwcfg_add_number(&fwcfg, VFWCFG_RAM_BYTES, 0x123456789abc, 8);
    select(0);
    assert_int_equal(read_le(4), 0x554d4551); /* QEMU */
    assert_int_equal(read_le(1), 0);
    select(1);
    assert_int_equal(read_le(4), 1); /* no DMA */
    select(3);
    assert_true(read_le(8) == 0x123456789abc);
    select(5);
    assert_int_equal(read_le(1), 3);
    out(0x510, 0); /* a byte does not select, nor is data written */
    out(0x511, 0);
    assert_int_equal(read_le(2), 0);
    select(5);
    assert_int_equal(read_le(2), 3);
    select(0x4000);
    assert_int_equal(read_le(8), 0);
    select(0x20);
    assert_int_equal(read_le(8), 0);
}

static void files(void **state)
{
    (void)state;
    char text[] = "abc";
    vfwcfg_add_file(&fwcfg, "etc/one", text, 3);
    vfwcfg_add_file_number(
        &fwcfg, "opt/a-name-of-more-than-fifty-five-characters/is-cut-to-its-size", 7, 4);
    fwcfg.refresh = refresh;
    fwcfg.ctx = text;
    select(0x19);
    assert_int_equal(read_le(4), 0x02000000);
    assert_int_equal(read_le(4), 0x03000000);
    assert_int_equal(read_le(4), 0x2000);
    char name[VFWCFG_NAME];
    for (unsigned i = 0; i < sizeof(name); i++)
        name[i] = (char)in(0x511);
    assert_string_equal(name, "etc/one");
    assert_int_equal(read_le(4), 0x04000000);
    assert_int_equal(read_le(4), 0x2100);
    for (unsigned i = 0; i < sizeof(name); i++)
        name[i] = (char)in(0x511);
    assert_int_equal(strlen(name), 55);
    assert_int_equal(refreshes, 0);
    select(0x20);
    assert_int_equal(read_le(4), 0x636262); /* the first letter is new */
    select(0x21);
    assert_int_equal(read_le(8), 7);
    assert_int_equal(refreshes, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers, setup),
        cmocka_unit_test_setup(files, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
