/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two halves of the parser of nadir.cfg share: lines and sections (config.c) and the keys'
 * values (config_keys.c). */
#pragma once

#include "guest/config.h"

#define CONFIG_ENTRY_AT_LOAD UINT64_MAX /* until the end of the section */

/* A number as text, for the sentences that name a limit. */
#define DIGITS_OF(number) #number
#define DIGITS(number)    DIGITS_OF(number)

/* What a key makes no sense without. */
enum { NEEDS_KERNEL = 1, NEEDS_FIRMWARE = 2, NEEDS_FLAT = 4 };

struct config_parser {
    char *next, *end;     /* what is left of the text */
    uint32_t number;      /* of the line */
    const char *section;  /* its name for messages; NULL before the first */
    struct vm_config *vm; /* NULL in [nadir] */
    uint64_t seen;        /* bit i: key number i was met in this section */
    uint32_t needs;       /* of all of them */
    uint64_t nadir_seen;  /* likewise, in all sections [nadir] together */
    bool in_image;        /* [image], which tools/nadir writes behind what the user has written */
    bool alone;           /* nothing but one [vm NAME] is expected */
    struct nadir_config *out;
    struct config_error *error;
};

/* The texts up to a NULL are the message about the line; returns false. */
bool config_fail(struct config_parser *p, const char *first, ...);

/* A number as text, which lies in `out`. */
#define CONFIG_DIGITS 21
static inline const char *config_digits(char out[CONFIG_DIGITS], size_t n)
{
    size_t at = CONFIG_DIGITS - 1;
    out[at] = '\0';
    do {
        out[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0 && at > 0);
    return out + at;
}

/* Sets each key of the kind of section to its value where none is named. */
void config_set_defaults(struct config_parser *p, bool of_nadir);

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool text_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static inline size_t text_length(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

static inline char *skip_space(char *s)
{
    while (is_space(*s))
        s++;
    return s;
}
