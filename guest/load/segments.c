/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments of a kernel: checks, and copies to guest memory. */
#include "guest/load/segments.h"

static enum status check_one(struct program *p, const struct segment *s)
{
    if (s->file_bytes > s->memory_bytes)
        return program_refuse(p, ERR_BAD_INPUT, "a segment is longer in the file than in memory");
    if (s->offset > p->kernel.size || s->file_bytes > p->kernel.size - s->offset)
        return program_refuse(p, ERR_BAD_INPUT,
                              "a segment lies outside the file: is it cut short?");
    if (s->memory_bytes > UINT64_MAX - s->at)
        return program_refuse(p, ERR_BAD_INPUT, "a segment wraps around the end of memory");
    return OK;
}

enum status segments_check(struct program *p, const struct segments *s, uint64_t *low,
                           uint64_t *end)
{
    bool entry_inside = false;
    *low = UINT64_MAX;
    *end = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct segment *a = &s->segment[i];
        const enum status status = check_one(p, a);
        if (status != OK)
            return status;
        for (uint32_t k = 0; k < i; k++) {
            const struct segment *b = &s->segment[k];
            if (a->at < b->at + b->memory_bytes && b->at < a->at + a->memory_bytes)
                return program_refuse(p, ERR_BAD_INPUT, "segments overlap at 0x%llx and 0x%llx",
                                      (unsigned long long)a->at, (unsigned long long)b->at);
        }
        entry_inside = entry_inside || (s->entry >= a->at && s->entry - a->at < a->memory_bytes);
        if (a->at < *low)
            *low = a->at;
        if (a->at + a->memory_bytes > *end)
            *end = a->at + a->memory_bytes;
    }
    if (s->count == 0)
        return program_refuse(p, ERR_BAD_INPUT, "the file has no segment to load");
    if (!entry_inside)
        return program_refuse(p, ERR_BAD_INPUT, "the entry 0x%llx is outside all segments",
                              (unsigned long long)s->entry + s->entry_above);
    return OK;
}

enum status segments_place(struct program *p, const struct segments *s, uint64_t delta)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct segment *a = &s->segment[i];
        const gpa_t at = gpa(a->at + delta);
        const enum status status = program_check_place(p, "a segment", at, a->memory_bytes);
        if (status != OK)
            return status;
        const gpa_t rest = gpa(at.v + a->file_bytes);
        if (!program_write(p, at, p->kernel.data + a->offset, a->file_bytes) ||
            !program_zero(p, rest, a->memory_bytes - a->file_bytes))
            return program_refuse(p, ERR_NO_MEMORY, "a segment does not fit into the memory");
    }
    return OK;
}
