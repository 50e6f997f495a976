/* SPDX-License-Identifier: BSD-2-Clause */
/* The two ports by which test kernels speak in emulators: console 0xe9 and debug-exit 0xf4. */
#pragma once

#include "vmx/bus.h"
#include "vmx/lines.h"

struct vdebug {
    void (*out)(void *ctx, uint8_t byte);
    void *ctx;
    struct power_line power;
};

/* out is called for each byte written to port 0xe9. It has no state, so no reset either. */
enum status vdebug_init(struct vdebug *debug, void (*out)(void *ctx, uint8_t byte), void *ctx,
                        struct bus *bus, struct power_line power);
