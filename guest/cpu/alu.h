/* SPDX-License-Identifier: BSD-2-Clause */
/* What integer instructions make of values and flags, wherever their operands are. Pure. A flag
 * that the SDM leaves undefined becomes what most CPUs make of it, or stays as it was. */
#pragma once

#include "arch/x86.h"
#include "guest/cpu/decode.h"

#define ARITHMETIC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* In all of them bytes is 1, 2, 4 or 8, operands are within bytes, and *flags is the whole of
 * RFLAGS. */

static inline uint64_t mask_of(unsigned bytes)
{
    static const uint64_t mask[9] = {
        [1] = UINT8_MAX, [2] = UINT16_MAX, [4] = UINT32_MAX, [8] = UINT64_MAX};
    return mask[bytes];
}

static inline uint64_t sign_extend(uint64_t value, unsigned bytes)
{
    const uint64_t sign = 1ull << (bytes * 8 - 1);
    return (value ^ sign) - sign;
}

/* As registers are written: 4 bytes clear the upper half, 1 and 2 keep the rest. */
static inline void set_part(uint64_t *reg, unsigned bytes, uint64_t value)
{
    const uint64_t kept = bytes >= 4 ? 0 : *reg & ~mask_of(bytes);
    *reg = kept | (value & mask_of(bytes));
}

static inline void set_flags(uint64_t *flags, uint64_t which, uint64_t set)
{
    *flags = (*flags & ~which) | (set & which);
}

/* ADD to CMP, and TEST as AND. */
uint64_t alu(unsigned op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *flags);

/* ROL to SAR, SHLD and SHRD (what comes in is of b); count is not yet masked. */
uint64_t alu_shift(unsigned op, uint64_t a, unsigned count, unsigned bytes, uint64_t *flags);
uint64_t alu_shift_double(unsigned op, uint64_t a, uint64_t b, unsigned count, unsigned bytes,
                          uint64_t *flags);

/* INSN_MUL or INSN_IMUL; the upper half of the product to *high. */
uint64_t alu_multiply(unsigned op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *high,
                      uint64_t *flags);

/* INSN_DIV or INSN_IDIV of *high:*low: the quotient to *low, the remainder to *high. False: #DE,
 * and nothing has changed. Flags stay. */
bool alu_divide(unsigned op, uint64_t *high, uint64_t *low, uint64_t divisor, unsigned bytes);

/* INSN_BSF to INSN_POPCNT. A bit scan of 0 returns old. */
uint64_t alu_scan(unsigned op, uint64_t value, uint64_t old, unsigned bytes, uint64_t *flags);

/* INSN_DAA to INSN_AAD on AX; base: the immediate of the last two. False: #DE. */
bool alu_decimal(unsigned op, unsigned base, uint64_t *rax, uint64_t *flags);

/* Whether a condition, the low four bits of Jcc's opcode, is true. */
bool alu_condition(unsigned condition, uint64_t flags);
