/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts that are counted and whose order is kept, and the PC's devices that can be made to ask
 * for one at will: what tests of interrupt controllers and timers share. */
#pragma once

#include "guest/lib/trap.h"

#include <stdbool.h>
#include <stdint.h>

#define PIC_BASE 0x20 /* where these tests have the vectors of the 8259s */
#define PIT_1MS  1193

/* How often each vector has come since irq_forget(), and which ones, in order. */
extern volatile unsigned irq_hits[256];
extern volatile uint8_t irq_order[16];
extern volatile unsigned irq_order_count;

void irq_forget(void);

/* For handlers of a test's own: notes the vector, says no EOI. */
void irq_note(const struct trap_frame *frame);

/* Handlers: these note the vector, and say EOI to the local APIC or to the 8259s. */
void irq_on_apic(struct trap_frame *frame);
void irq_on_pic(struct trap_frame *frame);

/* Lets interrupts in until a vector has come n times, or for long enough to say that it never does.
 */
bool irq_wait(unsigned vector, unsigned n);

/* Lets interrupts in for some timer periods. */
void irq_wait_some(void);

/* The MC146818 and its memory. */
uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t value);

/* An ISA line that goes up, or down, at once: the PIT's by its OUT pin, the serial port's by its
 * transmitter, the RTC's by its periodic flag, the two of the 8042 by a byte in its buffer. */
enum irq_line { IRQ_PIT = 0, IRQ_KEYBOARD = 1, IRQ_UART = 4, IRQ_RTC = 8, IRQ_MOUSE = 12 };
void irq_raise(enum irq_line line);
void irq_lower(enum irq_line line);
