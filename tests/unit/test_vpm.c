// link: drivers/virt/vpm.c vmx/bus.c vmx/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the ACPI fixed hardware against the ACPI specification. */
#include "drivers/virt/vpm.h"

#include "tests/unit/device_test.h"

enum { STS = VPM_PM1A_EVT, EN = VPM_PM1A_EVT + 2, CNT = VPM_PM1A_CNT, SCI = 9 };

static struct vpm pm;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vpm_init(&pm, &bus, &timers, pin_line(SCI), power_recorder()), OK);
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
    assert_int_equal(bus_port_read(&bus, VPM_PM_TIMER, 4), 0);
    clock_now += SECOND;
    assert_int_equal(bus_port_read(&bus, VPM_PM_TIMER, 4), VPM_TIMER_HZ);
    assert_int_equal(in16(VPM_PM_TIMER + 1), VPM_TIMER_HZ >> 8 & 0xffff);
    clock_now += 1200 * SECOND;
    assert_int_equal(bus_port_read(&bus, VPM_PM_TIMER, 4), (uint32_t)(UINT64_C(1201) * 3579545));
    start_machine();
    timers.hz = 0;
    assert_int_equal(vpm_init(&pm, &bus, &timers, pin_line(SCI), power_recorder()), ERR_BAD_INPUT);
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
    assert_int_equal(power_end, VM_RUNS);
    out16(CNT, 0x3401);
    assert_int_equal(power_end, VM_POWEROFF);
    assert_int_equal(in16(CNT) & 0x2000, 0);
}

static void reset_quiets_it(void **state)
{
    (void)state;
    out16(EN, 0x101);
    pm.status = 0x100;
    clock_now += SECOND;
    vpm_reset(&pm);
    assert_false(pin_high[SCI]);
    assert_true(timers.next == TIMER_NEVER);
    assert_int_equal(bus_port_read(&bus, VPM_PM_TIMER, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timer_runs_at_its_rate, setup),
        cmocka_unit_test_setup(timer_carry_interrupts, setup),
        cmocka_unit_test_setup(power_button, setup),
        cmocka_unit_test_setup(soft_off, setup),
        cmocka_unit_test_setup(reset_quiets_it, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
