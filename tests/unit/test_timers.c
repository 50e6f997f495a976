// link: drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of a VM's timer list and of the conversion between clock rates. */
#include "tests/unit/device_test.h"

static unsigned fired[3];
static struct timer timer[3];
static uint64_t rearm_at;

static void fire(void *dev, uint64_t now)
{
    struct timer *t = dev;
    assert_true(t->deadline == TIMER_NEVER);
    assert_true(now == clock_now);
    fired[t - timer]++;
    if (t == &timer[2])
        timers_arm(&timers, t, rearm_at);
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    memset(fired, 0, sizeof(fired));
    for (unsigned i = 0; i < 3; i++) {
        timer[i] = (struct timer){.fire = fire, .dev = &timer[i]};
        timers_add(&timers, &timer[i]);
    }
    return 0;
}

static void next_is_the_earliest(void **state)
{
    (void)state;
    assert_true(timers.next == TIMER_NEVER);
    timers_arm(&timers, &timer[0], 500);
    timers_arm(&timers, &timer[1], 300);
    assert_true(timers.next == 300);
    timers_arm(&timers, &timer[1], 700);
    assert_true(timers.next == 500);
    timers_arm(&timers, &timer[0], TIMER_NEVER);
    assert_true(timers.next == 700);
    timers_arm(&timers, &timer[1], TIMER_NEVER);
    assert_true(timers.next == TIMER_NEVER);
}

/* A VM's memory begins as zeros, in which the next deadline would be long past. */
static void a_list_of_none_armed_has_no_deadline(void **state)
{
    (void)state;
    struct timer idle = {.fire = fire, .dev = &idle};
    timers = (struct timers){.read = clock_read, .hz = SECOND};
    timers_add(&timers, &idle);
    assert_true(idle.deadline == TIMER_NEVER);
    assert_true(timers.next == TIMER_NEVER);
}

static void what_is_due_fires_once(void **state)
{
    (void)state;
    clock_now = 600;
    timers_arm(&timers, &timer[0], 600);
    timers_arm(&timers, &timer[1], 601);
    timers_run(&timers, 600);
    timers_run(&timers, 600);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 0);
    assert_true(timers.next == 601);
}

static void rearming_in_the_past_waits_for_the_next_run(void **state)
{
    (void)state;
    clock_now = 100;
    rearm_at = 50;
    timers_arm(&timers, &timer[2], 100);
    timers_run(&timers, 100);
    assert_int_equal(fired[2], 1);
    assert_true(timers.next == 50);
    timers_run(&timers, 100);
    assert_int_equal(fired[2], 2);
}

static void arm_others(void *dev, uint64_t when)
{
    (void)dev;
    (void)when;
    timers_arm(&timers, &timer[0], 40); /* one of these has been looked at already, */
    timers_arm(&timers, &timer[2], 60); /* whichever way the list goes */
}

static void put_off_others(void *dev, uint64_t when)
{
    (void)dev;
    (void)when;
    timers_arm(&timers, &timer[0], 900);
    timers_arm(&timers, &timer[2], 900);
}

static void the_next_is_known_after_handlers_have_armed_others(void **state)
{
    (void)state;
    timers_arm(&timers, &timer[0], 500);
    timers_arm(&timers, &timer[1], 20);
    timers_arm(&timers, &timer[2], 500);
    timer[1].fire = arm_others;
    timers_run(&timers, 20);
    assert_true(timers.next == 40);
    timer[1].fire = put_off_others;
    timers_arm(&timers, &timer[1], 30);
    timers_run(&timers, 30);
    assert_true(timers.next == 900);
    timers_run(&timers, 30); /* none is due */
    assert_true(timers.next == 900);
    assert_int_equal(fired[0] + fired[2], 0);
}

static void scaling_saturates(void **state)
{
    (void)state;
    assert_true(scale_u64(UINT64_MAX, 7, 7) == UINT64_MAX);
    assert_true(scale_u64(UINT64_MAX, 2, 1) == UINT64_MAX);
    assert_true(scale_u64(3, 5, 2) == 7);
    assert_true(scale_u64(UINT64_MAX, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(scale_u64(UINT64_C(1) << 40, 1193182, SECOND) == UINT64_C(1311917483));
}

static void cycles_and_their_starts_agree(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 1193182, 3579545, 32768};
    for (unsigned i = 0; i < 4; i++) {
        for (uint64_t n = 0; n < 5000; n += 7) {
            uint64_t start = timers_cycle_start(&timers, 1000, rates[i], n);
            clock_now = start;
            assert_true(timers_cycles_since(&timers, 1000, rates[i]) >= n);
            clock_now = start - 2;
            assert_true(n == 0 || timers_cycles_since(&timers, 1000, rates[i]) < n);
        }
    }
    clock_now = 10;
    assert_true(timers_cycles_since(&timers, 11, 1000) == 0);
    assert_true(timers_cycle_start(&timers, 5, 1, UINT64_MAX) == TIMER_NEVER);
    assert_true(timers_cycle_start(&timers, UINT64_MAX - 3, 1000, 5) == TIMER_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(next_is_the_earliest, setup),
        cmocka_unit_test_setup(a_list_of_none_armed_has_no_deadline, setup),
        cmocka_unit_test_setup(what_is_due_fires_once, setup),
        cmocka_unit_test_setup(rearming_in_the_past_waits_for_the_next_run, setup),
        cmocka_unit_test_setup(the_next_is_known_after_handlers_have_armed_others, setup),
        cmocka_unit_test_setup(scaling_saturates, setup),
        cmocka_unit_test_setup(cycles_and_their_starts_agree, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
