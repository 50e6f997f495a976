/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of the firmware's graphics modes a text console can draw on. Pure. */
#pragma once

#include "boot/handoff.h"

#include <stdbool.h>

/* As UEFI's EFI_GRAPHICS_PIXEL_FORMAT counts them. */
enum pixel_format { PIXELS_RGBX, PIXELS_BGRX, PIXELS_MASKS, PIXELS_BLT_ONLY };

struct pixel_mode {
    uint32_t width, height, per_line;    /* pixels; a line may be longer than it is shown */
    uint32_t format;                     /* enum pixel_format; anything else is as BLT_ONLY */
    uint32_t red, green, blue, reserved; /* with PIXELS_MASKS */
};

/* Whether it has a framebuffer with 32 bits a pixel, in whatever order and depth the colours are.
 */
bool pixels_are_linear(const struct pixel_mode *mode);

/* Describes the framebuffer for the hypervisor; false where the mode has none, or where what is
 * drawn would not lie inside. */
bool pixels_take(const struct pixel_mode *mode, uint64_t base, uint64_t bytes,
                 struct handoff_framebuffer *out);
