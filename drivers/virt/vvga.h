/* SPDX-License-Identifier: BSD-2-Clause */
/* A VGA as far as text needs it. Its memory is plain RAM that the guest writes without any exit;
 * here are the registers, which say what of it is on the screen. It hides their layout.
 *
 * Text lies in the windows at 0xb8000 or 0xb0000 just as the CPU wrote it. A real card spreads it
 * over planes 0 and 1, and lets plane 2, which holds the font, be written at 0xa0000: there a guest
 * may load and read back a font without touching the text. What it would see of planes 0 and 1 at
 * 0xa0000, and what a graphics mode draws, is not shown. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/timers.h"

#include <stdbool.h>
#include <stdint.h>

#define VVGA_MEMORY       0xa0000u /* guest-physical */
#define VVGA_MEMORY_BYTES 0x20000u
#define VVGA_CELLS        0x4000u /* characters in a text window of 32 KiB, where addresses wrap */

struct vvga {
    uint8_t *memory; /* what the guest has at VVGA_MEMORY */
    struct timers *timers;
    uint64_t base;        /* clock tick at which a frame began */
    uint32_t text_offset; /* of the text window that was mapped last, in memory */
    uint8_t misc, feature, enable;
    uint8_t crtc_index, sequencer_index, graphics_index, attribute_index;
    uint8_t crtc[25], sequencer[5], graphics[9], attribute[21];
    bool attribute_data; /* the flip-flop: the next write to 0x3c0 is data */
    uint8_t dac_mask, dac_read, dac_write, dac_part; /* part: red, green or blue is next */
    bool dac_reading;
    uint8_t dac[256][3]; /* six bits each */
};

/* What the registers make of the memory. */
struct vvga_view {
    bool text;              /* false: a graphics mode, or no mode that has a meaning */
    bool on;                /* false: the screen is blanked */
    bool blinks;            /* attribute bit 7 blinks; else it is a bright background */
    bool cursor_on;         /* the rest is valid with text only */
    uint16_t columns, rows; /* of characters */
    uint16_t pitch;         /* cells from one row to the next */
    uint16_t start;         /* cell in the top left corner */
    uint16_t split;         /* the first row that shows cell 0 and on again; rows where none does */
    uint16_t cursor;        /* its cell */
    uint32_t window;        /* offset of the text window in memory; a cell has two bytes */
};

/* Makes the card, as its BIOS leaves it: mode 3, 80 x 25, cleared, cursor on. memory:
 * VVGA_MEMORY_BYTES of RAM. */
enum status vvga_init(struct vvga *vga, uint8_t *memory, struct bus *bus, struct timers *timers);

void vvga_get_view(const struct vvga *vga, struct vvga_view *view);
