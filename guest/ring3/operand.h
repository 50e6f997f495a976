/* SPDX-License-Identifier: BSD-2-Clause */
/* The operand in memory of an instruction that the processor executes for a guest: where its bytes
 * are in the guest's memory, and where in the window meanwhile. */
#pragma once

#include "guest/cpu/operands.h"
#include "guest/cpu/system.h"

struct ring3_window;

/* Bytes that are translated in one go, and belong together. */
struct ring3_piece {
    struct emulate_operand where;
    uint16_t at; /* among the window's data */
    bool read, write;
};

#define RING3_LINE 64u /* alignment goes so far */

/* XSAVE's area, by 32 bytes. */
#define RING3_MAX_PIECES 128u

struct ring3_operand {
    uint8_t bytes[INSN_MAX_BYTES]; /* of the instruction, as it is to be executed */
    uint64_t offset;               /* in its segment */
    uint32_t base;                 /* of that, where there are bases that count */
    uint16_t at, es_at;            /* where it is among the window's data, and the second one */
    uint8_t es_reg;                /* the register that addresses that, with to_es */
    bool in_rdi;                   /* RDI addresses it */
    bool to_es;                    /* MOVDIR64B */
    bool lends_index;              /* a gather's index register is a stand-in */
    bool legacy_fxsave, legacy_fxrstor; /* of 16- and 32-bit code: XMM0 to 7 alone */
    uint8_t upper_xmm[128];
    struct insn_operands insn;
    unsigned pieces;
    struct ring3_piece piece[RING3_MAX_PIECES];
};

enum operand_result {
    OPERAND_FOUND,     /* or there is none */
    OPERAND_RAISED,    /* an exception has been raised */
    OPERAND_UNDEFINED, /* #UD */
};

/* Finds and translates all that the instruction touches, which nothing is missing for. */
enum operand_result ring3_operand_find(struct ring3_operand *o, const struct emulate_env *env,
                                       struct ring3_window *window, const struct compute *what,
                                       const uint8_t *bytes);

/* Before: into the window; the registers that address it or count it are lent. After: those are
 * given back; and, where it has been executed, what it has written goes to the guest's memory. */
void ring3_operand_read(struct ring3_operand *o, struct ring3_window *window,
                        const struct emulate_env *env);
void ring3_operand_restore(struct ring3_operand *o, struct ring3_window *window,
                           const struct emulate_env *env);
void ring3_operand_write(struct ring3_operand *o, struct ring3_window *window,
                         const struct emulate_env *env);

/* operand_area.c: XSAVE and its like; and what FXSAVE and FXRSTOR of 16- and 32-bit code leave
 * alone. */
enum operand_result ring3_area_find(struct ring3_operand *o, const struct emulate_env *env,
                                    struct ring3_window *window, unsigned length);
void ring3_area_before(struct ring3_operand *o, struct ring3_window *window);
void ring3_area_after(const struct ring3_operand *o, struct ring3_window *window);

/* Of a segment register; 0 where it does not count. */
uint64_t ring3_segment_base(const struct emulate_env *env, unsigned number);

/* Adds bytes at an offset in a segment, which are to be `at` among the window's data. */
enum operand_result ring3_operand_add(struct ring3_operand *o, const struct emulate_env *env,
                                      const struct insn_range *range, unsigned first,
                                      unsigned bytes, unsigned at);
