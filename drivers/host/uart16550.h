/* SPDX-License-Identifier: BSD-2-Clause */
/* A serial port of the host. Nothing here waits. One user of each at a time: its owner's lock sees
 * to it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_BAUD 115200u
#define UART_FIFO 16u /* characters */

struct uart {
    uint16_t port; /* I/O base; 0: there is none, and nothing below may be called */
    uint16_t fifo; /* characters that the transmitter takes at once */
};

/* Sets up 115200 8N1 with FIFO, no interrupts, at an I/O base; false where there is no 16550 (or
 * base is 0). */
bool uart_init(struct uart *uart, uint16_t base);

/* The line status register: read once, given to the two below. A port access is dear. */
uint8_t uart_status(const struct uart *uart);

/* Bits of it: room for a whole FIFO of text; all that was given has left the wire. */
enum { UART_CAN_SEND = 0x20, UART_IDLE = 0x40 };

/* Gives the transmitter as much of the text as it has room for, and returns how much. */
unsigned uart_write(const struct uart *uart, uint8_t status, const char *text, size_t length);

/* The next received byte, or -1. */
int uart_read(const struct uart *uart, uint8_t status);
