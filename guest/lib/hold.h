/* SPDX-License-Identifier: BSD-2-Clause */
/* A CPU with all of its registers full of one pattern for some time, in which others may have it:
 * what comes back of theirs, or is not as it was, is told. */
#pragma once

#include "guest/lib/cpu.h"

#include <stdbool.h>
#include <stdint.h>

/* Words of a pattern are canonical addresses, so that any register takes them. */
#define PATTERN_POISON 0x00005e1ec7edull
#define PATTERN_OWN    0x00003a11ed0bull

static inline uint64_t pattern_word(uint64_t pattern, unsigned n)
{
    return pattern << 16 | (n & 0xffff);
}

/* How many words of it have that pattern. */
unsigned pattern_count(uint64_t pattern, const void *from, uint64_t words);
void pattern_fill(uint64_t pattern, void *to, uint64_t words);

enum { HOLD_AREA = 4096 };
struct hold_state {
    uint64_t gpr[16];                                         /* in the order of their numbers */
    uint8_t extended[HOLD_AREA] __attribute__((aligned(64))); /* as XSAVE has it */
};

/* Turns on x87, SSE, AVX and AVX-512, as far as CPUID, which is asked by that, has them. */
void hold_begin(struct cpuid (*ask)(uint32_t leaf, uint32_t subleaf));
/* What is in the vector registers now, as XSAVE has it; and where in that area a component is, from
 * AVX on: NULL, if there is none of that number. */
const uint8_t *hold_look(void);
enum { HOLD_COMPONENTS = 8 };
const uint8_t *hold_component(unsigned number, uint32_t *words);

/* Loads all registers with the pattern, and goes round so often; each time gives the CPU away, if
 * that is asked of Xen's interface. Returns how many of them are not as they were. */
unsigned hold(uint64_t pattern, uint64_t rounds, bool yields);
