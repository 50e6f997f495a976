/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550 by its data sheet: registers at eight ports from the base. */
#include "drivers/host/uart16550.h"
#include "arch/cpu.h"

enum { REG_DATA = 0, REG_INTERRUPT_ENABLE = 1, REG_INTERRUPT_ID = 2, REG_FIFO_CONTROL = 2 };
enum { REG_LINE_CONTROL = 3, REG_MODEM_CONTROL = 4, REG_LINE_STATUS = 5, REG_SCRATCH = 7 };
enum { REG_DIVISOR_LOW = 0, REG_DIVISOR_HIGH = 1 }; /* while LCR_DIVISOR is set */

enum { LCR_8N1 = 0x03, LCR_DIVISOR = 0x80, IIR_FIFO = 0xc0, MCR_DTR_RTS = 3, LSR_DATA_READY = 1 };
enum { FCR_ENABLE = 0x07 }; /* and clears both FIFOs */

#define CLOCK_DIVIDED 115200u

static bool scratch_holds(uint16_t base, uint8_t value)
{
    cpu_out8((uint16_t)(base + REG_SCRATCH), value);
    return cpu_in8((uint16_t)(base + REG_SCRATCH)) == value;
}

bool uart_init(struct uart *uart, uint16_t base)
{
    if (base == 0 || !scratch_holds(base, 0x5a) || !scratch_holds(base, 0xa5))
        return false;
    const uint16_t port = uart->port = base;
    cpu_out8((uint16_t)(port + REG_INTERRUPT_ENABLE), 0);
    cpu_out8((uint16_t)(port + REG_LINE_CONTROL), LCR_8N1 | LCR_DIVISOR);
    cpu_out8((uint16_t)(port + REG_DIVISOR_LOW), CLOCK_DIVIDED / UART_BAUD);
    cpu_out8((uint16_t)(port + REG_DIVISOR_HIGH), 0);
    cpu_out8((uint16_t)(port + REG_LINE_CONTROL), LCR_8N1);
    cpu_out8((uint16_t)(port + REG_FIFO_CONTROL), FCR_ENABLE);
    cpu_out8((uint16_t)(port + REG_MODEM_CONTROL), MCR_DTR_RTS);
    bool has_fifo = (cpu_in8((uint16_t)(port + REG_INTERRUPT_ID)) & IIR_FIFO) == IIR_FIFO;
    uart->fifo = has_fifo ? UART_FIFO : 1;
    return true;
}

uint8_t uart_status(const struct uart *uart)
{
    return cpu_in8((uint16_t)(uart->port + REG_LINE_STATUS));
}

unsigned uart_write(const struct uart *uart, uint8_t status, const char *text, size_t length)
{
    unsigned n = 0;
    if (status & UART_CAN_SEND) {
        for (; n < uart->fifo && n < length; n++)
            cpu_out8((uint16_t)(uart->port + REG_DATA), (uint8_t)text[n]);
    }
    return n;
}

int uart_read(const struct uart *uart, uint8_t status)
{
    return status & LSR_DATA_READY ? cpu_in8((uint16_t)(uart->port + REG_DATA)) : -1;
}
