/* SPDX-License-Identifier: BSD-2-Clause */
/* The type of one address, and how far it reaches (SDM, "Memory Type Range Registers"). */
#include "mm/mtrr.h"

#include "arch/x86.h"

#include <stdbool.h>

#define FIXED_END (1ull << 20)

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Reserved encodings cannot be written; as everywhere below, what should not be counts as UC. */
static enum memory_type decode_type(uint64_t bits)
{
    uint64_t type = bits & 0xff;
    return type == 1 || (type >= 4 && type <= 6) ? (enum memory_type)type : MEMORY_UC;
}

/* 8 ranges a register: 64 KiB each below 512 KiB, then 16 KiB, and 4 KiB from 768 KiB. */
static enum memory_type fixed_type(const struct mtrr_state *m, uint64_t at, uint64_t *end)
{
    static const struct {
        uint32_t start;
        uint8_t shift, reg;
    } area[] = {{0xc0000, 12, 3}, {0x80000, 14, 1}, {0, 16, 0}};
    unsigned i = 0;
    while (at < area[i].start)
        i++;
    unsigned shift = area[i].shift;
    uint64_t field = (at - area[i].start) >> shift;
    *end = lower(*end, ((at >> shift) + 1) << shift);
    return decode_type(m->fixed[area[i].reg + field / 8] >> (field % 8 * 8));
}

/* Whether a variable range covers the address; *end comes down to where the answer may change. */
static bool variable_match(const struct mtrr_state *m, const struct mtrr_variable *v, uint64_t at,
                           uint64_t *end)
{
    uint64_t limit = (1ull << m->phys_bits) - 1;
    uint64_t mask = v->mask & limit & ~0xfffull;
    uint64_t base = v->base & mask;
    bool match = (at & mask) == base;
    if (mask == 0)
        return match;
    uint64_t size = mask & (~mask + 1);
    bool one_block = (mask | (size - 1)) == limit; /* else its pattern repeats: go by the granule */
    if (match || !one_block)
        *end = lower(*end, (at | (size - 1)) + 1);
    else if (at < base)
        *end = lower(*end, base);
    return match;
}

/* Two types that overlap (SDM, "MTRR Precedences"). */
static enum memory_type combine(enum memory_type a, enum memory_type b)
{
    if (a == b || a == MEMORY_MIXED)
        return b;
    bool through = (a == MEMORY_WT && b == MEMORY_WB) || (a == MEMORY_WB && b == MEMORY_WT);
    return through ? MEMORY_WT : MEMORY_UC;
}

static enum memory_type type_at(const struct mtrr_state *m, uint64_t at, uint64_t *end)
{
    if ((m->default_type & MTRR_DEF_ENABLE) == 0)
        return MEMORY_UC;
    bool fixed = (m->capability & MTRR_CAP_FIXED) && (m->default_type & MTRR_DEF_FIXED_ENABLE);
    if (fixed && at < FIXED_END)
        return fixed_type(m, at, end);
    enum memory_type type = MEMORY_MIXED; /* none yet */
    for (uint32_t i = 0; i < m->variable_count && i < MTRR_MAX_VARIABLE; i++) {
        const struct mtrr_variable *v = &m->variable[i];
        if ((v->mask & MTRR_MASK_VALID) && variable_match(m, v, at, end))
            type = combine(type, decode_type(v->base));
    }
    return type == MEMORY_MIXED ? decode_type(m->default_type) : type;
}

enum memory_type mtrr_run(const struct mtrr_state *mtrr, hpa_t at, hpa_t limit, hpa_t *end)
{
    const uint64_t last = 1ull << mtrr->phys_bits;
    *end = limit;
    if (at.v >= last)
        return MEMORY_UC;
    end->v = lower(end->v, last);
    return type_at(mtrr, at.v, &end->v);
}

enum memory_type mtrr_range_type(const struct mtrr_state *mtrr, hpa_t base, uint64_t bytes)
{
    uint64_t at = base.v;
    uint64_t limit = 1ull << mtrr->phys_bits;
    if (at >= limit)
        return MEMORY_UC;
    uint64_t stop = bytes > limit - at ? limit : at + bytes;
    enum memory_type first = MEMORY_MIXED;
    do {
        uint64_t end = limit;
        enum memory_type type = type_at(mtrr, at, &end);
        if (first != MEMORY_MIXED && type != first)
            return MEMORY_MIXED;
        first = type;
        at = end;
    } while (at < stop);
    return first;
}
