/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550A by its data sheet, in loop-back, so that nothing leaves. It is also what prints:
 * results are gathered first. Rules are headings of National's "PC16550D" data sheet. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define VECTOR   (PIC_BASE + IRQ_UART)
#define PATIENCE 20000000
#define LOOP     0x10
#define DLAB     0x80

enum { RBR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };
enum { DR = 1, OE = 2, THRE = 0x20, TEMT = 0x40 };

/* What a register was, and what it is to be. */
static struct result {
    const char *what, *rule;
    unsigned got, want;
} results[64];
static unsigned count;

static void note(unsigned got, unsigned want, const char *what, const char *rule)
{
    if (count < sizeof(results) / sizeof(results[0]))
        results[count++] = (struct result){what, rule, got, want};
}

static void print_results(void)
{
    serial_init();
    for (unsigned i = 0; i < count; i++)
        test_equal(results[i].got, results[i].want, results[i].what, results[i].rule);
    serial_drain();
    count = 0;
}

static void send(uint8_t byte)
{
    uint64_t start = rdtsc();
    while ((port_in8(LSR) & THRE) == 0 && rdtsc() - start < PATIENCE)
        ;
    port_out8(RBR, byte);
}

/* Until all sent bytes have come round, with the time that a FIFO takes to call itself old. */
static void settle(void)
{
    uint64_t start = rdtsc();
    while (rdtsc() - start < 2000000)
        ;
}

static void quiet(uint8_t fcr, uint8_t mcr)
{
    port_out8(IER, 0);
    port_out8(MCR, mcr);
    port_out8(FCR, 0);
    port_out8(FCR, fcr);
    for (unsigned i = 0; i < 3; i++) {
        port_in8(LSR);
        port_in8(RBR);
        port_in8(IIR);
        port_in8(MSR);
    }
}

static void check_registers(void)
{
    quiet(0, LOOP);
    port_out8(SCR, 0x5a);
    note(port_in8(SCR), 0x5a, "scratch register", "Scratchpad Register");
    port_out8(IER, 0xf0);
    note(port_in8(IER), 0, "the high half of IER is 0", "Interrupt Enable Register");
    port_out8(LCR, DLAB | 3);
    port_out8(RBR, 0x34);
    port_out8(IER, 0x12);
    note(port_in8(RBR) | port_in8(IER) << 8, 0x1234, "divisor latch",
         "Programmable Baud Generator");
    port_out8(RBR, 1);
    port_out8(IER, 0);
    port_out8(LCR, 3);
    note(port_in8(IER), 0, "which is not the IER", "Line Control Register, DLAB");
    note(port_in8(LCR), 3, "LCR reads back", "Line Control Register");
    port_out8(MCR, LOOP | 0xe0);
    note(port_in8(MCR), LOOP, "the top of MCR is 0", "Modem Control Register");
    note(port_in8(LSR) & (THRE | TEMT), THRE | TEMT, "an idle transmitter", "Line Status Register");
    note(port_in8(IIR), 1, "no interrupt, no FIFO", "Interrupt Identification Register");
    port_out8(FCR, 1);
    note(port_in8(IIR), 0xc1, "no interrupt, FIFO", "Interrupt Identification Register");
    port_out8(FCR, 0);
}

static void check_modem(void)
{
    quiet(0, LOOP);
    port_in8(MSR);
    note(port_in8(MSR), 0, "all inputs inactive", "Loop, MSR");
    port_out8(MCR, LOOP | 1);
    note(port_in8(MSR), 0x22, "DTR comes round as DSR, with its delta", "Loop, MSR");
    note(port_in8(MSR), 0x20, "reading clears the delta", "Modem Status Register");
    port_out8(MCR, LOOP | 2);
    note(port_in8(MSR), 0x13, "RTS as CTS", "Loop, MSR");
    port_out8(MCR, LOOP | 4);
    note(port_in8(MSR), 0x41, "OUT1 as RI, whose rise is no event", "Modem Status Register, TERI");
    port_out8(MCR, LOOP | 8);
    note(port_in8(MSR), 0x8c, "OUT2 as DCD; RI has fallen", "Modem Status Register, TERI");
    port_out8(IER, 8);
    port_out8(MCR, LOOP);
    note(port_in8(IIR), 0, "a delta is an interrupt", "MODEM Status Interrupt");
    port_in8(MSR);
    note(port_in8(IIR), 1, "until MSR is read", "MODEM Status Interrupt");
}

static void check_data(void)
{
    quiet(0, LOOP);
    send(0x55);
    settle();
    note(port_in8(LSR) & DR, DR, "a byte comes round", "Loop");
    port_out8(IER, 1);
    note(port_in8(IIR), 4, "received data available", "Interrupt Identification Register");
    note(port_in8(RBR), 0x55, "the byte", "Receiver Buffer Register");
    note(port_in8(IIR), 1, "reading it ends the interrupt", "Interrupt Identification Register");
    port_out8(IER, 0);
    send(1);
    settle();
    send(2);
    settle();
    port_out8(IER, 5);
    note(port_in8(IIR), 6, "an overrun is the most urgent", "Receiver Line Status Interrupt");
    note(port_in8(LSR) & (OE | DR), OE | DR, "OE", "Line Status Register");
    note(port_in8(LSR) & (OE | DR), DR, "is cleared by reading", "Line Status Register");
    note(port_in8(RBR), 2, "the new byte has taken the old one's place", "Overrun Error");
    port_out8(IER, 0);
}

static void check_transmitter(void)
{
    quiet(0, LOOP);
    port_out8(IER, 2);
    note(port_in8(IIR), 2, "enabled while empty, THRE interrupts", "THRE Interrupt");
    note(port_in8(IIR), 1, "reading IIR ends it", "THRE Interrupt");
    send('x');
    settle();
    note(port_in8(IIR), 2, "a byte sent, it is empty again", "THRE Interrupt");
    port_out8(IER, 0);
    port_out8(IER, 2);
    note(port_in8(IIR), 2, "enabled anew, it interrupts anew", "THRE Interrupt");
    port_out8(IER, 0);
}

static void check_fifo(void)
{
    uint8_t iir;
    quiet(0x87, LOOP); /* FIFO on, trigger at 8 */
    port_out8(IER, 1);
    for (uint8_t i = 0; i < 3; i++)
        send(i);
    settle();
    note(port_in8(IIR), 0xcc, "fewer than the trigger level time out", "FIFO Interrupt Mode");
    note(port_in8(RBR) | port_in8(RBR) << 8 | port_in8(RBR) << 16, 0x020100, "they are there",
         "FIFO Operation");
    for (uint8_t i = 0; i < 8; i++)
        send(i);
    uint64_t start = rdtsc();
    while ((iir = port_in8(IIR)) == 0xc1 && rdtsc() - start < PATIENCE)
        ;
    note(iir, 0xc4, "at the trigger level data is available", "FIFO Interrupt Mode");
    settle();
    unsigned wrong = 0;
    for (uint8_t i = 0; i < 8; i++)
        wrong += port_in8(RBR) != i;
    note(wrong, 0, "the bytes in their order", "FIFO Operation");
    note(port_in8(IIR), 0xc1, "empty: no interrupt", "FIFO Interrupt Mode");
    port_out8(IER, 0);
    for (uint8_t i = 0; i < 17; i++) {
        send((uint8_t)(0x30 + i));
        settle();
    }
    note(port_in8(LSR) & OE, OE, "the 17th byte overruns", "Overrun Error");
    wrong = 0;
    for (uint8_t i = 0; i < 16; i++)
        wrong += port_in8(RBR) != 0x30 + i;
    note(wrong, 0, "the FIFO keeps the first 16", "Overrun Error");
    send('y');
    settle();
    port_out8(FCR, 0x83);
    note(port_in8(LSR) & DR, 0, "the receiver FIFO's reset", "FIFO Control Register");
}

/* Sends without asking which interrupt it was: each byte makes an edge of its own. */
static void on_thre(struct trap_frame *frame)
{
    irq_note(frame);
    if (irq_hits[VECTOR] < 5)
        port_out8(RBR, '\r');
    pic_eoi(IRQ_UART);
}

static void check_edges(void)
{
    quiet(0, 0x0b);
    irq_forget();
    trap_set_handler(VECTOR, on_thre);
    pic_set_mask((uint16_t) ~(1u << IRQ_UART));
    port_out8(IER, 2);
    bool came = irq_wait(VECTOR, 5);
    irq_wait_some();
    unsigned all = irq_hits[VECTOR];
    port_out8(MCR, 3);
    port_in8(IIR);
    port_out8(IER, 0);
    port_out8(IER, 2);
    irq_wait_some();
    unsigned gated = irq_hits[VECTOR] - all;
    pic_set_mask(0xffff);
    port_out8(IER, 0);
    note(came, 1, "writing THR makes the next edge, without a look at IIR", "THRE Interrupt");
    note(all, 5, "five bytes, five edges", "THRE Interrupt");
    print_results();
    if (test_only(TEST_VM))
        test_check(gated > 0, "it comes without OUT2, too", "QEMU: INTR is the interrupt line");
    test_both();
}

int main(void)
{
    test_begin("uart", "the 16550A as its data sheet says");
    apic_enable(false);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pic_init(PIC_BASE);
    static void (*const parts[])(void) = {check_registers,   check_modem, check_data,
                                          check_transmitter, check_fifo,  check_edges};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        serial_drain();
        parts[i]();
        print_results();
    }
    return test_end();
}
