/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes integer instructions, and vector registers' moves from and to memory (SDM, "Instruction
 * Format"): a table by opcode, then ModRM, displacement and immediate. */
#include "guest/cpu/decode_parse.h"

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
    PREFIX = 512,
    NOT8 = 1024,        /* 4 bytes even with REX.W */
    IN_OPCODE = 2048,   /* no ModRM: the opcode's low three bits name the register */
    ACCUMULATOR = 4096, /* no ModRM: the register is the accumulator */
    NOT64 = 8192,       /* no such instruction in 64-bit mode */
    BY_ONE = 16384,     /* a shift's count */
    BY_CL = 32768,
};

struct opcode {
    uint8_t op, form;
    uint16_t flags;
};

/* ADD to CMP with a register (00 to 3B) are left out: their opcodes are computed. */
static const struct opcode one_byte[256] = {
    [0x26] = {0, 0, PREFIX},
    [0x27] = {INSN_DAA, INSN_NONE, KNOWN | NOT64},
    [0x2e] = {0, 0, PREFIX},
    [0x2f] = {INSN_DAS, INSN_NONE, KNOWN | NOT64},
    [0x36] = {0, 0, PREFIX},
    [0x37] = {INSN_AAA, INSN_NONE, KNOWN | NOT64},
    [0x3e] = {0, 0, PREFIX},
    [0x3f] = {INSN_AAS, INSN_NONE, KNOWN | NOT64},
    [0x40 ... 0x47] = {INSN_INC, INSN_MEM, KNOWN | IN_OPCODE}, /* REX in 64-bit mode */
    [0x48 ... 0x4f] = {INSN_DEC, INSN_MEM, KNOWN | IN_OPCODE},
    [0x50 ... 0x57] = {INSN_PUSH, INSN_MEM, KNOWN | IN_OPCODE},
    [0x58 ... 0x5f] = {INSN_POP, INSN_MEM, KNOWN | IN_OPCODE},
    [0x60] = {INSN_PUSHA, INSN_NONE, KNOWN | NOT64},
    [0x61] = {INSN_POPA, INSN_NONE, KNOWN | NOT64},
    [0x63] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM4},
    [0x64] = {0, 0, PREFIX},
    [0x65] = {0, 0, PREFIX},
    [0x66] = {0, 0, PREFIX},
    [0x67] = {0, 0, PREFIX},
    [0x68] = {INSN_PUSH, INSN_IMM, KNOWN | IMMZ},
    [0x69] = {INSN_IMUL_TO, INSN_REG_MEM, KNOWN | IMMZ},
    [0x6a] = {INSN_PUSH, INSN_IMM, KNOWN | IMM8},
    [0x6b] = {INSN_IMUL_TO, INSN_REG_MEM, KNOWN | IMM8},
    [0x6c] = {INSN_INS, INSN_STRING, KNOWN | BYTE},
    [0x6d] = {INSN_INS, INSN_STRING, KNOWN | NOT8},
    [0x6e] = {INSN_OUTS, INSN_STRING, KNOWN | BYTE},
    [0x6f] = {INSN_OUTS, INSN_STRING, KNOWN | NOT8},
    [0x70 ... 0x7f] = {INSN_JCC, INSN_IMM, KNOWN | IMM8},
    [0x80] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE},
    [0x81] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMMZ},
    [0x82] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE | NOT64}, /* as 80 */
    [0x83] = {INSN_ADD, INSN_MEM_IMM, KNOWN | GROUP | IMM8},
    [0x84] = {INSN_TEST, INSN_MEM_REG, KNOWN | BYTE},
    [0x85] = {INSN_TEST, INSN_MEM_REG, KNOWN},
    [0x86] = {INSN_XCHG, INSN_MEM_REG, KNOWN | BYTE},
    [0x87] = {INSN_XCHG, INSN_MEM_REG, KNOWN},
    [0x88] = {INSN_MOV, INSN_MEM_REG, KNOWN | BYTE},
    [0x89] = {INSN_MOV, INSN_MEM_REG, KNOWN},
    [0x8a] = {INSN_MOV, INSN_REG_MEM, KNOWN | BYTE},
    [0x8b] = {INSN_MOV, INSN_REG_MEM, KNOWN},
    [0x8d] = {INSN_LEA, INSN_REG_MEM, KNOWN},
    [0x8f] = {INSN_POP, INSN_MEM, KNOWN | GROUP},
    [0x90 ... 0x97] = {INSN_XCHG, INSN_MEM_REG, KNOWN | IN_OPCODE},
    [0x98] = {INSN_CBW, INSN_NONE, KNOWN},
    [0x99] = {INSN_CWD, INSN_NONE, KNOWN},
    [0x9c] = {INSN_PUSHF, INSN_NONE, KNOWN},
    [0x9d] = {INSN_POPF, INSN_NONE, KNOWN},
    [0x9e] = {INSN_SAHF, INSN_NONE, KNOWN},
    [0x9f] = {INSN_LAHF, INSN_NONE, KNOWN},
    [0xa0] = {INSN_MOV, INSN_REG_MEM, KNOWN | MOFFS | BYTE},
    [0xa1] = {INSN_MOV, INSN_REG_MEM, KNOWN | MOFFS},
    [0xa2] = {INSN_MOV, INSN_MEM_REG, KNOWN | MOFFS | BYTE},
    [0xa3] = {INSN_MOV, INSN_MEM_REG, KNOWN | MOFFS},
    [0xa4] = {INSN_MOVS, INSN_STRING, KNOWN | BYTE},
    [0xa5] = {INSN_MOVS, INSN_STRING, KNOWN},
    [0xa6] = {INSN_CMPS, INSN_STRING, KNOWN | BYTE},
    [0xa7] = {INSN_CMPS, INSN_STRING, KNOWN},
    [0xa8] = {INSN_TEST, INSN_MEM_IMM, KNOWN | ACCUMULATOR | IMM8 | BYTE},
    [0xa9] = {INSN_TEST, INSN_MEM_IMM, KNOWN | ACCUMULATOR | IMMZ},
    [0xaa] = {INSN_STOS, INSN_STRING, KNOWN | BYTE},
    [0xab] = {INSN_STOS, INSN_STRING, KNOWN},
    [0xac] = {INSN_LODS, INSN_STRING, KNOWN | BYTE},
    [0xad] = {INSN_LODS, INSN_STRING, KNOWN},
    [0xae] = {INSN_SCAS, INSN_STRING, KNOWN | BYTE},
    [0xaf] = {INSN_SCAS, INSN_STRING, KNOWN},
    [0xb0 ... 0xb7] = {INSN_MOV, INSN_MEM_IMM, KNOWN | IN_OPCODE | IMM8 | BYTE},
    [0xb8 ... 0xbf] = {INSN_MOV, INSN_MEM_IMM, KNOWN | IN_OPCODE},
    [0xc0] = {INSN_ROL, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE},
    [0xc1] = {INSN_ROL, INSN_MEM_IMM, KNOWN | GROUP | IMM8},
    [0xc2] = {INSN_RET, INSN_IMM, KNOWN},
    [0xc3] = {INSN_RET, INSN_NONE, KNOWN},
    [0xc6] = {INSN_MOV, INSN_MEM_IMM, KNOWN | GROUP | IMM8 | BYTE},
    [0xc7] = {INSN_MOV, INSN_MEM_IMM, KNOWN | GROUP | IMMZ},
    [0xc8] = {INSN_ENTER, INSN_IMM, KNOWN},
    [0xc9] = {INSN_LEAVE, INSN_NONE, KNOWN},
    [0xd0] = {INSN_ROL, INSN_MEM_IMM, KNOWN | GROUP | BYTE | BY_ONE},
    [0xd1] = {INSN_ROL, INSN_MEM_IMM, KNOWN | GROUP | BY_ONE},
    [0xd2] = {INSN_ROL, INSN_MEM, KNOWN | GROUP | BYTE | BY_CL},
    [0xd3] = {INSN_ROL, INSN_MEM, KNOWN | GROUP | BY_CL},
    [0xd4] = {INSN_AAM, INSN_IMM, KNOWN | IMM8 | NOT64},
    [0xd5] = {INSN_AAD, INSN_IMM, KNOWN | IMM8 | NOT64},
    [0xd6] = {INSN_SALC, INSN_NONE, KNOWN | NOT64},
    [0xd7] = {INSN_XLAT, INSN_NONE, KNOWN | BYTE},
    [0xe0] = {INSN_LOOPNE, INSN_IMM, KNOWN | IMM8},
    [0xe1] = {INSN_LOOPE, INSN_IMM, KNOWN | IMM8},
    [0xe2] = {INSN_LOOP, INSN_IMM, KNOWN | IMM8},
    [0xe3] = {INSN_JCXZ, INSN_IMM, KNOWN | IMM8},
    [0xe8] = {INSN_CALL, INSN_IMM, KNOWN | IMMZ},
    [0xe9] = {INSN_JMP, INSN_IMM, KNOWN | IMMZ},
    [0xeb] = {INSN_JMP, INSN_IMM, KNOWN | IMM8},
    [0xf0] = {0, 0, PREFIX},
    [0xf2] = {0, 0, PREFIX},
    [0xf3] = {0, 0, PREFIX},
    [0xf5] = {INSN_CMC, INSN_NONE, KNOWN},
    [0xf6] = {INSN_TEST, INSN_MEM, KNOWN | GROUP | BYTE},
    [0xf7] = {INSN_TEST, INSN_MEM, KNOWN | GROUP},
    [0xf8] = {INSN_CLC, INSN_NONE, KNOWN},
    [0xf9] = {INSN_STC, INSN_NONE, KNOWN},
    [0xfc] = {INSN_CLD, INSN_NONE, KNOWN},
    [0xfd] = {INSN_STD, INSN_NONE, KNOWN},
    [0xfe] = {INSN_INC, INSN_MEM, KNOWN | GROUP | BYTE},
    [0xff] = {INSN_INC, INSN_MEM, KNOWN | GROUP},
};

static const struct opcode two_byte[256] = {
    [0x0d] = {INSN_NOP, INSN_MEM, KNOWN},          /* PREFETCHW */
    [0x18 ... 0x1f] = {INSN_NOP, INSN_MEM, KNOWN}, /* hints, and what may become one */
    [0x40 ... 0x4f] = {INSN_CMOV, INSN_REG_MEM, KNOWN},
    [0x80 ... 0x8f] = {INSN_JCC, INSN_IMM, KNOWN | IMMZ},
    [0x90 ... 0x9f] = {INSN_SET, INSN_MEM, KNOWN | BYTE},
    [0xa3] = {INSN_BT, INSN_MEM_REG, KNOWN},
    [0xa4] = {INSN_SHLD, INSN_MEM_REG, KNOWN | IMM8},
    [0xa5] = {INSN_SHLD, INSN_MEM_REG, KNOWN | BY_CL},
    [0xab] = {INSN_BTS, INSN_MEM_REG, KNOWN},
    [0xac] = {INSN_SHRD, INSN_MEM_REG, KNOWN | IMM8},
    [0xad] = {INSN_SHRD, INSN_MEM_REG, KNOWN | BY_CL},
    [0xaf] = {INSN_IMUL_TO, INSN_REG_MEM, KNOWN},
    [0xb0] = {INSN_CMPXCHG, INSN_MEM_REG, KNOWN | BYTE},
    [0xb1] = {INSN_CMPXCHG, INSN_MEM_REG, KNOWN},
    [0xb3] = {INSN_BTR, INSN_MEM_REG, KNOWN},
    [0xb6] = {INSN_MOVZX, INSN_REG_MEM, KNOWN | FROM1},
    [0xb7] = {INSN_MOVZX, INSN_REG_MEM, KNOWN | FROM2},
    [0xba] = {INSN_BT, INSN_MEM_IMM, KNOWN | GROUP | IMM8},
    [0xbb] = {INSN_BTC, INSN_MEM_REG, KNOWN},
    [0xbc] = {INSN_BSF, INSN_REG_MEM, KNOWN}, /* behind F3 TZCNT */
    [0xbd] = {INSN_BSR, INSN_REG_MEM, KNOWN}, /* LZCNT */
    [0xbe] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM1},
    [0xbf] = {INSN_MOVSX, INSN_REG_MEM, KNOWN | FROM2},
    [0xc0] = {INSN_XADD, INSN_MEM_REG, KNOWN | BYTE},
    [0xc1] = {INSN_XADD, INSN_MEM_REG, KNOWN},
    [0xc3] = {INSN_MOV, INSN_MEM_REG, KNOWN | DWORD}, /* MOVNTI */
    [0xc7] = {INSN_CMPXCHG_PAIR, INSN_MEM, KNOWN | GROUP | DWORD},
    [0xc8 ... 0xcf] = {INSN_BSWAP, INSN_MEM, KNOWN | IN_OPCODE},
};

/* 0F 38 F0 and F1 */
static const struct opcode movbe[2] = {
    {INSN_MOVBE, INSN_REG_MEM, KNOWN},
    {INSN_MOVBE, INSN_MEM_REG, KNOWN},
};

static const struct opcode popcnt = {INSN_POPCNT, INSN_REG_MEM, KNOWN}; /* F3 0F B8 */

/* Loads and stores of vector registers. The mandatory prefix, which VEX has in its pp field: */
enum { NP = 1, P66 = 2, PF3 = 4, PF2 = 8 };
enum { WHOLE = 0, BY_W = 1 }; /* memory as large as the register; 4 or 8 bytes by W */
enum vector_flags {
    ALIGNED = 1,
    MMX = 2,
    SCALAR = 4, /* VEX.L is ignored */
    SHORT = 8,  /* VEX.L must be 0 */
    MERGE = 16, /* VEX.vvvv names a register; elsewhere it must be unused */
};

static const struct vector_opcode {
    uint8_t map, opcode; /* map 1: 0F, 2: 0F 38 */
    uint8_t prefixes;
    uint8_t op, form;
    uint8_t mem_bytes, flags;
} vector_opcodes[] = {
    {1, 0x10, NP | P66, INSN_VMOV, INSN_REG_MEM, WHOLE, 0},          /* MOVUPS, MOVUPD */
    {1, 0x10, PF3, INSN_VMOV, INSN_REG_MEM, 4, SCALAR},              /* MOVSS */
    {1, 0x10, PF2, INSN_VMOV, INSN_REG_MEM, 8, SCALAR},              /* MOVSD */
    {1, 0x11, NP | P66, INSN_VMOV, INSN_MEM_REG, WHOLE, 0},          /* MOVUPS, MOVUPD */
    {1, 0x11, PF3, INSN_VMOV, INSN_MEM_REG, 4, SCALAR},              /* MOVSS */
    {1, 0x11, PF2, INSN_VMOV, INSN_MEM_REG, 8, SCALAR},              /* MOVSD */
    {1, 0x12, NP | P66, INSN_VMOVL, INSN_REG_MEM, 8, SHORT | MERGE}, /* MOVLPS, MOVLPD */
    {1, 0x13, NP | P66, INSN_VMOV, INSN_MEM_REG, 8, SHORT},          /* MOVLPS, MOVLPD */
    {1, 0x16, NP | P66, INSN_VMOVH, INSN_REG_MEM, 8, SHORT | MERGE}, /* MOVHPS, MOVHPD */
    {1, 0x17, NP | P66, INSN_VMOVH, INSN_MEM_REG, 8, SHORT},         /* MOVHPS, MOVHPD */
    {1, 0x28, NP | P66, INSN_VMOV, INSN_REG_MEM, WHOLE, ALIGNED},    /* MOVAPS, MOVAPD */
    {1, 0x29, NP | P66, INSN_VMOV, INSN_MEM_REG, WHOLE, ALIGNED},    /* MOVAPS, MOVAPD */
    {1, 0x2b, NP | P66, INSN_VMOV, INSN_MEM_REG, WHOLE, ALIGNED},    /* MOVNTPS, MOVNTPD */
    {1, 0x6e, NP, INSN_VMOV, INSN_REG_MEM, BY_W, MMX},               /* MOVD, MOVQ */
    {1, 0x6e, P66, INSN_VMOV, INSN_REG_MEM, BY_W, SHORT},            /* MOVD, MOVQ */
    {1, 0x6f, NP, INSN_VMOV, INSN_REG_MEM, 8, MMX},                  /* MOVQ */
    {1, 0x6f, P66, INSN_VMOV, INSN_REG_MEM, WHOLE, ALIGNED},         /* MOVDQA */
    {1, 0x6f, PF3, INSN_VMOV, INSN_REG_MEM, WHOLE, 0},               /* MOVDQU */
    {1, 0x7e, NP, INSN_VMOV, INSN_MEM_REG, BY_W, MMX},               /* MOVD, MOVQ */
    {1, 0x7e, P66, INSN_VMOV, INSN_MEM_REG, BY_W, SHORT},            /* MOVD, MOVQ */
    {1, 0x7e, PF3, INSN_VMOV, INSN_REG_MEM, 8, SHORT},               /* MOVQ */
    {1, 0x7f, NP, INSN_VMOV, INSN_MEM_REG, 8, MMX},                  /* MOVQ */
    {1, 0x7f, P66, INSN_VMOV, INSN_MEM_REG, WHOLE, ALIGNED},         /* MOVDQA */
    {1, 0x7f, PF3, INSN_VMOV, INSN_MEM_REG, WHOLE, 0},               /* MOVDQU */
    {1, 0xd6, P66, INSN_VMOV, INSN_MEM_REG, 8, SHORT},               /* MOVQ */
    {1, 0xe7, NP, INSN_VMOV, INSN_MEM_REG, 8, MMX},                  /* MOVNTQ */
    {1, 0xe7, P66, INSN_VMOV, INSN_MEM_REG, WHOLE, ALIGNED},         /* MOVNTDQ */
    {1, 0xf0, PF2, INSN_VMOV, INSN_REG_MEM, WHOLE, 0},               /* LDDQU */
    {2, 0x2a, P66, INSN_VMOV, INSN_REG_MEM, WHOLE, ALIGNED},         /* MOVNTDQA */
};

static struct opcode find_vector(struct parse *p, unsigned map, uint8_t byte, unsigned prefix)
{
    const struct vector_opcode *end = vector_opcodes + sizeof(vector_opcodes) / sizeof(*end);
    for (const struct vector_opcode *v = vector_opcodes; v < end; v++) {
        if (v->map != map || v->opcode != byte || (v->prefixes & prefix) == 0)
            continue;
        p->vector = v;
        return (struct opcode){v->op, v->form, KNOWN};
    }
    return (struct opcode){0, 0, 0};
}

/* SDM, "The VEX Prefix"; byte is C4 or C5. */
static struct opcode vex_opcode(struct parse *p, struct insn *out, uint8_t byte)
{
    const struct opcode unknown = {0, 0, 0};
    uint8_t first = take_byte(p), last = first;
    /* Where the next byte could not be VEX's it is the ModRM of LES or LDS. */
    if (p->mode != INSN_64 && first < 0xc0)
        return unknown;
    unsigned map = 1;
    bool foreign = p->rex != 0 || p->repeat != 0 || (p->prefixes & SIZE_66) != 0 || out->lock;
    p->rex = first & 0x80 ? 0 : 4;
    if (byte == 0xc4) {
        map = first & 31;
        last = take_byte(p);
        p->rex |= ((first ^ 0xffu) >> 5 & 3u) | (last >> 4 & 8u);
    }
    if (p->mode != INSN_64)
        p->rex = 0;
    out->vex = true;
    p->vvvv = (uint8_t)((last ^ 0xffu) >> 3 & (p->mode == INSN_64 ? 15 : 7));
    p->wide = (last & 4) != 0;
    static const uint8_t prefix[] = {NP, P66, PF3, PF2};
    struct opcode opcode = find_vector(p, map, take_byte(p), prefix[last & 3]);
    if (p->vector == NULL)
        return unknown;
    unsigned flags = p->vector->flags;
    if ((flags & MMX) != 0)
        return unknown;
    p->undefined = foreign || ((flags & SHORT) != 0 && p->wide) ||
                   ((flags & MERGE) == 0 && (last & 0x78) != 0x78);
    return opcode;
}

/* What the one-byte table does not have; the flags are 0 where it is nothing of ours. */
static struct opcode other_opcode(struct parse *p, struct insn *out, uint8_t byte)
{
    static const struct opcode unknown;
    if ((byte & 0xfe) == 0xc4)
        return vex_opcode(p, out, byte);
    if (byte < 0x40 && (byte & 7) < 4)
        return (struct opcode){byte >> 3, byte & 2 ? INSN_REG_MEM : INSN_MEM_REG,
                               byte & 1 ? KNOWN : KNOWN | BYTE};
    if (byte < 0x40 && (byte & 7) < 6)
        return (struct opcode){byte >> 3, INSN_MEM_IMM,
                               KNOWN | ACCUMULATOR | (byte & 1 ? IMMZ : IMM8 | BYTE)};
    if (byte != 0x0f)
        return unknown;
    unsigned prefix = p->repeat == INSN_REPNE  ? PF2
                      : p->repeat == INSN_REPE ? PF3
                      : p->prefixes & SIZE_66  ? P66
                                               : NP;
    byte = take_byte(p);
    if (byte == 0x38) {
        byte = take_byte(p);
        if ((byte & 0xfe) != 0xf0)
            return find_vector(p, 2, byte, prefix);
        return p->repeat ? unknown : movbe[byte & 1]; /* with F2 it is CRC32 */
    }
    if (byte == 0xc3 && prefix != NP) /* MOVNTI */
        return unknown;
    p->opcode = byte;
    if (byte == 0xb8)
        return prefix == PF3 ? popcnt : unknown;
    struct opcode opcode = two_byte[byte];
    if (prefix == PF3 && (opcode.op == INSN_BSF || opcode.op == INSN_BSR))
        opcode.op += INSN_TZCNT - INSN_BSF;
    return opcode.flags ? opcode : find_vector(p, 1, byte, prefix);
}

/* The operation of an opcode that shares its byte; false where it is none of ours. */
static bool group_op(struct insn *out, struct opcode *opcode, unsigned reg)
{
    switch (opcode->op) {
    case INSN_ADD: out->op = (uint8_t)reg; return true; /* 80, 81, 83 */
    case INSN_MOV:                                      /* C6, C7 */
    case INSN_POP: return reg == 0;                     /* 8F */
    case INSN_CMPXCHG_PAIR: return reg == 1;
    case INSN_INC: { /* FE, FF; 3 and 5 are far */
        static const uint8_t op[8] = {INSN_INC, INSN_DEC, INSN_CALL, 0, INSN_JMP, 0, INSN_PUSH};
        out->op = op[reg];
        return reg < 2 || (op[reg] != 0 && !(opcode->flags & BYTE));
    }
    case INSN_ROL: out->op = (uint8_t)(INSN_ROL + reg); return true;
    case INSN_BT: out->op = (uint8_t)(INSN_BT + (reg & 3)); return reg >= 4;
    default: break; /* F6, F7 */
    }
    if (reg < 2) { /* TEST; 1 is an alias of 0 */
        out->form = INSN_MEM_IMM;
        opcode->flags |= opcode->flags & BYTE ? IMM8 : IMMZ;
        return true;
    }
    out->op = (uint8_t)(reg >= 4 ? INSN_MUL + reg - 4 : reg == 2 ? INSN_NOT : INSN_NEG);
    return true;
}

/* LOCK is allowed only where memory is read, changed and written (else #UD). */
static bool lock_is_valid(const struct insn *in)
{
    if (in->form == INSN_REG_MEM || in->rm != INSN_NO_REG)
        return false;
    return in->op < INSN_CMP ||
           (in->op >= INSN_XCHG && in->op <= INSN_CMPXCHG_PAIR && in->op != INSN_BT);
}

/* What the operation, and not its opcode alone, says of the sizes. */
static inline void adjust_sizes(const struct parse *p, struct insn *out)
{
    const unsigned op = out->op;
    if (op < INSN_CMPXCHG_PAIR)
        return;
    const bool stack = op == INSN_PUSH || op == INSN_POP || (op >= INSN_PUSHA && op <= INSN_LEAVE);
    if (op == INSN_CMPXCHG_PAIR) {
        out->mem_bytes = (uint8_t)(2 * out->reg_bytes);
        out->aligned = out->mem_bytes == 16;
    } else if (p->mode == INSN_64 && ((stack && out->mem_bytes == 4) || op >= INSN_JCC)) {
        out->mem_bytes = out->reg_bytes = 8; /* of branches whatever the prefixes say */
    }
    if (p->vector == NULL)
        return;
    const struct vector_opcode *v = p->vector;
    out->aligned = (v->flags & ALIGNED) != 0;
    out->reg_bytes = v->flags & MMX ? 8 : p->wide && !(v->flags & SCALAR) ? 32 : 16;
    if (v->flags & MMX)
        out->reg &= 7;
    if (v->flags & MERGE)
        out->reg2 = out->vex ? p->vvvv : out->reg;
    out->mem_bytes = v->mem_bytes;
    if (v->mem_bytes == WHOLE)
        out->mem_bytes = out->reg_bytes;
    else if (v->mem_bytes == BY_W)
        out->mem_bytes = p->rex & 8 ? 8 : 4;
}

static inline void set_rm(const struct parse *p, struct insn *out, unsigned rm)
{
    out->rm = (uint8_t)(rm | (p->rex & 1u) << 3);
    out->rm_high = out->mem_bytes == 1 && p->rex == 0 && rm >= 4;
}

/* A register where memory is the rule; false where that is another instruction. */
static bool decode_register(struct parse *p, struct insn *out, unsigned flags, unsigned rm)
{
    if (p->vector != NULL || out->op == INSN_CMPXCHG_PAIR)
        return false;
    p->undefined =
        p->undefined || out->op == INSN_LEA || out->op == INSN_MOVBE || (flags & DWORD) != 0;
    set_rm(p, out, rm);
    return true;
}

/* ModRM and what follows it up to the immediate; false where it is no instruction of ours. */
static inline bool decode_modrm(struct parse *p, struct insn *out, struct opcode *opcode,
                                bool segment_set)
{
    uint8_t modrm = take_byte(p);
    unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
    if (opcode->flags & GROUP) {
        if (!group_op(out, opcode, reg))
            return false;
    } else if (out->form != INSN_MEM) {
        out->reg = (uint8_t)(reg | (p->rex & 4u) << 1);
        out->reg_high = out->reg_bytes == 1 && p->rex == 0 && reg >= 4;
    }
    adjust_sizes(p, out);
    if (mod == 3)
        return decode_register(p, out, opcode->flags, rm);
    if (out->addr_bytes == 2)
        decode_memory_16(p, out, mod, rm);
    else
        decode_memory(p, out, mod, rm);
    if (!segment_set && (out->base == 4 || out->base == 5))
        out->segment = SEG_SS;
    return true;
}

static inline void set_sizes(const struct parse *p, struct insn *out, unsigned flags)
{
    unsigned size = p->mode == INSN_16 ? 2 : 4;
    unsigned address = 2u << p->mode;
    if (p->prefixes & SIZE_66)
        size = size == 2 ? 4 : 2;
    if (p->prefixes & ADDRESS_67)
        address = p->mode == INSN_32 ? 2 : 4;
    if (p->rex & 8)
        size = 8;
    if ((flags & NOT8) && size == 8)
        size = 4;
    if (flags & (BYTE | DWORD))
        size = flags & BYTE ? 1 : size < 4 ? 4 : size;
    out->addr_bytes = (uint8_t)address;
    out->reg_bytes = (uint8_t)size;
    if (flags & FROM4) {
        unsigned from = flags / FROM1 & 3;
        size = from < 3 ? from : size == 2 ? 2 : 4; /* 3 is MOVSXD */
    }
    out->mem_bytes = (uint8_t)size;
}

static inline void take_immediate(struct parse *p, struct insn *out, unsigned flags)
{
    if (flags & IMM8)
        out->imm = (uint64_t)take_signed(p, 1);
    else if (flags & IMMZ)
        out->imm = (uint64_t)take_signed(p, out->reg_bytes == 2 ? 2 : 4);
    else if (flags & BY_ONE)
        out->imm = 1;
    else if (out->op == INSN_MOV && (flags & IN_OPCODE) != 0)
        out->imm = (uint64_t)take_signed(p, out->reg_bytes);
    else if (out->form == INSN_IMM) /* RET and ENTER */
        out->imm = (uint64_t)take_signed(p, 2) & UINT16_MAX;
    if (out->op == INSN_ENTER)
        out->nesting = take_byte(p);
}

/* Everything behind the opcode; false where it is no instruction of ours. */
static inline bool decode_operands(struct parse *p, struct insn *out, struct opcode opcode)
{
    out->op = opcode.op;
    out->form = opcode.form;
    bool segment_set = out->segment != INSN_NO_REG;
    if (!segment_set)
        out->segment = SEG_DS;
    set_sizes(p, out, opcode.flags);
    if (out->form == INSN_STRING) {
        out->rep = (uint8_t)p->repeat;
        if (out->op == INSN_STOS || out->op == INSN_SCAS || out->op == INSN_INS)
            out->segment = SEG_ES;
    } else if (opcode.flags & MOFFS) {
        out->reg = 0;
        out->disp = take_signed(p, out->addr_bytes);
    } else if (out->form >= INSN_IMM || (opcode.flags & (IN_OPCODE | ACCUMULATOR)) != 0) {
        adjust_sizes(p, out);
        if (opcode.flags & IN_OPCODE)
            set_rm(p, out, p->opcode & 7);
        else if (opcode.flags & ACCUMULATOR)
            out->rm = 0;
        if (out->form == INSN_MEM_REG)
            out->reg = 0;
    } else if (!decode_modrm(p, out, &opcode, segment_set)) {
        return false;
    }
    take_immediate(p, out, opcode.flags);
    out->by_cl = (opcode.flags & BY_CL) != 0;
    out->with_imm = (opcode.flags & (IMM8 | IMMZ)) != 0;
    out->condition = p->opcode & 15;
    p->undefined = p->undefined || (out->lock && !lock_is_valid(out)) ||
                   ((opcode.flags & NOT64) != 0 && p->mode == INSN_64);
    return true;
}

bool insn_decode_mov(struct insn *out, const uint8_t *bytes)
{
    unsigned rex = (bytes[0] & 0xf0) == 0x40 ? bytes[0] : 0, at = rex != 0;
    unsigned opcode = bytes[at], modrm = bytes[at + 1];
    unsigned reg = (modrm >> 3 & 7) | (rex & 4) << 1;
    if ((opcode & 0xfd) != 0x89 || modrm >= 0xc0 || (modrm & 7) == 4 || (modrm & 0xc7) == 5 ||
        reg == 4)
        return false;
    out->op = INSN_MOV;
    out->form = opcode & 2 ? INSN_REG_MEM : INSN_MEM_REG;
    out->length = (uint8_t)(at + (modrm >= 0x80 ? 6 : modrm >= 0x40 ? 3 : 2));
    out->mem_bytes = out->reg_bytes = (uint8_t)(4 + (rex >> 1 & 4));
    out->reg = (uint8_t)reg;
    out->reg_high = false;
    return true;
}

enum insn_result __attribute__((noinline))
insn_decode(struct insn *out, const uint8_t *bytes, unsigned count, enum insn_mode mode)
{
    struct parse p = {
        .bytes = bytes, .count = count < INSN_MAX_BYTES ? count : INSN_MAX_BYTES, .mode = mode};
    struct opcode opcode;
    uint8_t byte;
    *out = (struct insn){.reg = INSN_NO_REG,
                         .rm = INSN_NO_REG,
                         .segment = INSN_NO_REG,
                         .base = INSN_NO_REG,
                         .index = INSN_NO_REG};
    for (;;) {
        byte = take_byte(&p);
        if (mode == INSN_64 && (byte & 0xf0) == 0x40) {
            p.rex = byte;
            continue;
        }
        opcode = one_byte[byte];
        if (!(opcode.flags & PREFIX))
            break;
        note_prefix(&p, out, byte);
    }
    p.opcode = byte;
    if (!(opcode.flags & KNOWN))
        opcode = other_opcode(&p, out, byte);
    else if (byte == 0x63 && mode != INSN_64) /* ARPL */
        return INSN_UNKNOWN;
    else if (byte == 0x90 && (p.rex & 1) == 0)
        opcode = (struct opcode){INSN_NOP, INSN_NONE, KNOWN};
    bool known = (opcode.flags & KNOWN) && decode_operands(&p, out, opcode);
    if (p.at > p.count)
        return p.count == INSN_MAX_BYTES ? INSN_TOO_LONG : INSN_TRUNCATED;
    out->length = (uint8_t)p.at;
    if (!known)
        return INSN_UNKNOWN;
    return p.undefined ? INSN_UNDEFINED : INSN_OK;
}

enum insn_result insn_decode_access(struct insn *out, const uint8_t *bytes, unsigned count,
                                    enum insn_mode mode)
{
    const enum insn_result result = insn_decode(out, bytes, count, mode);
    const bool rare = out->op >= INSN_ROL || out->rm != INSN_NO_REG || out->form == INSN_IMM;
    return result == INSN_OK && rare ? INSN_UNKNOWN : result;
}
