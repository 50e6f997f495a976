// link: drivers/virt/vpit.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the 8254 and port 0x61 against the data sheet. */
#include "drivers/virt/vpit.h"

#include "tests/unit/device_test.h"

enum { C0 = 0x40, C1, C2, CONTROL, SPEAKER = 0x61, IRQ = 0 };

static struct vpit pit;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vpit_init(&pit, &bus, &timers, pin_line(IRQ)), OK);
    return 0;
}

/* Lets n PIT cycles pass; the odd half keeps clear of rounding. */
static void wait_cycles(uint64_t n)
{
    uint64_t half = SECOND / VPIT_HZ / 2;
    uint64_t now = timers_cycles_since(&timers, pit.base, VPIT_HZ);
    wait_ticks(timers_cycle_start(&timers, pit.base, VPIT_HZ, now + n) + half - clock_now);
}

static void program(unsigned channel, uint8_t control, uint16_t count)
{
    wait_cycles(1);
    out(CONTROL, (uint8_t)(channel << 6 | 0x30 | control));
    out((uint16_t)(C0 + channel), (uint8_t)count);
    out((uint16_t)(C0 + channel), (uint8_t)(count >> 8));
}

static uint16_t read_count(unsigned channel)
{
    out(CONTROL, (uint8_t)(channel << 6));
    uint8_t low = in((uint16_t)(C0 + channel));
    return (uint16_t)(low | in((uint16_t)(C0 + channel)) << 8);
}

static uint8_t read_status(unsigned channel)
{
    out(CONTROL, (uint8_t)(0xe0 | 2u << channel));
    return in((uint16_t)(C0 + channel));
}

static bool out2(void)
{
    return in(SPEAKER)&0x20;
}

static void a_clock_without_rate_is_refused(void **state)
{
    (void)state;
    start_machine();
    timers.hz = 0;
    assert_int_equal(vpit_init(&pit, &bus, &timers, pin_line(IRQ)), ERR_BAD_INPUT);
}

static void mode_0_counts_to_an_interrupt(void **state)
{
    (void)state;
    program(0, 0x00, 1000);
    assert_false(pin_high[IRQ]);
    wait_cycles(1000);
    assert_int_equal(read_count(0), 1);
    assert_false(pin_high[IRQ]);
    assert_int_equal(read_status(0) & 0x80, 0);
    wait_cycles(1);
    assert_true(pin_high[IRQ]);
    assert_int_equal(read_status(0), 0xb0);
    wait_cycles(10);
    assert_int_equal(read_count(0), 65536 - 10); /* goes on */
    wait_ticks(SECOND);
    assert_int_equal(pin_rises[IRQ], 1);
    out(C0, 5); /* the first byte stops it and lowers OUT */
    assert_false(pin_high[IRQ]);
    out(C0, 0);
    wait_cycles(6);
    assert_int_equal(pin_rises[IRQ], 2);
}

static void mode_2_interrupts_at_its_rate(void **state)
{
    (void)state;
    program(0, 0x04, 11932);
    assert_true(pin_high[IRQ]);
    unsigned before = pin_rises[IRQ];
    wait_ticks(SECOND);
    assert_in_range(pin_rises[IRQ] - before, 99, 100);
    uint16_t count = read_count(0);
    assert_in_range(count, 1, 11932);
}

static void mode_3_counts_by_twos(void **state)
{
    (void)state;
    program(2, 0x06, 1000);
    out(SPEAKER, 1);
    wait_cycles(1);
    assert_int_equal(read_count(2), 1000);
    assert_true(out2());
    wait_cycles(100);
    assert_int_equal(read_count(2), 800);
    wait_cycles(400);
    assert_int_equal(read_count(2), 1000);
    assert_false(out2());
    wait_cycles(500);
    assert_true(out2());
    out(SPEAKER, 0); /* gate low: OUT high, and it stops */
    uint16_t stopped = read_count(2);
    wait_cycles(700);
    assert_true(out2());
    assert_int_equal(read_count(2), stopped);
}

static void a_late_host_causes_no_burst_and_keeps_the_phase(void **state)
{
    (void)state;
    program(0, 0x04, 1193);
    unsigned before = pin_rises[IRQ];
    uint64_t start = pit.channel[0].start;
    clock_now += SECOND / 2;
    timers_run(&timers, clock_now);
    assert_int_equal(pin_rises[IRQ], before + 1);
    assert_true(timers.next > clock_now);
    assert_int_equal((pit.channel[0].start - start) % 1193, 0);
}

/* Takes what is given, as a CPU does; the edges that came then. */
static unsigned take_all(void)
{
    unsigned edges = 0;
    while (pit.asks) {
        vpit_taken(&pit);
        edges++;
    }
    return edges;
}

static void ticks_that_a_late_host_missed_are_given_one_by_one(void **state)
{
    (void)state;
    program(0, 0x04, 11932); /* 100 a second */
    wait_cycles(2 * 11932 + 100);
    unsigned before = pin_rises[IRQ];
    clock_now += SECOND / 2 - SECOND / 200;
    (void)read_count(0); /* a look at the counter is no loss */
    timers_run(&timers, clock_now);
    assert_int_equal(pin_rises[IRQ], before + 1);
    assert_true(pit.asks);
    vpit_taken(&pit);
    assert_int_equal(pin_rises[IRQ], before + 2);
    take_all();
    assert_int_equal(pin_rises[IRQ], before + 49);
    wait_cycles(11932);
    assert_int_equal(pin_rises[IRQ], before + 50);
    assert_false(pit.asks);
}

static void a_second_late_is_not_lost_either(void **state)
{
    (void)state;
    program(0, 0x06, 11932);
    wait_cycles(100);
    unsigned before = pin_rises[IRQ];
    for (unsigned i = 0; i < 2; i++) { /* late again, with the first edge not taken yet */
        clock_now += SECOND / 10;
        timers_run(&timers, clock_now);
    }
    assert_int_equal(pin_rises[IRQ], before + 2);
    take_all();
    assert_int_equal(pin_rises[IRQ], before + 21); /* 20, and one of the two came in vain */
}

static void who_does_not_listen_loses_ticks_as_on_a_pc(void **state)
{
    (void)state;
    program(0, 0x04, 11932);
    clock_now += SECOND / 10;
    timers_run(&timers, clock_now);
    assert_true(pit.asks);
    unsigned before = pin_rises[IRQ];
    wait_cycles(3 * 11932); /* each in time, and nothing taken */
    assert_int_equal(pin_rises[IRQ], before + 3);
    assert_int_equal(take_all(), 0);
}

static void what_is_owed_has_an_end(void **state)
{
    (void)state;
    program(0, 0x04, 1193);
    clock_now += 100 * SECOND;
    timers_run(&timers, clock_now);
    assert_int_equal(pit.owed, VPIT_HZ / 1193);
    out(CONTROL, 0x34); /* and none of the old rate behind a new one */
    vpit_taken(&pit);
    unsigned before = pin_rises[IRQ];
    take_all();
    assert_int_equal(pin_rises[IRQ], before);
}

static void tiny_periods_do_not_flood_the_host(void **state)
{
    (void)state;
    program(0, 0x04, 1);
    unsigned before = pin_rises[IRQ];
    wait_ticks(SECOND / 100);
    assert_in_range(pin_rises[IRQ] - before, 50, 83);
}

static void a_new_count_waits_for_the_period_to_end(void **state)
{
    (void)state;
    program(0, 0x04, 1000);
    wait_cycles(101);
    out(C0, 200);
    out(C0, 0);
    assert_int_equal(read_status(0) & 0x40, 0x40);
    assert_int_equal(read_count(0), 900);
    wait_cycles(900);
    assert_int_equal(read_count(0), 200);
    assert_int_equal(read_status(0) & 0x40, 0);
    unsigned before = pin_rises[IRQ];
    wait_cycles(1000);
    assert_int_equal(pin_rises[IRQ] - before, 5);
}

static void a_new_count_of_mode_3_waits_for_half_a_period(void **state)
{
    (void)state;
    program(0, 0x06, 1000);
    unsigned before = pin_rises[IRQ];
    wait_cycles(101); /* in the high half: loaded when OUT falls */
    out(C0, 200);
    out(C0, 0);
    wait_cycles(399);
    assert_int_equal(read_status(0) & 0xc0, 0xc0);
    wait_cycles(1);
    assert_int_equal(read_status(0) & 0xc0, 0);
    assert_int_equal(read_count(0), 200);
    wait_cycles(99);
    assert_int_equal(pin_rises[IRQ], before);
    wait_cycles(1);
    assert_int_equal(pin_rises[IRQ], before + 1);
    wait_cycles(150); /* in the low half: loaded when OUT rises */
    out(C0, 1000 & 0xff);
    out(C0, 1000 >> 8);
    wait_cycles(49);
    assert_int_equal(read_status(0) & 0xc0, 0x40);
    wait_cycles(1);
    assert_int_equal(read_status(0) & 0xc0, 0x80);
    wait_cycles(499);
    assert_int_equal(read_status(0) & 0x80, 0x80);
    wait_cycles(1);
    assert_int_equal(read_status(0) & 0x80, 0);
    assert_int_equal(pin_rises[IRQ], before + 2);
}

static void status_has_the_control_word_as_written(void **state)
{
    (void)state;
    out(CONTROL, 0xbf); /* mode 7 is mode 3 */
    assert_int_equal(read_status(2) & 0xbf, 0xbf);
    out(CONTROL, 0x9c);
    assert_int_equal(read_status(2) & 0x3f, 0x1c);
}

static void mode_1_is_triggered_by_the_gate(void **state)
{
    (void)state;
    program(2, 0x02, 50);
    assert_true(out2());
    wait_cycles(100);
    assert_true(out2());
    out(SPEAKER, 1);
    wait_cycles(1);
    assert_false(out2());
    out(SPEAKER, 0); /* does not stop it */
    wait_cycles(49);
    assert_false(out2());
    wait_cycles(1);
    assert_true(out2());
    out(SPEAKER, 1);
    wait_cycles(30);
    out(SPEAKER, 0);
    out(SPEAKER, 1); /* retriggered */
    wait_cycles(30);
    assert_false(out2());
}

static void modes_4_and_5_strobe_once(void **state)
{
    (void)state;
    out(SPEAKER, 1);
    program(2, 0x08, 20);
    wait_cycles(20);
    assert_true(out2());
    wait_cycles(1);
    assert_false(out2());
    wait_cycles(1);
    assert_true(out2());
    out(SPEAKER, 0);
    program(2, 0x0a, 20);
    wait_cycles(100);
    assert_true(out2());
    out(SPEAKER, 1);
    wait_cycles(21);
    assert_false(out2());
    wait_cycles(1);
    assert_true(out2());
    program(0, 0x08, 20);
    unsigned before = pin_rises[IRQ];
    wait_cycles(21);
    assert_int_equal(pin_rises[IRQ], before);
    wait_cycles(1);
    assert_int_equal(pin_rises[IRQ], before + 1);
    wait_cycles(2000);
    assert_int_equal(pin_rises[IRQ], before + 1);
}

static void the_gate_holds_mode_0(void **state)
{
    (void)state;
    out(SPEAKER, 1);
    program(2, 0x00, 1000);
    wait_cycles(101);
    out(SPEAKER, 0);
    wait_cycles(5000);
    assert_int_equal(read_count(2), 900);
    assert_false(out2());
    out(SPEAKER, 1);
    wait_cycles(899);
    assert_false(out2());
    wait_cycles(1);
    assert_true(out2());
}

static void latches_hold_until_read(void **state)
{
    (void)state;
    program(0, 0x04, 5000);
    wait_cycles(11);
    out(CONTROL, 0xc2); /* read-back: count and status of channel 0 */
    wait_cycles(100);
    out(CONTROL, 0xc2);
    assert_int_equal(in(C0), 0xb4); /* OUT, both bytes, mode 2 */
    assert_int_equal(in(C0), 4990 & 0xff);
    assert_int_equal(in(C0), 4990 >> 8);
    assert_int_equal(read_count(0), 4890);
}

static void bcd_and_single_bytes(void **state)
{
    (void)state;
    out(SPEAKER, 1);
    program(2, 0x01, 0x0000);
    wait_cycles(2);
    assert_int_equal(read_count(2), 0x9999);
    program(2, 0x05, 0x1234);
    wait_cycles(36);
    assert_int_equal(read_count(2), 0x1199);
    out(CONTROL, 0x90); /* low byte only, mode 0 */
    out(C2, 200);
    wait_cycles(11);
    assert_int_equal(in(C2), 190);
    assert_int_equal(in(C2), 190);
    out(CONTROL, 0xa0); /* high byte only */
    out(C2, 0x80);
    wait_cycles(2);
    assert_int_equal(in(C2), 0x7f);
    program(2, 0x05, 0xffff); /* not a BCD number: any answer, no fault */
    wait_cycles(36);
    (void)read_count(2);
}

static void refresh_bit_toggles(void **state)
{
    (void)state;
    unsigned changes = 0;
    uint8_t last = in(SPEAKER)&0x10;
    for (unsigned i = 0; i < 180; i++) {
        wait_cycles(1);
        uint8_t now = in(SPEAKER)&0x10;
        changes += now != last;
        last = now;
    }
    assert_int_equal(changes, 10);
    out(SPEAKER, 0xfe);
    assert_int_equal(in(SPEAKER)&0xcf, 0x0e);
    assert_int_equal(in(CONTROL), 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_clock_without_rate_is_refused, setup),
        cmocka_unit_test_setup(mode_0_counts_to_an_interrupt, setup),
        cmocka_unit_test_setup(mode_2_interrupts_at_its_rate, setup),
        cmocka_unit_test_setup(mode_3_counts_by_twos, setup),
        cmocka_unit_test_setup(a_late_host_causes_no_burst_and_keeps_the_phase, setup),
        cmocka_unit_test_setup(ticks_that_a_late_host_missed_are_given_one_by_one, setup),
        cmocka_unit_test_setup(a_second_late_is_not_lost_either, setup),
        cmocka_unit_test_setup(who_does_not_listen_loses_ticks_as_on_a_pc, setup),
        cmocka_unit_test_setup(what_is_owed_has_an_end, setup),
        cmocka_unit_test_setup(tiny_periods_do_not_flood_the_host, setup),
        cmocka_unit_test_setup(a_new_count_waits_for_the_period_to_end, setup),
        cmocka_unit_test_setup(a_new_count_of_mode_3_waits_for_half_a_period, setup),
        cmocka_unit_test_setup(status_has_the_control_word_as_written, setup),
        cmocka_unit_test_setup(mode_1_is_triggered_by_the_gate, setup),
        cmocka_unit_test_setup(modes_4_and_5_strobe_once, setup),
        cmocka_unit_test_setup(the_gate_holds_mode_0, setup),
        cmocka_unit_test_setup(latches_hold_until_read, setup),
        cmocka_unit_test_setup(bcd_and_single_bytes, setup),
        cmocka_unit_test_setup(refresh_bit_toggles, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
