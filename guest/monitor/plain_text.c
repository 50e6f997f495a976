/* SPDX-License-Identifier: BSD-2-Clause */
/* Escape sequences as of ECMA-48, UTF-8 as of RFC 3629. */
#include "guest/monitor/plain_text.h"

enum { ESCAPE = 0x1b, BELL = 0x07, DELETE = 0x7f };
enum plain_inside { NOTHING, AFTER_ESCAPE, CONTROL, STRING };

/* Behind an escape, or in what it has begun: nothing of that is shown. */
static enum plain_inside next_inside(enum plain_inside inside, uint8_t byte)
{
    if (byte == ESCAPE)
        return AFTER_ESCAPE;
    if (inside == STRING)
        return byte == BELL ? NOTHING : STRING;
    if (inside == CONTROL)
        return byte >= 0x40 && byte < DELETE ? NOTHING : CONTROL;
    if (byte == '[')
        return CONTROL;
    if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
        return STRING;
    return byte >= 0x20 && byte < 0x30 ? AFTER_ESCAPE : NOTHING;
}

static uint8_t wanted_by(uint8_t lead)
{
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/* U+0080 to U+009F are control characters, too, and overlong forms and surrogates are no text. */
static unsigned whole_character(const struct plain_text *t, char *out)
{
    const uint8_t lead = t->bytes[0], second = t->bytes[1];
    if ((lead == 0xc2 && second < 0xa0) || (lead == 0xe0 && second < 0xa0) ||
        (lead == 0xed && second >= 0xa0) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second >= 0x90)) {
        *out = '?';
        return 1;
    }
    for (unsigned i = 0; i < t->length; i++)
        out[i] = (char)t->bytes[i];
    return t->length;
}

/* Continues a character, or begins one. */
static unsigned high_byte(struct plain_text *t, uint8_t byte, char *out)
{
    unsigned n = 0;
    const bool continues = byte < 0xc0;
    if (!continues && t->length != 0)
        out[n++] = '?';
    if (!continues) {
        t->length = 0;
        t->wanted = wanted_by(byte);
    }
    if (t->wanted == 0) {
        out[n++] = '?';
        return n;
    }
    t->bytes[t->length++] = byte;
    if (t->length < t->wanted)
        return n;
    n += whole_character(t, out + n);
    t->length = t->wanted = 0;
    return n;
}

unsigned plain_text_byte(struct plain_text *t, uint8_t byte, char *out)
{
    unsigned n = 0;
    if (t->inside != NOTHING || byte == ESCAPE) {
        t->inside = (uint8_t)next_inside(t->inside, byte);
        return 0;
    }
    if (byte >= 0x80)
        return high_byte(t, byte, out);
    if (t->length != 0)
        out[n++] = '?';
    t->length = t->wanted = 0;
    if ((byte >= ' ' || byte == '\t') && byte != DELETE)
        out[n++] = (char)byte;
    return n;
}
