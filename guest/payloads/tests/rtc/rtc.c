/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818 by its data sheet: time, formats, alarm, and its three interrupts. Rules are
 * headings of Motorola's "MC146818" data sheet. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define VECTOR   (PIC_BASE + IRQ_RTC)
#define PATIENCE 10000000000ull /* TSC ticks: more than a second on any CPU */

enum {
    SECONDS,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR
};
enum { A = 10, B, C, D };
enum { UIP = 0x80, HALT = 0x70, RUN = 0x20, RATE_1024 = 6 };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, BINARY = 4, H24 = 2 };
enum { IRQF = 0x80 };
enum { ANY = 0xc0 }; /* an alarm register that agrees with all */

static volatile uint8_t flags_seen;
static volatile unsigned periods, updates, alarms;
static volatile uint64_t updated_at;

static void on_rtc(struct trap_frame *frame)
{
    uint8_t flags = cmos_read(C);
    flags_seen = flags;
    periods += (flags & PIE) != 0;
    if (flags & UIE) {
        updates++;
        updated_at = rdtsc();
    }
    alarms += (flags & AIE) != 0;
    irq_on_pic(frame);
}

/* Until an update has ended, with the CPU halted; false where it does not come. */
static bool wait_update(void)
{
    unsigned before = updates;
    uint64_t start = rdtsc();
    while (updates == before && rdtsc() - start < PATIENCE)
        interrupt_wait();
    return updates != before;
}

struct time {
    uint8_t hours, minutes, seconds, day, month, year;
};

/* Stops the clock, sets it, and lets it go: the first update comes half a second later. */
static void set_time(uint8_t format, struct time t, uint8_t interrupts)
{
    cmos_write(B, SET | format);
    cmos_write(A, HALT | RATE_1024);
    cmos_write(HOURS, t.hours);
    cmos_write(MINUTES, t.minutes);
    cmos_write(SECONDS, t.seconds);
    cmos_write(DAY, t.day);
    cmos_write(MONTH, t.month);
    cmos_write(YEAR, t.year);
    cmos_read(C);
    cmos_write(B, format | interrupts);
    cmos_write(A, RUN | RATE_1024);
}

static bool time_is(struct time t)
{
    return cmos_read(HOURS) == t.hours && cmos_read(MINUTES) == t.minutes &&
           cmos_read(SECONDS) == t.seconds && cmos_read(DAY) == t.day &&
           cmos_read(MONTH) == t.month && cmos_read(YEAR) == t.year;
}

static const struct {
    const char *what;
    uint8_t format;
    struct time before, after;
} rows[] = {
    {"the last second of a century, BCD, 24 hours",
     H24,
     {0x23, 0x59, 0x59, 0x31, 0x12, 0x99},
     {0, 0, 0, 1, 1, 0}},
    {"29 February of a leap year, binary",
     H24 | BINARY,
     {23, 59, 59, 28, 2, 4},
     {0, 0, 0, 29, 2, 4}},
    {"no 29 February in other years", H24 | BINARY, {23, 59, 59, 28, 2, 5}, {0, 0, 0, 1, 3, 5}},
    {"noon, BCD, 12 hours",
     0,
     {0x11, 0x59, 0x59, 0x30, 0x04, 0x26},
     {0x92, 0, 0, 0x30, 0x04, 0x26}},
    {"midnight, BCD, 12 hours", 0, {0x91, 0x59, 0x59, 0x30, 0x04, 0x26}, {0x12, 0, 0, 1, 5, 0x26}},
    {"1 p.m., binary, 12 hours",
     BINARY,
     {0x80 | 12, 59, 59, 1, 10, 26},
     {0x80 | 1, 0, 0, 1, 10, 26}},
};

static void check_time(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_time(rows[i].format, rows[i].before, UIE);
        bool came = wait_update();
        test_check(came && time_is(rows[i].after), rows[i].what, "Time, Calendar, and Alarm");
    }
}

static void check_registers(void)
{
    cmos_write(D, 0x00);
    test_equal(cmos_read(D), 0x80, "register D is read-only: RAM and time are valid", "Register D");
    cmos_write(B, SET | UIE | H24);
    test_equal(cmos_read(B), SET | H24, "SET clears UIE", "Register B, SET");
    cmos_write(A, 0xa6);
    test_equal(cmos_read(A), 0x26, "UIP is read-only, and 0 while SET", "Register A, UIP");
    cmos_write(0x7f, 0x5a);
    test_equal(cmos_read(0x7f), 0x5a, "the last byte of the memory", "Memory Map");
    cmos_read(C);
    test_equal(cmos_read(C) & 0x0f, 0, "the low bits of register C are 0", "Register C");
    uint16_t sum = 0;
    for (uint8_t i = 0x10; i < 0x2e; i++)
        sum = (uint16_t)(sum + cmos_read(i));
    test_equal(sum, cmos_read(0x2e) << 8 | cmos_read(0x2f), "the sum over 10H to 2DH",
               "PC/AT CMOS");
    test_equal(cmos_read(0x16) << 8 | cmos_read(0x15), 640, "KiB of base memory", "PC/AT CMOS");
}

static void check_update(void)
{
    static const struct time noon = {0x12, 0, 0, 1, 1, 0x26};
    static const struct time later = {0x12, 0, 1, 1, 1, 0x26};
    set_time(H24, noon, UIE);
    uint64_t start = rdtsc();
    bool first = wait_update();
    uint64_t half = updated_at - start;
    uint8_t flags = flags_seen;
    bool stepped = time_is(later);
    start = updated_at;
    bool second = wait_update();
    uint64_t whole = updated_at - start;
    test_check(first && second && stepped, "update-ended interrupts, and the time moves",
               "Update-Ended Interrupt");
    test_equal(flags & (IRQF | UIE), IRQF | UIE, "register C has UF and IRQF", "Register C");
    test_check(half > whole * 4 / 10 && half < whole * 6 / 10,
               "the first comes half a second after a divider reset", "Divider Control");

    cmos_write(B, H24 | UIE);
    cmos_write(SECONDS, 0x30);
    cmos_write(B, SET | H24 | PIE);
    unsigned before = periods;
    while (periods - before < 1200) /* more than a second */
        interrupt_wait();
    test_equal(cmos_read(SECONDS), 0x30, "SET keeps the time", "Register B, SET");
    cmos_write(B, H24);

    uint8_t uip = 0;
    cmos_write(B, H24 | UIE);
    wait_update();
    cmos_write(B, H24);
    for (start = rdtsc(); uip == 0 && rdtsc() - start < PATIENCE;)
        uip = cmos_read(A) & UIP;
    cmos_write(B, H24 | UIE);
    wait_update();
    test_equal(uip, UIP, "UIP is seen before an update", "Register A, UIP");
    test_check((cmos_read(A) & UIP) == 0, "and not after it", "Register A, UIP");
}

static void check_periodic(void)
{
    cmos_read(C);
    cmos_write(B, H24 | UIE | PIE);
    wait_update();
    unsigned before = periods;
    wait_update();
    unsigned a_second = periods - before;
    cmos_write(B, H24);
    cmos_read(C);
    irq_forget();
    irq_wait_some();
    irq_wait_some();
    unsigned disabled = irq_hits[VECTOR];
    uint8_t flags = cmos_read(C), again = cmos_read(C);
    test_check(a_second >= 1023 && a_second <= 1025, "rate 6 is 1024 interrupts a second",
               "Periodic Interrupt");
    test_equal(disabled, 0, "none without PIE", "Register B, PIE");
    test_equal(flags & (IRQF | PIE), PIE, "but PF is set, without IRQF", "Register C");
    test_equal(again & PIE, 0, "reading register C has cleared it", "Register C");

    while ((cmos_read(C) & PIE) != 0) /* begins a period */
        ;
    trap_set_handler(VECTOR, irq_on_pic); /* does not read register C */
    cmos_write(B, H24 | PIE);
    irq_forget();
    for (unsigned i = 0; i < 3; i++)
        irq_wait_some();
    unsigned unread = irq_hits[VECTOR];
    cmos_write(B, H24);
    cmos_read(C);
    trap_set_handler(VECTOR, on_rtc);
    test_equal(unread, 1, "no second interrupt until register C is read", "IRQ Pin");
}

static void check_alarm(void)
{
    static const struct time t = {0x23, 0x59, 0x58, 1, 1, 0x26};
    set_time(H24, t, UIE | AIE);
    cmos_write(HOURS_ALARM, 0);
    cmos_write(MINUTES_ALARM, 0);
    cmos_write(SECONDS_ALARM, 0);
    alarms = 0;
    wait_update();
    unsigned early = alarms;
    wait_update();
    test_check(early == 0 && alarms == 1, "an alarm at midnight", "Alarm Interrupt");
    cmos_write(HOURS_ALARM, ANY);
    cmos_write(MINUTES_ALARM, ANY);
    cmos_write(SECONDS_ALARM, 0xff);
    wait_update();
    wait_update();
    test_equal(alarms, 3, "11xxxxxx agrees with every second", "Alarm Interrupt");
    cmos_write(B, H24);
}

int main(void)
{
    test_begin("rtc", "the MC146818 as its data sheet says");
    apic_enable(false);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pic_init(PIC_BASE);
    trap_set_handler(VECTOR, on_rtc);
    check_registers();
    pic_set_mask(0xfefb);
    check_time();
    check_update();
    check_periodic();
    check_alarm();
    return test_end();
}
