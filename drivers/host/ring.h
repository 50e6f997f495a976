/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring of bytes between one writer and one reader, under their lock. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    char *bytes;
    uint32_t size;      /* a power of two */
    uint32_t put, take; /* counted on and on; their difference is what is held */
};

static inline uint32_t ring_held(const struct ring *r)
{
    return r->put - r->take;
}

/* False, and nothing done, where it is full. */
static inline bool ring_put(struct ring *r, char c)
{
    if (ring_held(r) == r->size)
        return false;
    r->bytes[r->put++ & (r->size - 1)] = c;
    return true;
}

/* The longest stretch that lies in one piece, oldest first; then ring_drop() what has been used. */
static inline size_t ring_peek(const struct ring *r, const char **text)
{
    uint32_t at = r->take & (r->size - 1), held = ring_held(r);
    *text = r->bytes + at;
    return held < r->size - at ? held : r->size - at;
}

static inline void ring_drop(struct ring *r, uint32_t n)
{
    r->take += n;
}

/* The oldest byte, or -1. */
static inline int ring_take(struct ring *r)
{
    return r->put == r->take ? -1 : (uint8_t)r->bytes[r->take++ & (r->size - 1)];
}
