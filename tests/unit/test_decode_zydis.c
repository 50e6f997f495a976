// link: guest/cpu/decode.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction decoder beside a foreign one, Zydis: pseudo-random instructions of all three
 * modes, then every opcode of each map behind each prefix; field by field, and nothing of ours left
 * out. The same ones in each run. Where an operand is in memory or a register, it is called rm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "guest/cpu/decode.h"

enum {
    SAMPLES = 1000000,
    MIN_COMPARED = 150, /* of each operation, and of the short MOV */
    MAX_SHOWN = 20,
    NOT_OURS = -1,
};

#define M(name) ZYDIS_MNEMONIC_##name

static const struct mnemonic {
    ZydisMnemonic mnemonic[20];
} mnemonics[INSN_OPS] = {
    [INSN_ROL] = {{M(ROL)}},
    [INSN_ROR] = {{M(ROR)}},
    [INSN_RCL] = {{M(RCL)}},
    [INSN_RCR] = {{M(RCR)}},
    [INSN_SHL] = {{M(SHL)}},
    [INSN_SHR] = {{M(SHR)}},
    [INSN_SAL] = {{M(SHL)}},
    [INSN_SAR] = {{M(SAR)}},
    [INSN_SHLD] = {{M(SHLD)}},
    [INSN_SHRD] = {{M(SHRD)}},
    [INSN_MUL] = {{M(MUL)}},
    [INSN_IMUL] = {{M(IMUL)}},
    [INSN_DIV] = {{M(DIV)}},
    [INSN_IDIV] = {{M(IDIV)}},
    [INSN_IMUL_TO] = {{M(IMUL)}},
    [INSN_BSF] = {{M(BSF)}},
    [INSN_BSR] = {{M(BSR)}},
    [INSN_TZCNT] = {{M(TZCNT)}},
    [INSN_LZCNT] = {{M(LZCNT)}},
    [INSN_POPCNT] = {{M(POPCNT)}},
    [INSN_BSWAP] = {{M(BSWAP)}},
    [INSN_LEA] = {{M(LEA)}},
    [INSN_NOP] = {{M(NOP)}},
    [INSN_CBW] = {{M(CBW), M(CWDE), M(CDQE)}},
    [INSN_CWD] = {{M(CWD), M(CDQ), M(CQO)}},
    [INSN_LAHF] = {{M(LAHF)}},
    [INSN_SAHF] = {{M(SAHF)}},
    [INSN_SALC] = {{M(SALC)}},
    [INSN_XLAT] = {{M(XLAT)}},
    [INSN_CLC] = {{M(CLC)}},
    [INSN_STC] = {{M(STC)}},
    [INSN_CMC] = {{M(CMC)}},
    [INSN_CLD] = {{M(CLD)}},
    [INSN_STD] = {{M(STD)}},
    [INSN_DAA] = {{M(DAA)}},
    [INSN_DAS] = {{M(DAS)}},
    [INSN_AAA] = {{M(AAA)}},
    [INSN_AAS] = {{M(AAS)}},
    [INSN_AAM] = {{M(AAM)}},
    [INSN_AAD] = {{M(AAD)}},
    [INSN_PUSHA] = {{M(PUSHA), M(PUSHAD)}},
    [INSN_POPA] = {{M(POPA), M(POPAD)}},
    [INSN_PUSHF] = {{M(PUSHF), M(PUSHFD), M(PUSHFQ)}},
    [INSN_POPF] = {{M(POPF), M(POPFD), M(POPFQ)}},
    [INSN_ENTER] = {{M(ENTER)}},
    [INSN_LEAVE] = {{M(LEAVE)}},
    /* In the order of the conditions. */
    [INSN_SET] = {{M(SETO), M(SETNO), M(SETB), M(SETNB), M(SETZ), M(SETNZ), M(SETBE), M(SETNBE),
                   M(SETS), M(SETNS), M(SETP), M(SETNP), M(SETL), M(SETNL), M(SETLE), M(SETNLE)}},
    [INSN_CMOV] = {{M(CMOVO), M(CMOVNO), M(CMOVB), M(CMOVNB), M(CMOVZ), M(CMOVNZ), M(CMOVBE),
                    M(CMOVNBE), M(CMOVS), M(CMOVNS), M(CMOVP), M(CMOVNP), M(CMOVL), M(CMOVNL),
                    M(CMOVLE), M(CMOVNLE)}},
    [INSN_JCC] = {{M(JO), M(JNO), M(JB), M(JNB), M(JZ), M(JNZ), M(JBE), M(JNBE), M(JS), M(JNS),
                   M(JP), M(JNP), M(JL), M(JNL), M(JLE), M(JNLE)}},
    [INSN_JMP] = {{M(JMP)}},
    [INSN_CALL] = {{M(CALL)}},
    [INSN_RET] = {{M(RET)}},
    [INSN_LOOPNE] = {{M(LOOPNE)}},
    [INSN_LOOPE] = {{M(LOOPE)}},
    [INSN_LOOP] = {{M(LOOP)}},
    [INSN_JCXZ] = {{M(JCXZ), M(JECXZ), M(JRCXZ)}},
    [INSN_ADD] = {{M(ADD)}},
    [INSN_OR] = {{M(OR)}},
    [INSN_ADC] = {{M(ADC)}},
    [INSN_SBB] = {{M(SBB)}},
    [INSN_AND] = {{M(AND)}},
    [INSN_SUB] = {{M(SUB)}},
    [INSN_XOR] = {{M(XOR)}},
    [INSN_CMP] = {{M(CMP)}},
    [INSN_MOV] = {{M(MOV), M(MOVNTI)}},
    [INSN_MOVZX] = {{M(MOVZX)}},
    [INSN_MOVSX] = {{M(MOVSX), M(MOVSXD)}},
    [INSN_MOVBE] = {{M(MOVBE)}},
    [INSN_TEST] = {{M(TEST)}},
    [INSN_XCHG] = {{M(XCHG)}},
    [INSN_NOT] = {{M(NOT)}},
    [INSN_NEG] = {{M(NEG)}},
    [INSN_INC] = {{M(INC)}},
    [INSN_DEC] = {{M(DEC)}},
    [INSN_BT] = {{M(BT)}},
    [INSN_BTS] = {{M(BTS)}},
    [INSN_BTR] = {{M(BTR)}},
    [INSN_BTC] = {{M(BTC)}},
    [INSN_CMPXCHG] = {{M(CMPXCHG)}},
    [INSN_XADD] = {{M(XADD)}},
    [INSN_CMPXCHG_PAIR] = {{M(CMPXCHG8B), M(CMPXCHG16B)}},
    [INSN_PUSH] = {{M(PUSH)}},
    [INSN_POP] = {{M(POP)}},
    [INSN_VMOV] = {{M(MOVUPS), M(MOVUPD), M(MOVSS), M(MOVAPS), M(MOVAPD), M(MOVNTPS), M(MOVNTPD),
                    M(MOVD), M(MOVQ), M(MOVDQA), M(MOVDQU), M(MOVNTQ), M(MOVNTDQ), M(LDDQU),
                    M(MOVNTDQA)}},
    [INSN_VMOVL] = {{M(MOVLPS), M(MOVLPD), M(VMOVLPS), M(VMOVLPD)}},
    [INSN_VMOVH] = {{M(MOVHPS), M(MOVHPD), M(VMOVHPS), M(VMOVHPD)}},
    [INSN_MOVS] = {{M(MOVSB), M(MOVSW), M(MOVSD), M(MOVSQ)}},
    [INSN_STOS] = {{M(STOSB), M(STOSW), M(STOSD), M(STOSQ)}},
    [INSN_LODS] = {{M(LODSB), M(LODSW), M(LODSD), M(LODSQ)}},
    [INSN_CMPS] = {{M(CMPSB), M(CMPSW), M(CMPSD), M(CMPSQ)}},
    [INSN_SCAS] = {{M(SCASB), M(SCASW), M(SCASD), M(SCASQ)}},
    [INSN_INS] = {{M(INSB), M(INSW), M(INSD)}},
    [INSN_OUTS] = {{M(OUTSB), M(OUTSW), M(OUTSD)}},
};

/* All of them are INSN_VMOV. */
static const ZydisMnemonic vex_moves[] = {
    M(VMOVUPS), M(VMOVUPD),  M(VMOVSS),   M(VMOVSD), M(VMOVAPS),
    M(VMOVAPD), M(VMOVNTPS), M(VMOVNTPD), M(VMOVD),  M(VMOVQ),
    M(VMOVDQA), M(VMOVDQU),  M(VMOVNTDQ), M(VLDDQU), M(VMOVNTDQA),
};
enum { VEX_MOVES = sizeof(vex_moves) / sizeof(vex_moves[0]) };

struct sample {
    uint8_t bytes[INSN_MAX_BYTES];
    enum insn_mode mode;
    enum insn_result result; /* ours */
    struct insn in;
    bool decoded; /* by Zydis */
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const char *field; /* what differs */
    int64_t ours, theirs;
};

static ZydisDecoder decoders[3];
static struct {
    unsigned compared[INSN_OPS], vex_compared, short_movs, differences;
} tally;

/* --- the samples --- */

static uint32_t random_below(uint32_t limit)
{
    static uint64_t state = 0x2545f4914f6cdd1d;
    state ^= state << 13; /* Marsaglia's xorshift: the same on every machine */
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) % limit);
}

/* Random bytes behind a few prefixes (sometimes too many), the two-byte opcodes more often. */
static void make_sample(struct sample *s)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0,
                                       0xf2, 0xf3, 0x48, 0x41, 0x44, 0x4d, 0x40, 0x42};
    unsigned at = 0, many = random_below(50) == 0 ? random_below(14) : 0;
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        s->bytes[i] = (uint8_t)random_below(256);
    while (at < many || (at < 4 && random_below(3) == 0))
        s->bytes[at++] = prefixes[random_below(sizeof(prefixes))];
    if (at < 12 && random_below(3) == 0) {
        s->bytes[at] = 0x0f;
        if (random_below(20) == 0) { /* TZCNT, LZCNT, POPCNT */
            s->bytes[at++] = 0xf3;
            s->bytes[at] = 0x0f;
            s->bytes[at + 1] = (uint8_t)(0xb8 + random_below(6));
        } else if (random_below(6) == 0) {
            s->bytes[at + 1] = 0x38;
            s->bytes[at + 2] = (uint8_t)(0xf0 + random_below(2)); /* MOVBE */
        }
    }
    if (at < 11 && random_below(5) == 0) {
        static const uint8_t moves[] = {0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x28, 0x29, 0x2a,
                                        0x2b, 0x6e, 0x6f, 0x7e, 0x7f, 0xc7, 0xd6, 0xe7, 0xf0};
        s->bytes[at] = (uint8_t)(random_below(2) ? 0xc4 + random_below(2) : 0x0f);
        if (random_below(2)) /* memory operands are rarer behind VEX, outside 64-bit mode */
            s->bytes[at + 1] |= 0xc0;
        unsigned opcode = s->bytes[at] == 0xc4 ? at + 3 : s->bytes[at] == 0xc5 ? at + 2 : at + 1;
        if (s->bytes[at] == 0xc4)
            s->bytes[at + 1] = (uint8_t)((s->bytes[at + 1] & 0xe0) | (1 + random_below(2)));
        if (random_below(2)) /* vvvv unused */
            s->bytes[opcode - 1] |= s->bytes[at] == 0x0f ? 0 : 0x78;
        s->bytes[opcode] = moves[random_below(sizeof(moves))];
    }
    s->mode = (enum insn_mode)random_below(3);
}

static void decode_sample(struct sample *s)
{
    memset(&s->in, 0x5a, sizeof(s->in));
    s->result = insn_decode(&s->in, s->bytes, INSN_MAX_BYTES, s->mode);
    s->decoded = ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, INSN_MAX_BYTES, &s->z, s->operands));
    s->field = NULL;
}

/* --- what Zydis says, in our terms --- */

/* MOV, PUSH, POP of what is no general register, and far branches. */
static bool is_of_the_system(const struct sample *s)
{
    if (s->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return true;
    for (unsigned i = 0; i < s->z.operand_count_visible; i++) {
        const ZydisDecodedOperand *o = &s->operands[i];
        ZydisRegisterClass class = o->type == ZYDIS_OPERAND_TYPE_REGISTER
                                       ? ZydisRegisterGetClass(o->reg.value)
                                       : ZYDIS_REGCLASS_INVALID;
        if (class == ZYDIS_REGCLASS_SEGMENT || class == ZYDIS_REGCLASS_CONTROL ||
            class == ZYDIS_REGCLASS_DEBUG || class == ZYDIS_REGCLASS_TEST)
            return true;
    }
    return false;
}

/* What does nothing, or on other CPUs something that we have no use for. */
static bool is_hint(const struct sample *s)
{
    if (s->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return false;
    if (s->z.opcode_map == ZYDIS_OPCODE_MAP_0F)
        return s->z.opcode == 0x0d || (s->z.opcode >= 0x18 && s->z.opcode <= 0x1f);
    return s->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && s->z.opcode == 0x90 && !s->z.raw.rex.B;
}

static int op_of(const struct sample *s)
{
    ZydisMnemonic mnemonic = s->z.mnemonic;
    if (s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
        s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || is_of_the_system(s))
        return NOT_OURS;
    if (is_hint(s))
        return INSN_NOP;
    if (s->z.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) { /* the names of two instructions each */
        if (mnemonic == M(MOVSD))
            return INSN_VMOV;
        if (mnemonic == M(CMPSD))
            return NOT_OURS;
    }
    if (mnemonic == M(IMUL) && s->z.operand_count_visible > 1)
        return INSN_IMUL_TO;
    for (unsigned i = 0; i < VEX_MOVES; i++)
        if (vex_moves[i] == mnemonic)
            return INSN_VMOV;
    for (int op = 0; op < INSN_OPS; op++)
        for (unsigned i = 0; mnemonics[op].mnemonic[i]; i++)
            if (mnemonics[op].mnemonic[i] == mnemonic) /* a lower quadword is stored as it is */
                return op == INSN_VMOVL && s->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY
                           ? INSN_VMOV
                           : op;
    return NOT_OURS;
}

static bool is_vector(int op)
{
    return op >= INSN_VMOV && op <= INSN_VMOVL;
}

static int register_of(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE)
        return INSN_NO_REG;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return INSN_RIP;
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B) /* AH to BH have 4 to 7 too */
        return reg - ZYDIS_REGISTER_SPL + 4;
    return ZydisRegisterGetId(reg);
}

/* The base segments are one and the same in 64-bit mode. */
static int segment_of(int segment, enum insn_mode mode)
{
    return mode == INSN_64 && segment < SEG_FS ? SEG_DS : segment;
}

static int64_t sign_extend(uint64_t value, unsigned bytes)
{
    unsigned unused = 64 - 8 * bytes;
    return (int64_t)(value << unused) >> unused;
}

static const ZydisDecodedOperand *find_operand(const struct sample *s, ZydisOperandType type)
{
    for (unsigned i = 0; i < s->z.operand_count; i++)
        if (s->operands[i].type == type)
            return &s->operands[i];
    return NULL;
}

/* The memory operand of a string instruction; of MOVS, the source. */
static const ZydisDecodedOperand *find_memory(const struct sample *s)
{
    for (unsigned i = 0; i < s->z.operand_count && s->in.op == INSN_MOVS; i++)
        if (s->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            s->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_READ)
            return &s->operands[i];
    return find_operand(s, ZYDIS_OPERAND_TYPE_MEMORY);
}

static bool is_string(int op)
{
    return op >= INSN_MOVS && op <= INSN_OUTS;
}

static bool is_shift(int op)
{
    return op >= INSN_ROL && op <= INSN_SHRD;
}

/* What is told by the operation alone, or by an immediate. */
static bool has_no_operand(int op)
{
    return (op >= INSN_CBW && op <= INSN_LEAVE) || op == INSN_JCC || op >= INSN_RET;
}

/* The operands by their roles; NULL where there is none. */
struct roles {
    const ZydisDecodedOperand *rm, *reg, *imm, *second_imm;
};

static struct roles roles_of(const struct sample *s)
{
    struct roles r = {NULL, NULL, NULL, NULL};
    const int op = op_of(s);
    for (unsigned i = 0; i < s->z.operand_count_visible && op != INSN_NOP; i++) {
        const ZydisDecodedOperand *o = &s->operands[i];
        if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            *(r.imm ? &r.second_imm : &r.imm) = o;
        else if (has_no_operand(op))
            continue;
        else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
            r.rm = o;
        else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
            r.reg = o;
        else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
                 o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
            r.rm = o;
        else if (o->encoding == ZYDIS_OPERAND_ENCODING_NONE && !is_shift(op)) /* of shifts, CL */
            *(op == INSN_XCHG || op == INSN_MOV ? &r.reg : &r.rm) = o;
    }
    return r;
}

static int form_of(const struct sample *s)
{
    const struct roles r = roles_of(s);
    if (is_string(op_of(s)))
        return INSN_STRING;
    if (r.rm && r.reg)
        return r.rm < r.reg ? INSN_MEM_REG : INSN_REG_MEM;
    if (r.rm)
        return r.imm ? INSN_MEM_IMM : INSN_MEM;
    return r.imm ? INSN_IMM : INSN_NONE;
}

/* --- known differences --- */

/* SDM, "MOVSXD": with 66 both operands have 16 bits. */
static bool is_short_movsxd(const struct sample *s)
{
    return s->z.opcode == 0x63 && s->in.mem_bytes == 2;
}

/* SDM, "32-Bit Addressing Forms with the SIB Byte": base 101 with mod 0 is none, whatever REX.B. */
static bool is_sib_without_base(const struct sample *s)
{
    return s->mode == INSN_64 && s->in.addr_bytes == 4 && s->in.base == INSN_NO_REG &&
           s->z.raw.modrm.mod == 0 && s->z.raw.modrm.rm == 4 && s->z.raw.sib.base == 5 &&
           s->z.raw.rex.B;
}

/* SDM, "NOTRACK": 3E before an indirect branch is that, where CET is on; else a segment. */
static bool is_notrack(const struct sample *s)
{
    return (s->z.attributes & ZYDIS_ATTRIB_HAS_NOTRACK) != 0;
}

/* Zydis may be right about these as well, in a later version. */
static const struct known {
    const char *field;
    bool (*applies)(const struct sample *s);
    const char *reason;
} known[] = {
    {"memory bytes", is_short_movsxd, "Zydis reads 32 bits, also into a register of 16"},
    {"base", is_sib_without_base, "Zydis 4.0.0 takes R13D, when there are REX.B and 67"},
    {"displacement", is_sib_without_base, "and drops the displacement then, having counted it"},
    {"segment", is_notrack, "Zydis has CET on"},
    {0},
};

/* --- the comparison --- */

static bool same(struct sample *s, const char *field, int64_t ours, int64_t theirs)
{
    if (ours == theirs)
        return true;
    for (const struct known *k = known; k->field; k++)
        if (strcmp(k->field, field) == 0 && k->applies(s))
            return true;
    s->field = field;
    s->ours = ours;
    s->theirs = theirs;
    return false;
}

static bool is_aligned(const struct sample *s)
{
    ZydisExceptionClass class = s->z.meta.exception_class;
    return class == ZYDIS_EXCEPTION_CLASS_SSE1 || class == ZYDIS_EXCEPTION_CLASS_AVX1 ||
           s->z.mnemonic == M(CMPXCHG16B);
}

static bool same_operation(struct sample *s)
{
    const ZydisInstructionAttributes rep =
        ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
    const struct insn *in = &s->in;
    return same(s, "operation", in->op == INSN_SAL ? INSN_SHL : in->op, op_of(s)) &&
           same(s, "form", in->form, form_of(s)) && same(s, "length", in->length, s->z.length) &&
           same(s, "address bytes", in->addr_bytes, s->z.address_width / 8) &&
           same(s, "LOCK", in->lock, (s->z.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) &&
           same(s, "VEX", in->vex, s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) &&
           same(s, "alignment", in->aligned, is_aligned(s)) &&
           same(s, "REP", in->rep != 0, in->form == INSN_STRING && (s->z.attributes & rep) != 0) &&
           same(s, "REPNE", in->form == INSN_STRING && in->rep == INSN_REPNE,
                in->form == INSN_STRING && (s->z.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0);
}

/* A register with ModRM's rm, or named by the opcode. */
static bool same_rm(struct sample *s, const ZydisDecodedOperand *rm)
{
    const struct insn *in = &s->in;
    const ZydisRegister reg = rm->reg.value;
    return same(s, "rm", in->rm, register_of(reg)) &&
           same(s, "rm is AH to BH", in->rm_high,
                reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) &&
           same(s, "rm bytes", in->mem_bytes, rm->size / 8);
}

static bool same_memory(struct sample *s)
{
    const struct insn *in = &s->in;
    const ZydisDecodedOperand *memory = in->form == INSN_STRING ? find_memory(s) : roles_of(s).rm;
    if (memory == NULL || memory->type == ZYDIS_OPERAND_TYPE_REGISTER)
        return memory ? same_rm(s, memory) : same(s, "rm", in->rm, INSN_NO_REG);
    if (!same(s, "rm", in->rm, INSN_NO_REG) ||
        !same(s, "memory bytes", in->op == INSN_LEA ? memory->size / 8 : in->mem_bytes,
              memory->size / 8) ||
        (in->op != INSN_LEA && !same(s, "segment", segment_of(in->segment, s->mode),
                                     segment_of(register_of(memory->mem.segment), s->mode))))
        return false;
    if (in->form == INSN_STRING) /* the rest goes without saying */
        return true;
    /* Only the bits of the address size count, and each decoder extends them in its own way. */
    return same(s, "base", in->base, register_of(memory->mem.base)) &&
           same(s, "index", in->index, register_of(memory->mem.index)) &&
           same(s, "scale", in->index == INSN_NO_REG ? 0 : 1 << in->scale,
                in->index == INSN_NO_REG ? 0 : memory->mem.scale) &&
           same(s, "displacement", sign_extend((uint64_t)in->disp, in->addr_bytes),
                sign_extend((uint64_t)memory->mem.disp.value, in->addr_bytes));
}

/* The register of which a quadword is kept. */
static bool same_second(struct sample *s)
{
    return s->in.form != INSN_REG_MEM ||
           same(s, "second register", s->in.reg2,
                register_of(s->operands[s->in.vex ? 1 : 0].reg.value));
}

static bool same_register(struct sample *s)
{
    const struct insn *in = &s->in;
    if (in->form != INSN_MEM_REG && in->form != INSN_REG_MEM)
        return same(s, "register", in->reg, INSN_NO_REG);
    const ZydisDecodedOperand *operand = roles_of(s).reg;
    ZydisRegister reg = operand->reg.value;
    return same(s, "register", in->reg, register_of(reg)) &&
           same(s, "AH to BH", in->reg_high,
                reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) &&
           same(s, "register bytes", in->reg_bytes,
                ZydisRegisterGetWidth(decoders[s->mode].machine_mode, reg) / 8) &&
           (in->op != INSN_VMOVL && in->op != INSN_VMOVH ? true : same_second(s));
}

/* Zydis tells signed immediates from others; ours are all extended. */
static bool same_immediate(struct sample *s)
{
    const struct insn *in = &s->in;
    const struct roles r = roles_of(s);
    if (!r.imm)
        return same(s, "immediate", (int64_t)in->imm, 0);
    unsigned bytes = in->mem_bytes;
    if ((in->op >= INSN_BT && in->op <= INSN_BTC) || is_shift(in->op) || in->op == INSN_AAM ||
        in->op == INSN_AAD)
        bytes = 1;
    else if (in->op >= INSN_JCC || in->op == INSN_ENTER)
        bytes = 8;
    return same(s, "immediate", (int64_t)in->imm, sign_extend(r.imm->imm.value.u, bytes)) &&
           same(s, "second immediate", in->nesting,
                r.second_imm ? (int64_t)r.second_imm->imm.value.u : 0);
}

/* The condition of SETcc, CMOVcc, Jcc; whether a shift is by CL, a product by an immediate. */
static bool same_details(struct sample *s)
{
    const struct insn *in = &s->in;
    const unsigned condition = in->condition & 15;
    if (in->op >= INSN_SET && in->op <= INSN_JCC)
        return same(s, "condition", mnemonics[in->op].mnemonic[condition], s->z.mnemonic);
    if (is_shift(in->op))
        return same(s, "count in CL", in->by_cl, roles_of(s).imm == NULL);
    return in->op != INSN_IMUL_TO || same(s, "immediate", in->with_imm, roles_of(s).imm != NULL);
}

/* With too few bytes ours asks for more, wherever the end is. */
static bool same_when_cut(struct sample *s)
{
    struct insn cut;
    return same(s, "result when cut short",
                insn_decode(&cut, s->bytes, random_below(s->in.length), s->mode), INSN_TRUNCATED);
}

/* What insn_decode_mov() knows is what insn_decode() says, which has been compared by then. */
static bool same_short_mov(struct sample *s)
{
    struct insn mov = {0};
    const struct insn *in = &s->in;
    if (s->mode != INSN_64 || !insn_decode_mov(&mov, s->bytes))
        return true;
    tally.short_movs++;
    return same(s, "short MOV: result", INSN_OK, s->result) &&
           same(s, "short MOV: operation", mov.op, in->op) &&
           same(s, "short MOV: form", mov.form, in->form) &&
           same(s, "short MOV: length", mov.length, in->length) &&
           same(s, "short MOV: memory bytes", mov.mem_bytes, in->mem_bytes) &&
           same(s, "short MOV: register bytes", mov.reg_bytes, in->reg_bytes) &&
           same(s, "short MOV: register", mov.reg, in->reg) &&
           same(s, "short MOV: AH to BH", mov.reg_high, in->reg_high) &&
           same(s, "short MOV: RSP", mov.reg == 4, false) &&
           same(s, "short MOV: base", in->base < 16, true) &&
           same(s, "short MOV: index", INSN_NO_REG, in->index);
}

/* We refuse it: so must Zydis, or it is nothing of ours. */
static bool same_refusal(struct sample *s)
{
    if (!s->decoded || op_of(s) == NOT_OURS ||
        (is_vector(op_of(s)) && !find_operand(s, ZYDIS_OPERAND_TYPE_MEMORY)))
        return true;
    return same(s, "result", s->result, INSN_OK);
}

static bool same_all(struct sample *s)
{
    if (s->result != INSN_OK)
        return same_refusal(s) && same_short_mov(s);
    if (!same(s, "being an instruction", true, s->decoded))
        return false;
    tally.compared[s->in.op]++;
    tally.vex_compared += s->in.vex;
    if (s->in.op == INSN_XCHG && s->z.mnemonic == M(PAUSE)) /* with REX.B: CPUs exchange */
        return same(s, "length", s->in.length, s->z.length);
    if (s->in.op == INSN_NOP)
        return same(s, "operation", INSN_NOP, op_of(s)) &&
               same(s, "length", s->in.length, s->z.length);
    return same_operation(s) && same_memory(s) && same_register(s) && same_immediate(s) &&
           same_details(s) && same_when_cut(s) && same_short_mov(s);
}

/* --- the tests --- */

static void show_difference(const struct sample *s)
{
    static const char *const modes[] = {"16", "32", "64"};
    if (++tally.differences > MAX_SHOWN)
        return;
    fprintf(stderr, "%s-bit code,", modes[s->mode]);
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        fprintf(stderr, " %02x", s->bytes[i]);
    fprintf(stderr, " (Zydis: %s, %d bytes): %s is %lld (%#llx), should be %lld (%#llx)\n",
            s->decoded ? ZydisMnemonicGetString(s->z.mnemonic) : "bad",
            s->decoded ? s->z.length : 0, s->field, (long long)s->ours, (unsigned long long)s->ours,
            (long long)s->theirs, (unsigned long long)s->theirs);
}

static void test_decodes_as_zydis(void **state)
{
    (void)state;
    static struct sample s;
    for (unsigned i = 0; i < SAMPLES; i++) {
        make_sample(&s);
        decode_sample(&s);
        if (!same_all(&s))
            show_difference(&s);
    }
    assert_int_equal(tally.differences, 0);
}

/* Each opcode of a map with each ModRM.reg, with a memory and with a register operand. */
static void check_map(struct sample *s, unsigned opcode_at)
{
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        for (unsigned modrm = 0; modrm < 9; modrm++) {
            for (unsigned i = opcode_at; i < INSN_MAX_BYTES; i++)
                s->bytes[i] = (uint8_t)(0x11 * i);
            s->bytes[opcode_at] = (uint8_t)opcode;
            s->bytes[opcode_at + 1] = (uint8_t)(modrm < 8 ? modrm << 3 | 3 : 0xc1);
            decode_sample(s);
            if (!same_all(s))
                show_difference(s);
        }
    }
}

static void test_every_opcode(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"",         "\x66", "\xf2",     "\xf3",    "\xf0",
                                           "\x66\xf3", "\x48", "\x66\x4c", "\xf3\x49"};
    static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
    static struct sample s;
    for (unsigned mode = 0; mode < 3; mode++) {
        s.mode = (enum insn_mode)mode;
        for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
            size_t n = strlen(prefixes[i]);
            memcpy(s.bytes, prefixes[i], n);
            for (unsigned map = 0; map < 4; map++) {
                memcpy(s.bytes + n, maps[map], strlen(maps[map]));
                check_map(&s, (unsigned)(n + strlen(maps[map])));
            }
            for (unsigned last = 0; last < 256; last += last % 8 == 7 ? 0x39 : 1) {
                s.bytes[n] = 0xc5; /* pp and L, some vvvv and R */
                s.bytes[n + 1] = (uint8_t)(0xc0 ^ last);
                check_map(&s, (unsigned)n + 2);
            }
        }
        for (unsigned last = 0; last < 256; last++) {
            if ((last & 0x30) != 0x30 && (last & 7) != 0)
                continue;
            s.bytes[0] = 0xc4;
            s.bytes[1] = (uint8_t)(0xe1 + last % 3);
            s.bytes[2] = (uint8_t)last;
            check_map(&s, 3);
        }
    }
    assert_int_equal(tally.differences, 0);
}

/* The above says something only if there was enough to compare; it has run before. */
static void test_compared_enough(void **state)
{
    (void)state;
    for (unsigned op = 0; op < INSN_OPS; op++)
        if (tally.compared[op] < MIN_COMPARED)
            fail_msg("%s: only %u compared", ZydisMnemonicGetString(mnemonics[op].mnemonic[0]),
                     tally.compared[op]);
    assert_true(tally.vex_compared >= 20 * MIN_COMPARED);
    assert_true(tally.short_movs >= MIN_COMPARED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_as_zydis),
        cmocka_unit_test(test_every_opcode),
        cmocka_unit_test(test_compared_enough),
    };
    ZydisDecoderInit(&decoders[INSN_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[INSN_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[INSN_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned mode = 0; mode < 3; mode++) /* a hint where it is not there */
        ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
