/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC's timer in all modes and with all divisors. Rules are the SDM's headings in the
 * chapter on the APIC. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define VECTOR    0x61
#define DIVIDE_1  0xbu
#define DIVIDE_16 0x3u
#define TICKS     400000u /* TSC */
#define PERIOD    50000u  /* timer clocks: more than Nadir's shortest period */
#define FOREVER   0xffffffffu

static const struct {
    uint8_t code, divisor;
    const char *what;
} divisors[] = {{0xb, 1, "divide by 1"},   {0x0, 2, "divide by 2"},    {0x1, 4, "divide by 4"},
                {0x2, 8, "divide by 8"},   {0x3, 16, "divide by 16"},  {0x8, 32, "divide by 32"},
                {0x9, 64, "divide by 64"}, {0xa, 128, "divide by 128"}};

static void spin(uint64_t ticks)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < ticks;)
        ;
}

/* How many of the timer's clocks one wait has. */
static uint32_t clocks(unsigned code)
{
    apic_write(APIC_TIMER_DIVIDE, code);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
    apic_write(APIC_TIMER_COUNT, FOREVER);
    uint32_t before = apic_read(APIC_TIMER_NOW);
    spin(TICKS);
    return before - apic_read(APIC_TIMER_NOW);
}

static bool about(uint64_t got, uint64_t want)
{
    return got + got / 8 + 2 >= want && got <= want + want / 8 + 2;
}

static void check_divisors(void)
{
    const uint32_t whole = clocks(DIVIDE_1);
    for (size_t i = 0; i < sizeof(divisors) / sizeof(divisors[0]); i++) {
        const uint32_t part = clocks(divisors[i].code);
        test_check(about((uint64_t)part * divisors[i].divisor, whole) && part != 0,
                   divisors[i].what, "APIC Timer, Divide Configuration Register");
        test_equal(apic_read(APIC_TIMER_DIVIDE), divisors[i].code, "it reads back",
                   "APIC Timer, Divide Configuration Register");
    }
    apic_write(APIC_TIMER_COUNT, 0);
}

static void check_one_shot(void)
{
    for (size_t i = 0; i < sizeof(divisors) / sizeof(divisors[0]); i++) {
        irq_forget();
        apic_write(APIC_TIMER_DIVIDE, divisors[i].code);
        apic_write(APIC_LVT_TIMER, VECTOR);
        apic_write(APIC_TIMER_COUNT, PERIOD / divisors[i].divisor);
        irq_wait(VECTOR, 1);
        irq_wait_some();
        test_equal(irq_hits[VECTOR], 1, "one-shot comes once", divisors[i].what);
    }
    test_equal(apic_read(APIC_TIMER_NOW), 0, "its count is 0 then", "APIC Timer");
    test_equal(apic_read(APIC_TIMER_COUNT), PERIOD / 128, "the initial count stays", "APIC Timer");
}

static void check_periodic(void)
{
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_1);
    apic_write(APIC_LVT_TIMER, VECTOR | LVT_PERIODIC);
    irq_forget();
    apic_write(APIC_TIMER_COUNT, PERIOD);
    irq_wait(VECTOR, 1);
    uint64_t start = rdtsc();
    irq_wait(VECTOR, 11);
    uint64_t periods = rdtsc() - start;
    apic_write(APIC_TIMER_COUNT, 0);
    interrupts_let_in();
    irq_forget();
    irq_wait_some();
    unsigned stopped = irq_hits[VECTOR];
    uint64_t want = (uint64_t)PERIOD * 10 * TICKS / clocks(DIVIDE_1);
    test_check(about(periods, want), "ten periods", "APIC Timer, Periodic Mode");
    test_equal(stopped, 0, "an initial count of 0 stops it", "APIC Timer");

    apic_write(APIC_LVT_TIMER, VECTOR);
    apic_write(APIC_TIMER_COUNT, PERIOD);
    uint32_t first = apic_read(APIC_TIMER_NOW);
    apic_write(APIC_LVT_TIMER, VECTOR | LVT_PERIODIC);
    uint32_t second = apic_read(APIC_TIMER_NOW);
    irq_forget();
    bool goes_on = irq_wait(VECTOR, 3);
    apic_write(APIC_TIMER_COUNT, 0);
    interrupts_let_in();
    test_check(first != 0 && second != 0 && second <= first,
               "from one-shot to periodic the count goes on", "APIC Timer");
    test_check(goes_on, "and begins anew at its end", "APIC Timer");
}

static void check_mask(void)
{
    irq_forget();
    apic_write(APIC_LVT_TIMER, VECTOR | LVT_MASKED);
    apic_write(APIC_TIMER_COUNT, 1000);
    irq_wait_some();
    uint32_t left = apic_read(APIC_TIMER_NOW);
    bool waits = apic_bit(APIC_IRR, VECTOR);
    apic_write(APIC_LVT_TIMER, VECTOR);
    irq_wait_some();
    test_equal(left, 0, "a masked timer counts", "Local Vector Table, Mask");
    test_check(!waits && irq_hits[VECTOR] == 0, "what it would have sent is not kept",
               "Local Vector Table, Mask");
}

static void check_deadline(void)
{
    if (!apic_has_tsc_deadline())
        return;
    apic_write(APIC_LVT_TIMER, VECTOR);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000);
    test_equal(rdmsr(MSR_TSC_DEADLINE), 0, "the MSR is 0 and stays so in other modes",
               "TSC-Deadline Mode");
    apic_write(APIC_TIMER_COUNT, FOREVER);
    apic_write(APIC_LVT_TIMER, VECTOR | LVT_TSC_DEADLINE);
    test_equal(apic_read(APIC_TIMER_NOW), 0, "the mode stops the count", "TSC-Deadline Mode");
    apic_write(APIC_TIMER_COUNT, PERIOD);
    test_equal(apic_read(APIC_TIMER_NOW), 0, "which cannot be started in it", "TSC-Deadline Mode");
    irq_forget();
    uint64_t when = rdtsc() + 100000;
    wrmsr(MSR_TSC_DEADLINE, when);
    bool early = false;
    while (irq_hits[VECTOR] == 0 && rdtsc() < when + 50000000) {
        interrupts_let_in();
        early = early || (irq_hits[VECTOR] != 0 && rdtsc() < when);
    }
    test_check(irq_hits[VECTOR] == 1 && !early, "not before its time", "TSC-Deadline Mode");
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000000);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 10000); /* instead */
    irq_forget();
    irq_wait_some();
    test_equal(irq_hits[VECTOR], 1, "a new deadline takes the old one's place",
               "TSC-Deadline Mode");
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 500000);
    apic_write(APIC_LVT_TIMER, VECTOR);
    apic_write(APIC_LVT_TIMER, VECTOR | LVT_TSC_DEADLINE);
    irq_forget();
    irq_wait_some();
    test_equal(irq_hits[VECTOR], 0, "leaving the mode disarms it", "TSC-Deadline Mode");
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* The ACPI timer of the virtual PC has its own port and three times the 8254's rate. */
static void check_pm_timer(void)
{
    static const uint16_t pm_timer = 0x608;
    uint64_t start = rdtsc();
    port_out8(0x61, 1);
    port_out8(0x43, 0xb0);
    port_out8(0x42, 30000 & 0xff);
    port_out8(0x42, 30000 >> 8);
    uint32_t before = port_in32(pm_timer);
    while ((port_in8(0x61) & 0x20) == 0 && rdtsc() - start < 60000000)
        ;
    uint32_t ticks = port_in32(pm_timer) - before;
    test_check(ticks > 89500 && ticks < 91000, "three ticks for one of the 8254's",
               "ACPI: Power Management Timer");
}

int main(void)
{
    test_begin("timer", "the local APIC's timer");
    pic_init(PIC_BASE);
    apic_enable(false);
    trap_set_handler(VECTOR, irq_on_apic);
    check_divisors();
    check_one_shot();
    check_periodic();
    check_mask();
    check_deadline();
    if (test_only(TEST_VM))
        check_pm_timer();
    test_both();
    return test_end();
}
