/* SPDX-License-Identifier: BSD-2-Clause */
/* A PC's two 8259A interrupt controllers: master at 0x20, slave at 0xa0 on the master's IR2. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

#define VPIC_ELCR 0x4d0 /* two ports: a bit per input, 1 = level-triggered */

struct vpic_chip {
    uint8_t irr, isr, imr;
    uint8_t lines;     /* levels of the input pins */
    uint8_t elcr;      /* level-triggered inputs; the rest are edge-triggered */
    uint8_t base;      /* vector of IR0 */
    uint8_t top;       /* the input that has the highest priority now */
    uint8_t init_step; /* the ICW (2, 3, 4) that the data port expects; 0: initialised */
    uint8_t icw1, icw4;
    bool rotate_on_auto_eoi, special_mask, poll, read_isr;
};

struct vpic {
    struct vpic_chip chip[2]; /* master, slave */
    struct irq_line intr;
    bool intr_high;
    uint8_t acknowledged; /* the input of the last acknowledge cycle, 0-15 */
};

enum status vpic_init(struct vpic *pic, struct bus *bus, struct irq_line intr);

/* An irq_line's set(): input pin 0-15 (2, the cascade, is ignored). */
void vpic_set(void *pic, unsigned pin, bool high);

/* The CPU's acknowledge cycle: returns the vector; a spurious IR7's when nothing is left. */
unsigned vpic_acknowledge(struct vpic *pic);
