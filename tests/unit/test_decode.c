// link: guest/cpu/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction decoder: each operation and addressing form, prefixes, truncation, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/cpu/decode.h"

#define N INSN_NO_REG

static struct insn in;

/* Bytes as a string, e.g. "8b 07"; from an exact heap block, so that ASan sees a byte too far. */
static enum insn_result decode(const char *hex, enum insn_mode mode)
{
    unsigned count = (unsigned)(strlen(hex) + 1) / 3;
    uint8_t *bytes = malloc(count ? count : 1);
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (uint8_t)strtoul(hex + 3 * i, NULL, 16);
    memset(&in, 0x5a, sizeof(in));
    enum insn_result r = insn_decode(&in, bytes, count, mode);
    free(bytes);
    if (r == INSN_OK)
        assert_int_equal(in.length, count);
    return r;
}

struct expectation {
    const char *hex;
    enum insn_mode mode;
    uint8_t op; /* INSN_ADD to INSN_OUTS */
    enum insn_form form;
    unsigned mem_bytes, reg_bytes, reg, high, base, index, scale;
    int64_t disp;
    uint64_t imm;
    unsigned segment, addr_bytes;
};

static const struct expectation good[] = {
    {"8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"48 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 8, 8, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"66 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 2, 2, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"8a 67 10", INSN_64, INSN_MOV, INSN_REG_MEM, 1, 1, 4, 1, 7, N, 0, 16, 0, SEG_DS, 8},
    {"40 8a 67 f0", INSN_64, INSN_MOV, INSN_REG_MEM, 1, 1, 4, 0, 7, N, 0, -16, 0, SEG_DS, 8},
    {"45 89 b4 a4 78 56 34 82", INSN_64, INSN_MOV, INSN_MEM_REG, 4, 4, 14, 0, 12, N, 0,
     (int32_t)0x82345678, 0, SEG_DS, 8},
    {"46 89 44 a4 08", INSN_64, INSN_MOV, INSN_MEM_REG, 4, 4, 8, 0, 4, 12, 2, 8, 0, SEG_SS, 8},
    {"8b 05 00 01 00 00", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, INSN_RIP, N, 0, 256, 0,
     SEG_DS, 8},
    {"8b 05 00 01 00 00", INSN_32, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, N, N, 0, 256, 0, SEG_DS, 4},
    {"8b 04 25 f0 00 e0 fe", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, N, N, 0,
     (int32_t)0xfee000f0, 0, SEG_DS, 8},
    {"8b 04 cd 04 00 00 00", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, N, 1, 3, 4, 0, SEG_DS, 8},
    {"41 8b 45 00", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 13, N, 0, 0, 0, SEG_DS, 8},
    {"8b 45 fc", INSN_32, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 5, N, 0, -4, 0, SEG_SS, 4},
    {"3e 8b 45 fc", INSN_32, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 5, N, 0, -4, 0, SEG_DS, 4},
    {"65 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_GS, 8},
    {"64 2e 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_FS, 8},
    {"67 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 4},
    {"8b 07", INSN_16, INSN_MOV, INSN_REG_MEM, 2, 2, 0, 0, 3, N, 0, 0, 0, SEG_DS, 2},
    {"8b 42 05", INSN_16, INSN_MOV, INSN_REG_MEM, 2, 2, 0, 0, 5, 6, 0, 5, 0, SEG_SS, 2},
    {"26 8b 0e 34 12", INSN_16, INSN_MOV, INSN_REG_MEM, 2, 2, 1, 0, N, N, 0, 0x1234, 0, SEG_ES, 2},
    {"66 67 8b 07", INSN_16, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 4},
    {"67 8b 40 80", INSN_32, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, 3, 6, 0, -128, 0, SEG_DS, 2},
    {"a1 88 77 66 55 44 33 22 11", INSN_64, INSN_MOV, INSN_REG_MEM, 4, 4, 0, 0, N, N, 0,
     0x1122334455667788, 0, SEG_DS, 8},
    {"48 a3 00 00 e0 fe 00 00 00 00", INSN_64, INSN_MOV, INSN_MEM_REG, 8, 8, 0, 0, N, N, 0,
     0xfee00000, 0, SEG_DS, 8},
    {"a2 00 00 e0 fe", INSN_32, INSN_MOV, INSN_MEM_REG, 1, 1, 0, 0, N, N, 0, (int32_t)0xfee00000, 0,
     SEG_DS, 4},
    {"a0 34 12", INSN_16, INSN_MOV, INSN_REG_MEM, 1, 1, 0, 0, N, N, 0, 0x1234, 0, SEG_DS, 2},
    {"c6 07 80", INSN_64, INSN_MOV, INSN_MEM_IMM, 1, 1, N, 0, 7, N, 0, 0, ~0x7full, SEG_DS, 8},
    {"48 c7 47 08 ff ff ff ff", INSN_64, INSN_MOV, INSN_MEM_IMM, 8, 8, N, 0, 7, N, 0, 8, ~0ull,
     SEG_DS, 8},
    {"66 c7 07 34 12", INSN_64, INSN_MOV, INSN_MEM_IMM, 2, 2, N, 0, 7, N, 0, 0, 0x1234, SEG_DS, 8},
    {"0f b6 07", INSN_64, INSN_MOVZX, INSN_REG_MEM, 1, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"48 0f b7 07", INSN_64, INSN_MOVZX, INSN_REG_MEM, 2, 8, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f be 27", INSN_64, INSN_MOVSX, INSN_REG_MEM, 1, 4, 4, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"48 63 07", INSN_64, INSN_MOVSX, INSN_REG_MEM, 4, 8, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f 38 f0 07", INSN_64, INSN_MOVBE, INSN_REG_MEM, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"66 0f 38 f1 07", INSN_64, INSN_MOVBE, INSN_MEM_REG, 2, 2, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"48 0f c3 07", INSN_64, INSN_MOV, INSN_MEM_REG, 8, 8, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f c3 07", INSN_16, INSN_MOV, INSN_MEM_REG, 4, 4, 0, 0, 3, N, 0, 0, 0, SEG_DS, 2},
    {"66 63 07", INSN_64, INSN_MOVSX, INSN_REG_MEM, 2, 2, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"45 30 34 75 0b 5d 09 dd", INSN_64, INSN_XOR, INSN_MEM_REG, 1, 1, 14, 0, N, 6, 1,
     (int32_t)0xdd095d0b, 0, SEG_DS, 8},
    {"00 0f", INSN_64, INSN_ADD, INSN_MEM_REG, 1, 1, 1, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0b 0f", INSN_64, INSN_OR, INSN_REG_MEM, 4, 4, 1, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"39 0f", INSN_64, INSN_CMP, INSN_MEM_REG, 4, 4, 1, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"80 37 01", INSN_64, INSN_XOR, INSN_MEM_IMM, 1, 1, N, 0, 7, N, 0, 0, 1, SEG_DS, 8},
    {"81 27 00 00 00 80", INSN_64, INSN_AND, INSN_MEM_IMM, 4, 4, N, 0, 7, N, 0, 0,
     0xffffffff80000000, SEG_DS, 8},
    {"83 2f ff", INSN_64, INSN_SUB, INSN_MEM_IMM, 4, 4, N, 0, 7, N, 0, 0, ~0ull, SEG_DS, 8},
    {"84 27", INSN_64, INSN_TEST, INSN_MEM_REG, 1, 1, 4, 1, 7, N, 0, 0, 0, SEG_DS, 8},
    {"f6 07 40", INSN_64, INSN_TEST, INSN_MEM_IMM, 1, 1, N, 0, 7, N, 0, 0, 0x40, SEG_DS, 8},
    {"f7 07 01 02 03 04", INSN_64, INSN_TEST, INSN_MEM_IMM, 4, 4, N, 0, 7, N, 0, 0, 0x04030201,
     SEG_DS, 8},
    {"f7 17", INSN_64, INSN_NOT, INSN_MEM, 4, 4, N, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"f6 1f", INSN_64, INSN_NEG, INSN_MEM, 1, 1, N, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"ff 07", INSN_64, INSN_INC, INSN_MEM, 4, 4, N, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"fe 0f", INSN_64, INSN_DEC, INSN_MEM, 1, 1, N, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"87 07", INSN_64, INSN_XCHG, INSN_MEM_REG, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f a3 07", INSN_64, INSN_BT, INSN_MEM_REG, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f ab 07", INSN_64, INSN_BTS, INSN_MEM_REG, 4, 4, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f ba 37 05", INSN_64, INSN_BTR, INSN_MEM_IMM, 4, 4, N, 0, 7, N, 0, 0, 5, SEG_DS, 8},
    {"0f ba 3f 05", INSN_64, INSN_BTC, INSN_MEM_IMM, 4, 4, N, 0, 7, N, 0, 0, 5, SEG_DS, 8},
    {"0f b1 0f", INSN_64, INSN_CMPXCHG, INSN_MEM_REG, 4, 4, 1, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"0f c0 0f", INSN_64, INSN_XADD, INSN_MEM_REG, 1, 1, 1, 0, 7, N, 0, 0, 0, SEG_DS, 8},
    {"a4", INSN_64, INSN_MOVS, INSN_STRING, 1, 1, N, 0, N, N, 0, 0, 0, SEG_DS, 8},
    {"65 48 a5", INSN_64, INSN_MOVS, INSN_STRING, 8, 8, N, 0, N, N, 0, 0, 0, SEG_GS, 8},
    {"2e ab", INSN_32, INSN_STOS, INSN_STRING, 4, 4, N, 0, N, N, 0, 0, 0, SEG_ES, 4},
    {"67 ad", INSN_16, INSN_LODS, INSN_STRING, 2, 2, N, 0, N, N, 0, 0, 0, SEG_DS, 4},
    {"48 66 8b 07", INSN_64, INSN_MOV, INSN_REG_MEM, 2, 2, 0, 0, 7, N, 0, 0, 0, SEG_DS, 8},
};

static void test_good(void **s)
{
    (void)s;
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const struct expectation *e = &good[i];
        if (decode(e->hex, e->mode) != INSN_OK)
            fail_msg("%s: refused", e->hex);
        /* The same with more bytes behind it, as they come from memory. */
        struct insn exact = in, padded;
        uint8_t bytes[15];
        memset(bytes, 0x90, sizeof(bytes));
        for (unsigned k = 0; k < exact.length; k++)
            bytes[k] = (uint8_t)strtoul(e->hex + 3 * k, NULL, 16);
        assert_int_equal(insn_decode(&padded, bytes, sizeof(bytes), e->mode), INSN_OK);
        assert_int_equal(padded.length, exact.length);
        in = padded;
        assert_int_equal(exact.disp, padded.disp);
        assert_int_equal(exact.segment, padded.segment);
        assert_int_equal(exact.base, padded.base);
        bool same = in.op == e->op && in.form == e->form && in.mem_bytes == e->mem_bytes &&
                    in.reg_bytes == e->reg_bytes && in.reg == e->reg && in.reg_high == e->high &&
                    in.base == e->base && in.index == e->index && in.disp == e->disp &&
                    in.imm == e->imm && in.segment == e->segment &&
                    in.addr_bytes == e->addr_bytes && (e->index == N || in.scale == e->scale);
        if (!same)
            fail_msg("%s: op %u form %u bytes %u/%u reg %u base %u index %u segment %u address %u",
                     e->hex, in.op, in.form, in.mem_bytes, in.reg_bytes, in.reg, in.base, in.index,
                     in.segment, in.addr_bytes);
        assert_false(in.lock);
        assert_false(in.rep);
    }
}

/* Every proper prefix of an instruction is truncated, never more and never less. */
static void test_truncation(void **s)
{
    (void)s;
    char part[64];
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        for (size_t n = 0; n + 3 <= strlen(good[i].hex); n += 3) {
            memcpy(part, good[i].hex, n);
            part[n ? n - 1 : 0] = 0;
            assert_int_equal(decode(part, good[i].mode), INSN_TRUNCATED);
        }
}

static void test_lengths(void **s)
{
    (void)s;
    /* 15 bytes are the most: ten prefixes before a MOV of 5, then eleven. */
    assert_int_equal(decode("66 66 66 66 66 66 66 66 66 66 c7 40 01 02 03", INSN_64), INSN_OK);
    assert_int_equal(decode("66 66 66 66 66 66 66 66 66 66 66 c7 40 01 02 03", INSN_64),
                     INSN_TOO_LONG);
    assert_int_equal(decode("66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", INSN_64),
                     INSN_TOO_LONG);
    assert_int_equal(decode("66 66 66 66 66 66 66 66 66 66 66 66 66 66", INSN_64), INSN_TRUNCATED);
    assert_int_equal(decode("", INSN_64), INSN_TRUNCATED);
}

static void test_prefixes(void **s)
{
    (void)s;
    assert_int_equal(decode("f0 0f b1 0f", INSN_64), INSN_OK);
    assert_true(in.lock);
    assert_int_equal(decode("f3 48 ab", INSN_64), INSN_OK);
    assert_true(in.rep);
    assert_int_equal(decode("f2 a4", INSN_64), INSN_OK);
    assert_true(in.rep);
    assert_int_equal(decode("f3 89 07", INSN_64), INSN_OK); /* a hint without meaning here */
    assert_false(in.rep);
    static const char *const lock_bad[] = {
        "f0 8b 07", "f0 89 07",    "f0 03 07",    "f0 39 07",       "f0 85 07",
        "f0 a5",    "f0 80 3f 01", "f0 0f a3 07", "f0 0f ba 27 01", "f0 f6 07 01",
    };
    for (unsigned i = 0; i < sizeof(lock_bad) / sizeof(lock_bad[0]); i++)
        assert_int_equal(decode(lock_bad[i], INSN_64), INSN_UNDEFINED);
    static const char *const lock_good[] = {"f0 01 07", "f0 83 0f 01", "f0 87 07",   "f0 ff 07",
                                            "f0 f7 1f", "f0 0f ab 07", "f0 0f c1 07"};
    for (unsigned i = 0; i < sizeof(lock_good) / sizeof(lock_good[0]); i++)
        assert_int_equal(decode(lock_good[i], INSN_64), INSN_OK);
}

static void test_refusals(void **s)
{
    (void)s;
    static const char *const bad[] = {
        "c7 4f 08 00 00 00 00", /* C7 /1 */
        "ff 1f",                /* far CALL */
        "0f ba 07 01",          /* group 8, /0 */
        "0f 0b",                /* UD2 */
        "f2 0f 38 f0 07",       /* CRC32 */
        "66 0f c3 07",          /* MOVNTI has no 16-bit form */
        "0f 38 f2 07",
        "0f 01 07",
        "62 f1 7c 08 10 07", /* EVEX */
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], INSN_64), INSN_UNKNOWN);
    assert_int_equal(decode("63 07", INSN_32), INSN_UNKNOWN); /* ARPL */
}

/* What the CPU executes, where it has touched a device; and what may go together with it. */
static void test_rare_accesses(void **s)
{
    (void)s;
    static const uint8_t rare[][3] = {{0xd3, 0x27}, {0xf7, 0x27},       {0x8b, 0xc7}, {0xff, 0x17},
                                      {0x6a, 0x01}, {0x9d, 0x90, 0x90}, {0x90}};
    static const uint8_t frequent[] = {0xf0, 0x01, 0x07};
    for (unsigned i = 0; i < sizeof(rare) / sizeof(rare[0]); i++) {
        assert_int_equal(insn_decode(&in, rare[i], 3, INSN_64), INSN_OK);
        assert_int_equal(insn_decode_access(&in, rare[i], 3, INSN_64), INSN_UNKNOWN);
    }
    assert_int_equal(insn_decode_access(&in, frequent, 3, INSN_64), INSN_OK);
    assert_int_equal(decode("f0 01 c7", INSN_64), INSN_UNDEFINED);    /* LOCK with a register */
    assert_int_equal(decode("8d c7", INSN_64), INSN_UNDEFINED);       /* LEA of one */
    assert_int_equal(decode("0f 38 f0 c7", INSN_64), INSN_UNDEFINED); /* MOVBE */
    assert_int_equal(decode("27", INSN_64), INSN_UNDEFINED);          /* DAA */
    assert_int_equal(decode("27", INSN_32), INSN_OK);
}

/* Random bytes: no sanitizer finding, and what is accepted is sound. */
static void test_random(void **s)
{
    (void)s;
    srand(11);
    unsigned accepted = 0;
    for (int i = 0; i < 300000; i++) {
        uint8_t bytes[16];
        for (unsigned k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)rand();
        unsigned count = (unsigned)rand() % 17;
        enum insn_result r = insn_decode(&in, bytes, count, (enum insn_mode)(rand() % 3));
        if (r != INSN_OK)
            continue;
        accepted++;
        assert_true(in.length >= 1 && in.length <= 15 && in.length <= count);
        assert_true(in.base <= 16 || in.base == N);
        assert_true(in.index < 16 || in.index == N);
        assert_true(in.reg < 16 || (in.reg == N && in.form != INSN_REG_MEM));
        assert_true(in.op < INSN_OPS && in.segment <= SEG_GS && in.scale <= 3);
    }
    assert_true(accepted > 10000);
}

/* The short way says the same as the long one, of what it knows, and knows what it shall. */
static void test_short_way(void **s)
{
    (void)s;
    srand(12);
    unsigned taken = 0, missed = 0;
    for (int i = 0; i < 300000; i++) {
        uint8_t bytes[INSN_MAX_BYTES];
        for (unsigned k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)rand();
        bytes[i & 1] = rand() & 1 ? 0x89 : 0x8b;
        if (i & 1)
            bytes[0] = (uint8_t)(0x40 | (bytes[0] & 15));
        struct insn quick;
        enum insn_result r = insn_decode(&in, bytes, sizeof(bytes), INSN_64);
        if (!insn_decode_mov(&quick, bytes)) {
            missed +=
                r == INSN_OK && in.index == N && in.base < 16 && in.base % 8 != 4 && in.reg != 4;
            continue;
        }
        taken++;
        assert_int_equal(r, INSN_OK);
        assert_int_equal(quick.op, in.op);
        assert_int_equal(quick.form, in.form);
        assert_int_equal(quick.length, in.length);
        assert_int_equal(quick.mem_bytes, in.mem_bytes);
        assert_int_equal(quick.reg_bytes, in.reg_bytes);
        assert_int_equal(quick.reg, in.reg);
        assert_int_not_equal(quick.reg, 4);
        assert_false(quick.reg_high || in.reg_high || in.lock || in.rep);
    }
    assert_true(taken > 100000);
    assert_true(missed < taken / 20); /* those with a superfluous SIB byte */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_lengths),   cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_short_way), cmocka_unit_test(test_rare_accesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
