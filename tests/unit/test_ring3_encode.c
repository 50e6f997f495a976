// link: guest/ring3/encode.c guest/cpu/system_decode.c guest/cpu/decode.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/* What only computes, re-encoded as 64-bit code: a foreign decoder, Zydis, finds the same
 * instruction there, on the same registers, with its memory operand where it was put. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "guest/cpu/system.h"
#include "guest/ring3/encode.h"

#define AT      0x400000ull
#define OPERAND 0x40a038ull

enum { SAMPLES = 3000000, MIN_COMPARED = 100000, MAX_SHOWN = 20 };

static ZydisDecoder decoders[3];
static unsigned compared, shown;

/* Knights Corner's, which no other processor has; and tiles, which no guest has. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
    return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || z->meta.isa_ext == ZYDIS_ISA_EXT_KNC ||
           z->meta.isa_ext == ZYDIS_ISA_EXT_KNCE || z->meta.isa_ext == ZYDIS_ISA_EXT_KNCV ||
           z->meta.isa_ext == ZYDIS_ISA_EXT_AMX_TILE;
}

struct zydis {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
};

static bool zydis_decode(struct zydis *out, const uint8_t *bytes, unsigned count,
                         enum insn_mode mode)
{
    return ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoders[mode], bytes, count, &out->z, out->operand));
}

static void show(const char *what, const uint8_t *bytes, unsigned count,
                 const struct ring3_code *code, enum insn_mode mode)
{
    fprintf(stderr, "%s, mode %d:", what, (int)mode);
    for (unsigned i = 0; i < count; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, " became");
    for (unsigned i = 0; i < code->length; i++)
        fprintf(stderr, " %02x", code->bytes[i]);
    fprintf(stderr, "\n");
    if (++shown == MAX_SHOWN)
        fail();
}

/* The register as code of that mode has it: Zydis finds 64 bits of lengths and flags everywhere. */
static ZydisRegister narrow(ZydisRegister reg, enum insn_mode mode)
{
    if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_FLAGS)
        return ZYDIS_REGISTER_RFLAGS;
    if (mode == INSN_64 || ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR64)
        return reg;
    return ZydisRegisterEncode(ZYDIS_REGCLASS_GPR32, (ZyanU8)ZydisRegisterGetId(reg));
}

static bool same_operand(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b,
                         const struct ring3_code *code, ZydisMnemonic mnemonic, enum insn_mode mode)
{
    if (a->type != b->type || a->actions != b->actions || a->element_type != b->element_type)
        return false;
    switch (a->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return narrow(a->reg.value, mode) == narrow(b->reg.value, INSN_64) ||
               mnemonic == ZYDIS_MNEMONIC_MOVDIR64B; /* as wide as addresses are */
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: return a->imm.value.u == b->imm.value.u;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        if (a->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
            return true; /* MASKMOVQ, MOVDIR64B */
        if (code->from_rax)
            return b->mem.base == ZYDIS_REGISTER_RAX && b->mem.index == a->mem.index &&
                   b->mem.scale == 8 && b->mem.disp.value == 0 && a->size == b->size;
        return b->mem.base == ZYDIS_REGISTER_RIP && b->mem.index == ZYDIS_REGISTER_NONE &&
               AT + code->length + (uint64_t)b->mem.disp.value == OPERAND && a->size == b->size;
    default: return false;
    }
}

static bool same(const struct zydis *a, const struct zydis *b, const struct ring3_code *code,
                 enum insn_mode mode)
{
    if (a->z.mnemonic != b->z.mnemonic || a->z.operand_count != b->z.operand_count ||
        memcmp(&a->z.avx.mask, &b->z.avx.mask, sizeof(a->z.avx.mask)) != 0 ||
        a->z.avx.broadcast.mode != b->z.avx.broadcast.mode ||
        a->z.avx.rounding.mode != b->z.avx.rounding.mode || a->z.avx.has_sae != b->z.avx.has_sae ||
        a->z.avx.vector_length != b->z.avx.vector_length)
        return false;
    for (unsigned i = 0; i < a->z.operand_count; i++)
        if (!same_operand(&a->operand[i], &b->operand[i], code, a->z.mnemonic, mode))
            return false;
    return true;
}

/* Whether a field of VEX or EVEX that is not in use is all ones but for its top bit. Outside of
 * 64-bit mode that bit does not count where the field names a register; here it never does. */
static bool has_high_vvvv(const uint8_t *bytes, unsigned count, enum insn_mode mode)
{
    for (unsigned i = 0; i + 2 < count && mode != INSN_64; i++)
        if ((bytes[i] == 0xc4 || bytes[i] == 0x62) && (bytes[i + 2] & 0x78) == 0x38)
            return true;
    return false;
}

/* What the processor finds undefined may become anything that is undefined. */
static void compare(const uint8_t *bytes, enum insn_mode mode)
{
    struct compute c;
    struct zydis a, b;
    struct ring3_code code = {.length = 0};
    struct insn other;
    if (insn_decode(&other, bytes, INSN_MAX_BYTES, mode) != INSN_UNKNOWN ||
        system_decode(&other, bytes, INSN_MAX_BYTES, mode) != INSN_UNKNOWN ||
        compute_decode(&c, bytes, INSN_MAX_BYTES, mode) != INSN_OK)
        return;
    const bool known = zydis_decode(&a, bytes, INSN_MAX_BYTES, mode);
    if (!ring3_encode(&code, bytes, c.length, mode, AT, OPERAND)) {
        if (known && !is_foreign(&a.z))
            show("refused", bytes, c.length, &code, mode);
        return;
    }
    const bool is_there = zydis_decode(&b, code.bytes, code.length, INSN_64) && !is_foreign(&b.z);
    if (!known) {
        if (is_there && !has_high_vvvv(bytes, c.length, mode))
            show("not one", bytes, c.length, &code, mode);
        return;
    }
    if (is_foreign(&a.z) || a.z.length != c.length) /* of what the processor does not know */
        return;
    compared++;
    if (!is_there || b.z.length != code.length || !same(&a, &b, &code, mode))
        show("differs", bytes, c.length, &code, mode);
}

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void test_encode(void **s)
{
    static const uint8_t begin[][3] = {{0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}, {0xc5},
                                       {0xc4}, {0x62},       {0xd8},       {0}};
    static const uint8_t prefix[] = {0x66, 0xf2, 0xf3, 0x67, 0x2e, 0x65, 0x48, 0x45};
    (void)s;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint8_t bytes[32];
        unsigned at = 0;
        const uint64_t r = random64();
        for (unsigned n = 0; n < sizeof(bytes); n += 8) {
            const uint64_t more = random64();
            memcpy(bytes + n, &more, 8);
        }
        for (unsigned n = (unsigned)(r & 3); n > 1; n--)
            bytes[at++] = prefix[random64() & 7];
        const uint8_t *form = begin[r >> 8 & 7];
        if (form[0] == 0xd8)
            bytes[at] = (uint8_t)(0xd8 | (bytes[at] & 7));
        for (unsigned n = 0; n < 3 && form[n] != 0 && form[0] != 0xd8; n++)
            bytes[at++] = form[n];
        if (form[0] == 0xc4 && (r & 1ull << 60) != 0) { /* a map that is one, and two operands */
            bytes[at] = (uint8_t)((bytes[at] & 0xe0) | (r >> 24 & 3));
            bytes[at + 1] |= 0x78;
        }
        compare(bytes, (enum insn_mode)(r >> 16 & 0xff) % 3);
    }
    assert_true(compared > MIN_COMPARED);
    assert_int_equal(shown, 0);
}

int main(void)
{
    static const ZydisMachineMode modes[] = {
        ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                             ZYDIS_STACK_WIDTH_64};
    for (unsigned i = 0; i < 3; i++)
        ZydisDecoderInit(&decoders[i], modes[i], widths[i]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_encode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
