// link: guest/cpu/decode.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction decoder beside a foreign one, Zydis: pseudo-random instructions of all three
 * modes, then every opcode of each map behind each prefix; field by field, and nothing of ours left
 * out. The same ones in each run. */
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

/* What Zydis takes for one of our operations in memory, and we refuse on purpose. */
static const struct refusal {
    ZydisOpcodeMap map;
    uint8_t opcode;
    const char *reason;
} refusals[] = {
    {ZYDIS_OPCODE_MAP_DEFAULT, 0x8c, "MOV from a segment register: nobody does it with a device"},
    {ZYDIS_OPCODE_MAP_DEFAULT, 0x8e, "MOV to a segment register: the same"},
    {ZYDIS_OPCODE_MAP_DEFAULT, 0x82, "another 80 outside 64-bit mode, which no assembler emits"},
};
enum { REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

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
    unsigned compared[INSN_OPS], vex_compared, short_movs, refused[REFUSALS], differences;
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
        if (random_below(6) == 0) {
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

static int op_of(const struct sample *s)
{
    ZydisMnemonic mnemonic = s->z.mnemonic;
    if (s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
        s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX)
        return NOT_OURS;
    if (s->z.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) { /* the names of two instructions each */
        if (mnemonic == M(MOVSD))
            return INSN_VMOV;
        if (mnemonic == M(CMPSD))
            return NOT_OURS;
    }
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

/* The memory operand; of MOVS, the source. */
static const ZydisDecodedOperand *find_memory(const struct sample *s)
{
    for (unsigned i = 0; i < s->z.operand_count && s->in.op == INSN_MOVS; i++)
        if (s->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            s->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_READ)
            return &s->operands[i];
    return find_operand(s, ZYDIS_OPERAND_TYPE_MEMORY);
}

static int form_of(const struct sample *s)
{
    const ZydisDecodedOperand *operands = s->operands;
    if (op_of(s) >= INSN_MOVS)
        return INSN_STRING;
    if (operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
        return INSN_REG_MEM;
    if (s->z.operand_count < 2 || operands[1].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
        return INSN_MEM;
    return operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? INSN_MEM_IMM : INSN_MEM_REG;
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

/* Zydis may be right about these as well, in a later version. */
static const struct known {
    const char *field;
    bool (*applies)(const struct sample *s);
    const char *reason;
} known[] = {
    {"memory bytes", is_short_movsxd, "Zydis reads 32 bits, also into a register of 16"},
    {"base", is_sib_without_base, "Zydis 4.0.0 takes R13D, when there are REX.B and 67"},
    {"displacement", is_sib_without_base, "and drops the displacement then, having counted it"},
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
    return same(s, "operation", in->op, op_of(s)) && same(s, "form", in->form, form_of(s)) &&
           same(s, "length", in->length, s->z.length) &&
           same(s, "address bytes", in->addr_bytes, s->z.address_width / 8) &&
           same(s, "LOCK", in->lock, (s->z.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) &&
           same(s, "VEX", in->vex, s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) &&
           same(s, "alignment", in->aligned, is_aligned(s)) &&
           same(s, "REP", in->rep != 0, in->form == INSN_STRING && (s->z.attributes & rep) != 0) &&
           same(s, "REPNE", in->form == INSN_STRING && in->rep == INSN_REPNE,
                in->form == INSN_STRING && (s->z.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0);
}

static bool same_memory(struct sample *s)
{
    const struct insn *in = &s->in;
    const ZydisDecodedOperand *memory = find_memory(s);
    if (!same(s, "number of memory operands", 1, memory != NULL) ||
        !same(s, "memory bytes", in->mem_bytes, memory->size / 8) ||
        !same(s, "segment", segment_of(in->segment, s->mode),
              segment_of(register_of(memory->mem.segment), s->mode)))
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
    const ZydisDecodedOperand *operand = find_operand(s, ZYDIS_OPERAND_TYPE_REGISTER);
    if (!same(s, "number of registers", 1, operand != NULL))
        return false;
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
    const ZydisDecodedOperand *operand = find_operand(s, ZYDIS_OPERAND_TYPE_IMMEDIATE);
    if (in->form != INSN_MEM_IMM)
        return same(s, "immediate", (int64_t)in->imm, 0);
    unsigned bytes = in->op >= INSN_BT ? 1 : in->mem_bytes;
    return same(s, "number of immediates", 1, operand != NULL) &&
           same(s, "immediate", (int64_t)in->imm, sign_extend(operand->imm.value.u, bytes));
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

/* We refuse it: so must Zydis, or it is nothing of ours, or no access to memory. */
static bool same_refusal(struct sample *s)
{
    if (!s->decoded || op_of(s) == NOT_OURS || !find_operand(s, ZYDIS_OPERAND_TYPE_MEMORY))
        return true;
    bool stack = s->z.mnemonic == M(PUSH) || s->z.mnemonic == M(POP);
    if (stack && s->operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY) /* memory is the stack's */
        return true;
    for (unsigned i = 0; i < REFUSALS; i++) {
        if (refusals[i].map == s->z.opcode_map && refusals[i].opcode == s->z.opcode) {
            tally.refused[i]++;
            return true;
        }
    }
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
    return same_operation(s) && same_memory(s) && same_register(s) && same_immediate(s) &&
           same_when_cut(s) && same_short_mov(s);
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

/* An entry of the list that is no longer needed would hide what it does not mean. */
static void test_refusals_happen(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REFUSALS; i++)
        if (tally.refused[i] == 0)
            fail_msg("opcode %02x is not refused (%s)", refusals[i].opcode, refusals[i].reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_as_zydis),
        cmocka_unit_test(test_every_opcode),
        cmocka_unit_test(test_compared_enough),
        cmocka_unit_test(test_refusals_happen),
    };
    ZydisDecoderInit(&decoders[INSN_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[INSN_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[INSN_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
