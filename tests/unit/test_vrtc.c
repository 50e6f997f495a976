// link: drivers/virt/vrtc.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the real-time clock and CMOS memory against the MC146818 data sheet. */
#include "drivers/virt/vrtc.h"

#include "tests/unit/device_test.h"

enum { IRQ = 8, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, BINARY = 4, H24 = 2 };

static struct vrtc rtc;

static uint8_t get(uint8_t index)
{
    out(0x70, index);
    return in(0x71);
}

static void put(uint8_t index, uint8_t value)
{
    out(0x70, index);
    out(0x71, value);
}

/* The time is in BCD: the numbers below are written in hexadecimal. */
static void expect_time(unsigned date, unsigned time)
{
    assert_int_equal(get(0x32) << 24 | get(9) << 16 | get(8) << 8 | get(7), date);
    assert_int_equal(get(4) << 16 | get(2) << 8 | get(0), time);
}

static void start_at(uint64_t epoch)
{
    start_machine();
    assert_int_equal(vrtc_init(&rtc, epoch, UINT64_C(256) << 20, UINT64_C(3) << 30, &bus, &timers,
                               pin_line(IRQ)),
                     OK);
}

static int setup(void **state)
{
    (void)state;
    start_at(1795400000); /* Monday, 23 November 2026, 02:13:20 */
    return 0;
}

static void start_time(void **state)
{
    (void)state;
    expect_time(0x20261123, 0x021320);
    assert_int_equal(get(6), 2);
    start_at(0);
    expect_time(0x19700101, 0);
    assert_int_equal(get(6), 5);
    start_at(951782399); /* 2000 is a leap year */
    expect_time(0x20000228, 0x235959);
    wait_ticks(SECOND);
    expect_time(0x20000229, 0);
    start_at(4107542399); /* 2100 is none */
    wait_ticks(SECOND);
    expect_time(0x21000301, 0);
    start_at(UINT64_MAX); /* any answer, no fault */
    (void)get(9);
    timers.hz = 0;
    assert_int_equal(vrtc_init(&rtc, 0, 0, 0, &bus, &timers, pin_line(IRQ)), ERR_BAD_INPUT);
}

static void time_advances(void **state)
{
    (void)state;
    wait_ticks(SECOND - 1);
    expect_time(0x20261123, 0x021320);
    wait_ticks(1);
    expect_time(0x20261123, 0x021321);
    wait_ticks(86400 * SECOND * 40);
    expect_time(0x20270102, 0x021321);
    assert_int_equal(get(6), 7);
}

static void formats(void **state)
{
    (void)state;
    put(0x0b, SET | BINARY | H24);
    put(4, 23);
    put(2, 59);
    put(0, 59);
    put(7, 31);
    put(8, 12);
    put(9, 99);
    put(0x32, 20);
    put(0x0b, BINARY | H24);
    wait_ticks(SECOND);
    assert_int_equal(get(4), 0);
    assert_int_equal(get(9), 0);
    assert_int_equal(get(0x32), 21);
    put(0x0b, 0); /* BCD, 12 hours */
    put(4, 0x11);
    put(2, 0x59);
    put(0, 0x59);
    wait_ticks(SECOND);
    assert_int_equal(get(4), 0x92); /* noon */
    put(4, 0x12);
    put(2, 0x59);
    put(0, 0x59);
    wait_ticks(SECOND);
    assert_int_equal(get(4), 0x01);
}

static void set_bit_freezes_the_registers(void **state)
{
    (void)state;
    put(0x0b, SET | UIE | H24);
    assert_int_equal(get(0x0b), SET | H24); /* setting SET clears UIE */
    wait_ticks(10 * SECOND);
    expect_time(0x20261123, 0x021320);
    put(0x0b, H24);
    expect_time(0x20261123, 0x021320);
    wait_ticks(SECOND);
    expect_time(0x20261123, 0x021321);
}

static void nonsense_in_the_registers_does_no_harm(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        for (uint8_t i = 0; i < 10; i++)
            put(i, (uint8_t)value);
        put(0x32, (uint8_t)value);
        wait_ticks(SECOND * 86400);
        assert_in_range(get(8), 1, 0x12);
        assert_in_range(get(7), 1, 0x31);
    }
}

static void update_in_progress(void **state)
{
    (void)state;
    assert_int_equal(get(0x0a), 0x26);
    wait_ticks(SECOND - 3000000);
    assert_int_equal(get(0x0a), 0x26);
    wait_ticks(1000000);
    assert_int_equal(get(0x0a), 0xa6);
    wait_ticks(2000000);
    assert_int_equal(get(0x0a), 0x26);
}

static void update_interrupt(void **state)
{
    (void)state;
    wait_ticks(SECOND);
    assert_int_equal(get(0x0c), 0x50); /* flags without interrupts, as 1024 Hz runs too */
    assert_int_equal(get(0x0c), 0);
    put(0x0b, UIE | H24);
    wait_ticks(SECOND + 1); /* a timer fires at most one tick late */
    assert_true(pin_high[IRQ]);
    wait_ticks(5 * SECOND);
    assert_int_equal(pin_rises[IRQ], 1);
    assert_int_equal(get(0x0c) & 0xb0, 0x90);
    assert_false(pin_high[IRQ]);
    wait_ticks(SECOND);
    assert_int_equal(pin_rises[IRQ], 2);
}

static void periodic_interrupt(void **state)
{
    (void)state;
    static const struct {
        uint8_t rate;
        unsigned hz;
    } rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {15, 2}};
    for (unsigned i = 0; i < 5; i++) {
        put(0x0a, 0x20 | rates[i].rate);
        put(0x0b, PIE | H24);
        (void)get(0x0c);
        unsigned count = 0;
        uint64_t end = clock_now + SECOND;
        while (timers.next <= end) {
            wait_ticks(timers.next - clock_now);
            count += (get(0x0c) & 0xc0) == 0xc0;
        }
        assert_in_range(count, rates[i].hz - 1, rates[i].hz + 1);
        clock_now = end;
    }
    put(0x0a, 0x20);
    (void)get(0x0c);
    assert_true(timers.next == TIMER_NEVER);
}

static void periods_that_a_late_host_missed_are_given_one_by_one(void **state)
{
    (void)state;
    put(0x0a, 0x26); /* 1024 a second */
    put(0x0b, PIE | H24);
    (void)get(0x0c);
    unsigned rises = pin_rises[IRQ];
    clock_now += SECOND / 8 + SECOND / 2000;
    timers_run(&timers, clock_now);
    assert_int_equal(pin_rises[IRQ], rises + 1);
    unsigned count = 0;
    while ((get(0x0c) & 0xc0) == 0xc0)
        count++;
    assert_in_range(count, 127, 129);
    assert_int_equal(pin_rises[IRQ], rises + count);
    wait_ticks(SECOND / 8); /* the guest itself does not look: one flag */
    assert_int_equal(get(0x0c) & 0xc0, 0xc0);
    assert_int_equal(get(0x0c), 0);
    clock_now += SECOND / 8;
    timers_run(&timers, clock_now);
    put(0x0b, H24); /* nothing is owed to one that wants no more */
    assert_int_equal(get(0x0c) & 0x40, 0x40);
    assert_int_equal(get(0x0c), 0);
}

static void alarm_interrupt(void **state)
{
    (void)state;
    put(1, 0x30);
    put(3, 0x15);
    put(5, 0xff); /* any hour */
    put(0x0b, AIE | H24);
    wait_ticks(129 * SECOND);
    assert_false(pin_high[IRQ]);
    wait_ticks(SECOND + 1);
    assert_true(pin_high[IRQ]);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
    wait_ticks(3600 * SECOND - 2);
    assert_false(pin_high[IRQ]);
    wait_ticks(2);
    assert_true(pin_high[IRQ]);
    /* Somebody who looks only later still finds the flag. */
    put(0x0b, H24);
    (void)get(0x0c);
    clock_now += 7000 * SECOND;
    assert_int_equal(get(0x0c) & 0x20, 0x20);
    put(1, 0x99); /* a second that never comes */
    put(3, 0xff);
    clock_now += 86400 * SECOND * 3;
    assert_int_equal(get(0x0c) & 0x20, 0);
}

static void divider_reset(void **state)
{
    (void)state;
    put(0x0a, 0x70);
    wait_ticks(10 * SECOND);
    expect_time(0x20261123, 0x021320);
    put(0x0a, 0x26);
    wait_ticks(SECOND / 2 - 1);
    expect_time(0x20261123, 0x021320);
    wait_ticks(1);
    expect_time(0x20261123, 0x021321);
}

static void memory(void **state)
{
    (void)state;
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, 240 * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 3 << 14);
    unsigned sum = 0;
    for (uint8_t i = 0x10; i < 0x2e; i++)
        sum += get(i);
    assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
    put(0x0f, 0x5a);
    assert_int_equal(get(0x0f), 0x5a);
    put(0x0c, 0xff);
    put(0x0d, 0xff);
    assert_int_equal(get(0x0d), 0x80);
    assert_int_equal(in(0x70), 0xff);
    put(0x8f, 1);
    assert_true(rtc.nmi_masked);
    assert_int_equal(get(0x0f), 1);
    assert_false(rtc.nmi_masked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(start_time, setup),
        cmocka_unit_test_setup(time_advances, setup),
        cmocka_unit_test_setup(formats, setup),
        cmocka_unit_test_setup(set_bit_freezes_the_registers, setup),
        cmocka_unit_test_setup(nonsense_in_the_registers_does_no_harm, setup),
        cmocka_unit_test_setup(update_in_progress, setup),
        cmocka_unit_test_setup(update_interrupt, setup),
        cmocka_unit_test_setup(periodic_interrupt, setup),
        cmocka_unit_test_setup(periods_that_a_late_host_missed_are_given_one_by_one, setup),
        cmocka_unit_test_setup(alarm_interrupt, setup),
        cmocka_unit_test_setup(divider_reset, setup),
        cmocka_unit_test_setup(memory, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
