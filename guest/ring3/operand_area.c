/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The areas of XSAVE, whose size is told by the components that are asked for, and what FXSAVE and
 * FXRSTOR do not touch in 16- and 32-bit code, which has eight vector registers, where the
 * processor executes them in 64-bit mode. (XSAVE's components are moved whole in all modes: a
 * difference that 32-bit code does not see.)
 *
 * XSAVEOPT leaves out what has not changed since an XRSTOR from the same address. Here all areas
 * are at one address in turn: so it is executed as XSAVE.
 */
#include "arch/bytes.h"
#include "arch/cpu.h"
#include "arch/string.h"
#include "guest/cpu/decode_parse.h"
#include "guest/ring3/operand.h"
#include "guest/ring3/window.h"

enum {
    LEGACY_BYTES = 576, /* with the header */
    XCOMP_BV = 520,
    UPPER_XMM = 288,
    XSAVE_REG = 4,
    XRSTOR_REG = 5,
    XSAVEOPT_REG = 6,
    XSAVEC_REG = 4,
};
#define COMPACT (1ull << 63)

static unsigned area_bytes(uint64_t components, bool compact)
{
    unsigned end = LEGACY_BYTES;
    for (unsigned i = 2; i < 63; i++) {
        if ((components >> i & 1) == 0)
            continue;
        const struct cpuid_regs r = cpu_cpuid(0xd, i);
        if (compact)
            end = ((r.ecx & 2) != 0 ? (end + 63) & ~63u : end) + r.eax;
        else
            end = r.ebx + r.eax > end ? r.ebx + r.eax : end;
    }
    return end < RING3_OPERAND_BYTES ? end : RING3_OPERAND_BYTES;
}

/* The address that ModRM names; *opcode: where the opcode is. */
static uint8_t decode_address(struct insn *in, const uint8_t *bytes, unsigned length,
                              enum insn_mode mode, unsigned *opcode)
{
    struct parse p = {.bytes = bytes, .count = length, .mode = mode};
    uint8_t byte = take_byte(&p);
    *in = (struct insn){.segment = INSN_NO_REG, .base = INSN_NO_REG, .index = INSN_NO_REG};
    for (; byte != 0x0f && p.at < length; byte = take_byte(&p)) {
        if (mode == INSN_64 && (byte & 0xf0) == 0x40)
            p.rex = byte;
        else
            note_prefix(&p, in, byte);
    }
    *opcode = p.at++;
    const uint8_t modrm = take_byte(&p);
    in->addr_bytes = (uint8_t)(2u << mode);
    if (p.prefixes & ADDRESS_67)
        in->addr_bytes = mode == INSN_32 ? 2 : 4;
    if (in->addr_bytes == 2)
        decode_memory_16(&p, in, modrm >> 6, modrm & 7);
    else
        decode_memory(&p, in, modrm >> 6, modrm & 7);
    if (in->segment == INSN_NO_REG)
        in->segment = in->base == 4 || in->base == 5 ? SEG_SS : SEG_DS;
    in->length = (uint8_t)length;
    return modrm;
}

/* How much XRSTOR reads is told by what it reads first, which is read once: another vCPU may change
 * it, and the processor is to go by the same header. */
static unsigned restored_bytes(struct ring3_operand *o, const struct emulate_env *env,
                               struct ring3_window *window, uint64_t wanted)
{
    for (struct ring3_piece *p = o->piece; p < o->piece + o->pieces; p++) {
        env->read(env->ctx, &p->where, window->data + p->at);
        p->read = false;
    }
    const uint64_t format = get_le64(window->data + o->at + XCOMP_BV);
    return area_bytes(format & COMPACT ? format & env->xcr0 : wanted, (format & COMPACT) != 0);
}

enum operand_result ring3_area_find(struct ring3_operand *o, const struct emulate_env *env,
                                    struct ring3_window *window, unsigned length)
{
    enum { RAX, RDX = 2 };
    unsigned opcode;
    struct insn in;
    const unsigned modrm = decode_address(&in, o->bytes, length, env->mode, &opcode);
    const unsigned reg = modrm >> 3 & 7;
    const bool compacts = o->bytes[opcode] == 0xc7, restores = !compacts && reg == XRSTOR_REG;
    const uint64_t wanted = (env->gpr[RDX] << 32 | (env->gpr[RAX] & UINT32_MAX)) & env->xcr0;
    if (compacts ? reg != XSAVEC_REG : reg < XSAVE_REG || reg > XSAVEOPT_REG)
        return OPERAND_UNDEFINED; /* XSAVES, XRSTORS: no guest is shown them */
    if (!compacts && reg == XSAVEOPT_REG)
        o->bytes[opcode + 1] = (uint8_t)((modrm & ~0x38u) | XSAVE_REG << 3);
    struct insn_range range = {.segment = in.segment,
                               .offset = insn_address(&in, env->gpr, env->rip),
                               .read = true,
                               .write = !restores};
    o->at = (uint16_t)(RING3_OPERAND +
                       (ring3_segment_base(env, in.segment) + range.offset) % RING3_LINE);
    if (o->at != RING3_OPERAND) { /* #GP, whatever is there */
        env->raise(env->ctx, VECTOR_GENERAL_PROTECTION);
        return OPERAND_RAISED;
    }
    unsigned bytes = restores ? LEGACY_BYTES : area_bytes(wanted, false);
    enum operand_result result = ring3_operand_add(o, env, &range, 0, bytes, o->at);
    if (result != OPERAND_FOUND || !restores)
        return result;
    bytes = restored_bytes(o, env, window, wanted) - LEGACY_BYTES;
    return bytes == 0
               ? OPERAND_FOUND
               : ring3_operand_add(o, env, &range, LEGACY_BYTES, bytes, o->at + LEGACY_BYTES);
}

void ring3_area_before(struct ring3_operand *o, struct ring3_window *window)
{
    static const uint8_t fxsave64[] = {0x48, 0x0f, 0xae, 0x05, 0, 0, 0, 0};
    uint8_t *upper = window->data + o->at + UPPER_XMM;
    if (o->legacy_fxsave)
        memcpy(o->upper_xmm, upper, sizeof(o->upper_xmm));
    if (!o->legacy_fxrstor)
        return;
    (void)ring3_helper(window, fxsave64, sizeof(fxsave64), RING3_SCRATCH);
    memcpy(upper, window->data + RING3_SCRATCH + UPPER_XMM, sizeof(o->upper_xmm));
}

void ring3_area_after(const struct ring3_operand *o, struct ring3_window *window)
{
    if (o->legacy_fxsave)
        memcpy(window->data + o->at + UPPER_XMM, o->upper_xmm, sizeof(o->upper_xmm));
}
