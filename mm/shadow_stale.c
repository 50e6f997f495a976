/* SPDX-License-Identifier: BSD-2-Clause */
/* What a CPU has in its TLB of a subtree that leaves a root: its leaves, if they are few, to be
 * dropped one by one; else all. */
#include "mm/shadow_parts.h"

static void add(struct shadow_cpu *cpu, uint64_t linear)
{
    if (cpu->stales == SHADOW_STALE)
        cpu->flush = true;
    else
        cpu->stale[cpu->stales++] = linear;
}

static void add_leaves(struct shadow_cpu *cpu, uint32_t number, unsigned level, uint64_t linear)
{
    const uint64_t *table = page_table(number);
    const unsigned used = shadow_page(number)->used;
    for (unsigned i = 0; !cpu->flush && (i = entry_next(table, used, i)) < TABLE_ENTRIES; i++) {
        const uint64_t at = linear + i * table_level_bytes(level);
        if (entry_is_table(table[i], level))
            add_leaves(cpu, page_number(table[i]), level - 1, at);
        else
            add(cpu, at);
    }
}

/* INVLPG of any address drops what paging-structure caches have. */
void shadow_note_stale(struct shadow_cpu *cpu, const struct shadow_subtree *sub, uint64_t linear)
{
    if (cpu->stales == 0)
        cpu->fills = cpu->shadow->fills;
    add(cpu, linear);
    add_leaves(cpu, page_number(sub->table.v), sub->level, linear);
}
