/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the text in memory and draws only the cells that differ from the screen: reading video
 * memory is slow, and writing it is not quick either. */
#include "drivers/host/fbconsole.h"
#include "arch/string.h"
#include "drivers/host/font.h"

#define PLAIN       0x0700 /* grey on black */
#define BLANK       (PLAIN | ' ')
#define MIN_COLUMNS 20
#define TAB         8

/* The VGA's: two thirds of blue, green, red; brown is a dark yellow; the bright ones have a third
 * of white more. */
static const uint32_t colours[16] = {
    0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa,
    0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
};

static void fill(uint16_t *cells, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cells[i] = BLANK;
}

/* Divides the screen into cells of a size, and clears it. False: too few or too many of them. */
static bool divide(struct fbconsole *fb, uint32_t scale)
{
    fb->scale = scale;
    fb->columns = fb->width / (CELL_WIDTH * scale);
    fb->rows = fb->height / (CELL_HEIGHT * scale);
    if (fb->columns < MIN_COLUMNS || fb->columns > FBCONSOLE_MAX_CELLS || fb->rows == 0)
        return false;
    if (fb->rows > FBCONSOLE_MAX_CELLS / fb->columns)
        fb->rows = FBCONSOLE_MAX_CELLS / fb->columns;
    fb->column = fb->row = fb->dirty_first = fb->dirty_end = 0;
    fb->state = TEXT_PLAIN;
    fill(fb->text, FBCONSOLE_MAX_CELLS);
    fill(fb->shown, FBCONSOLE_MAX_CELLS);
    for (uint64_t y = 0; y < fb->height; y++) {
        for (uint32_t x = 0; x < fb->width; x++)
            fb->pixels[y * fb->pixels_per_line + x] = fb->palette[0];
    }
    return true;
}

/* Eight bits of a colour at the place, and with the precision, that the screen has for it. */
static uint32_t at_mask(uint32_t value, uint32_t mask)
{
    if (mask == 0)
        return 0;
    const unsigned low = (unsigned)__builtin_ctz(mask),
                   bits = 32 - (unsigned)__builtin_clz(mask) - low;
    const uint64_t twice = value << 8 | value; /* so that the brightest stays the brightest */
    return (uint32_t)((bits < 16 ? twice >> (16 - bits) : twice << (bits - 16)) << low) & mask;
}

bool fbconsole_init(struct fbconsole *fb, const struct fbconsole_screen *s)
{
    fb->pixels = NULL;
    if (s->pixels == NULL || s->width > s->pixels_per_line || s->width > 32768 ||
        s->height > 32768 || (uint64_t)s->pixels_per_line * s->height > s->bytes / 4 ||
        (s->red | s->green | s->blue) == 0)
        return false;
    fb->width = s->width;
    fb->height = s->height;
    fb->pixels_per_line = s->pixels_per_line;
    for (unsigned i = 0; i < 16; i++)
        fb->palette[i] = at_mask(colours[i] >> 16, s->red) |
                         at_mask(colours[i] >> 8 & 0xff, s->green) |
                         at_mask(colours[i] & 0xff, s->blue);
    fb->pixels = s->pixels;
    /* Always 80 columns and more, but legible, on a panel of whatever resolution. */
    if (!divide(fb, s->width >= 1024 ? s->width / 512 : 1))
        fb->pixels = NULL;
    return fb->pixels != NULL;
}

static void mark_dirty(struct fbconsole *fb, uint32_t first, uint32_t end)
{
    if (fb->dirty_first >= fb->dirty_end || first < fb->dirty_first)
        fb->dirty_first = first;
    fb->dirty_end = end > fb->dirty_end ? end : fb->dirty_end;
}

/* Blanks cells from the given one up to, not including, another; both count from the top left. */
static void blank(struct fbconsole *fb, uint32_t from, uint32_t to)
{
    if (from >= to)
        return;
    fill(fb->text + from, to - from);
    mark_dirty(fb, from / fb->columns, (to + fb->columns - 1) / fb->columns);
}

static void new_line(struct fbconsole *fb)
{
    fb->column = 0;
    if (++fb->row < fb->rows)
        return;
    fb->row = fb->rows - 1;
    memmove(fb->text, fb->text + fb->columns, 2 * (size_t)fb->columns * fb->row);
    blank(fb, fb->columns * fb->row, fb->columns * fb->rows);
    mark_dirty(fb, 0, fb->rows);
}

static void put_plain(struct fbconsole *fb, uint8_t c)
{
    if (c == '\n') {
        new_line(fb);
    } else if (c == '\r') {
        fb->column = 0;
    } else if (c == '\b') {
        fb->column -= fb->column > 0;
    } else if (c == '\t') {
        fb->column = (fb->column / TAB + 1) * TAB;
        if (fb->column > fb->columns)
            fb->column = fb->columns;
    } else if (c == 0x1b) {
        fb->state = TEXT_ESCAPE;
    } else if (c >= ' ' && (c < 0x80 || c >= 0xc0)) { /* a cell for each character of UTF-8 */
        c = c < 0x80 ? c : '?';
        if (fb->column >= fb->columns)
            new_line(fb);
        fb->text[fb->row * fb->columns + fb->column++] = (uint16_t)(PLAIN | c);
        mark_dirty(fb, fb->row, fb->row + 1);
    }
}

/* The end of ESC [ parameters letter: what a shell's line editor needs; the rest is swallowed. */
static void run_control(struct fbconsole *fb, uint8_t letter)
{
    uint32_t here = fb->row * fb->columns + (fb->column < fb->columns ? fb->column : fb->columns);
    uint32_t all = fb->rows * fb->columns;
    uint32_t first = fb->parameter[0], second = fb->parameter[1];
    if (letter == 'J') {
        blank(fb, first == 0 ? here : 0, first == 1 ? here : all);
    } else if (letter == 'K') {
        uint32_t line = fb->row * fb->columns;
        blank(fb, first == 0 ? here : line, first == 1 ? here : line + fb->columns);
    } else if (letter == 'H' || letter == 'f') {
        fb->row = first == 0 ? 0 : first <= fb->rows ? first - 1 : fb->rows - 1;
        fb->column = second == 0 ? 0 : second <= fb->columns ? second - 1 : fb->columns - 1;
    }
}

static void put_control(struct fbconsole *fb, uint8_t c)
{
    if (c >= '0' && c <= '9' && fb->parameters < 2) {
        uint32_t *p = &fb->parameter[fb->parameters];
        *p = *p < 10000 ? *p * 10 + (c - '0') : *p;
    } else if (c == ';') {
        fb->parameters++;
    } else if (c >= 0x40 && c <= 0x7e) {
        fb->state = TEXT_PLAIN;
        run_control(fb, c);
    } else if (c < 0x20) { /* not a sequence after all */
        fb->state = TEXT_PLAIN;
        put_plain(fb, c);
    }
}

void fbconsole_write(struct fbconsole *fb, const char *text, size_t length)
{
    if (fb->pixels == NULL)
        return;
    for (size_t i = 0; i < length; i++) {
        uint8_t c = (uint8_t)text[i];
        if (fb->state == TEXT_PLAIN) {
            put_plain(fb, c);
        } else if (fb->state == TEXT_CONTROL) {
            put_control(fb, c);
        } else {
            fb->state = c == '[' ? TEXT_CONTROL : TEXT_PLAIN;
            fb->parameter[0] = fb->parameter[1] = fb->parameters = 0;
        }
    }
}

void fbconsole_show(struct fbconsole *fb, const uint16_t *cells, unsigned columns, unsigned rows,
                    unsigned cursor, bool blinks)
{
    if (fb->pixels == NULL)
        return;
    while ((fb->columns < columns || fb->rows < rows) && fb->scale > 1)
        (void)divide(fb, fb->scale - 1); /* smaller cells are more */
    for (uint32_t i = 0; i < fb->columns * fb->rows; i++) {
        const uint32_t row = i / fb->columns, column = i % fb->columns;
        const uint32_t at = row * columns + column;
        uint16_t cell = row < rows && column < columns ? cells[at] : BLANK;
        if (blinks)
            cell &= 0x7fff;
        if (row < rows && column < columns && at == cursor)
            cell = (uint16_t)((cell & 0x00ff) | (cell & 0x0f00) << 4 | (cell & 0xf000) >> 4);
        if (fb->text[i] != cell)
            mark_dirty(fb, row, row + 1);
        fb->text[i] = cell;
    }
    fb->column = 0;
    fb->row = rows < fb->rows ? rows : fb->rows - 1;
}

static void draw_cell(struct fbconsole *fb, uint32_t row, uint32_t column, uint16_t cell)
{
    const uint32_t front = fb->palette[cell >> 8 & 15], back = fb->palette[cell >> 12];
    volatile uint32_t *line = fb->pixels +
                              (uint64_t)row * CELL_HEIGHT * fb->scale * fb->pixels_per_line +
                              (uint64_t)column * CELL_WIDTH * fb->scale;
    for (unsigned y = 0; y < CELL_HEIGHT; y++) {
        uint32_t colour[CELL_WIDTH];
        for (unsigned x = 0; x < CELL_WIDTH; x++)
            colour[x] = font_cell_pixel((uint8_t)cell, x, y) ? front : back;
        for (unsigned again = 0; again < fb->scale; again++, line += fb->pixels_per_line)
            for (unsigned x = 0; x < CELL_WIDTH * fb->scale; x++)
                line[x] = colour[x / fb->scale];
    }
}

bool fbconsole_refresh(struct fbconsole *fb, uint32_t cells)
{
    if (fb->pixels == NULL)
        return true;
    const uint32_t first = fb->dirty_first * fb->columns, end = fb->dirty_end * fb->columns;
    if (fb->next < first || fb->next >= end)
        fb->next = first;
    for (uint32_t i = first; i < end; i++) {
        const uint32_t cell = fb->next;
        if (fb->text[cell] != fb->shown[cell]) {
            if (cells-- == 0)
                return false;
            draw_cell(fb, cell / fb->columns, cell % fb->columns, fb->text[cell]);
            fb->shown[cell] = fb->text[cell];
        }
        fb->next = cell + 1 == end ? first : cell + 1;
    }
    fb->dirty_first = fb->dirty_end = 0;
    return true;
}
