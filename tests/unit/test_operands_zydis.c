// link: guest/cpu/operands.c guest/cpu/operand_table.c guest/cpu/decode.c guest/cpu/alu.c guest/cpu/emulate.c
// link: guest/cpu/integer.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which memory an instruction touches, beside a foreign decoder, Zydis: every opcode of every map
 * in each encoding, with each prefix, ModRM.reg, length and width, in all three modes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "guest/cpu/operands.h"

#define M(name) ZYDIS_MNEMONIC_##name

enum { MAX_SHOWN = 40, MIN_COMPARED = 20000 };

struct sample {
    uint8_t bytes[INSN_MAX_BYTES];
    enum insn_mode mode;
    struct insn_operands ours;
    enum insn_result result;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static ZydisDecoder decoders[3];
static struct {
    unsigned compared, vectors, stacks, areas, left_out, differences;
} tally;

/* Not instructions of Intel's CPUs, or of none that has VT-x; or those that fault or exit before
 * they touch memory. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
    if (z->mnemonic == M(UD0) || z->mnemonic == M(UD1) || z->mnemonic == M(MOVNTSS) ||
        z->mnemonic == M(MOVNTSD) || z->meta.category == ZYDIS_CATEGORY_VTX)
        return true;
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_XOP:
    case ZYDIS_ISA_EXT_FMA4:
    case ZYDIS_ISA_EXT_AMD3DNOW:
    case ZYDIS_ISA_EXT_MPX:
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_SVM: return true;
    default: return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX;
    }
}

/* Of features that no guest has. */
static bool is_left_out(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case M(TILELOADD):
    case M(TILELOADDT1):
    case M(TILESTORED):
    case M(ENQCMD):
    case M(ENQCMDS):
    case M(AESENC128KL):
    case M(AESENC256KL):
    case M(AESDEC128KL):
    case M(AESDEC256KL):
    case M(AESENCWIDE128KL):
    case M(AESENCWIDE256KL):
    case M(AESDECWIDE128KL):
    case M(AESDECWIDE256KL): return true;
    default: return false;
    }
}

static void show(const struct sample *s, const char *field, long long ours, long long theirs)
{
    static const char *const modes[] = {"16", "32", "64"};
    static ZydisMnemonic shown[MAX_SHOWN];
    unsigned i = 0;
    tally.differences++;
    while (i < MAX_SHOWN && shown[i] != 0 && shown[i] != s->z.mnemonic) /* each once */
        i++;
    if (i == MAX_SHOWN || shown[i] != 0)
        return;
    shown[i] = s->z.mnemonic;
    fprintf(stderr, "%s-bit code,", modes[s->mode]);
    for (i = 0; i < 10; i++)
        fprintf(stderr, " %02x", s->bytes[i]);
    fprintf(stderr, " (%s): %s is %lld, should be %lld\n", ZydisMnemonicGetString(s->z.mnemonic),
            field, ours, theirs);
}

static bool same(const struct sample *s, const char *field, long long ours, long long theirs)
{
    if (ours == theirs)
        return true;
    show(s, field, ours, theirs);
    return false;
}

static bool is_memory(const ZydisDecodedOperand *operand)
{
    return operand->type == ZYDIS_OPERAND_TYPE_MEMORY &&
           operand->mem.type != ZYDIS_MEMOP_TYPE_INVALID;
}

/* Hints and the like name an address, and no data. */
static bool has_no_data(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operand)
{
    return operand->mem.type == ZYDIS_MEMOP_TYPE_AGEN ||
           z->meta.category == ZYDIS_CATEGORY_PREFETCH || z->meta.category == ZYDIS_CATEGORY_NOP ||
           z->meta.category == ZYDIS_CATEGORY_WIDENOP || z->mnemonic == M(CLFLUSH) ||
           z->mnemonic == M(CLFLUSHOPT) || z->mnemonic == M(CLWB) || z->mnemonic == M(CLDEMOTE) ||
           z->mnemonic == M(INVLPG) || z->mnemonic == M(PREFETCHW) ||
           z->mnemonic == M(PREFETCHWT1) || z->mnemonic == M(PREFETCH);
}

static enum insn_area area_of(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case M(FXSAVE):
    case M(FXSAVE64): return AREA_FXSAVE;
    case M(XSAVE):
    case M(XSAVE64):
    case M(XSAVEOPT):
    case M(XSAVEOPT64): return AREA_SAVE;
    case M(XSAVEC):
    case M(XSAVEC64):
    case M(XSAVES):
    case M(XSAVES64): return AREA_COMPACT;
    case M(XRSTOR):
    case M(XRSTOR64):
    case M(XRSTORS):
    case M(XRSTORS64): return AREA_RESTORE;
    default: return AREA_NONE;
    }
}

static void compare_operand(struct sample *s, const ZydisDecodedOperand *operand)
{
    const bool data = !has_no_data(&s->z, operand);
    const enum insn_area area = area_of(&s->z);
    if (!same(s, "area", s->ours.area, area))
        return;
    tally.areas += area != AREA_NONE;
    if (area > AREA_FXSAVE) { /* its length is the caller's to know */
        (void)(same(s, "bytes", s->ours.bytes, 0) &&
               same(s, "reads", s->ours.reads, area == AREA_RESTORE) &&
               same(s, "writes", s->ours.writes, area != AREA_RESTORE));
        return;
    }
    const unsigned bytes = data ? operand->size / 8 : 0;
    const bool reads = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    const bool writes = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    (void)(same(s, "bytes", s->ours.bytes, bytes) &&
           (!data ||
            (same(s, "reads", s->ours.reads, reads) && same(s, "writes", s->ours.writes, writes))));
    if (operand->mem.disp.has_displacement && s->ours.insn.addr_bytes == 8)
        (void)same(s, "displacement", s->ours.insn.disp, operand->mem.disp.value);
}

static void compare(struct sample *s)
{
    struct insn known;
    const ZydisDecodedOperand *operand = NULL, *stack = NULL;
    s->result = insn_decode_operands(&s->ours, s->bytes, INSN_MAX_BYTES, s->mode);
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, INSN_MAX_BYTES, &s->z,
                                           s->operands)) ||
        is_foreign(&s->z) ||
        insn_decode_access(&known, s->bytes, INSN_MAX_BYTES, s->mode) != INSN_UNKNOWN)
        return;
    for (unsigned i = 0; i < s->z.operand_count; i++) {
        const ZydisDecodedOperand *o = &s->operands[i];
        if (is_memory(o) && o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
            operand = o;
        else if (is_memory(o) && o->mem.segment == ZYDIS_REGISTER_SS &&
                 s->z.mnemonic != M(MOVDIR64B))
            stack = o;
    }
    if ((operand == NULL && stack == NULL) || s->z.mnemonic == M(LEA))
        return;
    if (is_left_out(&s->z)) {
        tally.left_out++;
        (void)same(s, "result", s->result, INSN_UNKNOWN);
        return;
    }
    if (!same(s, "result", s->result, INSN_OK) ||
        !same(s, "length", s->ours.insn.length, s->z.length))
        return;
    tally.compared++;
    tally.vectors += s->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    tally.stacks += stack != NULL;
    if (operand != NULL)
        compare_operand(s, operand);
    /* An IRET may take two parts more: what it returns to says so. */
    const bool may_be_more =
        s->mode != INSN_64 && s->z.meta.category == ZYDIS_CATEGORY_RET && s->z.opcode == 0xcf;
    if (same(s, "the stack", s->ours.stack != STACK_UNUSED, stack != NULL) && stack != NULL &&
        !may_be_more)
        (void)same(s, "bytes of the stack", s->ours.stack_bytes, stack->size / 8);
}

/* Every opcode with every ModRM.reg behind what is there already; a displacement and more. */
static void try_opcodes(struct sample *s, unsigned at)
{
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        for (unsigned reg = 0; reg < 8; reg++) {
            for (unsigned i = at; i < INSN_MAX_BYTES; i++)
                s->bytes[i] = (uint8_t)(0x11 * i);
            s->bytes[at] = (uint8_t)opcode;
            s->bytes[at + 1] = (uint8_t)(0x43 | reg << 3); /* [RBX + displacement of 8 bits] */
            s->bytes[at + 2] = 0x02;
            compare(s);
        }
    }
}

static void test_legacy(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"",     "\x66",     "\xf2",     "\xf3",    "\x66\xf2",
                                           "\x48", "\x66\x48", "\xf3\x48", "\xf2\x48"};
    static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
    static struct sample s;
    for (unsigned mode = 0; mode < 3; mode++)
        for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
            for (unsigned map = 0; map < 4; map++) {
                const size_t n = strlen(prefixes[i]), m = strlen(maps[map]);
                s.mode = (enum insn_mode)mode;
                memcpy(s.bytes, prefixes[i], n);
                memcpy(s.bytes + n, maps[map], m);
                try_opcodes(&s, (unsigned)(n + m));
            }
    assert_int_equal(tally.differences, 0);
}

static void test_vex(void **state)
{
    (void)state;
    static struct sample s;
    for (unsigned mode = 0; mode < 3; mode++)
        for (unsigned map = 1; map < 4; map++)
            for (unsigned last = 0; last < 256; last++) {
                if ((last & 0x78) != 0x78 && (last & 0x78) != 0x50)
                    continue;
                s.mode = (enum insn_mode)mode;
                s.bytes[0] = 0xc4;
                s.bytes[1] = (uint8_t)(0xe0 | map);
                s.bytes[2] = (uint8_t)last;
                try_opcodes(&s, 3);
            }
    assert_int_equal(tally.differences, 0);
}

static void test_evex(void **state)
{
    (void)state;
    static struct sample s;
    static const uint8_t masks[] = {0x08, 0x09, 0x18, 0x19}; /* V', b and the mask */
    for (unsigned map = 1; map < 7; map++)
        for (unsigned w = 0; w < 2; w++)
            for (unsigned vvvv = 0; vvvv < 2; vvvv++)
                for (unsigned i = 0; i < 48; i++) {
                    s.mode = INSN_64;
                    s.bytes[0] = 0x62;
                    s.bytes[1] = (uint8_t)(0xf0 | map);
                    s.bytes[2] = (uint8_t)(w << 7 | (vvvv ? 0x78 : 0x50) | 4 | (i & 3));
                    s.bytes[3] = (uint8_t)(masks[i >> 2 & 3] | (i >> 4) << 5);
                    try_opcodes(&s, 4);
                }
    assert_int_equal(tally.differences, 0);
}

static unsigned number_of(ZydisRegister reg)
{
    return (unsigned)ZydisRegisterGetId(reg);
}

static void compare_elements(struct sample *s)
{
    const ZydisDecodedOperand *operand = NULL;
    for (unsigned i = 0; i < s->z.operand_count; i++)
        if (is_memory(&s->operands[i]))
            operand = &s->operands[i];
    assert_non_null(operand);
    const struct insn_operands *o = &s->ours;
    const bool evex = s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    const unsigned index = ZydisRegisterGetWidth(s->z.machine_mode, operand->mem.index) / 8;
    (void)(same(s, "result", s->result, INSN_OK) &&
           same(s, "length", o->insn.length, s->z.length) &&
           same(s, "bytes", o->bytes, operand->element_size / 8) &&
           same(s, "reads", o->reads, (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0) &&
           same(s, "writes", o->writes, !o->reads) &&
           same(s, "displacement", o->insn.disp, operand->mem.disp.value) &&
           same(s, "base", o->insn.base, number_of(operand->mem.base)) &&
           same(s, "scale", 1 << o->insn.scale, operand->mem.scale) &&
           same(s, "index", o->index_reg, number_of(operand->mem.index)) &&
           same(s, "no other index", o->insn.index, INSN_NO_REG) &&
           same(s, "mask", o->mask, evex ? MASK_K : MASK_SIGNS) &&
           same(s, "indices fit", o->elements * o->index_bytes <= (int)index, true) &&
           same(s, "elements",
                o->elements * o->bytes <= s->z.avx.vector_length / 8 &&
                    (o->elements * o->bytes == s->z.avx.vector_length / 8 ||
                     o->elements * o->index_bytes == s->z.avx.vector_length / 8),
                true));
    tally.compared++;
}

/* Gathers and scatters: [RBX + index * scale + 2 times the element], each bit of the registers. */
static void test_elements(void **state)
{
    (void)state;
    static struct sample s;
    unsigned found = 0;
    for (unsigned i = 0; i < 16 * 256; i++) {
        const unsigned opcode = (i & 1 ? 0xa0 : 0x90) + (i >> 1 & 3), high = i >> 3 & 7;
        const unsigned w = i >> 6 & 1, length = i >> 7 & 3, sib = (i >> 9 & 7) << 3 | 0x83;
        const bool evex = length != 3;
        const uint8_t evex_bytes[] = {0x62, (uint8_t)(0xb2 | (high & 1) << 6),
                                      (uint8_t)(w << 7 | 0x7d),
                                      (uint8_t)(length << 5 | (high & 2) << 2 | 1)};
        const uint8_t vex_bytes[] = {0xc4, (uint8_t)(0xa2 | (high & 1) << 6),
                                     (uint8_t)(w << 7 | 0x75 | (high & 4))};
        const uint8_t rest[] = {(uint8_t)opcode, 0x64, (uint8_t)sib, 2};
        const size_t n = evex ? sizeof(evex_bytes) : sizeof(vex_bytes);
        s.mode = INSN_64;
        memset(s.bytes, 0, sizeof(s.bytes));
        memcpy(s.bytes, evex ? evex_bytes : vex_bytes, n);
        memcpy(s.bytes + n, rest, sizeof(rest));
        s.result = insn_decode_operands(&s.ours, s.bytes, INSN_MAX_BYTES, s.mode);
        if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoders[s.mode], s.bytes, INSN_MAX_BYTES, &s.z,
                                               s.operands)))
            continue;
        found++;
        compare_elements(&s);
    }
    assert_int_equal(tally.differences, 0);
    assert_true(found > 1000);
}

static void test_compared_enough(void **state)
{
    (void)state;
    assert_true(tally.compared >= MIN_COMPARED);
    assert_true(tally.vectors >= MIN_COMPARED / 2);
    assert_true(tally.stacks > 100 && tally.areas > 20 && tally.left_out > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_vex),
        cmocka_unit_test(test_evex),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_compared_enough),
    };
    ZydisDecoderInit(&decoders[INSN_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[INSN_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[INSN_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
