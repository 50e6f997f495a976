/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of this test share: interrupts that are counted and whose order is kept. */
#pragma once

#include "guest/lib/trap.h"

#include <stdbool.h>
#include <stdint.h>

#define PIC_BASE 0x20
#define PIT_1MS  1193

/* How often each vector has come since forget(), and which ones, in order. */
extern volatile unsigned hits[256];
extern volatile uint8_t order[16];
extern volatile unsigned order_count;

void forget(void);

/* The handler that counts and says EOI. */
void on_interrupt(struct trap_frame *frame);

/* The same without EOI, for handlers of their own. */
void take_note(const struct trap_frame *frame);

/* Lets interrupts in until a vector has come n times, or for long enough to say that it never does.
 */
bool wait_for(unsigned vector, unsigned n);

/* Lets interrupts in for some timer periods. */
void wait_some(void);

void check_pc_interrupts(void);
void check_local_apic(const char *mode);
