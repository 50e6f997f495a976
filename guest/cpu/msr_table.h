/* SPDX-License-Identifier: BSD-2-Clause */
/* Which MSRs a VM has: default deny, opened range by range; all others give #GP. */
#pragma once

#include "arch/status.h"

#include <stdbool.h>
#include <stdint.h>

#define MSR_TABLE_MAX 64

struct msr_range {
    uint32_t first, last; /* inclusive */
    void *dev;            /* NULL: the routines get the vCPU that executes the instruction */
    bool (*read)(void *dev, uint32_t msr, uint64_t *value); /* NULL or false: #GP in the guest */
    bool (*write)(void *dev, uint32_t msr, uint64_t value);
};

struct msr_table {
    uint32_t count;
    uint32_t first[MSR_TABLE_MAX];         /* of each range; behind the last, the largest number */
    struct msr_range range[MSR_TABLE_MAX]; /* sorted by first, no overlaps */
};

/* Opens a range at start. ERR_LIMIT: the table is full; ERR_BAD_INPUT: it overlaps another. */
enum status msr_table_add(struct msr_table *table, const struct msr_range *range);

/* The range that holds msr, or NULL. */
const struct msr_range *msr_table_find(const struct msr_table *table, uint32_t msr);
