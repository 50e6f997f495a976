/* SPDX-License-Identifier: BSD-2-Clause */
/* A text console on a framebuffer of 32 bits a pixel. Pure: tested on the host. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FBCONSOLE_MAX_CELLS 16384

struct fbconsole {
    volatile uint32_t *pixels; /* NULL: there is none, everything is ignored */
    uint32_t pixels_per_line;
    uint32_t scale;                      /* a font pixel is scale x scale screen pixels */
    uint32_t columns, rows, column, row; /* column == columns: the next character wraps */
    uint32_t dirty_first, dirty_end;     /* rows that may differ from the screen */
    uint32_t next;                       /* the cell that is drawn next, if it differs */
    enum { TEXT_PLAIN, TEXT_ESCAPE, TEXT_CONTROL } state;
    uint32_t parameter[2], parameters; /* of ESC [ */
    uint32_t width, height;
    uint32_t palette[16]; /* in the screen's order of colours */
    /* As a VGA has them: attribute << 8 | character of code page 437. */
    uint16_t text[FBCONSOLE_MAX_CELLS];
    uint16_t shown[FBCONSOLE_MAX_CELLS]; /* what the screen has, so that it need not be read */
};

/* Where the screen is, as the firmware tells it: not to be trusted. */
struct fbconsole_screen {
    volatile void *pixels; /* NULL: there is none */
    uint64_t bytes;
    uint32_t width, height, pixels_per_line;
    uint32_t red, green,
        blue; /* which of a pixel's 32 bits each colour has; at most 16 in one row */
};

/* False, and no console, where what the screen claims does not fit. Clears it. */
bool fbconsole_init(struct fbconsole *fb, const struct fbconsole_screen *screen);

/* Text with \n (which also returns), \r, \b, \t and the escape sequences that a shell uses. */
void fbconsole_write(struct fbconsole *fb, const char *text, size_t length);

/* Puts a picture of cells into the top left corner and blanks the rest; attribute bit 7 is blink,
 * and left out, or else a bright background. cursor: a cell of it, shown inverse, or none. The
 * letters shrink where that is needed for all of it to fit. */
void fbconsole_show(struct fbconsole *fb, const uint16_t *cells, unsigned columns, unsigned rows,
                    unsigned cursor, bool blinks);

/* Draws up to so many of the cells that have changed, going on where the last call left off. True:
 * the screen shows all. */
bool fbconsole_refresh(struct fbconsole *fb, uint32_t cells);
