/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254 timer of a PC: channel 0 is IRQ0, channel 2 the speaker behind port 0x61. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"

#define VPIT_HZ 1193182

struct vpit_channel {
    uint8_t control; /* the control word's low six bits */
    uint8_t mode;    /* 0-5 */
    uint8_t access;  /* 1: low byte, 2: high byte, 3: low then high */
    bool bcd;
    bool gate;
    bool loaded;  /* a count has been written since the control word */
    bool running; /* counting, or (modes 0, 4) stopped half-way by the gate */
    bool pending; /* next_count waits for the end of a period (2, half of one: 3) or a trigger (1,
                     5) */
    bool write_high, read_high; /* access 3: the second byte is due */
    uint8_t write_low;
    uint8_t latched; /* bytes of the count latch that are still to be read */
    bool status_latched;
    uint8_t status;
    uint16_t latch;
    uint32_t count, next_count; /* 1 to 65536 (BCD: 10000) */
    uint32_t due;               /* modes 2, 3, pending: how far into count next_count is loaded */
    uint64_t start;             /* PIT cycle at which the counter held count */
    uint64_t frozen;            /* modes 0, 4, gate low: cycles counted so far */
};

struct vpit {
    struct vpit_channel channel[3];
    uint8_t speaker; /* port 0x61, the bits that can be written */
    uint64_t base;   /* clock tick of PIT cycle 65536: a counter may have begun before */
    struct timers *timers;
    struct timer timer; /* the next rising edge of OUT0 */
    struct irq_line irq;
    uint64_t due;   /* PIT cycle of that edge */
    uint32_t owed;  /* ticks that the host was too late for, and that are still to be given */
    uint64_t given; /* PIT cycle of the last edge that was given */
    bool asks;      /* vpit_taken() is wanted for the edge that is given */
};

enum status vpit_init(struct vpit *pit, struct bus *bus, struct timers *timers,
                      struct irq_line irq);

/* A CPU has taken the last edge of OUT0, so that another one would not be lost. To be called where
 * pit->asks was true at that edge. */
void vpit_taken(struct vpit *pit);
