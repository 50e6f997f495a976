/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes the instructions with which guests touch device memory (SDM, "Instruction Format"): a
 * table by opcode, then ModRM, displacement and immediate. */
#include "vmx/decode.h"

#include <stddef.h>

enum opcode_flags {
    KNOWN = 1,
    BYTE = 2,   /* operands of one byte */
    IMM8 = 4,   /* an immediate byte follows, sign-extended */
    IMMZ = 8,   /* an immediate of the operand size follows, 4 bytes for 8 */
    GROUP = 16, /* ModRM.reg says which operation: see group_op() */
    MOFFS = 32, /* an absolute address instead of ModRM; the register is the accumulator */
    FROM1 = 64, /* memory operand of 1, 2 or 4 bytes whatever the operand size */
    FROM2 = 128,
    FROM4 = FROM1 | FROM2,
    DWORD = 256, /* 4 bytes in 16-bit code too */
};

struct opcode {
    uint8_t op, form;
    uint16_t flags;
};

/* ADD to CMP with a register (00 to 3B) are left out: their opcodes are computed. */
static const struct opcode one_byte[256] = {
    [0x63] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM4},
    [0x80] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE},
    [0x81] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMMZ},
    [0x83] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMM8},
    [0x84] = {INSN_TEST, INSN_MEM_REG, KNOWN | BYTE},
    [0x85] = {INSN_TEST, INSN_MEM_REG, KNOWN},
    [0x86] = {INSN_XCHG, INSN_MEM_REG, KNOWN | BYTE},
    [0x87] = {INSN_XCHG, INSN_MEM_REG, KNOWN},
    [0x88] = {INSN_MOV, INSN_MEM_REG, KNOWN | BYTE},
    [0x89] = {INSN_MOV, INSN_MEM_REG, KNOWN},
    [0x8a] = {INSN_MOV, INSN_REG_MEM, KNOWN | BYTE},
    [0x8b] = {INSN_MOV, INSN_REG_MEM, KNOWN},
    [0xa0] = {INSN_MOV, INSN_REG_MEM, KNOWN | MOFFS | BYTE},
    [0xa1] = {INSN_MOV, INSN_REG_MEM, KNOWN | MOFFS},
    [0xa2] = {INSN_MOV, INSN_MEM_REG, KNOWN | MOFFS | BYTE},
    [0xa3] = {INSN_MOV, INSN_MEM_REG, KNOWN | MOFFS},
    [0xa4] = {INSN_MOVS, INSN_STRING, KNOWN | BYTE},
    [0xa5] = {INSN_MOVS, INSN_STRING, KNOWN},
    [0xaa] = {INSN_STOS, INSN_STRING, KNOWN | BYTE},
    [0xab] = {INSN_STOS, INSN_STRING, KNOWN},
    [0xac] = {INSN_LODS, INSN_STRING, KNOWN | BYTE},
    [0xad] = {INSN_LODS, INSN_STRING, KNOWN},
    [0xc6] = {INSN_MOV, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE},
    [0xc7] = {INSN_MOV, INSN_MEM_IMM, KNOWN | GROUP | IMMZ},
    [0xf6] = {INSN_TEST, INSN_MEM, KNOWN | GROUP | BYTE},
    [0xf7] = {INSN_TEST, INSN_MEM, KNOWN | GROUP},
    [0xfe] = {INSN_INC, INSN_MEM, KNOWN | GROUP | BYTE},
    [0xff] = {INSN_INC, INSN_MEM, KNOWN | GROUP},
};

static const struct opcode two_byte[256] = {
    [0xa3] = {INSN_BT, INSN_MEM_REG, KNOWN},
    [0xab] = {INSN_BTS, INSN_MEM_REG, KNOWN},
    [0xb0] = {INSN_CMPXCHG, INSN_MEM_REG, KNOWN | BYTE},
    [0xb1] = {INSN_CMPXCHG, INSN_MEM_REG, KNOWN},
    [0xb3] = {INSN_BTR, INSN_MEM_REG, KNOWN},
    [0xb6] = {INSN_MOVZX, INSN_REG_MEM, KNOWN | FROM1},
    [0xb7] = {INSN_MOVZX, INSN_REG_MEM, KNOWN | FROM2},
    [0xba] = {INSN_BT, INSN_MEM_IMM, KNOWN | GROUP | IMM8},
    [0xbb] = {INSN_BTC, INSN_MEM_REG, KNOWN},
    [0xbe] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM1},
    [0xbf] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM2},
    [0xc0] = {INSN_XADD, INSN_MEM_REG, KNOWN | BYTE},
    [0xc1] = {INSN_XADD, INSN_MEM_REG, KNOWN},
    [0xc3] = {INSN_MOV, INSN_MEM_REG, KNOWN | DWORD}, /* MOVNTI */
};

/* 0F 38 F0 and F1 */
static const struct opcode movbe[2] = {
    {INSN_MOVBE, INSN_REG_MEM, KNOWN},
    {INSN_MOVBE, INSN_MEM_REG, KNOWN},
};

struct parse {
    const uint8_t *at, *end;
    enum insn_mode mode;
    bool size_prefix, address_prefix, repeat_prefix, out_of_bytes;
    uint8_t rex;
};

static inline uint8_t take_byte(struct parse *p)
{
    if (p->at < p->end)
        return *p->at++;
    p->out_of_bytes = true;
    return 0;
}

/* A little-endian number of 1, 2, 4 or 8 bytes, sign-extended. */
static inline int64_t take_signed(struct parse *p, unsigned bytes)
{
    if ((size_t)(p->end - p->at) < bytes) {
        p->out_of_bytes = true;
        return 0;
    }
    const uint8_t *b = p->at;
    p->at += bytes;
    uint32_t low = b[0];
    if (bytes == 1)
        return (int8_t)low;
    low |= (uint32_t)b[1] << 8;
    if (bytes == 2)
        return (int16_t)low;
    low |= (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    if (bytes == 4)
        return (int32_t)low;
    uint32_t high = b[4] | (uint32_t)b[5] << 8 | (uint32_t)b[6] << 16 | (uint32_t)b[7] << 24;
    return (int64_t)((uint64_t)high << 32 | low);
}

/* One prefix into p and out; false where the byte is none. REX counts only as the last one. */
static bool take_prefix(struct parse *p, struct insn *out, uint8_t byte)
{
    if (p->mode == INSN_64 && (byte & 0xf0) == 0x40) {
        p->rex = byte;
        return true;
    }
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        if (p->mode != INSN_64) /* there these segments are flat and the prefixes do nothing */
            out->segment = byte >> 3 & 3;
        break;
    case 0x64: out->segment = SEG_FS; break;
    case 0x65: out->segment = SEG_GS; break;
    case 0x66: p->size_prefix = true; break;
    case 0x67: p->address_prefix = true; break;
    case 0xf0: out->lock = true; break;
    case 0xf2:
    case 0xf3: p->repeat_prefix = true; break;
    default: return false;
    }
    p->rex = 0;
    return true;
}

/* Whether a byte can be a prefix at all, so that most instructions skip the switch above. */
static inline bool may_be_prefix(const struct parse *p, uint8_t byte)
{
    return (byte & 0xe7) == 0x26 || (byte & 0xfc) == 0x64 || byte >= 0xf0 ||
           (p->mode == INSN_64 && (byte & 0xf0) == 0x40);
}

static struct opcode find_opcode(struct parse *p, uint8_t byte)
{
    if (byte != 0x0f) {
        if (byte < 0x40 && (byte & 7) < 4)
            return (struct opcode){byte >> 3, byte & 2 ? INSN_REG_MEM : INSN_MEM_REG,
                                   byte & 1 ? KNOWN : KNOWN | BYTE};
        if (byte == 0x63 && p->mode != INSN_64) /* ARPL */
            return (struct opcode){0, 0, 0};
        return one_byte[byte];
    }
    byte = take_byte(p);
    if (byte == 0x38) {
        byte = take_byte(p);
        bool known = (byte & 0xfe) == 0xf0 && !p->repeat_prefix; /* with F2: CRC32 */
        return known ? movbe[byte & 1] : (struct opcode){0, 0, 0};
    }
    if (byte == 0xc3 && (p->size_prefix || p->repeat_prefix)) /* MOVNTI takes neither */
        return (struct opcode){0, 0, 0};
    return two_byte[byte];
}

/* The operation of an opcode that shares its byte; false where it is none of ours. */
static bool group_op(struct insn *out, struct opcode *opcode, unsigned reg)
{
    switch (opcode->op) {
    case INSN_ADD: out->op = (uint8_t)reg; return true;                 /* 80, 81, 83 */
    case INSN_MOV: return reg == 0;                                     /* C6, C7 */
    case INSN_INC: out->op = (uint8_t)(INSN_INC + reg); return reg < 2; /* FE, FF */
    case INSN_BT: out->op = (uint8_t)(INSN_BT + (reg & 3)); return reg >= 4;
    default: break; /* F6, F7 */
    }
    if (reg < 2) { /* TEST; 1 is an alias of 0 */
        out->form = INSN_MEM_IMM;
        opcode->flags |= opcode->flags & BYTE ? IMM8 : IMMZ;
        return true;
    }
    out->op = (uint8_t)(reg == 2 ? INSN_NOT : INSN_NEG);
    return reg < 4;
}

/* LOCK is allowed only where memory is read, changed and written (else #UD). */
static bool lock_is_valid(const struct insn *in)
{
    if (in->form == INSN_REG_MEM || in->form == INSN_STRING)
        return false;
    return in->op < INSN_CMP || (in->op >= INSN_XCHG && in->op != INSN_BT);
}

static void decode_memory_16(struct parse *p, struct insn *out, unsigned mod, unsigned rm)
{
    enum { BX = 3, BP = 5, SI = 6, DI = 7, NONE = INSN_NO_REG };
    static const uint8_t base[8] = {BX, BX, BP, BP, SI, DI, BP, BX};
    static const uint8_t index[8] = {SI, DI, SI, DI, NONE, NONE, NONE, NONE};
    bool absolute = mod == 0 && rm == 6;
    out->base = absolute ? INSN_NO_REG : base[rm];
    out->index = index[rm];
    if (absolute || mod == 2)
        out->disp = take_signed(p, 2);
    else if (mod == 1)
        out->disp = take_signed(p, 1);
}

/* The memory operand behind ModRM, for addresses of 32 and 64 bits. */
static void decode_memory(struct parse *p, struct insn *out, unsigned mod, unsigned rm)
{
    if (rm == 4) {
        uint8_t sib = take_byte(p);
        uint8_t index = (uint8_t)((sib >> 3 & 7) | (p->rex & 2) << 2);
        out->index = index == 4 ? INSN_NO_REG : index;
        out->scale = sib >> 6;
        rm = sib & 7;
    } else if (rm == 5 && mod == 0 && p->mode == INSN_64) {
        out->base = INSN_RIP;
        out->disp = take_signed(p, 4);
        return;
    }
    if (mod == 1) {
        out->disp = take_signed(p, 1);
    } else if (mod == 2) {
        out->disp = take_signed(p, 4);
    } else if (rm == 5) {
        out->disp = take_signed(p, 4);
        return; /* no base */
    }
    out->base = (uint8_t)(rm | (p->rex & 1u) << 3);
}

/* ModRM and what follows it up to the immediate; false where the operand is not in memory. */
static bool decode_modrm(struct parse *p, struct insn *out, struct opcode *opcode, bool segment_set)
{
    uint8_t modrm = take_byte(p);
    unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
    if (mod == 3)
        return false;
    if (opcode->flags & GROUP) {
        if (!group_op(out, opcode, reg))
            return false;
    } else if (out->form != INSN_MEM) {
        out->reg = (uint8_t)(reg | (p->rex & 4u) << 1);
        out->reg_high = out->reg_bytes == 1 && p->rex == 0 && reg >= 4;
    }
    if (out->addr_bytes == 2)
        decode_memory_16(p, out, mod, rm);
    else
        decode_memory(p, out, mod, rm);
    if (!segment_set && (out->base == 4 || out->base == 5))
        out->segment = SEG_SS;
    return true;
}

static void set_sizes(const struct parse *p, struct insn *out, unsigned flags)
{
    uint8_t size = p->size_prefix == (p->mode == INSN_16) ? 4 : 2;
    if (flags & DWORD)
        size = 4;
    if (p->rex & 8)
        size = 8;
    if (flags & BYTE)
        size = 1;
    out->reg_bytes = size;
    out->mem_bytes = flags & FROM4 ? (uint8_t)(flags >> 6 & 3) : size;
    if (out->mem_bytes == 3) /* MOVSXD */
        out->mem_bytes = size == 2 ? 2 : 4;
    if (p->mode == INSN_64)
        out->addr_bytes = p->address_prefix ? 4 : 8;
    else
        out->addr_bytes = p->address_prefix == (p->mode == INSN_16) ? 4 : 2;
}

/* Everything behind the opcode; false where it is no instruction of ours. */
static bool decode_operands(struct parse *p, struct insn *out, struct opcode opcode)
{
    out->op = opcode.op;
    out->form = opcode.form;
    out->reg = INSN_NO_REG;
    out->base = INSN_NO_REG;
    out->index = INSN_NO_REG;
    out->reg_high = false;
    out->scale = 0;
    out->disp = 0;
    out->imm = 0;
    bool segment_set = out->segment != INSN_NO_REG;
    if (!segment_set)
        out->segment = SEG_DS;
    set_sizes(p, out, opcode.flags);
    out->rep = p->repeat_prefix && out->form == INSN_STRING;
    if (out->form == INSN_STRING) {
        if (out->op == INSN_STOS)
            out->segment = SEG_ES;
    } else if (opcode.flags & MOFFS) {
        out->reg = 0;
        out->disp = take_signed(p, out->addr_bytes);
    } else if (!decode_modrm(p, out, &opcode, segment_set)) {
        return false;
    }
    if (opcode.flags & IMM8)
        out->imm = (uint64_t)take_signed(p, 1);
    else if (opcode.flags & IMMZ)
        out->imm = (uint64_t)take_signed(p, out->reg_bytes == 2 ? 2 : 4);
    return !out->lock || lock_is_valid(out);
}

enum insn_result insn_decode(struct insn *out, const uint8_t *bytes, unsigned count,
                             enum insn_mode mode)
{
    if (count > INSN_MAX_BYTES)
        count = INSN_MAX_BYTES;
    struct parse p = {.at = bytes, .end = bytes + count, .mode = mode};
    out->segment = INSN_NO_REG;
    out->lock = false;
    uint8_t byte = take_byte(&p);
    while (may_be_prefix(&p, byte) && take_prefix(&p, out, byte) && !p.out_of_bytes)
        byte = take_byte(&p);
    struct opcode opcode = find_opcode(&p, byte);
    bool known = (opcode.flags & KNOWN) && decode_operands(&p, out, opcode);
    if (p.out_of_bytes)
        return count == INSN_MAX_BYTES ? INSN_TOO_LONG : INSN_TRUNCATED;
    out->length = (uint8_t)(p.at - bytes);
    return known ? INSN_OK : INSN_UNKNOWN;
}
