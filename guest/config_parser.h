/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two halves of the parser of nadir.cfg share: lines and sections (config.c) and the keys'
 * values (config_keys.c). */
#pragma once

#include "guest/config.h"

#define CONFIG_ENTRY_AT_LOAD UINT64_MAX /* until the end of the section */

/* A number as text, for the sentences that name a limit. */
#define DIGITS_OF(number) #number
#define DIGITS(number)    DIGITS_OF(number)

/* What a key makes no sense without: a kernel, one that is flat, one that is another; for some of
 * its values, a single vCPU, a PC's screen, or another engine than pv, which takes few vCPUs. */
enum {
    NEED_KERNEL,
    NEED_FIRMWARE,
    NEED_FLAT,
    NEED_OTHER,
    NEED_ONE_VCPU,
    NEED_BT,
    NEED_PC,
    NEED_SCREEN,
    NEED_FEW_VCPUS,
    CONFIG_NEEDS
};
enum {
    NEEDS_KERNEL = 1 << NEED_KERNEL,
    NEEDS_FIRMWARE = 1 << NEED_FIRMWARE,
    NEEDS_FLAT = 1 << NEED_FLAT,
    NEEDS_ONE_VCPU = 1 << NEED_ONE_VCPU,
    NEEDS_BT = 1 << NEED_BT,
    NEEDS_PC = 1 << NEED_PC,
    NEEDS_SCREEN = 1 << NEED_SCREEN,
    NEEDS_FEW_VCPUS = 1 << NEED_FEW_VCPUS,
    NEEDS_LOADER = NEEDS_KERNEL | 1 << NEED_OTHER, /* a kernel that is told something */
};

struct config_need {
    const char *key; /* the first one of the section that needs it; NULL: none does */
    uint32_t line;
};

struct config_parser {
    char *next, *end;     /* what is left of the text */
    uint32_t number;      /* of the line */
    const char *section;  /* its name for messages; NULL before the first */
    struct vm_config *vm; /* NULL in [nadir] */
    uint64_t seen;        /* bit i: key number i was met in this section */
    struct config_need needs[CONFIG_NEEDS];
    uint64_t nadir_seen; /* likewise, in all sections [nadir] together */
    uint32_t port_line;  /* of the last one of serial and report */
    bool in_image;       /* [image], which tools/nadir writes behind what the user has written */
    bool alone;          /* nothing but one [vm NAME] is expected */
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
