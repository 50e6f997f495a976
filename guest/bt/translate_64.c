/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The translator's part for 64-bit code: what may stay as it is, operands relative to RIP, which
 * the code cannot reach from where it is, and near branches.
 *
 * Which bytes of an instruction are what, the decoders do not tell; the few rules that it takes are
 * here (SDM, "Instruction Format").
 */
#include "guest/bt/translate_parts.h"
#include "guest/cpu/system.h"

enum { VEX2 = 0xc5, VEX3 = 0xc4, EVEX = 0x62 };
enum { REX_W = 8, REX_R = 4, REX_XB = 3, VEX_XB = 0x60 };
enum { MODRM_SIB = 4, SIB_ABSOLUTE = 0x25 }; /* no index, and no base */

/* Where the parts of an instruction begin. */
struct shape {
    bool has_66, has_67;
    uint8_t rex;      /* 0: none */
    uint8_t encoding; /* 0, VEX2, VEX3, EVEX */
    uint8_t vvvv;
    unsigned opcode, modrm; /* of VEX and EVEX its first byte */
};

static struct shape find_shape(const uint8_t *bytes)
{
    struct shape s = {.rex = 0};
    unsigned at = 0;
    for (;; at++) {
        const uint8_t byte = bytes[at];
        if ((byte & 0xf0) == 0x40) {
            s.rex = byte;
            continue;
        }
        if (byte == 0x66)
            s.has_66 = true;
        else if (byte == 0x67)
            s.has_67 = true;
        else if (byte != 0x26 && byte != 0x2e && byte != 0x36 && byte != 0x3e && byte != 0x64 &&
                 byte != 0x65 && byte != 0xf0 && byte != 0xf2 && byte != 0xf3)
            break;
        s.rex = 0; /* counts only as the last one */
    }
    s.opcode = at;
    switch (bytes[at]) {
    case VEX2: s.modrm = at + 3; break;
    case VEX3: s.modrm = at + 4; break;
    case EVEX: s.modrm = at + 5; break;
    case 0x0f: s.modrm = at + (bytes[at + 1] == 0x38 || bytes[at + 1] == 0x3a ? 3 : 2); return s;
    default: s.modrm = at + 1; return s;
    }
    s.encoding = bytes[at];
    s.vvvv = (bytes[at + (s.encoding == VEX2 ? 1 : 2)] ^ 0xffu) >> 3 & 15;
    return s;
}

static bool sign_extends(uint64_t value)
{
    return value + 0x80000000u <= UINT32_MAX;
}

/* MOV of 64 bits. */
static void emit_mov_imm(struct emitter *e, unsigned reg, uint64_t value)
{
    emit(e, 0x48 | reg >> 3);
    emit(e, 0xb8 | (reg & 7));
    emit_le(e, 8, value);
}

/* Everything before ModRM, without bits that would make another address of what is behind it. */
static void emit_opcode(struct emitter *e, const uint8_t *bytes, const struct shape *s)
{
    for (unsigned i = 0; i < s->modrm; i++) {
        unsigned byte = bytes[i];
        if (s->rex != 0 && i + 1 == s->opcode)
            byte &= ~(unsigned)REX_XB;
        else if ((s->encoding == VEX3 || s->encoding == EVEX) && i == s->opcode + 1)
            byte |= VEX_XB;
        emit(e, byte);
    }
}

/* A register that such an instruction with an operand in memory does not use: neither the others
 * that ModRM or VEX may name, nor implicitly. */
static unsigned free_register(const struct shape *s, unsigned modrm)
{
    const unsigned reg = modrm >> 3 & 7, other = s->encoding != 0 ? s->vvvv & 7u : reg;
    if (reg != DI && other != DI)
        return DI;
    return reg != SI && other != SI ? SI : BX; /* three of them are taken only behind VEX */
}

/* Whether an operand there can be one of 32 bits without a register; with 67h where *narrow. */
static bool is_absolute(uint64_t target, bool has_67, bool *narrow)
{
    *narrow = !has_67 && !sign_extends(target) && target <= UINT32_MAX;
    return has_67 || *narrow || sign_extends(target);
}

static uint64_t relative_target(const struct emitter *e, const struct shape *s,
                                const uint8_t *bytes)
{
    const uint64_t target =
        e->pc + e->guest + (uint64_t)(int64_t)(int32_t)get_le32(bytes + s->modrm + 1);
    return s->has_67 ? (uint32_t)target : target;
}

/* Whether nothing of an instruction but its operand's address has the size that 67h changes. BT has
 * bits far from there, and MOVDIR64B another address. */
static bool may_be_narrow(const struct translate_decoded *what)
{
    const struct insn *in = &what->insn;
    return what->kind == DECODED_INTEGER &&
           !(in->op >= INSN_BT && in->op <= INSN_BTC && in->form == INSN_MEM_REG);
}

/* An instruction whose operand is relative to RIP. */
static void emit_relative_insn(struct emitter *e, const uint8_t *bytes,
                               const struct translate_decoded *what)
{
    const bool is_lea =
        what->kind == DECODED_INTEGER && what->insn.op == INSN_LEA && what->insn.reg_bytes == 8;
    const struct shape s = find_shape(bytes);
    const unsigned modrm = bytes[s.modrm], behind = s.modrm + 5;
    const uint64_t target = relative_target(e, &s, bytes);
    bool narrow;
    if (is_absolute(target, s.has_67, &narrow) && (!narrow || may_be_narrow(what)) &&
        e->guest + 1 + narrow <= INSN_MAX_BYTES) {
        if (narrow)
            emit(e, 0x67);
        emit_opcode(e, bytes, &s);
        emit(e, (modrm & 0x38) | MODRM_SIB);
        emit(e, SIB_ABSOLUTE);
        emit_le(e, 4, (uint32_t)target);
        emit_bytes(e, bytes + behind, e->guest - behind);
    } else if (is_lea) {
        emit_mov_imm(e, (modrm >> 3 & 7) | (s.rex & REX_R) << 1, target);
    } else {
        const unsigned reg = free_register(&s, modrm);
        emit_spill(e, reg);
        emit_mov_imm(e, reg, target);
        emit_opcode(e, bytes, &s);
        emit(e, (modrm & 0x38) | reg);
        emit_bytes(e, bytes + behind, e->guest - behind);
        emit_restore(e, reg);
    }
}

static enum translated translate_plain(struct emitter *e, const uint8_t *bytes,
                                       const struct translate_decoded *what)
{
    bool relative = what->kind == DECODED_INTEGER && what->insn.base == INSN_RIP;
    if (what->kind == DECODED_COMPUTE) {
        struct compute compute;
        relative = compute_decode(&compute, bytes, e->guest, INSN_64) == INSN_OK &&
                   compute.memory && (bytes[find_shape(bytes).modrm] & 0xc7) == 5;
    }
    if (relative)
        emit_relative_insn(e, bytes, what);
    else
        emit_bytes(e, bytes, e->guest);
    return TRANSLATED_NEXT;
}

/* --- branches --- */

static bool is_canonical(uint64_t address)
{
    return address + (1ull << 47) < 1ull << 48;
}

static enum translated translate_jcc(struct emitter *e, unsigned condition, uint64_t target)
{
    emit_jump_if(e, condition, target);
    return TRANSLATED_NEXT;
}

static enum translated translate_loop(struct emitter *e, const struct insn *in, uint64_t target)
{
    if (in->addr_bytes == 4)
        emit(e, 0x67);
    emit(e, 0xe0u + in->op - INSN_LOOPNE);
    emit_jump_of_loop(e, target);
    return TRANSLATED_NEXT;
}

/* Pushes the address behind the CALL; RAX is free where it is spilled. */
static void emit_push_return(struct emitter *e, bool has_rax)
{
    const uint64_t back = e->pc + e->guest;
    if (sign_extends(back)) {
        emit(e, 0x68);
        emit_le(e, 4, (uint32_t)back);
        return;
    }
    if (!has_rax)
        emit_spill(e, AX);
    emit_mov_imm(e, AX, back);
    emit(e, 0x50);
    if (!has_rax)
        emit_restore(e, AX);
}

/* MOV to RCX from a register, or from the memory that ModRM names. */
static void emit_operand_to_rcx(struct emitter *e, const uint8_t *bytes, const struct insn *in)
{
    const struct shape s = find_shape(bytes);
    const uint64_t target = in->base == INSN_RIP ? relative_target(e, &s, bytes) : 0;
    bool narrow = false;
    const bool absolute = in->base == INSN_RIP && is_absolute(target, s.has_67, &narrow);
    const bool by_rcx = in->base == INSN_RIP && !absolute;
    if (by_rcx)
        emit_mov_imm(e, CX, target);
    if (in->rm == INSN_NO_REG && in->segment >= SEG_FS)
        emit(e, in->segment == SEG_FS ? 0x64 : 0x65);
    if ((s.has_67 && in->rm == INSN_NO_REG) || narrow)
        emit(e, 0x67);
    emit(e, 0x48 | (in->base == INSN_RIP ? 0 : s.rex & REX_XB));
    emit(e, 0x8b);
    if (by_rcx) {
        emit(e, CX << 3 | CX);
    } else if (absolute) {
        emit(e, CX << 3 | MODRM_SIB);
        emit(e, SIB_ABSOLUTE);
        emit_le(e, 4, (uint32_t)target);
    } else {
        emit(e, (bytes[s.modrm] & 0xc7u) | CX << 3);
        emit_bytes(e, bytes + s.modrm + 1, e->guest - s.modrm - 1);
    }
}

static enum translated emit_look_up(struct emitter *e)
{
    emit(e, 0xe9);
    emit_relative(e, e->in->lookup, 0);
    return TRANSLATED_LEFT;
}

static enum translated translate_indirect(struct emitter *e, const uint8_t *bytes,
                                          const struct insn *in)
{
    emit_spill(e, AX);
    emit_spill(e, CX);
    emit_spill(e, DX);
    if (in->op == INSN_RET) {
        static const uint8_t mov_rcx_rsp[] = {0x48, 0x8b, 0x0c, 0x24};
        static const uint8_t lea_rsp_rsp[] = {0x48, 0x8d, 0xa4, 0x24};
        emit_bytes(e, mov_rcx_rsp, sizeof(mov_rcx_rsp));
        emit_bytes(e, lea_rsp_rsp, sizeof(lea_rsp_rsp));
        emit_le(e, 4, 8 + in->imm);
    } else {
        emit_operand_to_rcx(e, bytes, in);
        if (in->op == INSN_CALL)
            emit_push_return(e, true);
    }
    return emit_look_up(e);
}

/* Behind 66h processors differ in what a near branch is. */
static enum translated translate_near(struct emitter *e, const uint8_t *bytes,
                                      const struct insn *in)
{
    const uint64_t target = e->pc + e->guest + in->imm;
    const bool direct = in->form == INSN_IMM && in->op != INSN_RET;
    if (find_shape(bytes).has_66 || (direct && !is_canonical(target)))
        return TRANSLATED_NOT;
    if (!direct)
        return translate_indirect(e, bytes, in);
    if (in->op == INSN_JCC)
        return translate_jcc(e, in->condition, target);
    if (in->op >= INSN_LOOPNE)
        return translate_loop(e, in, target);
    if (in->op == INSN_CALL) {
        emit_push_return(e, false);
        emit_call(e, target);
    } else {
        emit_jump(e, target);
    }
    return TRANSLATED_LEFT;
}

enum translated translate_64(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what)
{
    const struct insn *in = &what->insn;
    if (what->kind == DECODED_SYSTEM ||
        (what->kind == DECODED_INTEGER && (in->op == INSN_PUSHF || in->op == INSN_POPF)))
        return translate_system(e, in);
    if (what->kind == DECODED_INTEGER && in->op >= INSN_JCC)
        return translate_near(e, bytes, in);
    return translate_plain(e, bytes, what);
}
