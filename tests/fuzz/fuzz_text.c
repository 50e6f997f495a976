// link: guest/monitor/plain_text.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Whatever a guest prints: what is left of it is tabs, printable ASCII and whole characters of
 * UTF-8, none of which is a control character. */
#include "guest/monitor/plain_text.h"

#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* The length of the character at the start of so many bytes, by RFC 3629. */
static size_t check_character(const uint8_t *s, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    require(s[0] < 0x80 || s[0] >= 0xc0);
    require(s[0] < 0xf8 && length <= left);
    uint32_t code = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        require((s[i] & 0xc0) == 0x80);
        code = code << 6 | (s[i] & 0x3fu);
    }
    require(code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff));
    require(code == '\t' || (code >= 0x20 && (code < 0x7f || code >= 0xa0)));
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plain_text text = {0};
    char *out = malloc(size * PLAIN_TEXT_MAX + 1);
    size_t bytes = 0;
    require(out != NULL);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n') {
            plain_text_end(&text);
            continue;
        }
        const unsigned more = plain_text_byte(&text, data[i], out + bytes);
        require(more <= PLAIN_TEXT_MAX);
        bytes += more;
    }
    for (size_t i = 0; i < bytes;)
        i += check_character((const uint8_t *)out + i, bytes - i);
    free(out);
    return 0;
}
