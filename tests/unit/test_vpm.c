// link: drivers/virt/vpm.c drivers/virt/vpci.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the ACPI fixed hardware against the ACPI specification. */
#include "drivers/virt/vpm.h"

#include "tests/unit/device_test.h"

enum { BASE = 0x600, STS = BASE + VPM_PM1A_EVT, EN = STS + 2, CNT = BASE + VPM_PM1A_CNT };
enum { PM_TIMER = BASE + VPM_PM_TIMER, SCI = 9 };

static struct vpci pci;
static struct vpm pm;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vpci_init(&pci, &bus, power_recorder()), OK);
    assert_int_equal(vpm_init(&pm, &bus, &pci, &timers, pin_line(SCI), power_recorder()), OK);
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), UINT32_MAX);
    vpci_write(&pci, VPM_DEVFN, VPM_PMBASE, 4, BASE);
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), UINT32_MAX);
    vpci_write(&pci, VPM_DEVFN, VPM_PMREGMISC, 1, 1);
    return 0;
}

static uint16_t in16(uint16_t port)
{
    return (uint16_t)bus_port_read(&bus, port, 2);
}

static void out16(uint16_t port, uint16_t value)
{
    bus_port_write(&bus, port, 2, value);
}

static void timer_runs_at_its_rate(void **state)
{
    (void)state;
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), 0);
    clock_now += SECOND;
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), VPM_TIMER_HZ);
    assert_int_equal(in16(PM_TIMER + 1), VPM_TIMER_HZ >> 8 & 0xffff);
    clock_now += 1200 * SECOND;
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), (uint32_t)(UINT64_C(1201) * 3579545));
    start_machine();
    timers.hz = 0;
    assert_int_equal(vpm_init(&pm, &bus, &pci, &timers, pin_line(SCI), power_recorder()),
                     ERR_BAD_INPUT);
}

static void timer_carry_interrupts(void **state)
{
    (void)state;
    wait_ticks(600 * SECOND);
    assert_int_equal(in16(STS), 1);
    assert_false(pin_high[SCI]);
    out16(EN, 1);
    assert_true(pin_high[SCI]);
    out16(STS, 1);
    assert_false(pin_high[SCI]);
    wait_ticks(590 * SECOND);
    assert_false(pin_high[SCI]);
    wait_ticks(20 * SECOND);
    assert_true(pin_high[SCI]);
}

static void power_button(void **state)
{
    (void)state;
    pm.status = 0x100;
    assert_false(pin_high[SCI]);
    assert_int_equal(in16(STS), 0x100);
    out16(EN, 0xffff);
    assert_int_equal(in16(EN), 0x0721);
    assert_true(pin_high[SCI]);
    out(STS, 0xff); /* the other byte */
    assert_true(pin_high[SCI]);
    out(STS + 1, 0x01);
    assert_false(pin_high[SCI]);
}

static void soft_off(void **state)
{
    (void)state;
    assert_int_equal(in16(CNT), 1);
    out16(CNT, 0x1400);
    assert_int_equal(in16(CNT), 0x1401); /* ACPI mode cannot be left */
    assert_int_equal(power_end, VM_RUNS);
    out16(CNT, 0x2400); /* S1 is not there */
    assert_int_equal(power_end, VM_CRASH);
    assert_int_equal(power_code, 1);
    out16(CNT, 0x2001);
    assert_int_equal(power_end, VM_POWEROFF);
    assert_int_equal(in16(CNT) & 0x2000, 0);
}

static void firmware_moves_the_block(void **state)
{
    (void)state;
    clock_now += SECOND;
    vpci_write(&pci, VPM_DEVFN, VPM_PMBASE, 4, 0xb03f);
    assert_int_equal(vpci_get(&pm.function, VPM_PMBASE, 4), 0xb001);
    assert_int_equal(bus_port_read(&bus, PM_TIMER, 4), UINT32_MAX);
    assert_int_equal(bus_port_read(&bus, 0xb008, 4), VPM_TIMER_HZ);
    out16(0xb002, 0x0100);
    assert_int_equal(in16(0xb002), 0x0100);
    vpci_write(&pci, VPM_DEVFN, VPM_PMBASE, 2, 0xcc0); /* 0xcc8-0xccb are free */
    assert_int_equal(bus_port_read(&bus, 0xcc8, 4), VPM_TIMER_HZ);
    vpci_write(&pci, VPM_DEVFN, VPM_PMREGMISC, 1, 0);
    assert_int_equal(bus_port_read(&bus, 0xcc8, 4), UINT32_MAX);
    vpci_write(&pci, VPM_DEVFN, VPM_PMBASE, 2, 0);
    vpci_write(&pci, VPM_DEVFN, VPM_PMREGMISC, 1, 1); /* at 0: nowhere */
    assert_int_equal(bus_port_read(&bus, 8, 4), UINT32_MAX);
}

/* Without SMM the pair only keeps values, and DEVACTB says that there is nothing to set up. */
static void apm_ports(void **state)
{
    (void)state;
    out(0xb3, 0x12);
    out(0xb2, 0xf1);
    assert_int_equal(in(0xb2), 0xf1);
    assert_int_equal(in(0xb3), 0x12);
    assert_int_equal(vpci_get(&pm.function, 0x58, 4) >> 25, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timer_runs_at_its_rate, setup),
        cmocka_unit_test_setup(timer_carry_interrupts, setup),
        cmocka_unit_test_setup(power_button, setup),
        cmocka_unit_test_setup(soft_off, setup),
        cmocka_unit_test_setup(firmware_moves_the_block, setup),
        cmocka_unit_test_setup(apm_ports, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
