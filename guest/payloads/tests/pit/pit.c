/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254 in all its modes, by channel 2, whose gate and output port 0x61 has, and as IRQ0. Rules
 * are headings of Intel's "8254" data sheet. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"

#define C0       0x40
#define C2       0x42
#define CONTROL  0x43
#define SPEAKER  0x61
#define GATE     1
#define OUT2     0x20
#define REFRESH  0x10
#define OUT      0x80 /* of the status byte */
#define NULL_CNT 0x40
#define PATIENCE 60000000

static void gate(bool high)
{
    port_out8(SPEAKER, high ? GATE : 0);
}

static bool out2(void)
{
    return (port_in8(SPEAKER) & OUT2) != 0;
}

static void control(unsigned mode, bool bcd)
{
    port_out8(CONTROL, (uint8_t)(0xb0 | mode << 1 | (bcd ? 1 : 0)));
}

static void count(uint16_t value)
{
    port_out8(C2, (uint8_t)value);
    port_out8(C2, (uint8_t)(value >> 8));
}

static uint16_t latched(void)
{
    port_out8(CONTROL, 0x80);
    uint8_t low = port_in8(C2);
    return (uint16_t)(low | port_in8(C2) << 8);
}

static uint8_t status(void)
{
    port_out8(CONTROL, 0xe8);
    return port_in8(C2);
}

/* Lets n cycles of 838 ns or a few more pass, by channel 1. */
static void cycles(uint16_t n)
{
    uint64_t start = rdtsc();
    port_out8(CONTROL, 0x70);
    port_out8(0x41, (uint8_t)n);
    port_out8(0x41, (uint8_t)(n >> 8));
    do
        port_out8(CONTROL, 0xe4);
    while ((port_in8(0x41) & OUT) == 0 && rdtsc() - start < PATIENCE);
}

static bool wait_out(bool high)
{
    uint64_t start = rdtsc();
    while (out2() != high && rdtsc() - start < PATIENCE)
        ;
    return out2() == high;
}

static void check_control(void)
{
    gate(true);
    for (unsigned mode = 0; mode < 8; mode++) {
        control(mode, false);
        uint8_t s = status();
        test_equal(s & 0x3f, 0x30 | mode << 1, "status has the control word as written",
                   "Read-Back Command");
        test_equal(s & NULL_CNT, NULL_CNT, "no count is loaded yet", "Null Count");
        test_equal(s & OUT, mode == 0 ? 0 : OUT, "OUT is low in mode 0 only", "Mode Definitions");
    }
    control(3, true);
    test_equal(status() & 0x3f, 0x37, "and BCD", "Read-Back Command");
    control(0, false);
    count(1000);
    cycles(10);
    test_equal(status() & NULL_CNT, 0, "a count is loaded by the next clock", "Null Count");
}

static void check_mode_0(void)
{
    gate(true);
    control(0, false);
    count(2000);
    bool low = !out2();
    bool high = wait_out(true);
    cycles(20);
    uint16_t past = latched();
    bool stays = out2();
    test_check(low && high, "OUT rises at the end of the count", "Mode 0");
    test_check(past > 0x8000 && stays, "the count goes on, OUT stays", "Mode 0");

    count(20000);
    cycles(100);
    gate(false);
    uint16_t first = latched();
    cycles(100);
    uint16_t second = latched();
    gate(true);
    cycles(100);
    uint16_t third = latched();
    test_check(first < 20000 && first > 10000, "a new count starts at once", "Mode 0");
    test_equal(second, first, "the gate stops it", "Gate Pin Operations");
    test_check(third < second && third > 10000, "and lets it go on", "Gate Pin Operations");

    count(2);
    wait_out(true);
    port_out8(C2, 0x10);
    bool fell = !out2();
    cycles(100);
    bool held = !out2();
    port_out8(C2, 0);
    bool rose = wait_out(true);
    test_check(fell && held && rose, "the first byte of a count lowers OUT and holds it", "Mode 0");
    gate(false);
    control(0, false);
    count(100);
    cycles(200);
    test_check(!out2(), "with the gate low it does not count", "Mode 0");
    test_equal(status() & NULL_CNT, 0, "but is loaded", "Mode 0");
    gate(true);
    test_check(wait_out(true), "until the gate is high", "Mode 0");
}

static void check_mode_1(void)
{
    gate(false);
    control(1, false);
    count(2000);
    cycles(100);
    bool idle = out2();
    uint8_t waiting = status();
    gate(true);
    cycles(20);
    bool low = !out2();
    uint8_t going = status();
    gate(false);
    cycles(20);
    bool goes_on = !out2();
    gate(true); /* again, from the start */
    cycles(20);
    uint16_t again = latched();
    bool high = wait_out(true);
    test_check(idle, "OUT is high before a trigger", "Mode 1");
    test_equal(waiting & NULL_CNT, NULL_CNT, "the count is loaded by the trigger", "Null Count");
    test_check(low && high, "a trigger makes one low pulse", "Mode 1");
    test_equal(going & NULL_CNT, 0, "the trigger has loaded the count", "Null Count");
    test_check(goes_on, "a low gate does not end it", "Gate Pin Operations");
    test_check(again > 1800 && again <= 2000, "a second trigger begins it anew", "Mode 1");
}

static void check_mode_2(void)
{
    bool in_range = true, stays_high = true;
    gate(true);
    control(2, false);
    count(1000);
    cycles(10);
    for (unsigned i = 0; i < 200; i++) {
        uint16_t n = latched();
        in_range = in_range && n >= 1 && n <= 1000;
    }
    gate(false);
    uint16_t first = latched();
    for (unsigned i = 0; i < 20; i++)
        stays_high = stays_high && out2();
    cycles(1200);
    uint16_t second = latched();
    uint16_t reloaded = 0;
    for (unsigned tries = 0; tries < 3 && reloaded <= 900; tries++) { /* others may have a turn */
        gate(false);
        gate(true);
        cycles(20);
        reloaded = latched();
    }
    test_check(in_range, "counts from N to 1, over and over", "Mode 2");
    test_check(stays_high && first == second, "a low gate stops it, OUT high", "Mode 2");
    test_check(reloaded > 900 && reloaded <= 1000, "a rising gate reloads it", "Mode 2");

    control(2, false);
    count(50000);
    cycles(100);
    count(1000);
    uint8_t pending = status();
    uint16_t old = latched();
    gate(false);
    gate(true);
    cycles(20);
    uint16_t fresh = latched();
    uint8_t taken = status();
    test_check(old > 1000, "a new count waits for the period's end", "Mode 2");
    test_equal(pending & NULL_CNT, NULL_CNT, "it is not loaded yet", "Null Count");
    test_check(fresh <= 1000 && (taken & NULL_CNT) == 0, "or for a trigger", "Mode 2");
}

static void check_mode_3(uint16_t n)
{
    bool even = true, in_range = true;
    unsigned high = 0;
    gate(true);
    control(3, false);
    count(n);
    cycles(10);
    bool first = out2();
    for (unsigned i = 0; i < 256; i++) {
        uint16_t now = latched();
        even = even && (now & 1) == 0;
        in_range = in_range && now <= n;
    }
    /* Sampled at steps that are no part of the period. */
    for (unsigned i = 0; i < 256; i++) {
        cycles(37);
        high += out2();
    }
    gate(false);
    bool gated = out2();
    test_check(first && even && in_range, "counts by twos, even numbers only", "Mode 3");
    test_check(high > 256 * 3 / 8 && high < 256 * 5 / 8, "OUT is high half of the time", "Mode 3");
    test_check(gated, "a low gate raises OUT", "Mode 3");
    gate(true);
    cycles(10);
    test_check(latched() > n - n / 4, "a rising gate begins a period", "Mode 3");
}

static void check_modes_4_and_5(void)
{
    gate(true);
    control(4, false);
    count(500);
    bool before = out2();
    cycles(700);
    uint16_t past = latched();
    test_check(before && out2() && past > 0x8000, "counts once, and on without a strobe", "Mode 4");
    count(60000);
    cycles(10);
    gate(false);
    uint16_t first = latched();
    cycles(50);
    test_check(first > 50000 && latched() == first, "the gate stops it", "Mode 4");

    control(5, false);
    count(500);
    cycles(700);
    uint8_t waiting = status();
    gate(true);
    cycles(20);
    uint16_t going = latched();
    gate(false);
    cycles(700);
    past = latched();
    test_check((waiting & (OUT | NULL_CNT)) == (OUT | NULL_CNT), "waits for a trigger", "Mode 5");
    test_check(going > 300 && going <= 500, "a trigger loads it", "Mode 5");
    test_check(past > 0x8000, "it goes on with the gate low", "Mode 5");
}

static void check_reading(void)
{
    gate(true);
    control(2, false);
    count(60000);
    cycles(10);
    port_out8(CONTROL, 0x80);
    port_out8(CONTROL, 0xc8); /* read-back, count and status: the count is latched already */
    uint8_t s = port_in8(C2), low = port_in8(C2), high = port_in8(C2);
    uint16_t first = (uint16_t)(low | high << 8);
    port_out8(CONTROL, 0xd8); /* the count only */
    cycles(200);
    port_out8(CONTROL, 0xd8);
    low = port_in8(C2);
    uint16_t second = (uint16_t)(low | port_in8(C2) << 8);
    uint16_t third = latched();
    test_equal(s, OUT | 0x34, "read-back gives the status first", "Read-Back Command");
    test_check(first > 50000 && first <= 60000, "then the count", "Read-Back Command");
    test_check(second <= first && second - third >= 200,
               "a latched count is held until read; a second latch is ignored",
               "Counter Latch Command");
    port_out8(CONTROL, 0x94); /* low byte only, mode 2 */
    port_out8(C2, 200);
    cycles(10);
    uint8_t bytes[] = {port_in8(C2), port_in8(C2), port_in8(C2)};
    test_check(bytes[0] <= 200 && bytes[1] <= 200 && bytes[2] <= 200,
               "each read gives the low byte", "Read/Write Format");
    port_out8(CONTROL, 0xa0); /* high byte only, mode 0 */
    port_out8(C2, 0xc0);
    cycles(20);
    bytes[0] = port_in8(C2);
    bytes[1] = port_in8(C2);
    test_check(bytes[0] == 0xbf && bytes[1] == 0xbf, "each read gives the high byte",
               "Read/Write Format");
}

static bool is_bcd(uint16_t n)
{
    for (; n != 0; n >>= 4)
        if ((n & 15) > 9)
            return false;
    return true;
}

static void check_bcd(void)
{
    bool good = true;
    gate(true);
    control(2, true);
    count(0x1000);
    cycles(10);
    for (unsigned i = 0; i < 100; i++) {
        uint16_t n = latched();
        good = good && is_bcd(n) && n <= 0x1000;
    }
    control(0, true);
    count(0);
    cycles(10);
    uint16_t top = latched();
    test_check(good, "decimal digits only", "BCD");
    test_check(top > 0x9800 && is_bcd(top), "0 stands for 10000", "BCD");
}

static void check_port_61(void)
{
    port_out8(SPEAKER, 0xff);
    uint8_t ones = port_in8(SPEAKER);
    port_out8(SPEAKER, 0);
    uint8_t zeros = port_in8(SPEAKER);
    test_equal(ones & 0x0f, 0x0f, "bits 3:0 can be set", "NMI Status and Control");
    test_equal(zeros & 0x0f, 0, "and cleared", "NMI Status and Control");
    unsigned changes = 0;
    uint64_t start = rdtsc();
    for (uint8_t last = zeros & REFRESH; changes < 10 && rdtsc() - start < PATIENCE;) {
        uint8_t now = port_in8(SPEAKER) & REFRESH;
        changes += now != last;
        last = now;
    }
    test_equal(changes, 10, "bit 4 toggles", "Refresh Cycle Toggle");
}

/* Some interrupts of channel 0, while channel 2 measures. */
static uint32_t measure(unsigned mode, uint16_t n, unsigned interrupts)
{
    irq_forget();
    pit_start(mode, n);
    irq_wait(PIC_BASE, 1);
    gate(true);
    control(0, false);
    count(0xffff);
    irq_wait(PIC_BASE, 1 + interrupts);
    return 0xffffu - latched();
}

static void check_irq0(void)
{
    pic_init(PIC_BASE);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    trap_set_handler(PIC_BASE, irq_on_pic);
    pic_set_mask(0xfffe);
    uint32_t rate = measure(2, 5000, 10), square = measure(3, 5000, 10);
    irq_forget();
    pit_start(0, 3000);
    irq_wait(PIC_BASE, 1);
    irq_wait_some();
    unsigned once = irq_hits[PIC_BASE];
    pit_start(4, 3000);
    irq_forget();
    irq_wait(PIC_BASE, 1);
    irq_wait_some();
    unsigned strobe = irq_hits[PIC_BASE];
    pic_set_mask(0xffff);
    irq_lower(IRQ_PIT);
    test_check(rate > 46000 && rate < 54000, "10 interrupts in 10 periods of mode 2", "Mode 2");
    test_check(square > 46000 && square < 54000, "10 interrupts in 10 periods of mode 3", "Mode 3");
    test_equal(once, 1, "mode 0 interrupts once", "Mode 0");
    test_equal(strobe, 1, "mode 4 interrupts once", "Mode 4");
}

int main(void)
{
    test_begin("pit", "the 8254 as its data sheet says");
    apic_enable(false);
    pic_init(PIC_BASE);
    check_control();
    check_mode_0();
    check_mode_1();
    check_mode_2();
    check_mode_3(1000);
    check_mode_3(1001);
    check_modes_4_and_5();
    check_reading();
    check_bcd();
    check_port_61();
    check_irq0();
    return test_end();
}
