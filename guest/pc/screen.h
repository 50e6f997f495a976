/* SPDX-License-Identifier: BSD-2-Clause */
/* What is on a guest's screen, as a picture that stands still while it is shown: the VGA's view,
 * cut into rows. Pure; it hides where the rows lie in the VGA's memory. */
#pragma once

#include "drivers/virt/vvga.h"

#include <stddef.h>

#define SCREEN_MAX_COLUMNS 132
#define SCREEN_MAX_CELLS   8192 /* 132 x 60, and 80 x 100 */
#define SCREEN_LINE_BYTES  (3 * SCREEN_MAX_COLUMNS + 1)

/* All zero: nothing has been taken yet. */
struct screen {
    uint16_t columns, rows;
    bool blinks;           /* attribute bit 7 blinks; else it makes the background bright */
    uint16_t cursor;       /* its cell, row by row from the top left; columns * rows: none */
    uint8_t blank_for;     /* ticks without a text that could be shown */
    struct vvga_view view; /* of which it was made */
    uint16_t cells[SCREEN_MAX_CELLS]; /* attribute << 8 | character of code page 437 */
};

/* Takes the picture anew; false: it is as it was, which costs a comparison and no more. A screen
 * that is blanked, or in a graphics mode, is empty; one that is so for a moment only, while a
 * program sets registers, stays as it was. */
bool screen_take(struct screen *screen, const struct vvga *vga);

/* A character of code page 437 as UTF-8: writes 1 to 3 bytes and returns how many. What is no
 * letter there (0 to 31, 127) is the symbol that a VGA draws, 0 and 255 are blanks. */
size_t screen_utf8(uint8_t character, char *out);

/* A row as UTF-8 without its trailing blanks, terminated; returns its length. */
size_t screen_line(const struct screen *screen, unsigned row, char out[SCREEN_LINE_BYTES]);
