/* SPDX-License-Identifier: BSD-2-Clause */
/* The letters of the framebuffer console: code page 437, as far as 5 x 8 pixels tell it. */
#pragma once

#define FONT_WIDTH  5
#define FONT_HEIGHT 8
#define CELL_WIDTH  (FONT_WIDTH + 1)
#define CELL_HEIGHT (FONT_HEIGHT + 2)

/* Whether a pixel of a character's cell is set, for any of the 256: frames and blocks fill the cell
 * and join their neighbours; letters with marks lose them, other symbols become what is alike. */
int font_cell_pixel(unsigned char c, unsigned x, unsigned y);
