/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8042 keyboard controller with a keyboard plugged in and no mouse, and port 0x92: reset and
 * the A20 gate. It hides translation between scan-code sets, and who may speak when. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"
#include "drivers/virt/vps2kbd.h"

struct vi8042 {
    struct vps2kbd kbd;
    uint8_t ram[32]; /* the controller's memory; byte 0 is the configuration */
    uint8_t status, data;
    uint8_t command;    /* whose argument the data port expects; 0: none */
    bool a20;           /* the gate is on */
    bool from_keyboard; /* data came over the keyboard's wire */
    bool breaking;      /* translation has swallowed the F0 before a released key's code */
    int16_t held;       /* a keyboard's byte that an answer has pushed out of data; -1: none */
    struct timers *timers;
    struct timer pause; /* armed: the keyboard's next byte is still on the wire */
    struct irq_line keyboard, mouse;
    struct power_line power;
    struct a20_line gate;
};

enum status vi8042_init(struct vi8042 *kbc, struct bus *bus, struct timers *timers,
                        struct irq_line keyboard, struct irq_line mouse, struct power_line power,
                        struct a20_line gate);

/* A key of the keyboard goes down or up (vps2kbd.h). False: no room, try again later. */
bool vi8042_key(struct vi8042 *kbc, unsigned key);
