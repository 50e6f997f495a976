/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel as pieces of its file, each with a place in memory: what ELF program headers and the
 * address fields of multiboot both say. */
#pragma once

#include "guest/load/program.h"

#define SEGMENTS_MAX 32

struct segment {
    uint64_t offset, file_bytes; /* in the file */
    uint64_t at, memory_bytes;   /* guest-physical; what exceeds file_bytes is zero */
};

struct segments {
    uint64_t entry;       /* guest-physical */
    uint64_t entry_above; /* by so much less than the file says: users know that address */
    uint32_t count;
    struct segment segment[SEGMENTS_MAX];
};

/* Refuses what cannot be: no segment, one longer in the file than in memory or outside the file,
 * wrapping or overlapping ones, an entry outside all of them. Then *low and *end are their bounds.
 */
enum status segments_check(struct program *p, const struct segments *s, uint64_t *low,
                           uint64_t *end);

/* Copies checked segments, each moved up by delta (which may wrap to go down). */
enum status segments_place(struct program *p, const struct segments *s, uint64_t delta);
