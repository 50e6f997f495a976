/* SPDX-License-Identifier: BSD-2-Clause */
/* A check of an index does not bind a CPU that guesses: it may go on as if the check had passed,
 * and what it then reads leaves traces that a guest can measure (Spectre v1). An index of a guest's
 * choice goes through this, behind its check: as data, by which nothing is guessed. */
#pragma once

#include <stdint.h>

/* index, where it is below limit; else 0. */
static inline uint64_t index_nospec(uint64_t index, uint64_t limit)
{
    uint64_t mask = index; /* all ones by the borrow of index - limit, else 0 */
    __asm__("cmpq %1, %0; sbbq %0, %0" : "+r"(mask) : "rm"(limit) : "cc");
    return index & mask;
}
