/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550A as its data sheet (National Semiconductor, PC16550D) describes it, at infinite baud
 * rate: the transmitter is always empty. Wired as in QEMU: INTR leads to the interrupt line,
 * whatever OUT2 says. */
#include "drivers/virt/vuart.h"

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR }; /* the registers, and their bits */
enum { IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_MODEM = 0, IIR_NONE = 1, IIR_THRE = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc };
enum { IIR_FIFO = 0xc0, FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_KEPT = 0xc9, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_ERRORS = 0x1e, LSR_TX_EMPTY = 0x60 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

/* "Interrupt Identification Register": the highest source that is enabled. */
static uint8_t interrupt_source(const struct vuart *u)
{
    static const uint8_t trigger[4] = {1, 4, 8, 14};
    if ((u->ier & IER_LINE) && (u->lsr & LSR_ERRORS))
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->count > 0)
        /* Fewer bytes than the trigger level time out; here, at once. */
        return !(u->fcr & FCR_ENABLE) || u->count >= trigger[u->fcr >> 6] ? IIR_RX : IIR_TIMEOUT;
    if ((u->ier & IER_THRE) && u->thre_pending)
        return IIR_THRE;
    if ((u->ier & IER_MODEM) && (u->msr & 0x0f))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct vuart *u)
{
    /* A PC's serial card has OUT2 gate the interrupt. Kernels that were tried in QEMU alone, which
     * has no such gate, never set it: so there is none here. */
    bool high = interrupt_source(u) != IIR_NONE;
    if (high != u->irq_high) {
        u->irq_high = high;
        irq_line_set(&u->irq, high);
    }
}

static void clear_fifo(struct vuart *u)
{
    u->head = u->count = 0;
    u->lsr &= (uint8_t)~LSR_DR;
}

static unsigned capacity(const struct vuart *u)
{
    return u->fcr & FCR_ENABLE ? VUART_FIFO_SIZE : 1;
}

static void put_byte(struct vuart *u, uint8_t byte)
{
    if (u->count == capacity(u)) {
        /* An overrun loses the new byte with the FIFO on, the old one with it off. */
        u->lsr |= LSR_OE;
        if (u->fcr & FCR_ENABLE)
            return;
        u->count = 0;
    }
    u->fifo[(u->head + u->count++) % VUART_FIFO_SIZE] = byte;
    u->lsr |= LSR_DR;
}

static uint8_t take_byte(struct vuart *u)
{
    uint8_t byte = u->fifo[u->head];
    if (u->count > 0) {
        u->head = (uint8_t)((u->head + 1) % VUART_FIFO_SIZE);
        if (--u->count == 0)
            u->lsr &= (uint8_t)~LSR_DR;
        update_irq(u);
    }
    return byte;
}

/* Without a modem the inputs read as a ready one; in loop-back mode they follow the outputs. */
static void update_modem(struct vuart *u)
{
    uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD;
    if (u->mcr & MCR_LOOP)
        now = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                        (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
    uint8_t changed = (now ^ u->msr) & 0xf0;
    if (!(changed & u->msr & MSR_RI)) /* only the trailing edge of RI counts */
        changed &= (uint8_t)~MSR_RI;
    u->msr = (uint8_t)(now | (u->msr & 0x0f) | changed >> 4);
}

static void transmit(struct vuart *u, uint8_t byte)
{
    if (u->thre_pending && u->irq_high) {
        /* Full for a moment: who has not read the IIR gets an edge for this byte all the same. */
        u->thre_pending = false;
        update_irq(u);
    }
    u->thre_pending = true;
    if (u->mcr & MCR_LOOP)
        put_byte(u, byte & (uint8_t)(0xff >> (3 - (u->lcr & 3))));
    else
        u->out(u->ctx, byte);
    update_irq(u);
}

static void write_fcr(struct vuart *u, uint8_t value)
{
    if ((value ^ u->fcr) & FCR_ENABLE || value & FCR_CLEAR_RX)
        clear_fifo(u);
    u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    update_irq(u);
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vuart *u = dev;
    uint8_t value;
    (void)bytes;
    switch (port & 7) {
    case RBR_THR: return u->lcr & LCR_DLAB ? u->dll : take_byte(u);
    case IER: return u->lcr & LCR_DLAB ? u->dlm : u->ier;
    case IIR_FCR:
        value = interrupt_source(u);
        if (value == IIR_THRE) {
            u->thre_pending = false;
            update_irq(u);
        }
        return value | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0u);
    case LCR: return u->lcr;
    case MCR: return u->mcr;
    case LSR:
        value = u->lsr;
        if (value & LSR_ERRORS) {
            u->lsr &= (uint8_t)~LSR_ERRORS;
            update_irq(u);
        }
        return value;
    case MSR:
        value = u->msr;
        if (value & 0x0f) {
            u->msr &= 0xf0;
            update_irq(u);
        }
        return value;
    default: return u->scr;
    }
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t wide)
{
    struct vuart *u = dev;
    uint8_t value = (uint8_t)wide;
    (void)bytes;
    switch (port & 7) {
    case RBR_THR:
        if (u->lcr & LCR_DLAB)
            u->dll = value;
        else
            transmit(u, value);
        break;
    case IER:
        if (u->lcr & LCR_DLAB) {
            u->dlm = value;
            break;
        }
        if (value & ~u->ier & IER_THRE)
            u->thre_pending = true; /* enabled while empty: interrupts at once */
        u->ier = value & 0x0f;
        update_irq(u);
        break;
    case IIR_FCR: write_fcr(u, value); break;
    case LCR: u->lcr = value; break;
    case MCR:
        u->mcr = value & 0x1f;
        update_modem(u);
        update_irq(u);
        break;
    case SCR: u->scr = value; break;
    default: break; /* LSR and MSR: factory tests only */
    }
}

unsigned vuart_room(const struct vuart *uart)
{
    return uart->mcr & MCR_LOOP ? 0 : capacity(uart) - uart->count;
}

bool vuart_receive(struct vuart *uart, uint8_t byte)
{
    if (vuart_room(uart) == 0)
        return false;
    put_byte(uart, byte);
    update_irq(uart);
    return true;
}

enum status vuart_init(struct vuart *uart, uint16_t base, void (*out)(void *ctx, uint8_t byte),
                       void *ctx, struct bus *bus, struct irq_line irq)
{
    if (base & 7)
        return ERR_BAD_INPUT;
    *uart = (struct vuart){.irq = irq,
                           .out = out,
                           .ctx = ctx,
                           .lsr = LSR_TX_EMPTY,
                           .msr = MSR_CTS | MSR_DSR | MSR_DCD};
    return bus_add_ports(
        bus, &(struct port_range){base, (uint16_t)(base + 7), 1, uart, read_port, write_port});
}
