/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes 64-bit code of one instruction of 32-bit code at CPL 0 whose CS, DS, ES and SS are flat.
 *
 * The upper halves of the guest's registers are zero, and each template leaves them so; R8 to R15
 * do not exist for the guest, so that templates need no spill set. Operands in memory have 32-bit
 * addresses (prefix 67), which wrap at 4 GiB as the guest's do; FS and GS have their bases in the
 * processor, and overrides of the flat segments are left out, but for CS, which cannot be written.
 *
 * What differs between the modes, by the opcode map (SDM, "Opcode Map"): 06 to 3F, 60 to 62, 82,
 * 9A, C4, C5, CE, D4 to D6, EA are no instructions, or others, in 64-bit code; 40 to 4F are REX, 63
 * is MOVSXD; A0 to A3 have an address of 64 bits; ModRM with mod = 0, rm = 5 is relative to RIP;
 * stack and near branches have 64 bits. Here: one way or another of saying the same, or not at all.
 */
#include "guest/bt/translate_32.h"

#include "guest/cpu/system.h"
#include "guest/ring3/encode.h"

/* An integer instruction as its bytes are. */
struct source {
    const uint8_t *opcode; /* and all behind it */
    unsigned count;
    bool has_66, lock;
    uint8_t repeat;
    unsigned map; /* 1 behind 0F, 2 behind 0F 38 */
    uint8_t byte; /* the last one of the opcode */
};

static struct source take_apart(const uint8_t *bytes, unsigned count)
{
    struct source s = {.count = count};
    for (;; bytes++, s.count--) {
        if (*bytes == 0x66)
            s.has_66 = true;
        else if (*bytes == 0xf0)
            s.lock = true;
        else if (*bytes == 0xf2 || *bytes == 0xf3)
            s.repeat = *bytes;
        else if ((*bytes & 0xe7) != 0x26 && *bytes != 0x64 && *bytes != 0x65 && *bytes != 0x67)
            break;
    }
    s.opcode = bytes;
    s.map = *bytes != 0x0f ? 0 : bytes[1] != 0x38 ? 1 : 2;
    s.byte = bytes[s.map];
    return s;
}

/* Whether ModRM follows; of the integer instructions that stay what they are. */
static bool has_modrm(const struct source *s)
{
    const unsigned byte = s->byte;
    if (s->map != 0)
        return s->map == 2 || (byte & 0xf8) != 0xc8; /* BSWAP */
    if (byte < 0x40)
        return (byte & 7) < 4;
    switch (byte >> 4) {
    case 0x6: return byte == 0x69 || byte == 0x6b; /* IMUL */
    case 0x8: return true;
    case 0xc: return (byte & 0xe) == 0 || (byte & 0xe) == 6; /* shifts, MOV */
    case 0xd: return byte != 0xd7;                           /* XLAT */
    case 0xf: return byte == 0xf6 || byte == 0xf7 || byte >= 0xfe;
    default: return false;
    }
}

static void emit_prefixes(struct emitter *e, const struct source *s)
{
    if (s->has_66)
        emit(e, 0x66);
    if (s->repeat != 0)
        emit(e, s->repeat);
    if (s->lock)
        emit(e, 0xf0);
}

/* The opcode and all behind it: what is an address stays one. */
static void emit_rest(struct emitter *e, const struct source *s)
{
    enum { RM_SIB = 4, RM_ABSOLUTE = 5, NO_BASE_NO_INDEX = 0x25, NOT_REG = 0xc7 };
    const unsigned behind = s->map + 1;
    emit_bytes(e, s->opcode, s->map);
    emit(e, s->byte);
    if (!has_modrm(s) || (s->opcode[behind] & NOT_REG) != RM_ABSOLUTE) {
        emit_bytes(e, s->opcode + behind, s->count - behind);
        return;
    }
    emit(e, s->opcode[behind] - RM_ABSOLUTE + RM_SIB);
    emit(e, NO_BASE_NO_INDEX);
    emit_bytes(e, s->opcode + behind + 1, s->count - behind - 1);
}

static enum translated plain(struct emitter *e, const struct source *s, const struct insn *in,
                             bool memory)
{
    const unsigned at = e->out->code_bytes;
    if (memory && in->op != INSN_LEA)
        emit_segment(e, in->segment);
    if (memory)
        emit(e, 0x67);
    emit_prefixes(e, s);
    if (s->map == 0 && s->byte >= 0x40 && s->byte < 0x50) { /* INC, DEC: FF /0, FF /1 */
        emit(e, 0xff);
        emit(e, 0xc0 | (s->byte & 15));
    } else if (s->map == 0 && s->byte == 0x82) { /* as 80 */
        struct source same = *s;
        same.byte = 0x80;
        emit_rest(e, &same);
    } else {
        emit_rest(e, s);
    }
    if (e->out->code_bytes - at <= INSN_MAX_BYTES)
        return TRANSLATED_NEXT;
    e->out->code_bytes = at; /* it is as long as can be already */
    return TRANSLATED_NOT;
}

/* Whether it has an operand in memory, other than the stack. */
static bool has_memory(const struct insn *in)
{
    if (in->form == INSN_STRING || in->op == INSN_XLAT)
        return true;
    return in->form <= INSN_MEM && in->rm == INSN_NO_REG;
}

static enum translated integer(struct emitter *e, const uint8_t *bytes, const struct insn *in)
{
    const bool memory = has_memory(in), touches = in->op != INSN_LEA && in->op != INSN_NOP;
    if (memory && (in->addr_bytes != 4 || (touches && in->segment == SEG_CS)))
        return TRANSLATED_NOT;
    switch (in->op) {
    case INSN_SALC:
    case INSN_DAA:
    case INSN_DAS:
    case INSN_AAA:
    case INSN_AAS:
    case INSN_AAM:
    case INSN_AAD:
    case INSN_ENTER: return TRANSLATED_NOT;
    case INSN_PUSH:
    case INSN_POP:
    case INSN_PUSHA:
    case INSN_POPA:
    case INSN_PUSHF:
    case INSN_POPF:
    case INSN_LEAVE: return translate_32_stack(e, in);
    case INSN_JCC:
    case INSN_JMP:
    case INSN_CALL:
    case INSN_RET:
    case INSN_LOOPNE:
    case INSN_LOOPE:
    case INSN_LOOP:
    case INSN_JCXZ: return translate_32_branch(e, in);
    default: break;
    }
    const struct source s = take_apart(bytes, e->guest);
    return plain(e, &s, in, memory);
}

/* x87, MMX, vectors and their like. */
static enum translated computing(struct emitter *e, const uint8_t *bytes)
{
    struct ring3_code code;
    if (!ring3_encode_flat(&code, bytes, e->guest))
        return TRANSLATED_NOT;
    emit_bytes(e, code.bytes, code.length);
    return TRANSLATED_NEXT;
}

/* To memory go 16 bits. */
static enum translated move_from_segment(struct emitter *e, const struct insn *in)
{
    if (in->rm != INSN_NO_REG)
        return translate_system(e, in);
    if (in->addr_bytes != 4 || in->segment == SEG_CS)
        return TRANSLATED_NOT;
    emit_load(e, R8, SHARED(e, selector) + 8ull * in->reg);
    emit_memory(e, 2, STORE, R8, in);
    return TRANSLATED_NEXT;
}

/* CPUs write 16 bits of the 32 (SDM, "PUSH"). */
static enum translated push_segment(struct emitter *e, const struct insn *in)
{
    if (in->mem_bytes != 4)
        return TRANSLATED_NOT;
    emit_load(e, R8, SHARED(e, selector) + 8ull * in->reg);
    emit_stack(e, 2, STORE, R8, -4);
    emit_add_sp(e, SP, -4);
    return TRANSLATED_NEXT;
}

static enum translated system_instruction(struct emitter *e, const struct insn *in)
{
    switch (in->op) {
    case SYSTEM_MOV_FROM_SEGMENT: return move_from_segment(e, in);
    case SYSTEM_PUSH_SEGMENT: return push_segment(e, in);
    default: return translate_system(e, in);
    }
}

enum translated translate_32(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what)
{
    const struct insn *in = &what->insn;
    switch (what->kind) {
    case DECODED_INTEGER:
        return in->op >= INSN_VMOV && in->op <= INSN_VMOVL ? computing(e, bytes)
                                                           : integer(e, bytes, in);
    case DECODED_SYSTEM: return system_instruction(e, in);
    case DECODED_COMPUTE: return computing(e, bytes);
    default: return TRANSLATED_NOT;
    }
}
