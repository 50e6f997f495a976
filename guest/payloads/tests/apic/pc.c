/* SPDX-License-Identifier: BSD-2-Clause */
/* The PC's own interrupts, by the 8259 pair and by the IO-APIC. */
#include "apic.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

#define PIN_PIT     2 /* IRQ0 comes to this input of the IO-APIC */
#define PIN_UART    4
#define PIN_RTC     8
#define VECTOR_PIT  0x50
#define VECTOR_UART 0x54
#define VECTOR_RTC  0x58

#define UART_IER 0x3f9
#define UART_IIR 0x3fa
#define UART_MCR 0x3fc

static volatile uint32_t route_inside; /* the IO-APIC's entry as the handler saw it */
static volatile bool tmr_inside;

static void on_pic(struct trap_frame *frame)
{
    take_note(frame);
    pic_eoi((unsigned)frame->vector - PIC_BASE);
}

static uint8_t cmos_read(uint8_t index)
{
    port_out8(0x70, index);
    return port_in8(0x71);
}

static void cmos_write(uint8_t index, uint8_t v)
{
    port_out8(0x70, index);
    port_out8(0x71, v);
}

static void on_rtc(struct trap_frame *frame)
{
    take_note(frame);
    cmos_read(0x0c); /* reading register C lowers the line */
    if (frame->vector == VECTOR_RTC)
        apic_eoi();
    else
        pic_eoi(8);
}

/* Keeps its line high for three interrupts. */
static void on_uart(struct trap_frame *frame)
{
    take_note(frame);
    route_inside = ioapic_read(0x10 + 2 * PIN_UART);
    tmr_inside = apic_bit(APIC_TMR, VECTOR_UART);
    if (hits[VECTOR_UART] == 3)
        port_out8(UART_IER, 0);
    apic_eoi();
}

static void check_pic(void)
{
    forget();
    trap_set_handler(PIC_BASE, on_pic);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pit_start(2, PIT_1MS);
    wait_some();
    test_equal(hits[PIC_BASE], 0, "a masked IRQ0 does not come", "8259 IMR");
    pic_set_mask(0xfffe);
    test_check(wait_for(PIC_BASE, 3), "PIT, IRQ0, 8259, LINT0 as ExtINT", "virtual wire mode");
    pic_set_mask(0xffff);
    apic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
    forget();
    pic_set_mask(0xfffe);
    wait_some();
    test_equal(hits[PIC_BASE], 0, "a masked LINT0 lets nothing in", "local vector table");
    pic_set_mask(0xffff);
}

static void check_ioapic(void)
{
    forget();
    trap_set_handler(VECTOR_PIT, on_interrupt);
    ioapic_route(PIN_PIT, VECTOR_PIT, 0);
    test_check(wait_for(VECTOR_PIT, 3), "PIT, IO-APIC input 2, edge", "IO-APIC");
    ioapic_route(PIN_PIT, VECTOR_PIT, IOAPIC_MASKED);
    interrupts_let_in();
    forget();
    wait_some();
    test_equal(hits[VECTOR_PIT], 0, "a masked input does not come", "IO-APIC");

    ioapic_route(PIN_PIT, VECTOR_PIT, 0);
    pit_start(0, PIT_1MS);
    interrupts_let_in();
    forget();
    wait_for(VECTOR_PIT, 1);
    wait_some();
    test_equal(hits[VECTOR_PIT], 1, "PIT mode 0 comes once", "8254 mode 0");
    ioapic_route(PIN_PIT, VECTOR_PIT, IOAPIC_MASKED);
}

static void check_rtc(void)
{
    forget();
    trap_set_handler(VECTOR_RTC, on_rtc);
    trap_set_handler(PIC_BASE + 8, on_rtc);
    cmos_write(0x0a, 0x26); /* 1024 Hz */
    cmos_write(0x0b, 0x42); /* periodic interrupt, 24 hours */
    ioapic_route(PIN_RTC, VECTOR_RTC, 0);
    cmos_read(0x0c); /* only now: an edge while masked would be lost, and no other come */
    test_check(wait_for(VECTOR_RTC, 3), "RTC periodic, IO-APIC", "MC146818 register B");
    ioapic_route(PIN_RTC, VECTOR_RTC, IOAPIC_MASKED);

    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    cmos_read(
        0x0c); /* not later: an edge is kept while masked, but a line that falls is spurious */
    pic_set_mask(0xfefb);
    test_check(wait_for(PIC_BASE + 8, 3), "RTC periodic, slave 8259", "the cascade on IRQ2");
    pic_set_mask(0xffff);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    cmos_write(0x0b, 2);
    cmos_read(0x0c);
}

static void check_level(void)
{
    forget();
    trap_set_handler(VECTOR_UART, on_uart);
    port_in8(UART_IIR);
    port_out8(UART_MCR, 0x0b); /* OUT2 lets the interrupt out */
    ioapic_route(PIN_UART, VECTOR_UART, IOAPIC_LEVEL);
    port_out8(UART_IER, 2);
    bool came = wait_for(VECTOR_UART, 3);
    wait_some();
    unsigned count = hits[VECTOR_UART];
    uint32_t after = ioapic_read(0x10 + 2 * PIN_UART);
    ioapic_route(PIN_UART, VECTOR_UART, IOAPIC_MASKED);
    port_out8(UART_IER, 0);
    port_in8(UART_IIR);

    test_check(came, "a level interrupt comes again while its line is high", "IO-APIC, EOI");
    test_equal(count, 3, "and not when it is low", "IO-APIC, EOI");
    test_check((route_inside & IOAPIC_RIRR) != 0, "remote IRR is set until EOI", "IO-APIC");
    test_check((after & IOAPIC_RIRR) == 0, "remote IRR is clear afterwards", "IO-APIC");
    test_check(tmr_inside, "TMR says level", "local APIC");
}

void check_pc_interrupts(void)
{
    check_pic();
    check_ioapic();
    check_rtc();
    check_level();
}
