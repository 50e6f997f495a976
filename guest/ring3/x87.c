/* SPDX-License-Identifier: BSD-2-Clause */
/* The formats: SDM, "x87 FPU Environment" and "FXSAVE Area". */
#include "guest/ring3/x87.h"

#include "arch/bytes.h"
#include "arch/x86.h"
#include "guest/ring3/compute.h"

#define OPCODE_MASK 0x7ffu

static const struct layout {
    uint8_t instruction, selector, opcode, data, data_selector, bytes; /* of a pointer */
} layouts[] = {
    [X87_ENVIRONMENT_16] = {6, 8, 0, 10, 12, 2},
    [X87_ENVIRONMENT_32] = {12, 16, 18, 20, 24, 4},
    [X87_FXSAVE] = {8, 12, 6, 16, 20, 4},
    [X87_FXSAVE64] = {8, 0, 6, 16, 0, 8},
};

/* A linear address of 20 or 32 bits in two parts; the upper one stands above the opcode. */
static void put_real(uint8_t *image, unsigned at, unsigned bytes, uint64_t linear, unsigned opcode)
{
    const unsigned above =
        bytes == 2 ? (unsigned)(linear >> 16 & 0xf) : (unsigned)(linear >> 16 & 0xffff);
    put_le(image + at, bytes, linear & 0xffff);
    put_le(image + at + bytes, bytes, above << 12 | opcode);
}

void ring3_x87_replace(const struct ring3_x87 *x87, uint8_t *image, enum x87_format format,
                       uint64_t code_at, unsigned code_bytes)
{
    if (format == X87_REAL_16 || format == X87_REAL_32) {
        const unsigned bytes = format == X87_REAL_16 ? 2 : 4;
        const struct ring3_x87 p = x87->known ? *x87 : (struct ring3_x87){.known = false};
        put_real(image, 3 * bytes, bytes, p.instruction_base + p.instruction, p.opcode);
        put_real(image, 5 * bytes, bytes, p.data_base + p.data, 0);
        return;
    }
    const struct layout *l = &layouts[format];
    const uint64_t mask = l->bytes == 8 ? UINT64_MAX : (1ull << 8 * l->bytes) - 1;
    const uint64_t told = get_le(image + l->instruction, l->bytes);
    if (!x87->known || told == 0 || ((told - code_at) & mask) >= code_bytes)
        return;
    put_le(image + l->instruction, l->bytes, x87->instruction);
    put_le(image + l->data, l->bytes, x87->data);
    if (l->selector != 0) {
        put_le(image + l->selector, 2, 0);
        put_le(image + l->data_selector, 2, 0);
    }
    if (l->opcode != 0)
        put_le(image + l->opcode, 2, x87->opcode & OPCODE_MASK);
}

/* What an instruction of the x87 unit does to the pointers. */
enum effect { EFFECT_NONE, EFFECT_SETS, EFFECT_STORES, EFFECT_LOADS };

static enum effect effect_of(const uint8_t *bytes, bool memory)
{
    const unsigned reg = bytes[1] >> 3 & 7;
    const bool environment = *bytes == 0xd9 || *bytes == 0xdd;
    if (!memory) {
        if ((*bytes == 0xdb && reg == 4) || (*bytes == 0xdf && bytes[1] == 0xe0))
            return bytes[1] == 0xe3 ? EFFECT_LOADS : EFFECT_NONE; /* FNINIT; FNCLEX, FNSTSW */
        return EFFECT_SETS;
    }
    if (environment && reg == 4) /* FLDENV, FRSTOR */
        return EFFECT_LOADS;
    if (environment && reg == 6) /* FNSTENV, FNSAVE */
        return EFFECT_STORES;
    return environment && (reg == 7 || (*bytes == 0xd9 && reg == 5)) ? EFFECT_NONE : EFFECT_SETS;
}

/* Behind the prefixes; of x87. */
static const uint8_t *skip_prefixes(const uint8_t *bytes)
{
    while (*bytes < 0xd8 || *bytes > 0xdf)
        bytes++;
    return bytes;
}

/* FXSAVE and XSAVE, and what restores what they have stored: ModRM says. */
static enum effect effect_of_area(const uint8_t *bytes, enum insn_mode mode, bool *wide)
{
    *wide = false;
    while (*bytes != 0x0f)
        *wide = mode == INSN_64 && (*bytes++ & 0xf8) == 0x48;
    const unsigned reg = bytes[2] >> 3 & 7;
    return bytes[1] == 0xae && (reg == 1 || reg == 5) ? EFFECT_LOADS : EFFECT_STORES;
}

static void note(struct ring3_window *window, const struct emulate_env *env,
                 const struct compute *what, const uint8_t *bytes)
{
    struct ring3_x87 *x87 = &window->x87;
    x87->known = true;
    x87->opcode = (uint16_t)((bytes[0] & 7) << 8 | bytes[1]);
    x87->instruction = env->rip;
    x87->instruction_base = (uint32_t)ring3_segment_base(env, SEG_CS);
    if (what->memory) {
        x87->data = window->operand.offset;
        x87->data_base = window->operand.base;
    }
}

void ring3_x87_follow(struct ring3_window *window, const struct emulate_env *env,
                      const struct compute *what)
{
    const struct ring3_operand *o = &window->operand;
    const bool real = (env->cr0 & CR0_PE) == 0 || (*env->rflags & RFLAGS_VM) != 0;
    enum x87_format format = X87_FXSAVE;
    const uint8_t *bytes = o->bytes;
    enum effect effect;
    if (what->class == COMPUTE_X87) {
        const bool half = o->insn.insn.reg_bytes == 2;
        bytes = skip_prefixes(bytes);
        effect = effect_of(bytes, what->memory);
        format = real ? (half ? X87_REAL_16 : X87_REAL_32)
                      : (half ? X87_ENVIRONMENT_16 : X87_ENVIRONMENT_32);
    } else if ((what->class == COMPUTE_FXSAVE || what->class == COMPUTE_XSAVE) && what->memory) {
        bool wide;
        effect = effect_of_area(bytes, env->mode, &wide);
        format = wide ? X87_FXSAVE64 : X87_FXSAVE;
    } else {
        return;
    }
    if (effect == EFFECT_SETS)
        note(window, env, what, bytes);
    if (effect == EFFECT_STORES)
        ring3_x87_replace(&window->x87, window->data + o->at, format, window->code_at,
                          RING3_CODE_PAGES * PAGE_SIZE);
    if (effect == EFFECT_LOADS || (what->class == COMPUTE_X87 && effect == EFFECT_STORES &&
                                   *bytes == 0xdd)) /* FNSAVE leaves what FNINIT does */
        window->x87.known = false;
}
