/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8042 keyboard controller with nothing plugged in, and port 0x92: reset and the A20 gate. */
#pragma once

#include "vmx/bus.h"
#include "vmx/lines.h"

struct vi8042 {
    uint8_t ram[32]; /* the controller's memory; byte 0 is the configuration */
    uint8_t status, data;
    uint8_t command; /* whose argument the data port expects; 0: none */
    bool a20;        /* state of the gate; RAM above 1 MiB answers either way */
    struct irq_line keyboard, mouse;
    struct power_line power;
};

enum status vi8042_init(struct vi8042 *kbc, struct bus *bus, struct irq_line keyboard,
                        struct irq_line mouse, struct power_line power);
void vi8042_reset(struct vi8042 *kbc);
