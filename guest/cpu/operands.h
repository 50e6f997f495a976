/* SPDX-License-Identifier: BSD-2-Clause */
/* Which bytes of memory an instruction reads and writes, without knowing what it does with them:
 * for those that the CPU executes by itself, while what a device has said stands in a page. Pure.
 */
#pragma once

#include "guest/cpu/emulate.h"

enum insn_stack {
    STACK_UNUSED,
    STACK_PUSH,
    STACK_POP,
    STACK_LEAVE, /* a POP at RBP */
    STACK_ENTER,
};

/* A state's area: of more bytes than fit a register, of which some are not written. */
enum insn_area {
    AREA_NONE,
    AREA_FXSAVE,
    AREA_SAVE,    /* by XSAVE and XSAVEOPT */
    AREA_COMPACT, /* by XSAVEC and XSAVES */
    AREA_RESTORE,
};

/* What chooses the elements of an operand that are touched. */
enum insn_mask {
    MASK_NONE,     /* all are */
    MASK_K,        /* opmask register mask_reg; the elements chosen stand where they are */
    MASK_COMPRESS, /* likewise, and they stand side by side */
    MASK_SIGNS,    /* the elements' highest bits of vector register mask_reg */
};

struct insn_operands {
    struct insn insn; /* length, sizes of addresses, and the address that ModRM names */
    /* At that address; 0: no operand, or its content does not matter; and then with reads: the
     * address is checked as if a byte were read (CLFLUSH). With an area but that of FXSAVE: from
     * the caller, who knows how long it is. */
    uint16_t bytes;
    bool reads, writes;
    bool implicit; /* the address is in registers that go without saying, and stands in insn */
    bool to_es;    /* MOVDIR64B: as many bytes are written at ES:register */
    uint8_t element, mask, mask_reg;
    uint8_t area;               /* enum insn_area */
    uint8_t stack, stack_bytes; /* enum insn_stack */
    uint8_t levels;             /* of ENTER, with the bytes that it allocates: */
    uint16_t allocates;
    /* Of a gather or scatter, else 0: how many elements it has, of bytes each, and the vector
     * register with their indices, each of so many bytes. insn has no index register then. */
    uint8_t elements, index_reg, index_bytes;
};

/* Decodes one instruction from count bytes (15 at most count). INSN_UNKNOWN: not one that touches
 * memory, or one that no guest has (tiles, Key Locker). What the CPU refuses before it touches
 * memory may be decoded as if it were right, as may what insn_decode_access() knows. */
enum insn_result insn_decode_operands(struct insn_operands *out, const uint8_t *bytes,
                                      unsigned count, enum insn_mode mode);

/* Bytes at an offset in a segment, and at a linear address, which may be in two pages. */
struct insn_range {
    uint64_t offset;
    gva_t linear; /* not by insn_list_ranges() */
    unsigned bytes;
    uint8_t segment;
    uint8_t number; /* of a gather's or scatter's element */
    bool read, write;
    bool sparse;      /* not all of it is written, and its content says what */
    unsigned element; /* 0, or bytes of an element, of which bit i of chosen selects the i-th */
    uint64_t chosen;
};
#define INSN_MAX_RANGES 16

/* The ranges that an instruction is about to touch, at env's registers; returns how many. What
 * fails the checks of segments is left out: the CPU has found, or will find, the same. mask_read:
 * the low 64 bits of an opmask register. */
unsigned insn_find_ranges(const struct insn_operands *operands, const struct emulate_env *env,
                          uint64_t (*mask_read)(void *ctx, unsigned reg, unsigned element),
                          struct insn_range out[INSN_MAX_RANGES]);

/* The same with no checks made: of a range with elements only what is chosen is going to be
 * touched. */
unsigned insn_list_ranges(const struct insn_operands *operands, const struct emulate_env *env,
                          uint64_t (*mask_read)(void *ctx, unsigned reg, unsigned element),
                          struct insn_range out[INSN_MAX_RANGES]);
