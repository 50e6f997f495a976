/* SPDX-License-Identifier: BSD-2-Clause */
/* The VGA's registers (IBM PS/2 Technical Reference, "Video Subsystem"). */
#include "drivers/virt/vvga.h"
#include "arch/nospec.h"
#include "arch/string.h"

enum {
    ATTRIBUTE = 0x3c0,
    ATTRIBUTE_READ = 0x3c1,
    MISC_STATUS_0 = 0x3c2, /* written: miscellaneous output; read: input status 0 */
    ENABLE = 0x3c3,
    SEQUENCER = 0x3c4,
    SEQUENCER_DATA = 0x3c5,
    DAC_MASK = 0x3c6,
    DAC_READ_STATE = 0x3c7,
    DAC_WRITE = 0x3c8,
    DAC_DATA = 0x3c9,
    FEATURE_READ = 0x3ca,
    MISC_READ = 0x3cc,
    GRAPHICS = 0x3ce,
    GRAPHICS_DATA = 0x3cf,
    MONO_CRTC = 0x3b4,
    MONO_STATUS_1 = 0x3ba,
    COLOUR_CRTC = 0x3d4,
    COLOUR_STATUS_1 = 0x3da, /* written: feature control */
};

enum { CRTC_COLUMNS = 1, CRTC_OVERFLOW = 7, CRTC_MAX_SCAN = 9, CRTC_CURSOR_START, CRTC_CURSOR_END };
enum { CRTC_START_HIGH = 12, CRTC_START_LOW, CRTC_CURSOR_HIGH, CRTC_CURSOR_LOW };
enum { CRTC_RETRACE_END = 17, CRTC_LINES, CRTC_OFFSET, CRTC_LINE_COMPARE = 24 };
enum { MISC_COLOUR = 0x01, CRTC_PROTECT = 0x80, CURSOR_OFF = 0x20 };
enum { SEQ_CLOCKING = 1, SEQ_SCREEN_OFF = 0x20 };
enum { GC_MISC = 6, GC_GRAPHICS = 0x01, AR_MODE = 16, AR_BLINKS = 0x08, AR_PALETTE_ON = 0x20 };
enum { MAX_COLUMNS = 132, MAX_ROWS = 100 }; /* no text mode has more */

/* 640 x 400 at 70 Hz, the timing of all text modes: lines of a frame, 100 steps to a line. */
enum { LINES = 449, SHOWN_LINES = 400, RETRACE_FIRST = 412, RETRACE_END = 414 };
enum { LINE_STEPS = 100, SHOWN_STEPS = 80, STEPS_PER_SECOND = 3146900 };

/* Bits that exist. */
static const uint8_t sequencer_mask[5] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t graphics_mask[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attribute_mask[5] = {0xef, 0xff, 0x3f, 0x0f, 0x0f}; /* from 16 on */

static void write_crtc(struct vvga *v, uint8_t value)
{
    const unsigned i = v->crtc_index;
    if (i >= sizeof(v->crtc))
        return;
    if (i <= CRTC_OVERFLOW && (v->crtc[CRTC_RETRACE_END] & CRTC_PROTECT)) {
        if (i != CRTC_OVERFLOW)
            return;
        /* Of the protected ones, bit 8 of the line compare stays open. */
        value = (uint8_t)((v->crtc[i] & ~0x10) | (value & 0x10));
    }
    v->crtc[i] = value;
}

static void write_attribute(struct vvga *v, uint8_t value)
{
    const unsigned i = v->attribute_index & 0x1f;
    v->attribute_data = !v->attribute_data;
    if (v->attribute_data)
        v->attribute_index = value & 0x3f;
    else if (i < 16 && !(v->attribute_index & AR_PALETTE_ON)) /* on the screen, it is closed */
        v->attribute[i] = value & 0x3f;
    else if (i >= 16 && i < sizeof(v->attribute))
        v->attribute[i] = value & attribute_mask[i - 16];
}

static void write_graphics(struct vvga *v, uint8_t value)
{
    if (v->graphics_index >= sizeof(v->graphics))
        return;
    v->graphics[v->graphics_index] = value & graphics_mask[v->graphics_index];
    /* Memory map select: 2 and 3 are the windows for text, the others for graphics and fonts. */
    const unsigned map = v->graphics[GC_MISC] >> 2 & 3;
    if (map >= 2)
        v->text_offset = map == 2 ? 0x10000 : 0x18000;
}

static void write_dac(struct vvga *v, uint8_t value)
{
    v->dac[v->dac_write][v->dac_part++] = value & 0x3f;
    if (v->dac_part == 3) {
        v->dac_part = 0;
        v->dac_write++;
    }
}

static uint8_t read_dac(struct vvga *v)
{
    const uint8_t value = v->dac[v->dac_read][v->dac_part++];
    if (v->dac_part == 3) {
        v->dac_part = 0;
        v->dac_read++;
    }
    return value;
}

/* Retrace by the clock, so that who waits for either edge sees it. */
static uint8_t status_1(struct vvga *v)
{
    const uint64_t steps = timers_cycles_since(v->timers, v->base, STEPS_PER_SECOND);
    const uint64_t line = steps / LINE_STEPS % LINES;
    const bool hidden = line >= SHOWN_LINES || steps % LINE_STEPS >= SHOWN_STEPS;
    v->attribute_data = false;
    return (uint8_t)(hidden | (line >= RETRACE_FIRST && line < RETRACE_END) << 3);
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vvga *v = dev;
    (void)bytes;
    const unsigned attribute = v->attribute_index & 0x1f;
    switch (port) {
    case ATTRIBUTE: return v->attribute_index;
    case ATTRIBUTE_READ:
        return attribute < sizeof(v->attribute)
                   ? v->attribute[index_nospec(attribute, sizeof(v->attribute))]
                   : 0;
    case MISC_STATUS_0: return 0x10; /* the sense line: a monitor is there */
    case ENABLE: return v->enable;
    case SEQUENCER: return v->sequencer_index;
    case SEQUENCER_DATA:
        return v->sequencer_index < sizeof(v->sequencer)
                   ? v->sequencer[index_nospec(v->sequencer_index, sizeof(v->sequencer))]
                   : 0;
    case DAC_MASK: return v->dac_mask;
    case DAC_READ_STATE: return v->dac_reading ? 3 : 0;
    case DAC_WRITE: return v->dac_write;
    case DAC_DATA: return read_dac(v);
    case FEATURE_READ: return v->feature;
    case MISC_READ: return v->misc;
    case GRAPHICS: return v->graphics_index;
    case GRAPHICS_DATA:
        return v->graphics_index < sizeof(v->graphics)
                   ? v->graphics[index_nospec(v->graphics_index, sizeof(v->graphics))]
                   : 0;
    default: return UINT32_MAX;
    }
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t wide)
{
    struct vvga *v = dev;
    const uint8_t value = (uint8_t)wide;
    (void)bytes;
    switch (port) {
    case ATTRIBUTE: write_attribute(v, value); break;
    case MISC_STATUS_0: v->misc = value; break;
    case ENABLE: v->enable = value & 1; break;
    case SEQUENCER: v->sequencer_index = value & 7; break;
    case SEQUENCER_DATA:
        if (v->sequencer_index < sizeof(v->sequencer))
            v->sequencer[v->sequencer_index] = value & sequencer_mask[v->sequencer_index];
        break;
    case DAC_MASK: v->dac_mask = value; break;
    case DAC_READ_STATE:
    case DAC_WRITE:
        v->dac_reading = port == DAC_READ_STATE;
        *(v->dac_reading ? &v->dac_read : &v->dac_write) = value;
        v->dac_part = 0;
        break;
    case DAC_DATA: write_dac(v, value); break;
    case GRAPHICS: v->graphics_index = value & 0x0f; break;
    case GRAPHICS_DATA: write_graphics(v, value); break;
    default: break;
    }
}

/* CRTC and status 1 answer at 0x3bx or at 0x3dx, as the miscellaneous output says. */
static bool is_here(const struct vvga *v, uint16_t port)
{
    return (port >= COLOUR_CRTC) == ((v->misc & MISC_COLOUR) != 0);
}

static uint32_t read_crtc_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vvga *v = dev;
    (void)bytes;
    if (!is_here(v, port))
        return UINT32_MAX;
    if (port == MONO_STATUS_1 || port == COLOUR_STATUS_1)
        return status_1(v);
    if ((port & 1) == 0)
        return v->crtc_index;
    return v->crtc_index < sizeof(v->crtc) ? v->crtc[index_nospec(v->crtc_index, sizeof(v->crtc))]
                                           : 0;
}

static void write_crtc_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vvga *v = dev;
    (void)bytes;
    if (!is_here(v, port))
        return;
    if (port == MONO_STATUS_1 || port == COLOUR_STATUS_1)
        v->feature = value & 3;
    else if ((port & 1) == 0)
        v->crtc_index = value & 0x3f;
    else
        write_crtc(v, (uint8_t)value);
}

/* Where the cursor, the split and the size stand, in scan lines and characters. */
void vvga_get_view(const struct vvga *v, struct vvga_view *view)
{
    const uint8_t *c = v->crtc;
    const unsigned overflow = c[CRTC_OVERFLOW], scan = c[CRTC_MAX_SCAN];
    const unsigned height = (scan & 0x1f) + 1, doubled = scan >> 7;
    const unsigned lines = c[CRTC_LINES] + ((overflow & 0x02) << 7) + ((overflow & 0x40) << 3) + 1;
    const unsigned compare = c[CRTC_LINE_COMPARE] + ((overflow & 0x10) << 4) + ((scan & 0x40) << 3);
    const unsigned cursor_first = c[CRTC_CURSOR_START] & 0x1f;
    const unsigned cursor_last = c[CRTC_CURSOR_END] & 0x1f;
    *view = (struct vvga_view){
        .on =
            !(v->sequencer[SEQ_CLOCKING] & SEQ_SCREEN_OFF) && (v->attribute_index & AR_PALETTE_ON),
        .blinks = v->attribute[AR_MODE] & AR_BLINKS,
        .cursor_on = !(c[CRTC_CURSOR_START] & CURSOR_OFF) && cursor_first <= cursor_last &&
                     cursor_first < height,
        .columns = (uint16_t)(c[CRTC_COLUMNS] + 1),
        .rows = (uint16_t)((lines >> doubled) / height),
        .pitch = (uint16_t)(c[CRTC_OFFSET] * 2),
        .start = (uint16_t)((c[CRTC_START_HIGH] << 8 | c[CRTC_START_LOW]) % VVGA_CELLS),
        .split = (uint16_t)(((compare + 1) >> doubled) / height),
        .cursor = (uint16_t)((c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW]) % VVGA_CELLS),
        .window = v->text_offset,
    };
    view->text = !(v->graphics[GC_MISC] & GC_GRAPHICS) && view->columns <= MAX_COLUMNS &&
                 view->rows != 0 && view->rows <= MAX_ROWS;
    if (view->split > view->rows)
        view->split = view->rows;
}

/* Mode 3, as every VGA BIOS sets it: 80 x 25 characters of 9 x 16 dots. */
static void power_on(struct vvga *v, uint8_t *memory, struct timers *timers)
{
    static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,
                                   0x4f, 0x0d, 0x0e, 0,    0,    0,    0,    0x9c, 0x8e,
                                   0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t sequencer[] = {3, 0, 3, 0, 2};
    static const uint8_t graphics[] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff};
    static const uint8_t attribute[] = {0,    1,    2,    3,    4,    5,    0x14,
                                        7,    0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
                                        0x3e, 0x3f, 0x0c, 0,    0x0f, 8,    0};
    static const uint8_t blank[] = {' ', 0x07};
    *v = (struct vvga){.memory = memory,
                       .timers = timers,
                       .base = timers_now(timers),
                       .text_offset = 0x18000,
                       .misc = 0x67,
                       .enable = 1,
                       .attribute_index = AR_PALETTE_ON,
                       .dac_mask = 0xff};
    memcpy(v->crtc, crtc, sizeof(v->crtc));
    memcpy(v->sequencer, sequencer, sizeof(v->sequencer));
    memcpy(v->graphics, graphics, sizeof(v->graphics));
    memcpy(v->attribute, attribute, sizeof(v->attribute));
    memcpy(v->memory + v->text_offset, blank, sizeof(blank));
    for (unsigned done = sizeof(blank); done < VVGA_MEMORY_BYTES - v->text_offset; done *= 2)
        memcpy(v->memory + v->text_offset + done, v->memory + v->text_offset, done);
    /* The EGA's colours: two bits for each of red, green and blue, the weaker ones in 5:3. */
    for (unsigned i = 0; i < 64; i++)
        for (unsigned part = 0; part < 3; part++)
            v->dac[i][part] =
                (uint8_t)((i >> (2 - part) & 1) * 0x2a + (i >> (5 - part) & 1) * 0x15);
}

enum status vvga_init(struct vvga *vga, uint8_t *memory, struct bus *bus, struct timers *timers)
{
    power_on(vga, memory, timers);
    static const struct port_range ranges[] = {
        {ATTRIBUTE, GRAPHICS_DATA, 1, NULL, read_port, write_port},
        {MONO_CRTC, MONO_CRTC + 1, 1, NULL, read_crtc_port, write_crtc_port},
        {MONO_STATUS_1, MONO_STATUS_1, 1, NULL, read_crtc_port, write_crtc_port},
        {COLOUR_CRTC, COLOUR_CRTC + 1, 1, NULL, read_crtc_port, write_crtc_port},
        {COLOUR_STATUS_1, COLOUR_STATUS_1, 1, NULL, read_crtc_port, write_crtc_port},
    };
    return bus_add_port_table(bus, vga, ranges, sizeof(ranges) / sizeof(ranges[0]));
}
