// SPDX-License-Identifier: BSD-2-Clause
// Which rate is believed, of sources as real machines and emulators have them; and what is measured
// where something else takes the CPU away at the worst moments.
// link: drivers/host/clockrate.c
#include "arch/cpu.h"
#include "drivers/host/clockrate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MHZ 1000000ull

static uint64_t told[RATE_SOURCES];
static unsigned asked;

static uint64_t ask(enum rate_source source)
{
    asked |= 1u << source;
    return told[source];
}

static void agreeing_sources(void **state)
{
    static const struct {
        const char *what;
        uint64_t told[RATE_SOURCES];
        uint64_t hz;
        enum rate_source by, second, odd;
    } machine[] = {
        {"a laptop of 2020: the crystal, checked by the PM timer",
         {[RATE_CRYSTAL] = 2419200000, [RATE_PM_TIMER] = 2419311000, [RATE_HPET] = 1},
         2419200000,
         RATE_CRYSTAL,
         RATE_PM_TIMER,
         RATE_NOBODY},
        {"a desktop of 2011: no leaf, two timers",
         {[RATE_PM_TIMER] = 3392000000, [RATE_HPET] = 3392310000, [RATE_PIT] = 3400000000},
         3392000000,
         RATE_PM_TIMER,
         RATE_HPET,
         RATE_NOBODY},
        {"KVM, its leaf",
         {[RATE_HYPERVISOR] = 2095078000,
          [RATE_PM_TIMER] = 2096800000,
          [RATE_PIT] = 8 * 2096 * MHZ},
         2095078000,
         RATE_HYPERVISOR,
         RATE_PM_TIMER,
         RATE_NOBODY},
        {"Hyper-V, no PM timer, a PIT that loses time",
         {[RATE_HYPERV] = 2893 * MHZ, [RATE_PIT] = 3500 * MHZ, [RATE_NOMINAL] = 2900 * MHZ},
         3500 * MHZ,
         RATE_PIT,
         RATE_NOBODY,
         RATE_HYPERV},
        {"QEMU's emulation on a busy host: the PM timer and the HPET against the PIT",
         {[RATE_PM_TIMER] = 2096 * MHZ, [RATE_HPET] = 2097 * MHZ, [RATE_PIT] = 8360 * MHZ},
         2096 * MHZ,
         RATE_PM_TIMER,
         RATE_HPET,
         RATE_NOBODY},
        {"Bochs: leaves of the CPU that it plays, which agree with each other, and its own PIT",
         {[RATE_CRYSTAL] = 3500 * MHZ, [RATE_PIT] = 100 * MHZ, [RATE_NOMINAL] = 3500 * MHZ},
         100 * MHZ,
         RATE_PIT,
         RATE_NOBODY,
         RATE_CRYSTAL},
        {"a first timer that is off: the next one settles it",
         {[RATE_CRYSTAL] = 3000 * MHZ, [RATE_PM_TIMER] = 3400 * MHZ, [RATE_HPET] = 3001 * MHZ},
         3000 * MHZ,
         RATE_CRYSTAL,
         RATE_HPET,
         RATE_PM_TIMER},
        {"an old CPU with nothing but a PIT",
         {[RATE_PIT] = 1600 * MHZ},
         1600 * MHZ,
         RATE_PIT,
         RATE_NOBODY,
         RATE_NOBODY},
        {"the nominal rate confirms a PIT",
         {[RATE_PIT] = 1601 * MHZ, [RATE_NOMINAL] = 1600 * MHZ},
         1601 * MHZ,
         RATE_PIT,
         RATE_NOMINAL,
         RATE_NOBODY},
        {"no timer: the first leaf",
         {[RATE_CRYSTAL] = 3000 * MHZ, [RATE_NOMINAL] = 2900 * MHZ},
         3000 * MHZ,
         RATE_CRYSTAL,
         RATE_NOBODY,
         RATE_NOMINAL},
        {"no timer: the leaf that there is",
         {[RATE_NOMINAL] = 2900 * MHZ},
         2900 * MHZ,
         RATE_NOMINAL,
         RATE_NOBODY,
         RATE_NOBODY},
        {"rates that no CPU has",
         {[RATE_CRYSTAL] = 24, [RATE_HPET] = UINT64_MAX},
         0,
         RATE_NOBODY,
         RATE_NOBODY,
         RATE_NOBODY},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(machine) / sizeof(machine[0]); i++) {
        for (unsigned j = 0; j < RATE_SOURCES; j++)
            told[j] = machine[i].told[j];
        const struct clock_rate rate = clock_rate_choose(ask);
        if (rate.hz != machine[i].hz)
            print_message("%s\n", machine[i].what);
        assert_int_equal(rate.hz, machine[i].hz);
        assert_int_equal(rate.by, machine[i].by);
        assert_int_equal(rate.second, machine[i].second);
        assert_int_equal(rate.odd, machine[i].odd);
        assert_int_equal(rate.other_hz, rate.odd == RATE_NOBODY ? 0 : told[rate.odd]);
    }
}

/* A timer takes 50 ms: none is asked once two sources agree. */
static void asks_no_more_than_it_must(void **state)
{
    (void)state;
    for (unsigned j = 0; j < RATE_SOURCES; j++)
        told[j] = 3000 * MHZ;
    asked = 0;
    assert_int_equal(clock_rate_choose(ask).second, RATE_PM_TIMER);
    assert_int_equal(asked, (1u << (RATE_PM_TIMER + 1)) - 1);
}

/* The machine: its TSC, a timer derived from it, and somebody who takes the CPU. */
static struct {
    uint64_t tsc, tsc_hz, timer_hz;
    uint32_t mask, access_ticks;
    unsigned one_in;  /* accesses, on average, between two interruptions; 0: never */
    unsigned longest; /* of them, in milliseconds */
    bool down, dead;
} m = {.longest = 12};

static void passes(uint64_t ticks)
{
    m.tsc += ticks;
    if (m.one_in != 0 && rand() % (int)m.one_in == 0)
        m.tsc += m.tsc_hz / 1000 * (uint64_t)(1 + rand() % (int)m.longest);
}

uint64_t cpu_rdtsc(void)
{
    passes(20);
    return m.tsc;
}

static uint32_t read_timer(void)
{
    passes(m.access_ticks / 2);
    const uint64_t ticks =
        m.dead ? 7 : (uint64_t)((unsigned __int128)m.tsc * m.timer_hz / m.tsc_hz);
    passes(m.access_ticks / 2);
    return (uint32_t)(m.down ? 0x5555 - ticks : ticks) & m.mask;
}

static uint64_t measure(uint64_t tsc_hz, uint64_t timer_hz, uint32_t mask, bool down,
                        unsigned one_in)
{
    m.tsc = tsc_hz / 3 * (uint64_t)(1 + rand() % 9);
    m.tsc_hz = tsc_hz;
    m.timer_hz = timer_hz;
    m.mask = mask;
    m.access_ticks = (uint32_t)(tsc_hz / 1000000); /* a microsecond */
    m.one_in = one_in;
    m.down = down;
    const struct rate_timer timer = {read_timer, timer_hz, mask, down};
    return clock_rate_measure(&timer);
}

static void within(uint64_t hz, uint64_t truth, uint64_t ppm)
{
    assert_in_range(hz, truth - truth * ppm / 1000000, truth + truth * ppm / 1000000);
}

/* PM timer, HPET, PIT. */
static const struct {
    uint64_t hz;
    uint32_t mask;
    bool down;
} timer[] = {{3579545, 0xffffff, false}, {14318179, UINT32_MAX, false}, {1193182, 0xffff, true}};

static void measures(void **state)
{
    (void)state;
    srand(1);
    for (unsigned i = 0; i < 3; i++)
        for (uint64_t hz = 100 * MHZ; hz < 6000 * MHZ; hz = hz * 7 / 3) {
            within(measure(hz, timer[i].hz, timer[i].mask, timer[i].down, 0), hz, 500);
            /* Taken away some ten times in each run, in the midst of a reading, too. */
            for (unsigned again = 0; again < 50; again++)
                within(measure(hz, timer[i].hz, timer[i].mask, timer[i].down, 2000), hz, 10000);
        }
}

/* On an emulator that shares its CPU with many, each pause is longer than a dead timer is waited
 * for. */
static void long_pauses(void **state)
{
    (void)state;
    srand(2);
    m.longest = 500;
    for (unsigned i = 0; i < 3; i++)
        for (unsigned again = 0; again < 50; again++)
            within(measure(2096 * MHZ, timer[i].hz, timer[i].mask, timer[i].down, 60000),
                   2096 * MHZ, 20000);
    m.longest = 12;
}

static void dead_timer(void **state)
{
    (void)state;
    m.dead = true;
    assert_int_equal(measure(3000 * MHZ, 3579545, 0xffffff, false, 0), 0);
    m.dead = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreeing_sources), cmocka_unit_test(asks_no_more_than_it_must),
        cmocka_unit_test(measures),         cmocka_unit_test(long_pauses),
        cmocka_unit_test(dead_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
