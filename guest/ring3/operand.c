/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands with and without a mask, and gathers and scatters. */
#include "guest/ring3/operand.h"

#include "arch/cpu.h"
#include "arch/string.h"
#include "guest/ring3/window.h"
#include "guest/vm/vector.h"

#define MASKMOVQ    0xf7 /* the one that has an operand in memory without saying so */
#define PIECE_BYTES 32u  /* what env->translate() takes */

/* Opmasks have 64 bits where there are instructions on bytes and words. */
static uint64_t read_mask(void *ctx, unsigned reg, unsigned element)
{
    uint64_t mask = 0;
    (void)ctx;
    const bool bw = element < 4 && (cpu_cpuid(7, 0).ebx & CPUID_7_EBX_AVX512BW) != 0;
    vector_move(&mask, (bw ? MASK64_READ : MASK16_READ) * 16u + reg);
    return mask;
}

static enum operand_result raise(const struct emulate_env *env, unsigned vector)
{
    env->raise(env->ctx, vector);
    return OPERAND_RAISED;
}

enum operand_result ring3_operand_add(struct ring3_operand *o, const struct emulate_env *env,
                                      const struct insn_range *range, unsigned first,
                                      unsigned bytes, unsigned at)
{
    const uint64_t mask = env->mode == INSN_64 ? UINT64_MAX : UINT32_MAX;
    gva_t linear;
    const unsigned vector =
        emulate_linear(env, range->segment, range->offset + first, bytes, range->write, &linear);
    if (vector != 0)
        return raise(env, vector);
    for (unsigned done = 0, n; done < bytes; done += n) {
        struct ring3_piece *piece = &o->piece[o->pieces];
        n = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        if (o->pieces == RING3_MAX_PIECES)
            return OPERAND_UNDEFINED;
        if (!env->translate(env->ctx, gva((linear.v + done) & mask), n, range->write,
                            &piece->where))
            return OPERAND_RAISED;
        piece->at = (uint16_t)(at + done);
        piece->read = range->read;
        piece->write = range->write;
        o->pieces++;
    }
    return OPERAND_FOUND;
}

/* Elements of which a mask chooses some: others are not touched, wherever they are. */
static enum operand_result add_chosen(struct ring3_operand *o, const struct emulate_env *env,
                                      const struct insn_range *range, unsigned at)
{
    const unsigned count = range->bytes / range->element;
    enum operand_result result = OPERAND_FOUND;
    for (unsigned i = 0, n = 1; i < count && result == OPERAND_FOUND; i += n, n = 1) {
        if ((range->chosen >> i & 1) == 0)
            continue;
        while (i + n < count && (range->chosen >> (i + n) & 1) != 0)
            n++;
        result = ring3_operand_add(o, env, range, i * range->element, n * range->element,
                                   at + i * range->element);
    }
    return result;
}

uint64_t ring3_segment_base(const struct emulate_env *env, unsigned number)
{
    struct emulate_segment segment = {0, 0, 0};
    if (env->mode != INSN_64 || number == SEG_FS || number == SEG_GS)
        env->segment(env->ctx, number, &segment);
    return segment.base;
}

/* CLFLUSH and its like: the address of a byte that is neither read nor written. */
static enum operand_result check_address(const struct ring3_operand *o,
                                         const struct emulate_env *env)
{
    const struct insn *in = &o->insn.insn;
    struct emulate_operand where;
    gva_t linear;
    const unsigned vector =
        emulate_linear(env, in->segment, insn_address(in, env->gpr, env->rip), 1, false, &linear);
    if (vector != 0)
        return raise(env, vector);
    return env->translate(env->ctx, linear, 1, false, &where) ? OPERAND_FOUND : OPERAND_RAISED;
}

static enum operand_result add_ranges(struct ring3_operand *o, const struct emulate_env *env,
                                      bool read_before)
{
    struct insn_range range[INSN_MAX_RANGES];
    const unsigned ranges = insn_list_ranges(&o->insn, env, read_mask, range);
    enum operand_result result = OPERAND_FOUND;
    for (unsigned i = 0; i < ranges && result == OPERAND_FOUND; i++) {
        const uint64_t base = ring3_segment_base(env, range[i].segment);
        unsigned at = RING3_OPERAND + 8u * range[i].number;
        range[i].read = range[i].read || read_before;
        if (o->insn.elements == 0)
            at = (i == 0 ? RING3_OPERAND : RING3_OPERAND_2) +
                 (unsigned)(base + range[i].offset) % RING3_LINE;
        if (i == 0) {
            o->at = (uint16_t)(o->insn.elements == 0 ? at : RING3_OPERAND);
            o->offset = range[i].offset;
            o->base = (uint32_t)base;
        } else {
            o->es_at = (uint16_t)at;
        }
        result = range[i].element != 0
                     ? add_chosen(o, env, &range[i], at)
                     : ring3_operand_add(o, env, &range[i], 0, range[i].bytes, at);
    }
    return result;
}

/* Whether another register is to count the elements than the one with the indices: the data of a
 * scatter may be the indices themselves; and QEMU 7.2 takes vector register 4 for none, as the same
 * bits of a SIB byte have it where they name a general register. Where two registers of a gather
 * are one, all stay, as that is #UD. */
static bool needs_other_index(const struct insn_operands *in)
{
    enum { NO_INDEX = 4 };
    return in->elements != 0 &&
           (in->writes || (in->mask == MASK_SIGNS && in->index_reg == NO_INDEX &&
                           (in->insn.reg & 15) != NO_INDEX && in->mask_reg != NO_INDEX &&
                           (in->insn.reg & 15) != in->mask_reg));
}

static void change_index(struct ring3_operand *o)
{
    enum { VEX = 0xc4, EVEX = 0x62, X = 0x40, V_HIGH = 8, INDEX = 0x38 };
    const struct insn_operands *in = &o->insn;
    uint8_t *b = o->bytes, other = 0;
    while (other == (in->insn.reg & 15) || (in->mask == MASK_SIGNS && other == in->mask_reg))
        other++;
    while (*b != EVEX && *b != VEX)
        b++;
    uint8_t *sib = b + (*b == EVEX ? 6 : 5);
    b[1] |= X;
    if (*b == EVEX)
        b[3] |= V_HIGH;
    *sib = (uint8_t)((*sib & ~(unsigned)INDEX) | (unsigned)other << 3);
    o->insn.index_reg = other;
}

static bool decode(struct ring3_operand *o, struct ring3_window *window, enum insn_mode mode,
                   unsigned length)
{
    uint64_t half[2] = {0, 0};
    uint8_t *raw = (uint8_t *)half;
    for (unsigned i = 0; i < length; i++)
        raw[i] = o->bytes[i];
    raw[INSN_MAX_BYTES] = (uint8_t)(1 + mode);
    struct ring3_decoded *held = &window->own->decoded[ring3_hash(half) % RING3_DECODED];
    if (held->half[0] != half[0] || held->half[1] != half[1]) {
        held->half[0] = half[0];
        held->half[1] = half[1];
        held->known = insn_decode_operands(&held->insn, o->bytes, length, mode) == INSN_OK;
    }
    o->insn = held->insn;
    return held->known;
}

enum operand_result ring3_operand_find(struct ring3_operand *o, const struct emulate_env *env,
                                       struct ring3_window *window, const struct compute *what,
                                       const uint8_t *bytes)
{
    memcpy(o->bytes, bytes, what->length);
    o->at = o->es_at = RING3_OPERAND;
    o->in_rdi = o->to_es = o->lends_index = o->legacy_fxsave = o->legacy_fxrstor = false;
    o->pieces = 0;
    if (what->class == COMPUTE_XSAVE && what->memory)
        return ring3_area_find(o, env, window, what->length);
    if (!what->memory && (what->length < 3 || bytes[what->length - 2] != MASKMOVQ))
        return OPERAND_FOUND;
    if (!decode(o, window, env->mode, what->length))
        return what->memory ? OPERAND_UNDEFINED : OPERAND_FOUND;
    o->in_rdi = !what->memory; /* MASKMOVQ */
    o->to_es = o->insn.to_es;
    o->es_reg = o->insn.insn.reg & 15;
    o->lends_index = o->insn.elements != 0;
    if (what->class == COMPUTE_FXSAVE && env->mode != INSN_64) {
        o->legacy_fxsave = o->insn.writes;
        o->legacy_fxrstor = !o->insn.writes;
    }
    if (o->insn.bytes == 0 && o->insn.reads)
        return check_address(o, env);
    const enum operand_result result = add_ranges(o, env, what->class == COMPUTE_FXSAVE);
    if (needs_other_index(&o->insn))
        change_index(o);
    return result;
}

/* --- the index register of a gather --- */

/* VMOVUPS of all of the register that there is, between it and the window's data. */
static void move_vector(struct ring3_window *window, const struct emulate_env *env, unsigned reg,
                        bool store, unsigned at)
{
    const bool zmm = (env->xcr0 & XCR0_AVX512) == XCR0_AVX512;
    const uint8_t opcode = store ? 0x11 : 0x10, modrm = (uint8_t)((reg & 7) << 3 | 5);
    const uint8_t vex[] = {0xc5, reg & 8 ? 0x7c : 0xfc, opcode, modrm, 0, 0, 0, 0};
    const uint8_t evex[] = {0x62,   (uint8_t)(0x61 | (reg & 8 ? 0 : 0x80) | (reg & 16 ? 0 : 0x10)),
                            0x7c,   0x48,
                            opcode, modrm,
                            0,      0,
                            0,      0};
    const uint8_t *bytes = zmm ? evex : vex;
    const unsigned length = zmm ? sizeof(evex) : sizeof(vex);
    (void)ring3_helper(window, bytes, length, at);
}

/* The register counts the elements while the instruction is executed. */
static void lend_index(const struct ring3_operand *o, struct ring3_window *window,
                       const struct emulate_env *env)
{
    uint8_t *count = window->data + RING3_INDEX + 64;
    move_vector(window, env, o->insn.index_reg, true, RING3_INDEX);
    memset(count, 0, 64);
    for (unsigned i = 0; i < 64u / o->insn.index_bytes; i++)
        count[i * o->insn.index_bytes] = (uint8_t)i;
    move_vector(window, env, o->insn.index_reg, false, RING3_INDEX + 64);
}

void ring3_operand_read(struct ring3_operand *o, struct ring3_window *window,
                        const struct emulate_env *env)
{
    for (const struct ring3_piece *p = o->piece; p < o->piece + o->pieces; p++)
        if (p->read)
            env->read(env->ctx, &p->where, window->data + p->at);
    if (o->lends_index)
        lend_index(o, window, env);
    ring3_area_before(o, window);
}

void ring3_operand_restore(struct ring3_operand *o, struct ring3_window *window,
                           const struct emulate_env *env)
{
    if (o->lends_index)
        move_vector(window, env, o->insn.index_reg, false, RING3_INDEX);
}

void ring3_operand_write(struct ring3_operand *o, struct ring3_window *window,
                         const struct emulate_env *env)
{
    ring3_area_after(o, window);
    for (const struct ring3_piece *p = o->piece; p < o->piece + o->pieces; p++)
        if (p->write)
            env->write(env->ctx, &p->where, window->data + p->at);
}
