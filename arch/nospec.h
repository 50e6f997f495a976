/* SPDX-License-Identifier: BSD-2-Clause */
/* A check of an index does not bind a CPU that guesses: it may go on as if the check had passed,
 * and what it then reads leaves traces that a guest can measure (Spectre v1). An index of a guest's
 * choice goes through this, behind its check: as data, by which nothing is guessed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* index, where it is below limit; else 0. CMOV waits for its operands, it is not predicted. */
static inline uint64_t index_nospec(uint64_t index, uint64_t limit)
{
    __asm__("cmpq %2, %0; cmovaeq %1, %0" : "+&r"(index) : "r"(0ull), "rm"(limit) : "cc");
    return index;
}

/* Those bits of index that are in mask, where it has been checked that there are no others: the
 * compiler would leave the mask out. */
static inline uint64_t bits_nospec(uint64_t index, uint64_t mask)
{
    __asm__("" : "+r"(index));
    return index & mask;
}

/* The check and the mask in one, where each instruction counts: whether *index is above last, and
 * then it is 0. */
static inline bool index_is_beyond(uint64_t *index, uint64_t last)
{
    bool beyond;
    __asm__("cmpq %3, %0; cmovaq %2, %0" : "+&r"(*index), "=@cca"(beyond) : "r"(0ull), "rm"(last));
    return beyond;
}
