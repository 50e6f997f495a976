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
    enum { TEXT_PLAIN, TEXT_ESCAPE, TEXT_CONTROL } state;
    uint32_t parameter[2], parameters; /* of ESC [ */
    uint8_t text[FBCONSOLE_MAX_CELLS];
    uint8_t shown[FBCONSOLE_MAX_CELLS]; /* what the screen has, so that it need not be read */
};

/* Where the screen is. width, height and pixels_per_line come from the firmware and are checked
 * against bytes: false, and no console, where they don't fit. Clears the screen. */
bool fbconsole_init(struct fbconsole *fb, volatile void *pixels, uint64_t bytes, uint32_t width,
                    uint32_t height, uint32_t pixels_per_line);

/* Text with \n (which also returns), \r, \b, \t and the escape sequences that a shell uses. */
void fbconsole_write(struct fbconsole *fb, const char *text, size_t length);

/* Draws what has changed since the last call. */
void fbconsole_refresh(struct fbconsole *fb);
