/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes what guest/cpu/decode.c leaves out: a table by opcode for the system's instructions, and
 * a few rules for the length of what only computes (SDM, the appendix "Opcode Map"). */
#include "arch/x86.h"
#include "guest/cpu/decode_parse.h"
#include "guest/cpu/emulate.h"
#include "guest/cpu/system.h"

enum { NP = 1, P66 = 2, PF3 = 4, PF2 = 8, ALL = 15 };

/* What follows the opcode, and what it means. */
enum row_flags {
    MODRM = 1,
    MEMORY = 2,   /* with ModRM: of a register it is #UD */
    REGISTER = 4, /* whatever its mod says (MOV CR and DR), with ModRM */
    IMM8 = 8,
    IMM16 = 16,
    IMM_FAR = 32,
    NOT64 = 64,
    ONLY64 = 128,
    STACK = 256, /* 8 bytes in 64-bit mode, unless 2 */
    WORD = 512, /* the operand has 2 bytes; in a register as many as the operand size, if WIDENED */
    WIDENED = 1024,
    NATURAL = 2048, /* 4 bytes, 8 in 64-bit mode */
    NOT8 = 4096,
    BYTE = 8192,
    HAS_REG = 16384, /* ModRM.reg is a general register */
};

static const struct system_row {
    uint8_t map, first, last; /* map 0: one byte, 1: 0F, 2: 0F 38 */
    uint8_t prefixes;
    uint8_t op;
    uint16_t flags;
} rows[] = {
    {0, 0x62, 0x62, ALL, SYSTEM_BOUND, MODRM | MEMORY | HAS_REG | NOT64},
    {0, 0x63, 0x63, ALL, SYSTEM_ARPL, MODRM | WORD | HAS_REG | NOT64},
    {0, 0x8c, 0x8c, ALL, SYSTEM_MOV_FROM_SEGMENT, MODRM | WORD | WIDENED},
    {0, 0x8e, 0x8e, ALL, SYSTEM_MOV_TO_SEGMENT, MODRM | WORD},
    {0, 0x9a, 0x9a, ALL, SYSTEM_CALL_FAR, IMM_FAR | NOT64},
    {0, 0xc4, 0xc5, ALL, SYSTEM_LOAD_FAR, MODRM | MEMORY | HAS_REG | NOT64},
    {0, 0xca, 0xca, ALL, SYSTEM_RET_FAR, IMM16},
    {0, 0xcb, 0xcb, ALL, SYSTEM_RET_FAR, 0},
    {0, 0xcc, 0xcc, ALL, SYSTEM_INT3, 0},
    {0, 0xcd, 0xcd, ALL, SYSTEM_INT, IMM8},
    {0, 0xce, 0xce, ALL, SYSTEM_INTO, NOT64},
    {0, 0xcf, 0xcf, ALL, SYSTEM_IRET, 0},
    {0, 0xe4, 0xe4, ALL, SYSTEM_IN, IMM8 | BYTE},
    {0, 0xe5, 0xe5, ALL, SYSTEM_IN, IMM8 | NOT8},
    {0, 0xe6, 0xe6, ALL, SYSTEM_OUT, IMM8 | BYTE},
    {0, 0xe7, 0xe7, ALL, SYSTEM_OUT, IMM8 | NOT8},
    {0, 0xea, 0xea, ALL, SYSTEM_JMP_FAR, IMM_FAR | NOT64},
    {0, 0xec, 0xec, ALL, SYSTEM_IN, BYTE},
    {0, 0xed, 0xed, ALL, SYSTEM_IN, NOT8},
    {0, 0xee, 0xee, ALL, SYSTEM_OUT, BYTE},
    {0, 0xef, 0xef, ALL, SYSTEM_OUT, NOT8},
    {0, 0xf1, 0xf1, ALL, SYSTEM_INT1, 0},
    {0, 0xf4, 0xf4, ALL, SYSTEM_HLT, 0},
    {0, 0xfa, 0xfa, ALL, SYSTEM_CLI, 0},
    {0, 0xfb, 0xfb, ALL, SYSTEM_STI, 0},
    {1, 0x02, 0x02, ALL, SYSTEM_LAR, MODRM | WORD | HAS_REG},
    {1, 0x03, 0x03, ALL, SYSTEM_LSL, MODRM | WORD | HAS_REG},
    {1, 0x05, 0x05, ALL, SYSTEM_SYSCALL, 0},
    {1, 0x06, 0x06, ALL, SYSTEM_CLTS, 0},
    {1, 0x07, 0x07, ALL, SYSTEM_SYSRET, 0},
    {1, 0x08, 0x08, ALL, SYSTEM_INVD, 0},
    {1, 0x09, 0x09, ALL, SYSTEM_WBINVD, 0}, /* and WBNOINVD */
    {1, 0x20, 0x20, ALL, SYSTEM_MOV_FROM_CR, MODRM | REGISTER | NATURAL},
    {1, 0x21, 0x21, ALL, SYSTEM_MOV_FROM_DR, MODRM | REGISTER | NATURAL},
    {1, 0x22, 0x22, ALL, SYSTEM_MOV_TO_CR, MODRM | REGISTER | NATURAL},
    {1, 0x23, 0x23, ALL, SYSTEM_MOV_TO_DR, MODRM | REGISTER | NATURAL},
    {1, 0x30, 0x30, ALL, SYSTEM_WRMSR, 0},
    {1, 0x31, 0x31, ALL, SYSTEM_RDTSC, 0},
    {1, 0x32, 0x32, ALL, SYSTEM_RDMSR, 0},
    {1, 0x33, 0x33, ALL, SYSTEM_RDPMC, 0},
    {1, 0x34, 0x34, ALL, SYSTEM_SYSENTER, 0},
    {1, 0x35, 0x35, ALL, SYSTEM_SYSEXIT, 0},
    {1, 0xa2, 0xa2, ALL, SYSTEM_CPUID, 0},
    {1, 0xb2, 0xb2, ALL, SYSTEM_LOAD_FAR, MODRM | MEMORY | HAS_REG},
    {1, 0xb4, 0xb5, ALL, SYSTEM_LOAD_FAR, MODRM | MEMORY | HAS_REG},
    {2, 0x82, 0x82, P66, SYSTEM_INVPCID, MODRM | MEMORY | HAS_REG | NATURAL},
};

/* Opcodes of map 1 that are #UD, or that a CPU has without CPUID's bit for them: UD0 to UD2, VMX
 * outside of VMX operation, SMX, RSM, 3DNow!. */
static bool is_undefined(uint8_t opcode)
{
    static const uint8_t opcodes[] = {0x04, 0x0a, 0x0b, 0x0c, 0x0e, 0x0f, 0x24, 0x25, 0x26,
                                      0x27, 0x36, 0x37, 0x39, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
                                      0x78, 0x79, 0x7a, 0x7b, 0xa6, 0xa7, 0xaa, 0xb9, 0xff};
    for (unsigned i = 0; i < sizeof(opcodes); i++)
        if (opcodes[i] == opcode)
            return true;
    return false;
}

/* What is told by the whole of ModRM. */
static const struct fixed_row {
    uint8_t modrm, prefixes, op;
} fixed_rows[] = {
    /* 0F 01 */
    {0xc1, NP, SYSTEM_VMCALL},  {0xc8, NP, SYSTEM_MONITOR},  {0xc9, NP, SYSTEM_MWAIT},
    {0xca, NP, SYSTEM_CLAC},    {0xcb, NP, SYSTEM_STAC},     {0xd0, NP, SYSTEM_XGETBV},
    {0xd1, NP, SYSTEM_XSETBV},  {0xd9, ALL, SYSTEM_VMMCALL}, {0xe8, NP, SYSTEM_SERIALIZE},
    {0xee, NP, SYSTEM_RDPKRU},  {0xef, NP, SYSTEM_WRPKRU},   {0xf8, ALL, SYSTEM_SWAPGS},
    {0xf9, ALL, SYSTEM_RDTSCP},
};

static unsigned prefix_of(const struct parse *p)
{
    return p->repeat == INSN_REPNE  ? PF2
           : p->repeat == INSN_REPE ? PF3
           : p->prefixes & SIZE_66  ? P66
                                    : NP;
}

static void set_sizes(const struct parse *p, struct insn *out)
{
    const bool short_operand = (p->mode == INSN_16) != ((p->prefixes & SIZE_66) != 0);
    out->reg_bytes = p->rex & 8 ? 8 : short_operand ? 2 : 4;
    out->addr_bytes = (uint8_t)(2u << p->mode);
    if (p->prefixes & ADDRESS_67)
        out->addr_bytes = p->mode == INSN_32 ? 2 : 4;
}

/* An address, or a register. */
static void decode_rm(struct parse *p, struct insn *out, unsigned modrm)
{
    const bool segment_set = out->segment != INSN_NO_REG;
    out->form = INSN_MEM;
    if (modrm >= 0xc0)
        out->rm = (uint8_t)((modrm & 7) | (p->rex & 1u) << 3);
    else if (out->addr_bytes == 2)
        decode_memory_16(p, out, modrm >> 6, modrm & 7);
    else
        decode_memory(p, out, modrm >> 6, modrm & 7);
    if (!segment_set)
        out->segment = out->base == 4 || out->base == 5 ? SEG_SS : SEG_DS;
}

/* 0F 00: SLDT to VERW. */
static void decode_group_6(struct parse *p, struct insn *out)
{
    const unsigned modrm = take_byte(p), reg = modrm >> 3 & 7;
    decode_rm(p, out, modrm);
    out->op = (uint8_t)(SYSTEM_SLDT + reg);
    out->mem_bytes = reg < 2 && modrm >= 0xc0 ? out->reg_bytes : 2;
    p->undefined = reg > 5;
}

/* 0F 01: tables, the machine status word, INVLPG, and what has no operand. */
static void decode_group_7(struct parse *p, struct insn *out)
{
    static const uint8_t op[8] = {
        SYSTEM_SGDT, SYSTEM_SIDT, SYSTEM_LGDT, SYSTEM_LIDT,
        SYSTEM_SMSW, 0,           SYSTEM_LMSW, SYSTEM_INVLPG,
    };
    const unsigned modrm = take_byte(p), reg = modrm >> 3 & 7;
    if (modrm >= 0xc0 && reg != 4 && reg != 6) {
        p->undefined = true;
        for (unsigned i = 0; i < sizeof(fixed_rows) / sizeof(fixed_rows[0]); i++) {
            if (fixed_rows[i].modrm == modrm && (fixed_rows[i].prefixes & prefix_of(p)) != 0) {
                out->op = fixed_rows[i].op;
                p->undefined = out->op == SYSTEM_SWAPGS && p->mode != INSN_64;
            }
        }
        return;
    }
    decode_rm(p, out, modrm);
    out->op = op[reg];
    out->mem_bytes = out->op == SYSTEM_SMSW && modrm >= 0xc0 ? out->reg_bytes : 2;
    p->undefined = op[reg] == 0;
}

/* 0F AE and 0F C7: those of their instructions that are the system's; the others are none of ours,
 * or are there by bits of CPUID that guests are not shown (WAITPKG, UINTR), or are VMX. */
static bool decode_shared(struct parse *p, struct insn *out, uint8_t opcode)
{
    const unsigned modrm = take_byte(p), reg = modrm >> 3 & 7, prefix = prefix_of(p);
    const bool is_register = modrm >= 0xc0;
    if (opcode == 0xae) {
        p->undefined = is_register && reg == 6 && prefix != NP;
        if (!is_register || prefix != PF3 || reg > 3)
            return p->undefined;
        out->op = (uint8_t)(SYSTEM_RDFSBASE + reg);
        out->mem_bytes = out->reg_bytes = p->rex & 8 ? 8 : 4;
        p->undefined = p->mode != INSN_64;
    } else {
        const bool random = is_register && reg >= 6 && (prefix == NP || prefix == P66);
        if (random || (reg >= 3 && reg <= 5 && !is_register))
            return false;
        out->op = SYSTEM_RDPID;
        out->mem_bytes = out->reg_bytes = p->mode == INSN_64 ? 8 : 4;
        p->undefined = reg != 7 || !is_register || prefix != PF3;
    }
    decode_rm(p, out, modrm);
    return true;
}

/* FF: far CALL and JMP. */
static bool decode_group_5(struct parse *p, struct insn *out)
{
    const unsigned modrm = take_byte(p), reg = modrm >> 3 & 7;
    if (reg != 3 && reg != 5 && reg != 7)
        return false;
    decode_rm(p, out, modrm);
    out->op = reg == 3 ? SYSTEM_CALL_FAR : SYSTEM_JMP_FAR;
    out->mem_bytes = out->reg_bytes;
    p->undefined = reg == 7 || modrm >= 0xc0;
    return true;
}

/* PUSH and POP of a segment register. */
static bool decode_segment_stack(struct parse *p, struct insn *out, unsigned map, uint8_t opcode)
{
    const bool in_map_0 = map == 0 && opcode < 0x20 && (opcode & 6) == 6 && opcode != 0x0f;
    if (!in_map_0 && (map != 1 || (opcode & 0xf6) != 0xa0))
        return false;
    out->op = opcode & 1 ? SYSTEM_POP_SEGMENT : SYSTEM_PUSH_SEGMENT;
    out->reg = map == 0 ? opcode >> 3 : opcode & 8 ? SEG_GS : SEG_FS;
    if (p->mode == INSN_64 && out->reg_bytes == 4)
        out->reg_bytes = 8;
    out->mem_bytes = out->reg_bytes;
    p->undefined = map == 0 && p->mode == INSN_64;
    return true;
}

static void decode_operand(struct parse *p, struct insn *out, unsigned flags)
{
    const unsigned modrm = take_byte(p), reg = modrm >> 3 & 7;
    out->reg = (uint8_t)((flags & (HAS_REG | REGISTER)) != 0 ? reg | (p->rex & 4u) << 1 : reg);
    decode_rm(p, out, (flags & REGISTER) != 0 ? modrm | 0xc0 : modrm);
    if ((flags & MEMORY) != 0 && modrm >= 0xc0)
        p->undefined = true;
    out->mem_bytes = out->reg_bytes;
    if ((flags & WORD) != 0 && ((flags & WIDENED) == 0 || modrm < 0xc0))
        out->mem_bytes = 2;
}

/* What an operation forbids of its register, and which segment register it loads. */
static void adjust(struct parse *p, struct insn *out, uint8_t opcode)
{
    switch (out->op) {
    case SYSTEM_MOV_TO_SEGMENT:
    case SYSTEM_MOV_FROM_SEGMENT:
        if (out->reg > SEG_GS || (out->op == SYSTEM_MOV_TO_SEGMENT && out->reg == SEG_CS))
            p->undefined = true;
        break;
    case SYSTEM_MOV_TO_CR:
    case SYSTEM_MOV_FROM_CR:
        if (out->reg == 1 || (out->reg > 4 && out->reg != 8))
            p->undefined = true;
        break;
    case SYSTEM_MOV_TO_DR:
    case SYSTEM_MOV_FROM_DR:
        if (out->reg > 7)
            p->undefined = true;
        break;
    case SYSTEM_LOAD_FAR: {
        static const uint8_t by_opcode[8] = {
            [2] = SEG_SS, [4] = SEG_FS, [5] = SEG_GS}; /* 0F B2, B4, B5 */
        out->reg2 = opcode == 0xc4 ? SEG_ES : opcode == 0xc5 ? SEG_DS : by_opcode[opcode & 7];
        break;
    }
    default: break;
    }
}

static void decode_row(struct parse *p, struct insn *out, const struct system_row *row,
                       uint8_t opcode)
{
    const unsigned flags = row->flags;
    out->op = row->op;
    if ((flags & NATURAL) != 0)
        out->reg_bytes = p->mode == INSN_64 ? 8 : 4;
    if ((flags & NOT8) != 0 && out->reg_bytes == 8)
        out->reg_bytes = 4;
    if ((flags & BYTE) != 0)
        out->reg_bytes = 1;
    out->mem_bytes = out->reg_bytes;
    if ((flags & MODRM) != 0)
        decode_operand(p, out, flags);
    if ((flags & (IMM8 | IMM16 | IMM_FAR)) != 0)
        out->form = INSN_IMM;
    if ((flags & IMM8) != 0)
        out->imm = take_byte(p);
    else if ((flags & IMM16) != 0)
        out->imm = (uint64_t)take_signed(p, 2) & UINT16_MAX;
    if ((flags & IMM_FAR) != 0) {
        out->imm = (uint64_t)take_signed(p, out->reg_bytes) &
                   (out->reg_bytes == 2 ? UINT16_MAX : UINT32_MAX);
        out->disp = take_signed(p, 2) & UINT16_MAX;
    }
    if ((flags & NOT64) != 0 && p->mode == INSN_64)
        p->undefined = true;
    adjust(p, out, opcode);
}

/* Where the next byte could not be that of VEX or EVEX, outside of 64-bit mode, it is the ModRM of
 * LES, LDS or BOUND. */
static bool is_vector_prefix(const struct parse *p, uint8_t byte)
{
    const bool may_be = p->mode == INSN_64 || (p->at < p->count && p->bytes[p->at] >= 0xc0);
    return ((byte & 0xfe) == 0xc4 || byte == 0x62) && may_be;
}

/* Everything from the opcode's map on; false: none of ours. */
static bool decode_system(struct parse *p, struct insn *out, uint8_t opcode)
{
    unsigned map = 0;
    if (opcode == 0x0f) {
        map = 1;
        opcode = take_byte(p);
        if (opcode == 0x38) {
            map = 2;
            opcode = take_byte(p);
        }
    }
    if (decode_segment_stack(p, out, map, opcode))
        return true;
    if (map == 0 && opcode == 0xff)
        return decode_group_5(p, out);
    if (map == 1 && opcode <= 1) {
        (opcode == 0 ? decode_group_6 : decode_group_7)(p, out);
        return true;
    }
    if (map == 1 && (opcode == 0xae || opcode == 0xc7))
        return decode_shared(p, out, opcode);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].map == map && opcode >= rows[i].first && opcode <= rows[i].last &&
            (rows[i].prefixes & prefix_of(p)) != 0) {
            decode_row(p, out, &rows[i], opcode);
            return true;
        }
    }
    p->undefined = (map == 1 && is_undefined(opcode)) || (map == 2 && (opcode & 0xfc) == 0x80);
    return p->undefined;
}

/* The prefixes; returns the byte behind them. */
static uint8_t take_prefixes(struct parse *p, struct insn *out)
{
    for (;;) {
        const uint8_t byte = take_byte(p);
        if (p->mode == INSN_64 && (byte & 0xf0) == 0x40)
            p->rex = byte;
        else if (byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e ||
                 (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 || byte == 0xf2 || byte == 0xf3)
            note_prefix(p, out, byte);
        else
            return byte;
    }
}

static enum insn_result result_of(const struct parse *p, bool known)
{
    if (p->at > p->count)
        return p->count == INSN_MAX_BYTES ? INSN_TOO_LONG : INSN_TRUNCATED;
    if (!known)
        return INSN_UNKNOWN;
    return p->undefined ? INSN_UNDEFINED : INSN_OK;
}

enum insn_result system_decode(struct insn *out, const uint8_t *bytes, unsigned count,
                               enum insn_mode mode)
{
    struct parse p = {
        .bytes = bytes, .count = count < INSN_MAX_BYTES ? count : INSN_MAX_BYTES, .mode = mode};
    *out = (struct insn){.form = INSN_NONE,
                         .reg = INSN_NO_REG,
                         .rm = INSN_NO_REG,
                         .segment = INSN_NO_REG,
                         .base = INSN_NO_REG,
                         .index = INSN_NO_REG};
    const uint8_t byte = take_prefixes(&p, out);
    set_sizes(&p, out);
    const bool known = !is_vector_prefix(&p, byte) && decode_system(&p, out, byte);
    p.undefined = p.undefined || out->lock; /* LOCK goes with none of them */
    if (out->segment == INSN_NO_REG)
        out->segment = SEG_DS;
    out->length = (uint8_t)p.at;
    return result_of(&p, known);
}

/* --- what only computes --- */

struct opcode {
    unsigned map, byte, prefix;
    bool vector; /* behind VEX or EVEX */
};

/*
 * What a guest's CPUID may show of the maps 0F 38 and 0F 3A without VEX and EVEX. Default deny:
 * this CPU may have more, some switched on for the hypervisor (shadow stacks), some that tell the
 * outside (processor trace), some that are more than reads and writes of memory (RAO-INT).
 */
static const struct shown {
    uint8_t map, first, last, prefixes;
} shown[] = {
    {2, 0x00, 0x0b, NP | P66}, /* SSSE3 to SSE4.2 */
    {2, 0x10, 0x10, P66},       {2, 0x14, 0x15, P66}, {2, 0x17, 0x17, P66},
    {2, 0x1c, 0x1e, NP | P66},  {2, 0x20, 0x25, P66}, {2, 0x28, 0x2b, P66},
    {2, 0x30, 0x35, P66},       {2, 0x37, 0x41, P66}, {2, 0xc8, 0xcd, NP}, /* SHA */
    {2, 0xcf, 0xcf, P66},                                                  /* GFNI */
    {2, 0xdb, 0xdf, P66},                                                  /* AES */
    {2, 0xf0, 0xf1, PF2},                                                  /* CRC32 */
    {2, 0xf6, 0xf6, P66 | PF3},                                            /* ADX */
    {2, 0xf8, 0xf8, P66},                                                  /* MOVDIR64B, MOVDIRI */
    {2, 0xf9, 0xf9, NP},        {3, 0x08, 0x0e, P66},                      /* SSSE3 to SSE4.2 */
    {3, 0x0f, 0x0f, NP | P66},  {3, 0x14, 0x17, P66}, {3, 0x20, 0x22, P66},
    {3, 0x40, 0x44, P66},                            /* PCLMULQDQ, too */
    {3, 0x60, 0x63, P66},       {3, 0xcc, 0xcc, NP}, /* SHA, GFNI, AES */
    {3, 0xce, 0xcf, P66},       {3, 0xdf, 0xdf, P66},
};

/* 0F AE and C7: bit i for ModRM.reg i, of those with an operand in memory and of the others. */
static bool is_shown_shared(const struct opcode *o, unsigned modrm)
{
    unsigned regs = 0;
    const bool memory = modrm < 0xc0;
    if (o->byte == 0xae && o->prefix == NP)
        regs = memory ? 0xff : 0xe0; /* FXSAVE to CLFLUSH; fences */
    else if (o->byte == 0xae && o->prefix == P66)
        regs = memory ? 0xc0 : 0; /* CLWB, CLFLUSHOPT */
    else if (o->byte == 0xc7 && memory)
        regs = o->prefix == NP ? 0x10 : 0; /* XSAVEC; not XSAVES and XRSTORS */
    else if (o->byte == 0xc7)
        regs = (o->prefix & (NP | P66)) != 0 ? 0xc0 : 0; /* RDRAND, RDSEED */
    return (regs >> (modrm >> 3 & 7) & 1) != 0;
}

/* Of VEX and EVEX, which only compute, all but CMPccXADD, and what AMD's CPUs alone have had. */
static bool is_shown(const struct opcode *o, unsigned modrm)
{
    if (o->vector && o->map == 2)
        return o->byte < 0xe0 || o->byte > 0xef;
    if (o->vector)
        return o->map != 3 ||
               ((o->byte & ~1u) != 0x48 && (o->byte & ~3u) != 0x5c && (o->byte & 0xe8) != 0x68);
    if (o->map < 2 && (o->map == 0 || (o->byte != 0xae && o->byte != 0xc7)))
        return o->byte != 0x2b || o->prefix < PF3; /* SSE4A */
    if (o->map < 2)
        return is_shown_shared(o, modrm);
    for (unsigned i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        if (shown[i].map == o->map && o->byte >= shown[i].first && o->byte <= shown[i].last)
            return (shown[i].prefixes & o->prefix) != 0;
    return false;
}

/* Whether an immediate byte follows. */
static bool has_immediate(const struct opcode *o)
{
    if (o->map == 1)
        return (o->byte >= 0x70 && o->byte <= 0x73) || o->byte == 0xc2 ||
               (o->byte >= 0xc4 && o->byte <= 0xc6);
    return o->map == 3;
}

/* 0F AE and C7, whose operation is told by ModRM. */
static enum compute_class class_of_shared(const struct opcode *o, unsigned modrm)
{
    const unsigned reg = modrm >> 3 & 7;
    if (modrm >= 0xc0 || o->prefix != NP)
        return COMPUTE_GENERAL; /* fences, RDRAND; CLWB, PTWRITE */
    if (o->byte == 0xc7)
        return COMPUTE_XSAVE;
    return reg < 2    ? COMPUTE_FXSAVE
           : reg < 4  ? COMPUTE_SSE /* MXCSR */
           : reg == 7 ? COMPUTE_GENERAL
                      : COMPUTE_XSAVE;
}

static enum compute_class class_of(const struct opcode *o, unsigned modrm)
{
    if (o->map == 0)
        return o->byte == 0x9b ? COMPUTE_WAIT : COMPUTE_X87;
    if (o->map == 1 && (o->byte == 0xae || o->byte == 0xc7))
        return class_of_shared(o, modrm);
    if (o->map == 2 && o->byte >= 0xf0)
        return COMPUTE_GENERAL; /* CRC32, ADCX, MOVDIRI */
    if (o->prefix != NP)
        return COMPUTE_SSE;
    switch (o->map) {
    case 1: {
        const bool mmx = (o->byte >= 0x60 && o->byte < 0x80) || o->byte >= 0xd0 ||
                         o->byte == 0xc4 || o->byte == 0xc5;
        return mmx ? COMPUTE_MMX : COMPUTE_SSE;
    }
    case 2: return o->byte < 0xc0 ? COMPUTE_MMX : COMPUTE_SSE; /* SHA */
    default: return o->byte == 0x0f ? COMPUTE_MMX : COMPUTE_SSE;
    }
}

/* VEX and EVEX: which map, and whether the instruction is of vectors. False: #UD. */
static bool decode_vector_prefix(struct parse *p, struct opcode *o, uint8_t byte, bool lock)
{
    const bool foreign = p->rex != 0 || p->repeat != 0 || (p->prefixes & SIZE_66) != 0 || lock;
    const unsigned first = take_byte(p);
    o->vector = true;
    o->map = byte == 0xc5 ? 1 : byte == 0xc4 ? first & 31 : first & 7;
    if (byte != 0xc5)
        p->at += byte == 0x62 ? 2 : 1;
    o->byte = take_byte(p);
    const bool known = byte == 0x62 ? o->map == 5 || o->map == 6 || (first & 8) == 0 : true;
    return !foreign && known && o->map >= 1 && (o->map <= 3 || (byte == 0x62 && o->map != 4));
}

static bool decode_legacy_opcode(struct parse *p, struct opcode *o, uint8_t byte)
{
    o->prefix = prefix_of(p);
    o->byte = byte;
    if (byte != 0x0f)
        return byte == 0x9b || (byte >= 0xd8 && byte <= 0xdf);
    o->map = 1;
    o->byte = take_byte(p);
    if (o->byte == 0x38 || o->byte == 0x3a) {
        o->map = o->byte == 0x38 ? 2 : 3;
        o->byte = take_byte(p);
        return true;
    }
    return (o->byte >= 0x10 && o->byte < 0x18) || (o->byte >= 0x28 && o->byte < 0x30) ||
           (o->byte >= 0x50 && o->byte < 0x80) || o->byte == 0xae || o->byte == 0xc2 ||
           (o->byte >= 0xc4 && o->byte <= 0xc7) || o->byte >= 0xd0;
}

/* BMI and its like. */
static bool is_of_general_registers(const struct opcode *o)
{
    return (o->map == 2 && o->byte >= 0xf2 && o->byte <= 0xf7) || (o->map == 3 && o->byte == 0xf0);
}

enum insn_result compute_decode(struct compute *out, const uint8_t *bytes, unsigned count,
                                enum insn_mode mode)
{
    struct parse p = {
        .bytes = bytes, .count = count < INSN_MAX_BYTES ? count : INSN_MAX_BYTES, .mode = mode};
    struct insn in = {.segment = INSN_NO_REG};
    struct opcode o = {.map = 0};
    unsigned modrm = 0xc0;
    bool known = true;
    const uint8_t byte = take_prefixes(&p, &in);
    set_sizes(&p, &in);
    if (is_vector_prefix(&p, byte)) {
        p.undefined = !decode_vector_prefix(&p, &o, byte, in.lock);
        p.rex = 0;
    } else {
        known = decode_legacy_opcode(&p, &o, byte);
        p.undefined = p.undefined || in.lock;
    }
    if ((o.map != 1 || o.byte != 0x77) && (o.map != 0 || o.byte != 0x9b)) { /* EMMS, WAIT */
        modrm = take_byte(&p);
        decode_rm(&p, &in, modrm);
        p.at += has_immediate(&o);
    }
    p.undefined = p.undefined || !is_shown(&o, modrm);
    out->length = (uint8_t)p.at;
    out->memory = modrm < 0xc0;
    out->class = (uint8_t)(!o.vector                     ? class_of(&o, modrm)
                           : byte == 0x62                ? COMPUTE_AVX512
                           : is_of_general_registers(&o) ? COMPUTE_VEX_GENERAL
                                                         : COMPUTE_AVX);
    return result_of(&p, known);
}

unsigned compute_missing(const struct emulate_env *env, unsigned compute_class)
{
    const uint64_t avx = XCR0_SSE | XCR0_AVX;
    const uint64_t needed = compute_class == COMPUTE_AVX512 ? avx | XCR0_AVX512 : avx;
    const bool emulated = (env->cr0 & CR0_EM) != 0, switched = (env->cr0 & CR0_TS) != 0;
    const bool is_protected = (env->cr0 & CR0_PE) != 0 && (*env->rflags & RFLAGS_VM) == 0;
    bool there = true, device = switched;
    switch (compute_class) {
    case COMPUTE_GENERAL: device = false; break;
    case COMPUTE_VEX_GENERAL:
        there = is_protected;
        device = false;
        break;
    case COMPUTE_WAIT: device = switched && (env->cr0 & CR0_MP) != 0; break;
    case COMPUTE_X87:
    case COMPUTE_FXSAVE: device = switched || emulated; break;
    case COMPUTE_XSAVE: there = (env->cr4 & CR4_OSXSAVE) != 0; break;
    case COMPUTE_MMX: there = !emulated; break;
    case COMPUTE_SSE: there = !emulated && (env->cr4 & CR4_OSFXSR) != 0; break;
    default:
        there = is_protected && (env->cr4 & CR4_OSXSAVE) != 0 && (env->xcr0 & needed) == needed;
    }
    return !there ? VECTOR_INVALID_OPCODE : device ? VECTOR_DEVICE_NOT_AVAILABLE : 0;
}
