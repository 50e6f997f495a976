// link: guest/cpu/decode.c guest/cpu/system_decode.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder of the system's instructions, and the lengths of what only computes, beside a foreign
 * decoder, Zydis: every opcode of each map behind each prefix, with each ModRM.reg, a register and
 * an address, in all three modes; then random bytes. Nothing may be left out, or be taken for
 * something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "guest/cpu/system.h"

#define M(name) ZYDIS_MNEMONIC_##name

enum { SAMPLES = 300000, MAX_SHOWN = 40, MIN_COMPARED = 6, NOT_OURS = -1 };

static const struct mnemonic {
    ZydisMnemonic mnemonic[6];
} mnemonics[SYSTEM_OPS] = {
    [SYSTEM_LOAD_FAR] = {{M(LDS), M(LES), M(LSS), M(LFS), M(LGS)}},
    [SYSTEM_RET_FAR] = {{M(RET)}},
    [SYSTEM_IRET] = {{M(IRET), M(IRETD), M(IRETQ)}},
    [SYSTEM_INT] = {{M(INT)}},
    [SYSTEM_INT1] = {{M(INT1)}},
    [SYSTEM_INT3] = {{M(INT3)}},
    [SYSTEM_INTO] = {{M(INTO)}},
    [SYSTEM_BOUND] = {{M(BOUND)}},
    [SYSTEM_ARPL] = {{M(ARPL)}},
    [SYSTEM_LAR] = {{M(LAR)}},
    [SYSTEM_LSL] = {{M(LSL)}},
    [SYSTEM_SLDT] = {{M(SLDT)}},
    [SYSTEM_STR] = {{M(STR)}},
    [SYSTEM_LLDT] = {{M(LLDT)}},
    [SYSTEM_LTR] = {{M(LTR)}},
    [SYSTEM_VERR] = {{M(VERR)}},
    [SYSTEM_VERW] = {{M(VERW)}},
    [SYSTEM_SGDT] = {{M(SGDT)}},
    [SYSTEM_SIDT] = {{M(SIDT)}},
    [SYSTEM_LGDT] = {{M(LGDT)}},
    [SYSTEM_LIDT] = {{M(LIDT)}},
    [SYSTEM_SMSW] = {{M(SMSW)}},
    [SYSTEM_LMSW] = {{M(LMSW)}},
    [SYSTEM_INVLPG] = {{M(INVLPG)}},
    [SYSTEM_CLTS] = {{M(CLTS)}},
    [SYSTEM_INVPCID] = {{M(INVPCID)}},
    [SYSTEM_HLT] = {{M(HLT)}},
    [SYSTEM_CLI] = {{M(CLI)}},
    [SYSTEM_STI] = {{M(STI)}},
    [SYSTEM_CLAC] = {{M(CLAC)}},
    [SYSTEM_STAC] = {{M(STAC)}},
    [SYSTEM_IN] = {{M(IN)}},
    [SYSTEM_OUT] = {{M(OUT)}},
    [SYSTEM_CPUID] = {{M(CPUID)}},
    [SYSTEM_WRMSR] = {{M(WRMSR)}},
    [SYSTEM_RDTSC] = {{M(RDTSC)}},
    [SYSTEM_RDMSR] = {{M(RDMSR)}},
    [SYSTEM_RDPMC] = {{M(RDPMC)}},
    [SYSTEM_RDTSCP] = {{M(RDTSCP)}},
    [SYSTEM_RDPID] = {{M(RDPID)}},
    [SYSTEM_XGETBV] = {{M(XGETBV)}},
    [SYSTEM_XSETBV] = {{M(XSETBV)}},
    [SYSTEM_RDFSBASE] = {{M(RDFSBASE)}},
    [SYSTEM_RDGSBASE] = {{M(RDGSBASE)}},
    [SYSTEM_WRFSBASE] = {{M(WRFSBASE)}},
    [SYSTEM_WRGSBASE] = {{M(WRGSBASE)}},
    [SYSTEM_SWAPGS] = {{M(SWAPGS)}},
    [SYSTEM_SYSCALL] = {{M(SYSCALL)}},
    [SYSTEM_SYSRET] = {{M(SYSRET)}},
    [SYSTEM_SYSENTER] = {{M(SYSENTER)}},
    [SYSTEM_SYSEXIT] = {{M(SYSEXIT)}},
    [SYSTEM_INVD] = {{M(INVD)}},
    [SYSTEM_WBINVD] = {{M(WBINVD)}},
    [SYSTEM_SERIALIZE] = {{M(SERIALIZE)}},
    [SYSTEM_RDPKRU] = {{M(RDPKRU)}},
    [SYSTEM_WRPKRU] = {{M(WRPKRU)}},
    [SYSTEM_MONITOR] = {{M(MONITOR)}},
    [SYSTEM_MWAIT] = {{M(MWAIT)}},
    [SYSTEM_VMCALL] = {{M(VMCALL)}},
    [SYSTEM_VMMCALL] = {{M(VMMCALL)}},
};

enum kind { INTEGER, SYSTEM, COMPUTE };

struct sample {
    uint8_t bytes[INSN_MAX_BYTES];
    enum insn_mode mode;
    enum kind kind; /* which of ours knows it */
    enum insn_result result;
    struct insn in;
    struct compute compute;
    bool decoded; /* by Zydis */
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static ZydisDecoder decoders[3];
static struct {
    unsigned compared[SYSTEM_OPS], computed, refused, differences;
} tally;

static void decode_sample(struct sample *s)
{
    memset(&s->in, 0x5a, sizeof(s->in));
    s->kind = INTEGER;
    s->result = insn_decode(&s->in, s->bytes, INSN_MAX_BYTES, s->mode);
    if (s->result == INSN_UNKNOWN) {
        s->kind = SYSTEM;
        s->result = system_decode(&s->in, s->bytes, INSN_MAX_BYTES, s->mode);
    }
    if (s->result == INSN_UNKNOWN) {
        s->kind = COMPUTE;
        s->result = compute_decode(&s->compute, s->bytes, INSN_MAX_BYTES, s->mode);
    }
    s->decoded = ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, INSN_MAX_BYTES, &s->z, s->operands));
}

static bool same(const struct sample *s, const char *field, long long ours, long long theirs)
{
    static const char *const modes[] = {"16", "32", "64"};
    if (ours == theirs)
        return true;
    if (++tally.differences > MAX_SHOWN)
        return false;
    fprintf(stderr, "%s-bit code,", modes[s->mode]);
    for (unsigned i = 0; i < INSN_MAX_BYTES; i++)
        fprintf(stderr, " %02x", s->bytes[i]);
    fprintf(stderr, " (Zydis: %s, %d bytes; ours: kind %d, op %d): %s is %lld, should be %lld\n",
            s->decoded ? ZydisMnemonicGetString(s->z.mnemonic) : "bad",
            s->decoded ? s->z.length : 0, s->kind, s->in.op, field, ours, theirs);
    return false;
}

/* --- what Zydis says, in our terms --- */

static ZydisRegisterClass class_of_operand(const ZydisDecodedOperand *o)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(o->reg.value)
                                                  : ZYDIS_REGCLASS_INVALID;
}

/* Of MOV, PUSH and POP with a special register, by its class and where it stands. */
static int op_of_move(const struct sample *s)
{
    const ZydisRegisterClass to = class_of_operand(&s->operands[0]),
                             from = class_of_operand(&s->operands[1]);
    const bool moves = s->z.mnemonic == M(MOV);
    if (to == ZYDIS_REGCLASS_SEGMENT)
        return moves                      ? SYSTEM_MOV_TO_SEGMENT
               : s->z.mnemonic == M(PUSH) ? SYSTEM_PUSH_SEGMENT
                                          : SYSTEM_POP_SEGMENT;
    if (!moves)
        return NOT_OURS;
    return to == ZYDIS_REGCLASS_CONTROL     ? SYSTEM_MOV_TO_CR
           : to == ZYDIS_REGCLASS_DEBUG     ? SYSTEM_MOV_TO_DR
           : from == ZYDIS_REGCLASS_SEGMENT ? SYSTEM_MOV_FROM_SEGMENT
           : from == ZYDIS_REGCLASS_CONTROL ? SYSTEM_MOV_FROM_CR
           : from == ZYDIS_REGCLASS_DEBUG   ? SYSTEM_MOV_FROM_DR
                                            : NOT_OURS;
}

static int op_of(const struct sample *s)
{
    const ZydisMnemonic mnemonic = s->z.mnemonic;
    const bool far = s->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    switch (mnemonic) {
    case M(MOV):
    case M(PUSH):
    case M(POP): return op_of_move(s);
    case M(JMP): return far ? SYSTEM_JMP_FAR : NOT_OURS;
    case M(CALL): return far ? SYSTEM_CALL_FAR : NOT_OURS;
    case M(RET):
        if (!far)
            return NOT_OURS;
        break;
    default: break;
    }
    for (int op = 0; op < SYSTEM_OPS; op++)
        for (unsigned i = 0; i < 6 && mnemonics[op].mnemonic[i]; i++)
            if (mnemonics[op].mnemonic[i] == mnemonic)
                return op;
    return NOT_OURS;
}

/* What is #UD to us: no instructions, those of VMX and SMX outside of it, those of other makers,
 * and those whose bit of CPUID is never shown to guests. */
static bool is_refused(const struct sample *s)
{
    const ZydisDecodedInstruction *z = &s->z;
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_SVM: return z->mnemonic != ZYDIS_MNEMONIC_VMMCALL;
    case ZYDIS_ISA_EXT_XOP:
    case ZYDIS_ISA_EXT_FMA4:
    case ZYDIS_ISA_EXT_AMD3DNOW:
    case ZYDIS_ISA_EXT_TBM:
    case ZYDIS_ISA_EXT_SMX:
    case ZYDIS_ISA_EXT_SGX:
    case ZYDIS_ISA_EXT_SGX_ENCLV:
    case ZYDIS_ISA_EXT_RTM:
    case ZYDIS_ISA_EXT_WAITPKG:
    case ZYDIS_ISA_EXT_UINTR:
    case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_PT:
    case ZYDIS_ISA_EXT_HRESET:
    case ZYDIS_ISA_EXT_KEYLOCKER:
    case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
    case ZYDIS_ISA_EXT_XSAVES:
    case ZYDIS_ISA_EXT_PCONFIG:
    case ZYDIS_ISA_EXT_TSX_LDTRK:
    case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_MCOMMIT:
    case ZYDIS_ISA_EXT_RDPRU:
    case ZYDIS_ISA_EXT_SNP:
    case ZYDIS_ISA_EXT_CLZERO:
    case ZYDIS_ISA_EXT_MONITORX:
    case ZYDIS_ISA_EXT_PADLOCK:
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV:
    case ZYDIS_ISA_EXT_SSE4A: return true;
    case ZYDIS_ISA_EXT_CET: /* but what without it is NOP */
        return z->mnemonic != M(ENDBR32) && z->mnemonic != M(ENDBR64) && z->mnemonic != M(RDSSPD) &&
               z->mnemonic != M(RDSSPQ);
    default: break;
    }
    switch (z->mnemonic) {
    case M(UD0):
    case M(UD1):
    case M(UD2):
    case M(RSM):
    case M(INVLPGB):
    case M(TLBSYNC):
    case M(FEMMS): return true;
    default: return z->meta.category == ZYDIS_CATEGORY_VTX && z->mnemonic != M(VMCALL);
    }
}

/* Xeon Phi's first: no CPU that can run this has them. */
static bool is_gone(const struct sample *s)
{
    const ZydisISAExt from = s->z.meta.isa_ext;
    return from == ZYDIS_ISA_EXT_KNC || from == ZYDIS_ISA_EXT_KNCE || from == ZYDIS_ISA_EXT_KNCV;
}

static bool has_memory(const struct sample *s)
{
    return (s->z.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0 && s->z.raw.modrm.mod != 3;
}

/* --- the comparison --- */

static int register_of(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE)
        return INSN_NO_REG;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return INSN_RIP;
    return ZydisRegisterGetId(reg);
}

static void same_address(const struct sample *s, const ZydisDecodedOperand *o)
{
    const struct insn *in = &s->in;
    const bool unused = s->mode == INSN_64 && o->mem.segment < ZYDIS_REGISTER_FS;
    /* SDM, "32-Bit Addressing Forms with the SIB Byte": base 101 with mod 0 is none. */
    const bool no_base = s->mode == INSN_64 && in->addr_bytes == 4 && in->base == INSN_NO_REG &&
                         s->z.raw.modrm.mod == 0 && s->z.raw.modrm.rm == 4 &&
                         s->z.raw.sib.base == 5;
    same(s, "rm", in->rm, INSN_NO_REG);
    same(s, "base", in->base, no_base ? INSN_NO_REG : register_of(o->mem.base));
    same(s, "index", in->index, register_of(o->mem.index));
    if (in->index != INSN_NO_REG)
        same(s, "scale", 1 << in->scale, o->mem.scale);
    if (!no_base)
        same(s, "displacement", in->disp, o->mem.disp.has_displacement ? o->mem.disp.value : 0);
    if (!unused && s->in.op != SYSTEM_INVLPG)
        same(s, "segment", in->segment, ZydisRegisterGetId(o->mem.segment));
    switch (in->op) {
    case SYSTEM_INVLPG: break;
    case SYSTEM_SGDT:
    case SYSTEM_SIDT:
    case SYSTEM_LGDT:
    case SYSTEM_LIDT: break;
    case SYSTEM_JMP_FAR:
    case SYSTEM_CALL_FAR:
    case SYSTEM_LOAD_FAR: same(s, "memory bytes", in->mem_bytes + 2, o->size / 8); break;
    case SYSTEM_BOUND: same(s, "memory bytes", in->mem_bytes * 2, o->size / 8); break;
    case SYSTEM_INVPCID: break;
    default: same(s, "memory bytes", in->mem_bytes, o->size / 8);
    }
}

static void same_register(const struct sample *s, const ZydisDecodedOperand *o)
{
    const struct insn *in = &s->in;
    const unsigned id = (unsigned)ZydisRegisterGetId(o->reg.value);
    if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        same(s, "rm", in->rm, id);
        if (in->op != SYSTEM_LAR && in->op != SYSTEM_LSL && in->op != SYSTEM_MOV_TO_SEGMENT)
            same(s, "rm bytes", in->mem_bytes, o->size / 8);
    } else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && in->op == SYSTEM_LOAD_FAR &&
               ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_SEGMENT) {
        same(s, "segment register", in->reg2, id);
    } else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
        same(s, "reg", in->reg, id);
        if (ZydisRegisterGetClass(o->reg.value) <= ZYDIS_REGCLASS_GPR64 && in->op != SYSTEM_ARPL)
            same(s, "reg bytes", in->reg_bytes, o->size / 8);
    } else if (in->op == SYSTEM_PUSH_SEGMENT || in->op == SYSTEM_POP_SEGMENT) {
        same(s, "reg", in->reg, id);
        same(s, "bytes", in->mem_bytes, s->z.operand_width / 8);
    } else if ((in->op == SYSTEM_IN || in->op == SYSTEM_OUT) && o->reg.value != ZYDIS_REGISTER_DX) {
        same(s, "bytes", in->reg_bytes, o->size / 8);
    }
}

static void same_system(const struct sample *s)
{
    const struct insn *in = &s->in;
    const int op = op_of(s);
    if (!same(s, "operation", in->op, op) || !same(s, "length", in->length, s->z.length))
        return;
    tally.compared[op]++;
    same(s, "address bytes", in->addr_bytes, s->z.address_width / 8);
    same(s, "LOCK", in->lock, false);
    for (unsigned i = 0; i < s->z.operand_count_visible; i++) {
        const ZydisDecodedOperand *o = &s->operands[i];
        if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            same_address(s, o);
        } else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            same_register(s, o);
        } else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            same(s, "immediate", (long long)in->imm, (long long)o->imm.value.u & 0xffff);
            same(s, "form", in->form, INSN_IMM);
        } else {
            same(s, "selector", in->disp, o->ptr.segment);
            same(s, "offset", (long long)in->imm,
                 in->reg_bytes == 2 ? o->ptr.offset & 0xffff : o->ptr.offset);
        }
    }
    if (op == SYSTEM_RET_FAR || op == SYSTEM_IRET)
        same(s, "bytes", in->reg_bytes, s->z.operand_width / 8);
    if (op == SYSTEM_SYSEXIT || op == SYSTEM_SYSRET)
        same(s, "to 64-bit code", in->reg_bytes == 8, s->z.raw.rex.W);
}

static void same_all(const struct sample *s)
{
    if (s->kind == INTEGER && (s->result != INSN_OK || !s->decoded))
        return;        /* test_decode_zydis.c compares them */
    if (!s->decoded) { /* of what computes, the processor is to find it */
        if (s->kind == SYSTEM)
            same(s, "being undefined", s->result != INSN_OK, true);
        return;
    }
    if (is_refused(s)) {
        tally.refused++;
        if (s->kind == SYSTEM || (s->kind == COMPUTE && !is_gone(s)))
            same(s, "being refused",
                 s->result == INSN_UNDEFINED || (s->kind == COMPUTE && s->result == INSN_UNKNOWN),
                 true);
        return;
    }
    if (op_of(s) != NOT_OURS) {
        if (same(s, "kind", s->kind, SYSTEM) && same(s, "result", s->result, INSN_OK))
            same_system(s);
    } else if (s->kind != INTEGER) {
        tally.computed++;
        if (same(s, "kind", s->kind, COMPUTE) && same(s, "result", s->result, INSN_OK) &&
            same(s, "length", s->compute.length, s->z.length))
            same(s, "memory operand", s->compute.memory, has_memory(s));
    }
}

/* Of fewer bytes than it has, an instruction says that they are too few. */
static void same_when_cut(struct sample *s)
{
    struct insn in;
    struct compute compute;
    const unsigned length = s->kind == SYSTEM ? s->in.length : s->compute.length;
    if (s->kind == INTEGER || s->result != INSN_OK)
        return;
    const enum insn_result cut = s->kind == SYSTEM
                                     ? system_decode(&in, s->bytes, length - 1, s->mode)
                                     : compute_decode(&compute, s->bytes, length - 1, s->mode);
    same(s, "result when cut", cut, INSN_TRUNCATED);
}

static void check(struct sample *s)
{
    decode_sample(s);
    same_all(s);
    same_when_cut(s);
}

/* --- the tests --- */

/* Each opcode with each ModRM.reg, with addresses of all kinds, and with each register. */
static void check_map(struct sample *s, unsigned opcode_at)
{
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        for (unsigned i = opcode_at; i < INSN_MAX_BYTES; i++)
            s->bytes[i] = (uint8_t)(0x11 * i);
        s->bytes[opcode_at] = (uint8_t)opcode;
        for (unsigned modrm = 0; modrm < 256; modrm += modrm < 0xbb ? 5 : 1) {
            s->bytes[opcode_at + 1] = (uint8_t)modrm;
            check(s);
        }
    }
}

static void test_every_opcode(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"",         "\x66",     "\xf2",     "\xf3",
                                           "\x67",     "\xf0",     "\x66\xf3", "\x48",
                                           "\x66\x4d", "\xf3\x49", "\x65"};
    static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
    static struct sample s;
    for (unsigned mode = 0; mode < 3; mode++) {
        s.mode = (enum insn_mode)mode;
        for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
            const size_t n = strlen(prefixes[i]);
            memcpy(s.bytes, prefixes[i], n);
            for (unsigned map = 0; map < 4; map++) {
                memcpy(s.bytes + n, maps[map], strlen(maps[map]));
                check_map(&s, (unsigned)(n + strlen(maps[map])));
            }
        }
        for (unsigned map = 1; map < 8; map++) { /* VEX and EVEX */
            for (unsigned last = 0; last < 4; last++) {
                memcpy(s.bytes,
                       (const uint8_t[]){0xc4, (uint8_t)(0xe0 | map), (uint8_t)(0x78 | last)}, 3);
                check_map(&s, 3);
                memcpy(s.bytes,
                       (const uint8_t[]){0x62, (uint8_t)(0xf0 | map), (uint8_t)(0x7c | last), 0x08},
                       4);
                check_map(&s, 4);
            }
        }
    }
    assert_int_equal(tally.differences, 0);
    assert_true(tally.computed > 100000 && tally.refused > 1000);
    for (unsigned op = SYSTEM_MOV_FROM_SEGMENT; op < SYSTEM_OPS; op++)
        if (tally.compared[op] < MIN_COMPARED)
            fail_msg("operation %u: only %u compared", op, tally.compared[op]);
}

static void test_random_bytes(void **state)
{
    (void)state;
    static struct sample s;
    uint64_t x = 0x2545f4914f6cdd1d;
    for (unsigned n = 0; n < SAMPLES; n++) {
        for (unsigned i = 0; i < INSN_MAX_BYTES; i++) {
            x ^= x << 13; /* Marsaglia's xorshift: the same on every machine */
            x ^= x >> 7;
            x ^= x << 17;
            s.bytes[i] = (uint8_t)(x >> 32);
        }
        if (n % 3 == 0)
            s.bytes[0] = 0x0f;
        s.mode = (enum insn_mode)(x % 3);
        check(&s);
    }
    assert_int_equal(tally.differences, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_opcode),
        cmocka_unit_test(test_random_bytes),
    };
    ZydisDecoderInit(&decoders[INSN_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[INSN_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[INSN_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned mode = 0; mode < 3; mode++) {
        ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
