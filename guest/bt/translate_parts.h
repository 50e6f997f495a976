/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the translator share: translate.c, which goes from instruction to instruction,
 * and translate_64.c and translate_32.c, which make code of one. */
#pragma once

#include "arch/bytes.h"
#include "guest/bt/translate.h"

#include <stddef.h>

enum { AX, CX, DX, BX, SP, BP, SI, DI };

/* The code of one block as it grows. */
struct emitter {
    const struct translate_input *in;
    struct translation *out;
    uint64_t pc;    /* of the instruction that is being translated */
    unsigned guest; /* its bytes */
    /* Jumps forward within the page, to what may become part of the block: where the displacement
     * of 32 bits is in the code, and the instruction that it is to lead to, from in->pc on. */
    struct translate_forward {
        uint16_t at, guest;
    } forward[TRANSLATE_MAX_INSNS];
    unsigned forwards;
};

static inline void emit(struct emitter *e, unsigned byte)
{
    e->out->code[e->out->code_bytes++] = (uint8_t)byte;
}

static inline void emit_bytes(struct emitter *e, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        emit(e, bytes[i]);
}

static inline void emit_le(struct emitter *e, unsigned bytes, uint64_t value)
{
    put_le(e->out->code + e->out->code_bytes, bytes, value);
    e->out->code_bytes += bytes;
}

/* Code of so many bytes, 8 at most, as it is read from left to right. */
static inline void emit_code(struct emitter *e, unsigned count, uint64_t bytes)
{
    while (count-- != 0)
        emit(e, (unsigned)(bytes >> 8 * count & 0xff));
}

/* Address of the next byte of code. */
static inline uint64_t emit_at(const struct emitter *e)
{
    return e->in->at + e->out->code_bytes;
}

/* The displacement of an operand relative to RIP, where `behind` bytes of the instruction follow
 * it: ModRM with mod = 0, rm = 5 came before. */
static inline void emit_relative(struct emitter *e, uint64_t target, unsigned behind)
{
    emit_le(e, 4, (uint32_t)(target - (emit_at(e) + 4 + behind)));
}

/* Address of a field of bt_shared, and of a register's place in it. */
#define SHARED(e, field) ((e)->in->shared + offsetof(struct bt_shared, field))
static inline uint64_t spill_at(const struct emitter *e, unsigned reg)
{
    return SHARED(e, spill) + 8ull * reg;
}

/* MOV of 64 bits between a register and a word of the shared page. */
static inline void emit_store(struct emitter *e, uint64_t to, unsigned reg)
{
    emit(e, 0x48 | (reg & 8) >> 1);
    emit(e, 0x89);
    emit(e, (reg & 7) << 3 | 5);
    emit_relative(e, to, 0);
}

static inline void emit_load(struct emitter *e, unsigned reg, uint64_t from)
{
    emit(e, 0x48 | (reg & 8) >> 1);
    emit(e, 0x8b);
    emit(e, (reg & 7) << 3 | 5);
    emit_relative(e, from, 0);
}

/* A template borrows a register: its spill set has it from now on. */
static inline void emit_spill(struct emitter *e, unsigned reg)
{
    e->out->insn[e->out->insns - 1].spilled |= (uint16_t)(1u << reg);
    emit_store(e, spill_at(e, reg), reg);
}

static inline void emit_restore(struct emitter *e, unsigned reg)
{
    emit_load(e, reg, spill_at(e, reg));
}

/* The way out to the software CPU. */
static inline void emit_way_out(struct emitter *e)
{
    emit(e, 0xf4);
}

/* JMP, or Jcc, to that address in the guest: within the block, or through a slot. At most one of
 * them for an instruction. */
void emit_jump(struct emitter *e, uint64_t target);
/* The jump of a CALL: what is called is a block of its own. */
void emit_call(struct emitter *e, uint64_t target);
void emit_jump_if(struct emitter *e, unsigned condition, uint64_t target);
/* Behind LOOP or JRCXZ, but for the distance: a jump there where it has branched. */
void emit_jump_of_loop(struct emitter *e, uint64_t target);

/* What has become of one instruction. */
enum translated {
    TRANSLATED_NEXT, /* the next one follows */
    TRANSLATED_LEFT, /* the one behind it is not reached from it */
    TRANSLATED_NOT,  /* nothing was emitted: it is the software CPU's */
};

/* One instruction of e->guest bytes at e->pc, which insn_decode(), system_decode() or
 * compute_decode() has found to be one of that length. out->insn[out->insns - 1] is its entry. At
 * most TRANSLATE_INSN_CODE bytes. */
#define TRANSLATE_INSN_CODE 288
struct translate_decoded {
    enum { DECODED_INTEGER, DECODED_SYSTEM, DECODED_COMPUTE, DECODED_NONE } kind;
    struct insn insn; /* of the first two */
};
enum translated translate_64(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what);
enum translated translate_32(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what);

/* The templates of what system_decode() knows, and of PUSHF and POPF. In 32-bit code for CLI, STI,
 * RDTSC and MOV from a segment register alone. */
enum translated translate_system(struct emitter *e, const struct insn *in);
