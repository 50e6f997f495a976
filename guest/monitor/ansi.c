/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of changed cells; between them the cursor is addressed. */
#include "guest/monitor/ansi.h"
#include "arch/log.h"

#define AT_ONCE     4096 /* bytes: a third of a second at 115,200 baud, and less than a full screen */
#define BLANK       0x0720
#define SHORTEST_EL 4 /* blanks, from which on "erase in line" is shorter */
#define SHORT_WAY   5 /* cells, below which no address is as short */
#define NONE        0xffff
#define BLINKS      0x100

struct stream {
    void (*out)(void *ctx, const char *text, size_t length);
    void *ctx;
    size_t length, total;
    char text[512];
};

static void flush(struct stream *s)
{
    if (s->length != 0)
        s->out(s->ctx, s->text, s->length);
    s->total += s->length;
    s->length = 0;
}

/* Room for the longest piece that is put in one go. */
static char *room(struct stream *s)
{
    if (s->length + 32 > sizeof(s->text))
        flush(s);
    return s->text + s->length;
}

#define put_format(s, ...) ((s)->length += format_text(room(s), 32, __VA_ARGS__))

/* VGA counts blue 1, red 4; a terminal red 1, blue 4. */
static void set_attribute(struct ansi *a, struct stream *s, uint16_t attribute)
{
    static const uint8_t colour[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    if (a->attribute == attribute)
        return;
    a->attribute = attribute;
    const unsigned front = (attribute & 0x08 ? 90u : 30u) + colour[attribute & 7];
    const bool blinks = attribute & BLINKS;
    const unsigned back = ((attribute & 0x80) && !blinks ? 100u : 40u) + colour[attribute >> 4 & 7];
    put_format(s, "\033[0;%s%u;%um", blinks ? "5;" : "", front, back);
}

/* How a cell looks, for set_attribute(). */
static uint16_t look(const struct ansi *a, uint16_t cell)
{
    return (uint16_t)(cell >> 8 | (a->blinks && (cell & 0x8000) ? BLINKS : 0));
}

static void put_cell(struct ansi *a, struct stream *s, unsigned cell)
{
    char *to = room(s);
    s->length += screen_utf8((uint8_t)a->cells[cell], to);
    /* Behind the last column terminals differ. */
    a->at = (cell + 1) % a->columns != 0 ? (uint16_t)(cell + 1) : NONE;
}

/* A short way along the row: what stands there already is sent again, if it looks the same. */
static bool is_short_way(const struct ansi *a, unsigned cell)
{
    if (a->at >= cell || cell - a->at > SHORT_WAY || a->at / a->columns != cell / a->columns)
        return false;
    for (unsigned i = a->at; i < cell; i++)
        if (look(a, a->cells[i]) != a->attribute)
            return false;
    return true;
}

static void move_to(struct ansi *a, struct stream *s, unsigned cell)
{
    if (is_short_way(a, cell)) {
        while (a->at != cell)
            put_cell(a, s, a->at);
    } else if (a->at != cell) {
        put_format(s, "\033[%u;%uH", cell / a->columns + 1, cell % a->columns + 1);
        a->at = (uint16_t)cell;
    }
}

/* How many cells from here to the end of the row are blanks of one look. */
static unsigned blanks(const struct screen *screen, unsigned cell)
{
    const unsigned end = (cell / screen->columns + 1) * screen->columns;
    for (unsigned i = cell; i < end; i++)
        if (screen->cells[i] != BLANK)
            return 0;
    return end - cell;
}

static void draw_row(struct ansi *a, struct stream *s, const struct screen *screen, unsigned row)
{
    const unsigned end = (row + 1) * a->columns;
    for (unsigned i = row * a->columns; i < end; i++) {
        if (a->cells[i] == screen->cells[i])
            continue;
        move_to(a, s, i);
        set_attribute(a, s, look(a, screen->cells[i]));
        if (blanks(screen, i) >= SHORTEST_EL) {
            put_format(s, "\033[K");
            while (i < end)
                a->cells[i++] = BLANK;
            return;
        }
        a->cells[i] = screen->cells[i];
        put_cell(a, s, i);
    }
}

static void clear(struct ansi *a, struct stream *s, const struct screen *screen)
{
    *a = (struct ansi){.known = true,
                       .blinks = screen->blinks,
                       .columns = screen->columns,
                       .rows = screen->rows,
                       .at = NONE,
                       .attribute = NONE};
    for (unsigned i = 0; i < (unsigned)(a->columns * a->rows); i++)
        a->cells[i] = BLANK;
    set_attribute(a, s, BLANK >> 8);
    put_format(s, "\033[?25l\033[2J");
}

bool ansi_draw(struct ansi *ansi, const struct screen *screen,
               void (*out)(void *ctx, const char *text, size_t length), void *ctx)
{
    struct stream s = {.out = out, .ctx = ctx};
    const unsigned count = (unsigned)(screen->columns * screen->rows);
    if (screen->columns == 0 || screen->rows == 0)
        return true;
    if (!ansi->known || ansi->blinks != screen->blinks || ansi->columns != screen->columns ||
        ansi->rows != screen->rows)
        clear(ansi, &s, screen);
    unsigned row = 0;
    for (; row < ansi->rows && s.total + s.length < AT_ONCE; row++)
        draw_row(ansi, &s, screen, row);
    const bool visible = screen->cursor < count;
    if (visible)
        move_to(ansi, &s, screen->cursor);
    if (visible != ansi->cursor_shown)
        put_format(&s, visible ? "\033[?25h" : "\033[?25l");
    ansi->cursor_shown = visible;
    flush(&s);
    return row == ansi->rows;
}
