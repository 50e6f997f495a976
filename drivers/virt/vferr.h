/* SPDX-License-Identifier: BSD-2-Clause */
/* The coprocessor's error latch between FERR#, IRQ 13 and IGNNE#, with its port 0xf0. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

struct vferr {
    bool asserted; /* FERR#, by the CPU */
    bool ignored;  /* IGNNE#, to the CPU */
    struct irq_line irq;
};

enum status vferr_init(struct vferr *ferr, struct bus *bus, struct irq_line irq);

/* Fits struct ferr_line. */
bool vferr_set(void *ferr, bool asserted);
