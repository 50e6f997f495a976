/* SPDX-License-Identifier: BSD-2-Clause */
/* UTF-8 as of RFC 3629: the next character of a text that anybody may have written. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes of the character at *s, whose number goes to *c; 0: no UTF-8, or a control character. s
 * ends with a NUL, behind which nothing is read. */
static inline unsigned utf8_next(const char *s, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t first = (uint8_t)s[0];
    const unsigned bytes = first < 0x80                    ? 1
                           : first >= 0xc0 && first < 0xe0 ? 2
                           : first >= 0xe0 && first < 0xf0 ? 3
                           : first >= 0xf0 && first < 0xf8 ? 4
                                                           : 0;
    *c = bytes == 1 ? first : first & 0xffu >> (bytes + 1);
    for (unsigned i = 1; i < bytes; i++) {
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | ((uint8_t)s[i] & 0x3f);
    }
    const bool control = *c < ' ' || (*c >= 0x7f && *c < 0xa0);
    const bool surrogate = *c >= 0xd800 && *c < 0xe000;
    return bytes == 0 || control || surrogate || *c < least[bytes] || *c > 0x10ffff ? 0 : bytes;
}
