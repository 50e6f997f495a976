/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest prints as text that stands in its own line and nowhere else: no control characters
 * but tabs, no escape sequences, and bytes above 0x7f as UTF-8 alone. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct plain_text {
    uint8_t inside; /* enum plain_inside: of an escape sequence */
    uint8_t length, wanted;
    uint8_t bytes[4]; /* of a character of UTF-8 that is not complete: so many of so many */
};

#define PLAIN_TEXT_MAX 5 /* bytes that one byte may make */

/* Puts what a byte makes plain into out, PLAIN_TEXT_MAX at most, and returns how many. A line's end
 * is for the caller to see before, who then calls plain_text_end(). */
unsigned plain_text_byte(struct plain_text *text, uint8_t byte, char *out);

/* Whatever was not complete at the end of a line is dropped. */
static inline void plain_text_end(struct plain_text *text)
{
    *text = (struct plain_text){0};
}
