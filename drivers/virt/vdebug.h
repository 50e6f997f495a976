/* SPDX-License-Identifier: BSD-2-Clause */
/* The ports by which test kernels speak in emulators: console 0xe9, debug-exit 0xf4, power-off by
 * the word `Shutdown` to 0x8900; and 0x402, where firmware for virtual machines writes its log. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

struct vdebug {
    void (*out)(void *ctx, uint8_t byte);
    void *ctx;
    struct power_line power;
    uint8_t letters; /* of `Shutdown`, that have come */
};

/* out is called for each byte written to port 0xe9, with console, and to 0x402, with firmware_log;
 * without them, who asks finds that there is nobody to write to. */
enum status vdebug_init(struct vdebug *debug, void (*out)(void *ctx, uint8_t byte), void *ctx,
                        bool console, bool firmware_log, struct bus *bus, struct power_line power);
