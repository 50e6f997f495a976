/* SPDX-License-Identifier: BSD-2-Clause */
/* The sorted table of a VM's MSRs. */
#include "guest/cpu/msr_table.h"

#include <stddef.h>

_Static_assert((MSR_TABLE_MAX & (MSR_TABLE_MAX - 1)) == 0, "msr_table_find() halves it");

enum status msr_table_add(struct msr_table *table, const struct msr_range *range)
{
    if (range->last < range->first)
        return ERR_BAD_INPUT;
    if (table->count == MSR_TABLE_MAX)
        return ERR_LIMIT;
    uint32_t at = table->count;
    while (at > 0 && table->range[at - 1].first > range->first)
        at--;
    if (at > 0 && table->range[at - 1].last >= range->first)
        return ERR_BAD_INPUT;
    if (at < table->count && table->range[at].first <= range->last)
        return ERR_BAD_INPUT;
    for (uint32_t i = table->count; i > at; i--)
        table->range[i] = table->range[i - 1];
    table->range[at] = *range;
    table->count++;
    for (uint32_t i = 0; i < MSR_TABLE_MAX; i++)
        table->first[i] = i < table->count ? table->range[i].first : UINT32_MAX;
    return OK;
}

/* The last range that does not begin behind msr is the only one that can hold it. It is found in
 * halves, always in as many steps: each exit for an MSR comes here. */
const struct msr_range *msr_table_find(const struct msr_table *table, uint32_t msr)
{
    uint32_t at = 0;
#pragma GCC unroll 8
    for (uint32_t step = MSR_TABLE_MAX / 2; step > 0; step /= 2)
        at = table->first[at + step] <= msr ? at + step : at;
    const struct msr_range *range = &table->range[at];
    return at < table->count && msr >= range->first && msr <= range->last ? range : NULL;
}
