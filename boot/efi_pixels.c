/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges graphics modes: firmware has been seen to claim what does not fit. */
#include "boot/efi_pixels.h"

#define LOW_HALF   (1ull << 47)
#define MAX_COLOUR 0xffff

static bool is_one_run(uint32_t mask)
{
    const uint64_t run = mask != 0 ? mask / (mask & -mask) : 0;
    return run != 0 && (run & (run + 1)) == 0 && run <= MAX_COLOUR;
}

bool pixels_are_linear(const struct pixel_mode *m)
{
    if (m->format != PIXELS_MASKS)
        return m->format == PIXELS_RGBX || m->format == PIXELS_BGRX;
    /* A pixel is as long as its highest bit tells (UEFI: EFI_PIXEL_BITMASK). */
    return ((m->red | m->green | m->blue | m->reserved) >> 24) != 0 && is_one_run(m->red) &&
           is_one_run(m->green) && is_one_run(m->blue) && (m->red & m->green) == 0 &&
           ((m->red | m->green) & m->blue) == 0;
}

bool pixels_take(const struct pixel_mode *m, uint64_t base, uint64_t bytes,
                 struct handoff_framebuffer *out)
{
    if (!pixels_are_linear(m) || base == 0 || base % 4 != 0 || base >= LOW_HALF ||
        bytes > LOW_HALF - base || m->width == 0 || m->height == 0 || m->per_line < m->width ||
        4ull * m->per_line * m->height > bytes)
        return false;
    *out = (struct handoff_framebuffer){
        .base = base,
        .size = bytes,
        .width = m->width,
        .height = m->height,
        .pixels_per_line = m->per_line,
        .red = m->format == PIXELS_MASKS  ? m->red
               : m->format == PIXELS_RGBX ? 0xff
                                          : 0xff0000,
        .green = m->format == PIXELS_MASKS ? m->green : 0xff00,
        .blue = m->format == PIXELS_MASKS  ? m->blue
                : m->format == PIXELS_RGBX ? 0xff0000
                                           : 0xff,
    };
    return true;
}
