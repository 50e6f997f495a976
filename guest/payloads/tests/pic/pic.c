/* SPDX-License-Identifier: BSD-2-Clause */
/* The two 8259As by their data sheet, with the lines of PIT, serial port, RTC and mouse. Rules are
 * headings of Intel's "8259A" data sheet. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"

#define MASTER   0x20
#define SLAVE    0xa0
#define ELCR     0x4d0
#define READ_IRR 0x0a /* OCW3 */
#define READ_ISR 0x0b
#define POLL     0x0c
#define SMM_ON   0x68
#define SMM_OFF  0x48
#define EOI      0x20 /* OCW2 */
#define NOTHING  0xffff

static volatile uint8_t isr_inside, irr_inside;

static uint8_t read(uint16_t port, uint8_t ocw3)
{
    port_out8(port, ocw3);
    return port_in8(port);
}

static void let_in(void)
{
    for (unsigned i = 0; i < 3; i++)
        interrupts_let_in();
}

static bool order_is(unsigned first, unsigned second)
{
    return irq_order_count == 2 && irq_order[0] == PIC_BASE + first &&
           irq_order[1] == PIC_BASE + second;
}

static bool order_is4(unsigned a, unsigned b, unsigned c, unsigned d)
{
    return irq_order_count == 4 && irq_order[0] == PIC_BASE + a && irq_order[1] == PIC_BASE + b &&
           irq_order[2] == PIC_BASE + c && irq_order[3] == PIC_BASE + d;
}

/* Both chips anew, with an ICW4 for the master, all lines down and no memory of an edge. */
static void restart(uint8_t icw4)
{
    static const enum irq_line line[] = {IRQ_PIT, IRQ_UART, IRQ_RTC, IRQ_KEYBOARD};
    for (unsigned i = 0; i < sizeof(line) / sizeof(line[0]); i++)
        irq_lower(line[i]);
    pic_init(PIC_BASE);
    if (icw4 != 1) {
        port_out8(MASTER, 0x11);
        port_out8(MASTER + 1, PIC_BASE);
        port_out8(MASTER + 1, 4);
        port_out8(MASTER + 1, icw4);
        pic_set_mask(NOTHING);
    }
    irq_forget();
    for (unsigned v = PIC_BASE; v < PIC_BASE + 16; v++)
        trap_set_handler(v, irq_on_pic);
}

static void on_look(struct trap_frame *frame)
{
    isr_inside = read(MASTER, READ_ISR);
    irr_inside = read(MASTER, READ_IRR);
    irq_on_pic(frame);
}

static void check_registers(void)
{
    port_out8(MASTER + 1, 0xa5);
    test_equal(port_in8(MASTER + 1), 0xa5, "IMR reads back", "OCW1");
    port_out8(MASTER, 0x11);
    uint8_t cleared = port_in8(MASTER + 1);
    port_out8(MASTER + 1, PIC_BASE);
    port_out8(MASTER + 1, 4);
    port_out8(MASTER + 1, 1);
    test_equal(cleared, 0, "ICW1 clears the IMR", "ICW1");
    pic_set_mask(NOTHING);
    port_out8(ELCR, 0xff);
    port_out8(ELCR + 1, 0xff);
    test_equal(port_in8(ELCR), 0xf8, "IRQ0 to IRQ2 are always edges", "ELCR1");
    test_equal(port_in8(ELCR + 1), 0xde, "IRQ8 and IRQ13 are always edges", "ELCR2");
    port_out8(ELCR, 0);
    port_out8(ELCR + 1, 0);
}

static void check_edge(void)
{
    restart(1);
    irq_raise(IRQ_UART);
    uint8_t waiting = read(MASTER, READ_IRR);
    let_in();
    unsigned masked = irq_hits[PIC_BASE + IRQ_UART];
    trap_set_handler(PIC_BASE + IRQ_UART, on_look);
    pic_set_mask((uint16_t) ~(1u << IRQ_UART));
    let_in();
    unsigned unmasked = irq_hits[PIC_BASE + IRQ_UART];
    uint8_t after = read(MASTER, READ_ISR);
    irq_lower(IRQ_UART);
    test_equal(waiting, 1 << IRQ_UART, "a masked request waits in the IRR", "Interrupt Mask");
    test_equal(masked, 0, "and does not come", "Interrupt Mask");
    test_equal(unmasked, 1, "unmasked it comes, once though its line stays up", "Edge Triggered");
    test_equal(isr_inside, 1 << IRQ_UART, "ISR has it in service", "In-Service Register");
    test_equal(irr_inside, 0, "IRR has it no more", "Interrupt Sequence");
    test_equal(after, 0, "EOI ends it", "End of Interrupt");

    restart(1);
    irq_raise(IRQ_PIT);
    uint8_t up = read(MASTER, READ_IRR);
    irq_lower(IRQ_PIT);
    uint8_t down = read(MASTER, READ_IRR);
    pic_set_mask(0xfffe);
    let_in();
    test_equal(up, 1, "IRQ0 is up", "Interrupt Request Register");
    test_equal(down, 0, "a line that falls before INTA asks no more", "IR has to stay high");
    test_equal(irq_hits[PIC_BASE], 0, "nothing comes", "IR has to stay high");

    restart(1);
    irq_raise(IRQ_UART);
    pic_init(PIC_BASE);
    uint8_t again = read(MASTER, READ_IRR);
    irq_lower(IRQ_UART);
    test_equal(again, 0, "ICW1 forgets edges; the line has to rise again", "ICW1");
}

static void on_level(struct trap_frame *frame)
{
    irq_note(frame);
    if (irq_hits[frame->vector] == 3)
        irq_lower(IRQ_UART);
    pic_eoi(IRQ_UART);
}

static void check_level(void)
{
    restart(1);
    port_out8(ELCR, 1 << IRQ_UART);
    trap_set_handler(PIC_BASE + IRQ_UART, on_level);
    irq_raise(IRQ_UART);
    pic_set_mask((uint16_t) ~(1u << IRQ_UART));
    for (unsigned i = 0; i < 3; i++)
        let_in();
    unsigned count = irq_hits[PIC_BASE + IRQ_UART];
    irq_lower(IRQ_UART);
    port_out8(ELCR, 0);
    test_equal(count, 3, "a level asks until its line is down", "Level Triggered, ELCR");
}

/* A more and a less urgent line go up in the middle of IRQ1's work. */
static void on_nesting(struct trap_frame *frame)
{
    irq_note(frame);
    irq_raise(IRQ_UART);
    irq_raise(IRQ_PIT);
    let_in();
    irq_note(frame);
    pic_eoi(IRQ_KEYBOARD);
}

static void check_priority(void)
{
    restart(1);
    irq_raise(IRQ_UART);
    irq_raise(IRQ_PIT);
    pic_set_mask(0xffee);
    let_in();
    bool fixed = order_is(IRQ_PIT, IRQ_UART);

    restart(1);
    trap_set_handler(PIC_BASE + IRQ_KEYBOARD, on_nesting);
    irq_raise(IRQ_KEYBOARD);
    pic_set_mask(0xffec);
    let_in();
    irq_lower(IRQ_UART);
    irq_lower(IRQ_KEYBOARD);
    test_check(fixed, "IRQ0 comes before IRQ4", "Fully Nested Mode");
    test_check(order_is4(IRQ_KEYBOARD, IRQ_PIT, IRQ_KEYBOARD, IRQ_UART),
               "in IRQ1's service IRQ0 interrupts, IRQ4 waits", "Fully Nested Mode");
}

static void on_rotating_eoi(struct trap_frame *frame)
{
    irq_note(frame);
    port_out8(MASTER, 0xa0); /* rotate on non-specific EOI */
}

static void check_rotation(void)
{
    restart(1);
    port_out8(MASTER, 0xc3); /* set priority: IRQ3 is the lowest */
    irq_raise(IRQ_UART);
    irq_raise(IRQ_PIT);
    pic_set_mask(0xffee);
    let_in();
    bool set = order_is(IRQ_UART, IRQ_PIT);

    restart(1);
    trap_set_handler(PIC_BASE, on_rotating_eoi);
    irq_raise(IRQ_PIT);
    pic_set_mask(0xfffe);
    let_in(); /* IRQ0 is the lowest now */
    pic_set_mask(NOTHING);
    irq_lower(IRQ_PIT);
    irq_forget();
    trap_set_handler(PIC_BASE, irq_on_pic);
    irq_raise(IRQ_PIT);
    irq_raise(IRQ_UART);
    pic_set_mask(0xffee);
    let_in();
    bool rotated = order_is(IRQ_UART, IRQ_PIT);
    irq_lower(IRQ_UART);
    test_check(set, "after `set priority` 3, IRQ4 comes before IRQ0", "Specific Rotation");
    test_check(rotated, "an input that was served is the lowest", "Automatic Rotation");
}

static void on_no_eoi(struct trap_frame *frame)
{
    irq_note(frame);
    isr_inside = read(MASTER, READ_ISR);
}

static void check_automatic_eoi(void)
{
    restart(3);
    trap_set_handler(PIC_BASE + IRQ_UART, on_no_eoi);
    irq_raise(IRQ_UART);
    pic_set_mask((uint16_t) ~(1u << IRQ_UART));
    let_in();
    irq_lower(IRQ_UART);
    test_equal(irq_hits[PIC_BASE + IRQ_UART], 1, "an interrupt in AEOI mode", "Automatic EOI");
    test_equal(isr_inside, 0, "is in service no more when its handler runs", "Automatic EOI");
}

/* Masks itself, and lets the less urgent in. */
static void on_special_mask(struct trap_frame *frame)
{
    irq_note(frame);
    irq_raise(IRQ_UART);
    let_in();
    irr_inside = (uint8_t)irq_order_count;
    port_out8(MASTER + 1, 0xef);
    port_out8(MASTER, SMM_ON);
    let_in();
    port_out8(MASTER, EOI);
    isr_inside = read(MASTER, READ_ISR);
    port_out8(MASTER, SMM_OFF);
    port_out8(MASTER, EOI);
}

static void check_special_mask(void)
{
    restart(1);
    trap_set_handler(PIC_BASE, on_special_mask);
    irq_raise(IRQ_PIT);
    pic_set_mask(0xffee);
    let_in();
    uint8_t after = read(MASTER, READ_ISR);
    irq_lower(IRQ_UART);
    test_equal(irr_inside, 1, "IRQ4 waits while IRQ0 is in service", "Fully Nested Mode");
    test_check(order_is(IRQ_PIT, IRQ_UART), "and comes when that is masked specially",
               "Special Mask Mode");
    test_equal(isr_inside, 1, "non-specific EOI does not end a masked one", "End of Interrupt");
    test_equal(after, 0, "but does without the mode", "End of Interrupt");
}

static void check_poll(void)
{
    restart(1);
    uint8_t none = read(MASTER, POLL);
    irq_raise(IRQ_UART);
    port_out8(MASTER + 1, 0xef);
    uint8_t polled = read(MASTER, POLL), isr = read(MASTER, READ_ISR), irr = read(MASTER, READ_IRR);
    let_in();
    port_out8(MASTER, EOI);
    irq_lower(IRQ_UART);
    test_equal(none & 0x80, 0, "a poll of nothing", "Poll Command");
    test_equal(polled, 0x80 | IRQ_UART, "a poll tells the line that asks", "Poll Command");
    test_equal(isr, 1 << IRQ_UART, "which is in service then", "Poll Command");
    test_equal(irr, 0, "and asks no more", "Poll Command");
    test_equal(irq_hits[PIC_BASE + IRQ_UART], 0, "nor comes as an interrupt", "Poll Command");
}

static void on_slave(struct trap_frame *frame)
{
    irq_note(frame);
    isr_inside = read(MASTER, READ_ISR);
    irr_inside = read(SLAVE, READ_ISR);
    if (frame->vector == PIC_BASE + IRQ_MOUSE) {
        irq_raise(IRQ_RTC); /* more urgent, at the same chip */
        irq_raise(IRQ_UART);
        let_in();
        irq_note(frame);
    } else {
        irq_lower(IRQ_RTC);
    }
    port_out8(SLAVE, EOI);
    if (read(SLAVE, READ_ISR) == 0)
        port_out8(MASTER, EOI);
}

static void check_cascade(uint8_t icw4)
{
    bool nested = icw4 != 1;
    restart(icw4);
    trap_set_handler(PIC_BASE + IRQ_RTC, on_slave);
    trap_set_handler(PIC_BASE + IRQ_MOUSE, on_slave);
    irq_raise(IRQ_MOUSE);
    pic_set_mask(0xeeeb);
    let_in();
    irq_lower(IRQ_UART);
    irq_lower(IRQ_MOUSE);
    if (!nested) {
        test_check(order_is4(IRQ_MOUSE, IRQ_MOUSE, IRQ_RTC, IRQ_UART),
                   "IRQ8 waits while IRQ12 has the cascade", "Fully Nested Mode");
        test_equal(isr_inside, 4, "the master's ISR has the cascade", "Cascade Mode");
        test_equal(irr_inside, 1, "the slave's ISR has IRQ8", "Cascade Mode");
    } else {
        test_check(order_is4(IRQ_MOUSE, IRQ_RTC, IRQ_MOUSE, IRQ_UART),
                   "IRQ8 interrupts IRQ12, IRQ4 does not", "Special Fully Nested Mode");
    }
    test_equal(irq_hits[PIC_BASE + IRQ_RTC], 1, "IRQ8 came once", "Cascade Mode");
}

static void check_virtual_wire(void)
{
    restart(1);
    pit_start(2, PIT_1MS);
    pic_set_mask(0xfffe);
    test_check(irq_wait(PIC_BASE, 3), "PIT, IRQ0, 8259, LINT0 as ExtINT", "Virtual Wire Mode");
    apic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
    irq_forget();
    irq_wait_some();
    unsigned came = irq_hits[PIC_BASE];
    pic_set_mask(NOTHING);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    test_equal(came, 0, "a masked LINT0 lets nothing in", "Local Vector Table");
}

/* An ExtINT message makes the CPU acknowledge, and the 8259 has nothing to tell. */
static void check_spurious(void)
{
    restart(1);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    trap_set_handler(PIC_BASE + 7, on_no_eoi);
    ioapic_route(2, 0, IOAPIC_EXTINT);
    irq_raise(IRQ_PIT);
    let_in();
    ioapic_route(2, 0, IOAPIC_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    irq_lower(IRQ_PIT);
    test_equal(irq_hits[PIC_BASE + 7], 1, "INTA without a request gives IR7", "Spurious IR7");
    test_equal(isr_inside, 0, "which is not in service", "Spurious IR7");
}

int main(void)
{
    test_begin("pic", "the 8259As as their data sheet says");
    apic_enable(false);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pic_init(PIC_BASE);
    check_registers();
    check_edge();
    check_level();
    check_priority();
    check_rotation();
    check_automatic_eoi();
    check_special_mask();
    check_poll();
    check_cascade(1);
    check_cascade(0x11);
    check_spurious();
    check_virtual_wire();
    return test_end();
}
