/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550A serial port without a modem: what the guest sends goes to a callback at once. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

#define VUART_FIFO_SIZE 16

struct vuart {
    struct irq_line irq;
    void (*out)(void *ctx, uint8_t byte);
    void *ctx;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr, dll, dlm;
    bool thre_pending; /* the transmitter-empty interrupt is not acknowledged yet */
    bool irq_high;
    uint8_t fifo[VUART_FIFO_SIZE];
    uint8_t head, count; /* received bytes; with the FIFO off, at most one */
};

/* base is a multiple of 8 (COM1: 0x3f8, IRQ4). out is called for each byte that the guest sends. */
enum status vuart_init(struct vuart *uart, uint16_t base, void (*out)(void *ctx, uint8_t byte),
                       void *ctx, struct bus *bus, struct irq_line irq);

/* Bytes that vuart_receive() would take now. */
unsigned vuart_room(const struct vuart *uart);

/* A byte arrives for the guest. False: no room (or loop-back mode), try again later. */
bool vuart_receive(struct vuart *uart, uint8_t byte);
