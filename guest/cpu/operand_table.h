/* SPDX-License-Identifier: BSD-2-Clause */
/* What the opcode says of an instruction's memory operand: its size, and whether it is read or
 * written; for operands.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LEGACY = 1, VEX = 2, EVEX = 4, VECTOR = 7 };
enum { NP = 1, P66 = 2, PF3 = 4, PF2 = 8, ALL = 15 };

/* Sizes that are not a number of bytes. */
enum {
    OPSIZE = 65, /* 2, 4, 8 */
    BRANCH,      /* likewise, and 8 in 64-bit mode */
    BY_W,        /* 4, 8 */
    GENERAL,     /* likewise, but W counts in 64-bit mode only */
    FAR,         /* a selector behind an offset of OPSIZE */
    TABLE,       /* a limit and a base */
    BOUNDS,      /* twice OPSIZE */
    FENV,
    FSAVE,
    FXSAVE,
    XSAVE, /* not known by the instruction alone: enum insn_area */
    XSAVEC,
    XRSTOR,
    VL, /* the vector's length, or a part of it */
    VL2,
    VL4,
    VL8,
    VL_W, /* half of it without W */
    DUP,  /* MOVDDUP: 8 for 16 */
    KMASK,
    HIDDEN, /* not to be done this way */
};

enum {
    R = 1,
    W = 2,
    RW = R | W,
    IMM8 = 4,
    IMMZ = 8,
    PUSH = 16,      /* a return address, with FAR one of two parts */
    ELEMENT_W = 32, /* broadcast of 4 or 8 bytes in a map where others are of 2 */
    NO64 = 64,
    ELEMENTS = 128, /* a mask chooses what is touched: see element_of() */
};

struct operand_row {
    uint8_t encodings, map, first, last, prefixes;
    uint8_t regs; /* bit i: ModRM.reg may be i */
    uint8_t size, flags;
};

/* What the prefixes, ModRM.reg and the vector's length make of an opcode. */
struct opcode_at {
    unsigned encoding, map, opcode, prefix, length; /* length: of the vector, in bytes */
    bool w, broadcast, in_64;
    uint8_t mask_reg, index_high; /* index_high: bit 4 of a vector register with indices */
};

/* The row of an opcode with a ModRM.reg; size is HIDDEN for what is no instruction of ours. */
struct operand_row operand_row(const struct opcode_at *o, unsigned reg);
