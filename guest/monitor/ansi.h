/* SPDX-License-Identifier: BSD-2-Clause */
/* A screen on a terminal: sends what has changed since, with ANSI sequences (ECMA-48) and UTF-8.
 * Pure; it hides what the terminal is known to show. */
#pragma once

#include "guest/pc/screen.h"

/* All zero: what the terminal shows is not known, so the next drawing begins with clearing it. */
struct ansi {
    bool known, blinks, cursor_shown;
    uint16_t columns, rows;
    uint16_t at; /* cell in which the terminal will put the next character; none: beyond all */
    uint16_t attribute; /* in which it will; 0x100: bit 7 is blink, not a bright background */
    uint16_t cells[SCREEN_MAX_CELLS];
};

/* Sends changes through `out`, at most some 4 KiB. True: the terminal shows the screen now; false:
 * call again, there is more. */
bool ansi_draw(struct ansi *ansi, const struct screen *screen,
               void (*out)(void *ctx, const char *text, size_t length), void *ctx);
