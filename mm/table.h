/* SPDX-License-Identifier: BSD-2-Clause */
/* What host page tables and EPT have in common: four levels of 512 entries; 1 = PTE, 4 = PML4E. */
#pragma once

#include "arch/addr.h"
#include "arch/x86.h"

#define TABLE_ENTRIES   512
#define TABLE_TOP_LEVEL 4

static inline uint64_t table_level_bytes(unsigned level) /* that one entry maps */
{
    return PAGE_SIZE << (9 * (level - 1));
}

static inline uint64_t *table_of(uint64_t entry)
{
    return hpa_to_ptr(hpa(entry & PTE_ADDRESS));
}

static inline uint64_t *table_entry(uint64_t *table, uint64_t address, unsigned level)
{
    return &table[address / table_level_bytes(level) % TABLE_ENTRIES];
}
