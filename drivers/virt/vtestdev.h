/* SPDX-License-Identifier: BSD-2-Clause */
/* A device for kernels that test a machine, as QEMU's pc-testdev: the interrupt lines under
 * their hands (a byte to port 0x2000 + n), a latch that keeps what is written (four bytes at port
 * 0xe0), and a page of device memory that does the same, at 0xff000000. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

#define VTESTDEV_LINES        24
#define VTESTDEV_MEMORY       0xff000000ull
#define VTESTDEV_MEMORY_BYTES 4096

struct vtestdev {
    struct irq_line lines; /* its pin is not used: the line's number is */
    uint8_t latch[4];
    uint8_t memory[VTESTDEV_MEMORY_BYTES] __attribute__((aligned(VTESTDEV_MEMORY_BYTES)));
};

/* lines.set() is called with the number of an IO-APIC pin, which is an ISA interrupt below 16. *dev
 * is zeroed. */
enum status vtestdev_init(struct vtestdev *dev, struct bus *bus, struct irq_line lines);
