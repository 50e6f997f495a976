/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting interrupts, and making a PC's devices ask for them. */
#include "guest/lib/irq.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define PATIENCE 60000000 /* TSC ticks: many timer periods of these tests, on any machine */
#define SOME     2000000

#define PIT_CONTROL    0x43
#define UART           0x3f8
#define UART_OUT2      0x0b /* lets the interrupt out; DTR and RTS as ever */
#define KBC_DATA       0x60
#define KBC_COMMAND    0x64
#define KBC_FULL       1
#define KBC_BUSY       2
#define KBC_INTERRUPTS 0x03 /* command byte: of keyboard and mouse; both devices on */
#define WRITE_KEYBOARD 0xd2 /* as if the device had sent the byte that follows */
#define WRITE_MOUSE    0xd3
#define WRITE_CONFIG   0x60
#define RTC_A          0x0a
#define RTC_B          0x0b
#define RTC_C          0x0c
#define RTC_1024_HZ    0x26
#define RTC_FASTEST    0x23 /* 8192 Hz */
#define RTC_24_HOURS   2
#define RTC_PERIODIC   0x40

volatile unsigned irq_hits[256];
volatile uint8_t irq_order[16];
volatile unsigned irq_order_count;

void irq_forget(void)
{
    for (unsigned i = 0; i < 256; i++)
        irq_hits[i] = 0;
    irq_order_count = 0;
}

void irq_note(const struct trap_frame *frame)
{
    irq_hits[frame->vector]++;
    if (irq_order_count < sizeof(irq_order))
        irq_order[irq_order_count++] = (uint8_t)frame->vector;
}

void irq_on_apic(struct trap_frame *frame)
{
    irq_note(frame);
    apic_eoi();
}

void irq_on_pic(struct trap_frame *frame)
{
    irq_note(frame);
    pic_eoi((unsigned)frame->vector - PIC_BASE);
}

bool irq_wait(unsigned vector, unsigned n)
{
    uint64_t start = rdtsc();
    while (irq_hits[vector] < n && rdtsc() - start < PATIENCE)
        interrupts_let_in();
    return irq_hits[vector] >= n;
}

void irq_wait_some(void)
{
    uint64_t start = rdtsc();
    while (rdtsc() - start < SOME)
        interrupts_let_in();
}

static void pause_some(void)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < SOME;)
        ;
}

uint8_t cmos_read(uint8_t index)
{
    port_out8(0x70, index);
    return port_in8(0x71);
}

void cmos_write(uint8_t index, uint8_t value)
{
    port_out8(0x70, index);
    port_out8(0x71, value);
}

static void kbc_wait(uint8_t bit, bool set)
{
    uint64_t start = rdtsc();
    while (((port_in8(KBC_COMMAND) & bit) != 0) != set && rdtsc() - start < SOME)
        ;
}

static void kbc_command(uint8_t command, uint8_t argument)
{
    kbc_wait(KBC_BUSY, false);
    port_out8(KBC_COMMAND, command);
    kbc_wait(KBC_BUSY, false);
    port_out8(KBC_DATA, argument);
    kbc_wait(KBC_BUSY, false);
}

static void rtc_raise(void)
{
    cmos_write(RTC_A, RTC_FASTEST);
    cmos_read(RTC_C);
    cmos_write(RTC_B, RTC_24_HOURS | RTC_PERIODIC);
    pause_some(); /* 122 us and more; a look at the flag would lower the line */
    cmos_write(RTC_A, RTC_1024_HZ);
}

void irq_raise(enum irq_line line)
{
    switch (line) {
    case IRQ_PIT:
        pit_start(0, 2);
        do /* until OUT is high: read-back of the status */
            port_out8(PIT_CONTROL, 0xe2);
        while ((port_in8(0x40) & 0x80) == 0);
        break;
    case IRQ_UART:
        serial_drain();
        port_out8(UART + 4, UART_OUT2);
        port_out8(UART + 1, 2);
        break;
    case IRQ_RTC: rtc_raise(); break;
    case IRQ_KEYBOARD:
    case IRQ_MOUSE:
        kbc_command(WRITE_CONFIG, KBC_INTERRUPTS);
        kbc_command(line == IRQ_MOUSE ? WRITE_MOUSE : WRITE_KEYBOARD, 0);
        kbc_wait(KBC_FULL, true);
        pause_some(); /* it is the program of a small computer that raises it */
        break;
    }
}

void irq_lower(enum irq_line line)
{
    switch (line) {
    case IRQ_PIT: port_out8(PIT_CONTROL, 0x30); break; /* mode 0: OUT falls */
    case IRQ_UART:
        port_out8(UART + 1, 0);
        port_in8(UART + 2);
        break;
    case IRQ_RTC:
        cmos_write(RTC_B, RTC_24_HOURS);
        cmos_read(RTC_C);
        break;
    case IRQ_KEYBOARD:
    case IRQ_MOUSE: port_in8(KBC_DATA); break;
    }
}
