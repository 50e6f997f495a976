/* SPDX-License-Identifier: BSD-2-Clause */
/* The letters of the framebuffer console: code page 437, as far as 5 x 8 pixels tell it. */
#pragma once

#include <stdint.h>

#define FONT_FIRST  32
#define FONT_COUNT  95
#define FONT_WIDTH  5
#define FONT_HEIGHT 8
#define CELL_WIDTH  (FONT_WIDTH + 1)
#define CELL_HEIGHT (FONT_HEIGHT + 2)

extern const uint64_t font_glyph[FONT_COUNT];

/* Whether the pixel of the glyph of an ASCII character is set; anything unprintable is blank. */
static inline int font_pixel(unsigned char c, unsigned x, unsigned y)
{
    if (c < FONT_FIRST || c >= FONT_FIRST + FONT_COUNT)
        return 0;
    unsigned bit = (FONT_HEIGHT - 1 - y) * FONT_WIDTH + FONT_WIDTH - 1 - x;
    return (int)(font_glyph[c - FONT_FIRST] >> bit & 1);
}

/* Whether a pixel of a character's cell is set, for any of the 256: frames and blocks fill the cell
 * and join their neighbours; letters with marks lose them, other symbols become what is alike. */
int font_cell_pixel(unsigned char c, unsigned x, unsigned y);
