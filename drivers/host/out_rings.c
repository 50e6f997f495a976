/* SPDX-License-Identifier: BSD-2-Clause */
/* Deficit round robin over the rings: a writer's turn is OUT_TURN bytes, what a line goes beyond
 * that is taken off its next turns. */
#include "drivers/host/out_rings.h"
#include "arch/format.h"
#include "arch/string.h"

/* In front of each record. */
struct header {
    uint8_t kind;
    uint8_t name;    /* bytes of it, in front of the text */
    uint16_t length; /* with the name */
};

_Static_assert(sizeof(struct header) == 4, "no padding");

static void copy_in(struct out_ring *r, uint32_t at, const void *from, size_t length)
{
    const size_t place = at & (r->size - 1), first = r->size - place;
    memcpy(r->bytes + place, from, length < first ? length : first);
    if (length > first)
        memcpy(r->bytes, (const char *)from + first, length - first);
}

static char byte_at(const struct out_ring *r, uint32_t at)
{
    return r->bytes[at & (r->size - 1)];
}

static struct header header_at(const struct out_ring *r, uint32_t at)
{
    char raw[sizeof(struct header)];
    struct header h;
    for (uint32_t i = 0; i < sizeof(raw); i++)
        raw[i] = byte_at(r, at + i);
    memcpy(&h, raw, sizeof(h));
    return h;
}

/* There is room. */
static void put_record(struct out_ring *r, enum out_kind kind, const char *name, const char *text,
                       size_t length)
{
    struct header h = {.kind = (uint8_t)kind};
    uint32_t at = r->put + sizeof(h);
    if (name != NULL) {
        h.name = (uint8_t)strlen(name);
        copy_in(r, at, name, h.name);
        at += h.name;
    }
    while (length > 0) {
        size_t line = 0;
        while (line < length && (kind != OUT_LINE || text[line] != '\n'))
            line++;
        copy_in(r, at, text, line);
        at += (uint32_t)line;
        if (line < length) {
            copy_in(r, at, "\r\n", 2);
            at += 2;
            line++;
        }
        text += line;
        length -= line;
    }
    h.length = (uint16_t)(at - r->put - sizeof(h));
    copy_in(r, r->put, &h, sizeof(h));
    __atomic_store_n(&r->put, at, __ATOMIC_RELEASE);
}

enum { NOTE_BYTES = 64 };

static void add_lost(struct out_ring *r, uint32_t bytes)
{
    __atomic_store_n(&r->lost, r->lost + bytes, __ATOMIC_RELAXED);
}

void out_ring_tell_lost(struct out_ring *r)
{
    char note[NOTE_BYTES];
    if (r->lost == 0 || r->size - out_ring_held(r) < sizeof(struct header) + sizeof(note))
        return;
    const size_t n =
        format_text(note, sizeof(note), "nadir: %u bytes of text are left out here\n", r->lost);
    put_record(r, OUT_LINE, NULL, note, n);
    __atomic_store_n(&r->lost, 0, __ATOMIC_RELAXED);
}

bool out_ring_put(struct out_ring *r, enum out_kind kind, const char *name, const char *text,
                  size_t length)
{
    if (length == 0)
        return true;
    size_t bytes = sizeof(struct header) + length + (name != NULL ? strlen(name) : 0);
    const size_t room = r->size - out_ring_held(r);
    for (size_t i = 0; kind == OUT_LINE && i < length; i++)
        bytes += text[i] == '\n';
    if (r->lost != 0)
        bytes += sizeof(struct header) + NOTE_BYTES;
    if (bytes > room) {
        if (kind != OUT_REPORT)
            add_lost(r, (uint32_t)length);
        return false;
    }
    out_ring_tell_lost(r);
    if (kind == OUT_REPORT)
        __atomic_add_fetch(&r->reports, 1, __ATOMIC_RELAXED);
    put_record(r, kind, name, text, length);
    return true;
}

static void drop_record(struct out_ring *r, uint32_t length)
{
    __atomic_store_n(&r->take, r->take + (uint32_t)sizeof(struct header) + length,
                     __ATOMIC_RELEASE);
}

/* Bytes of the oldest record, from one on, that lie in one piece. */
static uint32_t piece_at(const struct out_ring *r, uint32_t offset, uint32_t left,
                         const char **text)
{
    const uint32_t place = (r->take + (uint32_t)sizeof(struct header) + offset) & (r->size - 1);
    *text = r->bytes + place;
    return left < r->size - place ? left : r->size - place;
}

/* Whether it has text. Reports in front of that go on their way first, where they have room. */
static bool has_text(struct out_rings *s, struct out_ring *r)
{
    while (out_ring_held(r) != 0) {
        const struct header h = header_at(r, r->take);
        const char *first, *rest;
        if (h.kind != OUT_REPORT)
            return true;
        const uint32_t n = piece_at(r, 0, h.length, &first);
        const uint32_t more = piece_at(r, n, h.length - n, &rest);
        if (!s->report(first, n, rest, more))
            return false;
        drop_record(r, h.length);
        __atomic_sub_fetch(&r->reports, 1, __ATOMIC_RELEASE);
    }
    return false;
}

/* The ring whose turn it is. In each round every ring that has text gets OUT_TURN bytes of credit;
 * one that has overdrawn, to end its line, is passed over until its credit is above 0 again, which
 * takes a few rounds at most. NULL: nobody has any text. */
static struct out_ring *next_in_turn(struct out_rings *s)
{
    const uint32_t count = __atomic_load_n(&s->count, __ATOMIC_ACQUIRE);
    struct out_ring *r = &s->ring[s->turn];
    if (r->credit > 0 && has_text(s, r))
        return r;
    for (bool any = true; any;) {
        any = false;
        for (uint32_t i = 1; i <= count; i++) {
            const uint32_t turn = (s->turn + i) % count;
            r = &s->ring[turn];
            if (!has_text(s, r)) {
                r->credit = r->credit < 0 ? r->credit : 0;
                continue;
            }
            any = true;
            r->credit += OUT_TURN;
            if (r->credit > 0) {
                s->turn = turn;
                return r;
            }
        }
    }
    return NULL;
}

/* Whose text comes next. A line that stands open is ended first, if its end is there: the text of
 * another would break it. */
static struct out_ring *choose(struct out_rings *s)
{
    struct out_ring *open = s->open;
    if (open != NULL && open->credit > -OUT_LINE_MAX && has_text(s, open))
        return open;
    return has_text(s, s->ring) ? s->ring : next_in_turn(s);
}

/* What a line's end was to end has been ended already, by a break. */
static bool is_late_end(const struct out_ring *r, struct header h)
{
    const uint32_t text = r->take + (uint32_t)sizeof(h) + h.name;
    return h.length == h.name + 2 && byte_at(r, text) == '\r' && byte_at(r, text + 1) == '\n';
}

static void begin_record(struct out_rings *s, struct out_ring *r)
{
    const struct header h = header_at(r, r->take);
    const bool goes_on = s->open == r && s->open_kind == h.kind && h.kind != OUT_LINE;
    if (h.kind == OUT_NAMED && !goes_on && is_late_end(r, h)) {
        drop_record(r, h.length);
        return;
    }
    s->current = r;
    s->kind = h.kind;
    s->length = h.length;
    s->ends = byte_at(r, r->take + (uint32_t)sizeof(h) + h.length - 1) == '\n';
    if (h.kind != OUT_PICTURE) {
        s->breaks = s->open != NULL && !goes_on ? 2 : 0;
        s->texts++;
    }
    s->left = goes_on ? h.length - h.name : h.length;
}

static void end_record(struct out_rings *s, struct out_ring *r)
{
    if (s->kind != OUT_PICTURE) {
        __atomic_store_n(&s->open, s->ends ? NULL : r, __ATOMIC_RELAXED);
        s->open_kind = s->kind;
    }
    drop_record(r, s->length);
}

bool out_rings_next(struct out_rings *s, struct out_piece *piece)
{
    while (s->left == 0) {
        struct out_ring *r = choose(s);
        if (r == NULL)
            return false;
        begin_record(s, r);
    }
    piece->picture = s->kind == OUT_PICTURE;
    if (s->breaks != 0) {
        piece->text = "\r\n" + (2 - s->breaks);
        piece->length = s->breaks;
    } else {
        piece->length = piece_at(s->current, s->length - s->left, s->left, &piece->text);
    }
    return true;
}

void out_rings_sent(struct out_rings *s, size_t bytes)
{
    struct out_ring *r = s->current;
    r->credit -= (int32_t)bytes;
    s->moved += (uint32_t)bytes;
    if (s->breaks != 0) {
        s->breaks -= (uint32_t)bytes;
        return;
    }
    s->left -= (uint32_t)bytes;
    if (s->left == 0)
        end_record(s, r);
}

bool out_rings_pending(const struct out_rings *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (out_ring_held(&s->ring[i]) != 0)
            return true;
    return false;
}
