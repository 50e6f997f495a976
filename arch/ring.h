/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring of bytes between its writers and one reader, under their lock. Pure. */
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

/* What one of several writers has in a ring: counted in two parts, by whether they were put before
 * or behind a mark, so that nothing is to be kept of each byte. All zero at start; its owner's. */
struct ring_share {
    uint32_t mark; /* in the ring's count */
    uint32_t before, behind;
};

static inline void ring_share_put(struct ring_share *share, uint32_t bytes)
{
    share->behind += bytes;
}

/* A cheap upper bound of ring_share_held(): it does not look at the ring, so bytes that have left
 * since that was last called count still. */
static inline uint32_t ring_share_most(const struct ring_share *share)
{
    return share->before + share->behind;
}

/* Never less than it is; more where others have put something in front of the mark, too. May look
 * at the ring without its lock, and as seldom as it likes: what is no place in the ring has left.
 */
static inline uint32_t ring_share_held(struct ring_share *share, const struct ring *r)
{
    const uint32_t take = __atomic_load_n(&r->take, __ATOMIC_RELAXED);
    uint32_t left = share->mark - take; /* of all that was put before the mark */
    if (left == 0 || left > r->size) {
        share->before = share->behind;
        share->behind = 0;
        share->mark = __atomic_load_n(&r->put, __ATOMIC_RELAXED);
        left = share->mark - take;
    }
    return (share->before < left ? share->before : left) + share->behind;
}

/* The oldest byte, or -1. */
static inline int ring_take(struct ring *r)
{
    return r->put == r->take ? -1 : (uint8_t)r->bytes[r->take++ & (r->size - 1)];
}
