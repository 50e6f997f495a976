/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring of bytes between a writer and a reader, one of each at a time. Pure. */
#pragma once

#include "arch/string.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * CPU A puts the byte in and then stores `put`; CPU B loads `put` and then the byte. Without that
 * order B could take a byte that is not there yet. B takes the byte and then stores `take`; A loads
 * `take` before it writes there. Without that one A could overwrite what B has not taken yet.
 */
struct ring {
    char *bytes;
    uint32_t size;      /* a power of two */
    uint32_t put, take; /* counted on and on; their difference is what is held */
};

static inline uint32_t ring_held(const struct ring *r)
{
    return __atomic_load_n(&r->put, __ATOMIC_ACQUIRE) - __atomic_load_n(&r->take, __ATOMIC_ACQUIRE);
}

/* False, and nothing done, where it is full. */
static inline bool ring_put(struct ring *r, char c)
{
    if (ring_held(r) == r->size)
        return false;
    r->bytes[r->put & (r->size - 1)] = c;
    __atomic_store_n(&r->put, r->put + 1, __ATOMIC_RELEASE);
    return true;
}

/* All of it, for which there is room. */
static inline void ring_put_all(struct ring *r, const char *text, size_t length)
{
    const uint32_t at = r->put & (r->size - 1);
    const size_t first = length < r->size - at ? length : r->size - at;
    memcpy(r->bytes + at, text, first);
    memcpy(r->bytes, text + first, length - first);
    __atomic_store_n(&r->put, r->put + (uint32_t)length, __ATOMIC_RELEASE);
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
    __atomic_store_n(&r->take, r->take + n, __ATOMIC_RELEASE);
}

/* The oldest byte, or -1. */
static inline int ring_take(struct ring *r)
{
    if (ring_held(r) == 0)
        return -1;
    const uint8_t byte = (uint8_t)r->bytes[r->take & (r->size - 1)];
    ring_drop(r, 1);
    return byte;
}
