/* SPDX-License-Identifier: BSD-2-Clause */
/* The sorted table of a VM's MSRs. */
#include "guest/cpu/msr_table.h"

#include <stddef.h>

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
    return OK;
}

const struct msr_range *msr_table_find(const struct msr_table *table, uint32_t msr)
{
    uint32_t low = 0, high = table->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct msr_range *range = &table->range[middle];
        if (msr < range->first)
            high = middle;
        else if (msr > range->last)
            low = middle + 1;
        else
            return range;
    }
    return NULL;
}
