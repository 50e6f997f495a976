// link: drivers/virt/vdebug.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the debug console and of debug-exit. */
#include "drivers/virt/vdebug.h"

#include "tests/unit/device_test.h"

static struct vdebug debug;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vdebug_init(&debug, output_byte, NULL, true, false, &bus, power_recorder()),
                     OK);
    return 0;
}

static void console(void **state)
{
    (void)state;
    assert_int_equal(in(0xe9), 0xe9);
    out(0xe9, 'o');
    bus_port_write(&bus, 0xe9, 4, 'k');
    assert_int_equal(output_size, 2);
    assert_memory_equal(output, "ok", 2);
}

/* Without a log firmware does not find 0xe9 at its port, and writes nothing. */
static void firmware_log(void **state)
{
    (void)state;
    assert_int_equal(in(0x402), 0xff);
    out(0x402, 'x');
    assert_int_equal(output_size, 0);
    start_machine();
    assert_int_equal(vdebug_init(&debug, output_byte, NULL, false, true, &bus, power_recorder()),
                     OK);
    assert_int_equal(in(0x402), 0xe9);
    out(0x402, 'x');
    assert_int_equal(output_size, 1);
    assert_int_equal(in(0xe9), 0xff); /* nor is there a console now, for who asks */
    out(0xe9, 'x');
    assert_int_equal(output_size, 1);
}

static void exit_code(void **state)
{
    (void)state;
    out(0xf5, 1);
    assert_int_equal(power_end, VM_RUNS);
    bus_port_write(&bus, 0xf4, 4, 0x12345678);
    assert_int_equal(power_end, VM_DEBUG_EXIT);
    assert_int_equal(power_code, 0x12345678);
    out(0xf4, 3);
    assert_int_equal(power_code, 3);
    assert_int_equal(bus_port_read(&bus, 0xf4, 4), 0xffffffff);
}

static void write_word(const char *word)
{
    for (; *word != 0; word++)
        out(0x8900, (uint8_t)*word);
}

static void shutdown_word(void **state)
{
    (void)state;
    write_word("ShutShutdow");
    out(0x8900, 'N');
    write_word("hutdownSShut");
    assert_int_equal(power_end, VM_RUNS);
    write_word("dow");
    assert_int_equal(power_end, VM_RUNS);
    write_word("n");
    assert_int_equal(power_end, VM_POWEROFF);
}

static void occupied_ports_are_reported(void **state)
{
    (void)state;
    assert_int_equal(vdebug_init(&debug, output_byte, NULL, true, false, &bus, power_recorder()),
                     ERR_BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(console, setup),
        cmocka_unit_test_setup(firmware_log, setup),
        cmocka_unit_test_setup(exit_code, setup),
        cmocka_unit_test_setup(shutdown_word, setup),
        cmocka_unit_test_setup(occupied_ports_are_reported, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
