/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest may write while this reads: each cell is read once into the picture, and any value that
 * it has is a valid one. */
#include "guest/pc/screen.h"
#include "arch/bytes.h"
#include "arch/string.h"

enum { ATTRIBUTE = 0x0700, BLANK = ATTRIBUTE | ' ' };
enum { PATIENCE = 3 /* ticks that a screen may be blank before it is shown so */ };

/* Code page 437 in Unicode (unicode.org's table for IBM PC; 0 to 31 and 127 as drawn). */
static const uint16_t unicode_low[32] = {
    0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
    0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
    0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};
static const uint16_t unicode_high[129] = {
    /* 127 */ 0x2302,
    /* 128 */ 0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7,
    0x00ea,           0x00eb, 0x00e8, 0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5,
    /* 144 */ 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff,           0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192,
    /* 160 */ 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba,
    0x00bf,           0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    /* 176 */ 0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556,
    0x2555,           0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
    /* 192 */ 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a,           0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567,
    /* 208 */ 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b,
    0x256a,           0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    /* 224 */ 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6,           0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229,
    /* 240 */ 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0,           0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x0020,
};

size_t screen_utf8(uint8_t character, char *out)
{
    uint16_t code = character;
    if (character < 32)
        code = unicode_low[character];
    else if (character >= 127)
        code = unicode_high[character - 127];
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

size_t screen_line(const struct screen *screen, unsigned row, char out[SCREEN_LINE_BYTES])
{
    size_t length = 0, end = 0;
    for (unsigned i = 0; i < screen->columns; i++) {
        const uint8_t c = (uint8_t)screen->cells[row * screen->columns + i];
        length += screen_utf8(c, out + length);
        if (out[length - 1] != ' ')
            end = length;
    }
    out[end] = '\0';
    return end;
}

/* Whether memory and picture are the same, in words of four cells and then the rest. */
static bool same_cells(const uint8_t *memory, const uint16_t *cells, unsigned count)
{
    for (; count >= 4; count -= 4, memory += 8, cells += 4) {
        if (get_le64(memory) != get_le64(cells))
            return false;
    }
    return memcmp(memory, cells, 2 * (size_t)count) == 0;
}

static bool same_view(const struct vvga_view *a, const struct vvga_view *b)
{
    return a->text == b->text && a->on == b->on && a->blinks == b->blinks &&
           a->cursor_on == b->cursor_on && a->columns == b->columns && a->rows == b->rows &&
           a->pitch == b->pitch && a->start == b->start && a->split == b->split &&
           a->cursor == b->cursor && a->window == b->window;
}

/* Rows that follow one another in memory, as nearly always, need not be looked up one by one. */
static bool is_one_piece(const struct vvga_view *view)
{
    return view->pitch == view->columns && view->split == view->rows &&
           view->start + (unsigned)(view->rows * view->columns) <= VVGA_CELLS;
}

/* The cell of a row's first character. */
static unsigned row_start(const struct vvga_view *view, unsigned row)
{
    const unsigned from = row < view->split ? view->start : 0;
    return (from + (row < view->split ? row : row - view->split) * view->pitch) % VVGA_CELLS;
}

static bool copy_cells(struct screen *screen, const uint8_t *window, const struct vvga_view *view)
{
    bool changed = false;
    for (unsigned row = 0; row < view->rows; row++) {
        uint16_t *cells = screen->cells + row * view->columns;
        const unsigned from = row_start(view, row);
        for (unsigned i = 0; i < view->columns; i++) {
            const uint8_t *cell = window + 2 * ((from + i) % VVGA_CELLS);
            const uint16_t value = get_le16(cell);
            changed = changed || cells[i] != value;
            cells[i] = value;
        }
    }
    return changed;
}

static void place_cursor(struct screen *screen, const struct vvga_view *view)
{
    screen->cursor = (uint16_t)(view->rows * view->columns);
    for (unsigned row = 0; view->cursor_on && row < view->rows; row++) {
        const unsigned column = (view->cursor - row_start(view, row)) % VVGA_CELLS;
        if (column < view->columns)
            screen->cursor = (uint16_t)(row * view->columns + column);
    }
}

static void make_blank(struct screen *screen, const char *why)
{
    const unsigned count = (unsigned)(screen->columns * screen->rows);
    for (unsigned i = 0; i < count; i++)
        screen->cells[i] = *why != '\0' ? (uint16_t)(ATTRIBUTE | (uint8_t)*why++) : BLANK;
    screen->cursor = (uint16_t)count;
    screen->view = (struct vvga_view){.text = false};
}

bool screen_take(struct screen *screen, const struct vvga *vga)
{
    struct vvga_view view;
    vvga_get_view(vga, &view);
    if (!view.text || !view.on || view.rows * view.columns > SCREEN_MAX_CELLS) {
        if (screen->blank_for >= PATIENCE || ++screen->blank_for < PATIENCE)
            return false;
        make_blank(screen, view.text ? "" : "(a graphics mode, which is not shown)");
        return true;
    }
    screen->blank_for = 0;
    const uint8_t *window = vga->memory + view.window;
    const bool same = same_view(&view, &screen->view);
    if (same && is_one_piece(&view) &&
        same_cells(window + 2 * view.start, screen->cells, (unsigned)(view.rows * view.columns)))
        return false;
    screen->columns = view.columns;
    screen->rows = view.rows;
    screen->blinks = view.blinks;
    const bool changed = copy_cells(screen, window, &view);
    screen->view = view;
    place_cursor(screen, &view);
    return changed || !same;
}
