/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions with an operand in memory, by their bytes: at RSI or RDI, which are the same. */
#pragma once

#include <stdint.h>

struct row {
    const char *what;
    uint8_t writes; /* bytes of the operand, if it is written; else 0 */
    uint8_t masked; /* bytes of an element, where not all of it is written */
    uint8_t length;
    const char *bytes;
    uint16_t loose; /* flags that the SDM leaves undefined: any value will do */
};

#define READS(what, bytes)                      \
    {                                           \
        what, 0, 0, sizeof(bytes) - 1, bytes, 0 \
    }
#define WRITES(count, what, bytes)                  \
    {                                               \
        what, count, 0, sizeof(bytes) - 1, bytes, 0 \
    }
#define WRITES_SOME(count, of, what, code)         \
    {                                              \
        what, count, of, sizeof(code) - 1, code, 0 \
    }

/* What leaves flags undefined. */
#define LOOSE(flags, count, what, code)               \
    {                                                 \
        what, count, 0, sizeof(code) - 1, code, flags \
    }

void check_tables(void);

extern const struct row narrow_rows[], wide_rows[]; /* up to one whose name is NULL */
