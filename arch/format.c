/* SPDX-License-Identifier: BSD-2-Clause */
/* printf's smaller sibling: no floating point, never past the end of the buffer. Pure. */
#include "arch/format.h"
#include "arch/log.h"
#include "arch/string.h"

#include <stdbool.h>
#include <stdint.h>

struct output {
    char *at;
    size_t room; /* without the terminator */
    size_t length;
};

struct conversion {
    bool left, zeros;
    unsigned width;
    unsigned longs; /* 0: int, 1 and 2: 64 bits (long, long long, size_t) */
};

static void put_char(struct output *out, char c)
{
    if (out->length < out->room)
        out->at[out->length++] = c;
}

static void put_padding(struct output *out, char c, unsigned width, size_t used)
{
    for (size_t i = used; i < width; i++)
        put_char(out, c);
}

/* The prefix and n characters of text, filled up to the width. */
static void put_field(struct output *out, const struct conversion *c, const char *prefix,
                      const char *text, size_t n)
{
    size_t used = strlen(prefix) + n;
    if (!c->left && !c->zeros)
        put_padding(out, ' ', c->width, used);
    for (; *prefix != 0; prefix++)
        put_char(out, *prefix);
    if (!c->left && c->zeros)
        put_padding(out, '0', c->width, used);
    for (size_t i = 0; i < n; i++)
        put_char(out, text[i]);
    if (c->left)
        put_padding(out, ' ', c->width, used);
}

static void put_number(struct output *out, const struct conversion *c, const char *prefix,
                       uint64_t value, unsigned base)
{
    char digits[24];
    char *first = digits + sizeof(digits);
    do {
        *--first = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    put_field(out, c, prefix, first, (size_t)(digits + sizeof(digits) - first));
}

/* Reads flags, width and length modifiers; returns where the conversion letter stands. */
static const char *parse_conversion(const char *f, struct conversion *c)
{
    *c = (struct conversion){0};
    for (; *f == '-' || *f == '0'; f++) {
        c->left = c->left || *f == '-';
        c->zeros = c->zeros || *f == '0';
    }
    for (; *f >= '0' && *f <= '9'; f++)
        if (c->width < 1000)
            c->width = c->width * 10 + (unsigned)(*f - '0');
    for (; *f == 'l' || *f == 'z'; f++)
        c->longs++;
    return f;
}

size_t format_text_va(char *out_buffer, size_t size, const char *format, va_list args)
{
    struct output out = {.at = out_buffer, .room = size == 0 ? 0 : size - 1};
    struct conversion c;
    for (const char *f = format; *f != 0; f++) {
        if (*f != '%') {
            put_char(&out, *f);
            continue;
        }
        f = parse_conversion(f + 1, &c);
        if (*f == 's') {
            const char *text = va_arg(args, const char *);
            text = text != NULL ? text : "(null)";
            put_field(&out, &c, "", text, strlen(text));
        } else if (*f == 'c') {
            char character = (char)va_arg(args, int);
            put_field(&out, &c, "", &character, 1);
        } else if (*f == 'd' || *f == 'i') {
            int64_t v = c.longs != 0 ? va_arg(args, int64_t) : va_arg(args, int);
            put_number(&out, &c, v < 0 ? "-" : "", v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
        } else if (*f == 'u' || *f == 'x') {
            uint64_t v = c.longs != 0 ? va_arg(args, uint64_t) : va_arg(args, unsigned);
            put_number(&out, &c, "", v, *f == 'u' ? 10 : 16);
        } else if (*f == 'p') {
            put_number(&out, &c, "0x", (uint64_t)(uintptr_t)va_arg(args, void *), 16);
        } else if (*f == '%') {
            put_char(&out, '%');
        } else { /* unknown: shown as it stands, so that it is noticed */
            put_char(&out, '%');
            if (*f == 0)
                break;
            put_char(&out, *f);
        }
    }
    if (size != 0)
        out.at[out.length] = 0;
    return out.length;
}

size_t format_text(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t length = format_text_va(out, size, format, args);
    va_end(args);
    return length;
}
