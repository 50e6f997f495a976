/* SPDX-License-Identifier: BSD-2-Clause */
/* Text of several writers on its way to one place: each has a ring, and one reader takes from them
 * in turn, so that nobody waits for another's text, and none stands within another's line. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUT_TURN     512  /* bytes that a writer may send before the next one has its turn */
#define OUT_LINE_MAX 1024 /* behind so many more even a line that does not end is broken */

enum out_kind {
    OUT_LINE,    /* whole lines, whose \n become \r\n; they begin behind whatever stands there */
    OUT_NAMED,   /* a line or a part of one, with its writer's name in front where it begins */
    OUT_RAW,     /* the same as it is, for a writer who is alone */
    OUT_PICTURE, /* sequences that draw on a terminal: as they are, between any others' */
    OUT_REPORT,  /* no text: one line for out_rings.report() */
};

/*
 * What one writer has under way, as records of a header and bytes. Two CPUs use it without a common
 * lock: CPU A, who writes, with the lock of those who write to this ring, puts the bytes there and
 * then stores `put`; CPU B, the reader, loads `put` and then the bytes. Without that order B could
 * send what A has not written yet. B stores `take` behind its last look at the bytes, A loads
 * `take` before it writes where they were. Without that one A could write over what B still sends.
 */
struct out_ring {
    char *bytes;   /* NULL: there is none, and put == take */
    uint32_t size; /* a power of two, at most 65536 */
    uint32_t put, take;
    uint32_t lost;    /* bytes that had no room, and are not told of yet: the writers'; atomic */
    uint32_t reports; /* that wait in it; atomic */
    int32_t credit;   /* what is left of its turn; negative: of the next ones. The reader's */
};

/* Bytes that have not left, headers included. Any CPU. */
static inline uint32_t out_ring_held(const struct out_ring *r)
{
    return __atomic_load_n(&r->put, __ATOMIC_ACQUIRE) - __atomic_load_n(&r->take, __ATOMIC_ACQUIRE);
}

/* Adds a text, whole or not at all (false): what is left out so is told of in front of the next one
 * that has room. name: of OUT_NAMED, with all that is to stand in front of the text; else NULL. One
 * writer at a time. */
bool out_ring_put(struct out_ring *r, enum out_kind kind, const char *name, const char *text,
                  size_t length);

/* Tells of what is left out, if that is so, where no further text may come. A writer's, as above.
 */
void out_ring_tell_lost(struct out_ring *r);

/* Whether that is to be called: something is left out, and all else has been sent. Any CPU. */
static inline bool out_ring_owes(const struct out_ring *r)
{
    return __atomic_load_n(&r->lost, __ATOMIC_RELAXED) != 0 && out_ring_held(r) == 0;
}

/* The reader's. All zero at start but for the first three. */
struct out_rings {
    struct out_ring *ring; /* the first one always goes first: it is to be little */
    uint32_t count;        /* of rings that may have something; may grow at any time */
    /* Takes a line, in two parts, if it has room. */
    bool (*report)(const char *first, size_t first_length, const char *rest, size_t rest_length);
    struct out_ring *current; /* whose record is under way, or was last */
    uint32_t turn;            /* whose it is */
    uint32_t left, length;    /* of the record under way, without its header */
    uint32_t breaks;          /* bytes of "\r\n" to be sent before that */
    bool ends;                /* it ends a line */
    enum out_kind kind;       /* of it */
    enum out_kind open_kind;  /* of what stands open */
    struct out_ring *open;    /* whose line stands there without its end, or NULL */
    uint32_t texts;           /* records but pictures that have begun, counted on and on */
    uint32_t moved;           /* bytes that have been sent, likewise */
};

/* The next bytes in one piece, to be sent now or later. False: there are none. */
struct out_piece {
    const char *text;
    size_t length;
    bool picture;
};
bool out_rings_next(struct out_rings *s, struct out_piece *piece);

/* So many bytes of that piece, or all, have been sent. */
void out_rings_sent(struct out_rings *s, size_t bytes);

/* Whether anything has not left yet: text or reports. */
bool out_rings_pending(const struct out_rings *s);
