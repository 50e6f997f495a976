// link: guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks before an access: segment limits and types in each mode, canonical addresses,
 * alignment; and the order in which an instruction makes them. */
#include "tests/unit/emulate_test.h"

enum {
    DATA = 0x93, /* writable, accessed, S, present */
    READ_ONLY = 0x91,
    DOWN = 0x97, /* expand-down */
    DOWN_BIG = 0x4097,
    CODE = 0x9b, /* readable */
    EXECUTE_ONLY = 0x99,
    UNUSABLE = 0x10000 | DATA,
    GP = VECTOR_GENERAL_PROTECTION,
    SS = VECTOR_STACK_FAULT,
    AC = VECTOR_ALIGNMENT_CHECK,
};

static const struct row {
    const char *rule;
    enum { REAL, V86, PROTECTED } mode;
    uint32_t access, limit;
    uint64_t offset;
    uint8_t bytes;
    bool write;
    unsigned want; /* of DS; SS has #SS for #GP */
} rows[] = {
    {"the last byte at the limit", PROTECTED, DATA, 0xfff, 0xffc, 4, true, 0},
    {"the last byte beyond the limit", PROTECTED, DATA, 0xfff, 0xffd, 4, true, GP},
    {"all beyond the limit", PROTECTED, DATA, 0xfff, 0x1000, 1, false, GP},
    {"limit 0", PROTECTED, DATA, 0, 0, 1, false, 0},
    {"limit 0, two bytes", PROTECTED, DATA, 0, 0, 2, false, GP},
    {"4 GiB", PROTECTED, DATA, 0xffffffff, 0xfffffffc, 4, true, 0},
    {"32 bytes", PROTECTED, DATA, 0x1f, 0, 32, true, 0},
    {"32 bytes from 1", PROTECTED, DATA, 0x1f, 1, 32, true, GP},
    {"read-only data is read", PROTECTED, READ_ONLY, 0xffff, 0, 4, false, 0},
    {"read-only data is written", PROTECTED, READ_ONLY, 0xffff, 0, 4, true, GP},
    {"readable code is read", PROTECTED, CODE, 0xffff, 0, 4, false, 0},
    {"code is written", PROTECTED, CODE, 0xffff, 0, 4, true, GP},
    {"execute-only code is read", PROTECTED, EXECUTE_ONLY, 0xffff, 0, 4, false, GP},
    {"unusable", PROTECTED, UNUSABLE, 0xffffffff, 0, 1, false, GP},
    {"expand-down: at the limit", PROTECTED, DOWN, 0xfff, 0xfff, 1, true, GP},
    {"expand-down: behind the limit", PROTECTED, DOWN, 0xfff, 0x1000, 1, true, 0},
    {"expand-down: below the limit", PROTECTED, DOWN, 0xfff, 0, 1, false, GP},
    {"expand-down, 16 bits: its top", PROTECTED, DOWN, 0xfff, 0xfffe, 2, true, 0},
    {"expand-down, 16 bits: over its top", PROTECTED, DOWN, 0xfff, 0xffff, 2, true, GP},
    {"expand-down, 32 bits: no top at 64 KiB", PROTECTED, DOWN_BIG, 0xfff, 0xffff, 2, true, 0},
    {"expand-down, 32 bits: over its top", PROTECTED, DOWN_BIG, 0xfff, 0xffffffff, 2, true, GP},
    {"expand-down, limit 4 GiB: nothing", PROTECTED, DOWN_BIG, 0xffffffff, 0xffffffff, 1, false,
     GP},
    {"real mode, a word at 0xffff", REAL, DATA, 0xffff, 0xffff, 2, false, GP},
    {"real mode, a word at 0xfffe", REAL, DATA, 0xffff, 0xfffe, 2, false, 0},
    {"big real mode", REAL, DATA, 0xffffffff, 0x12345678, 4, true, 0},
    {"real mode: code is written", REAL, CODE, 0xffff, 0, 2, true, 0},
    {"VM86, a word at 0xffff", V86, 0xf3, 0xffff, 0xffff, 2, true, GP},
    {"VM86", V86, 0xf3, 0xffff, 0xfffe, 2, true, 0},
};

static void test_segments(void **s)
{
    (void)s;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        gva_t linear = gva(0);
        env.mode = row->mode == PROTECTED ? INSN_32 : INSN_16;
        env.cr0 = row->mode == REAL ? 0 : CR0_PE;
        rflags = row->mode == V86 ? 1ull << 17 | 2 : 2;
        for (unsigned segment = SEG_ES; segment <= SEG_GS; segment++) {
            segments[segment] = (struct emulate_segment){
                .base = 0xfffff000, .limit = row->limit, .access = row->access};
            unsigned want = row->want == GP && segment == SEG_SS ? SS : row->want;
            unsigned got =
                emulate_linear(&env, segment, row->offset, row->bytes, row->write, &linear);
            if (got != want)
                fail_msg("%s: vector %u, not %u", row->rule, got, want);
            if (want == 0)
                assert_int_equal(linear.v, (uint32_t)(0xfffff000 + row->offset));
        }
    }
    env.mode = INSN_64;
    env.cr0 = CR0_PE | CR0_PG;
}

static void test_canonical(void **s)
{
    (void)s;
    static const struct {
        uint64_t offset;
        unsigned bytes, want48, want57;
    } addresses[] = {
        {0x00007fffffffffff, 1, 0, 0},   {0x00007fffffffffff, 2, GP, 0},
        {0x0000800000000000, 1, GP, 0},  {0xffff7fffffffffff, 2, GP, 0},
        {0xffff800000000000, 8, 0, 0},   {0x00ffffffffffffff, 1, GP, 0},
        {0x00ffffffffffffff, 2, GP, GP}, {0x0100000000000000, 1, GP, GP},
        {0xffffffffffffffff, 1, 0, 0},
    };
    gva_t linear;
    segments[SEG_DS] = segments[SEG_SS] = (struct emulate_segment){.access = UNUSABLE, .base = 64};
    segments[SEG_FS] = (struct emulate_segment){.access = UNUSABLE, .base = 0xffff800000000000};
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        uint64_t at = addresses[i].offset;
        unsigned bytes = addresses[i].bytes, want = addresses[i].want48;
        assert_int_equal(emulate_linear(&env, SEG_DS, at, bytes, true, &linear), want);
        assert_int_equal(linear.v, at); /* no base, no limit, no type there */
        assert_int_equal(emulate_linear(&env, SEG_SS, at, bytes, true, &linear), want ? SS : 0);
        env.cr4 |= CR4_LA57;
        assert_int_equal(emulate_linear(&env, SEG_DS, at, bytes, true, &linear),
                         addresses[i].want57);
        env.cr4 &= ~CR4_LA57;
    }
    assert_int_equal(emulate_linear(&env, SEG_FS, 0x10, 4, true, &linear), 0);
    assert_int_equal(linear.v, 0xffff800000000010);
    assert_int_equal(emulate_linear(&env, SEG_FS, 0xffff800000000000, 4, true, &linear), GP);
}

static void test_alignment_check(void **s)
{
    (void)s;
    gva_t linear;
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned am = 0; am < 2; am++)
            for (unsigned ac = 0; ac < 2; ac++)
                for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
                    for (unsigned at = 0; at < 8; at++) {
                        env.cpl = (uint8_t)cpl;
                        env.cr0 = CR0_PE | CR0_PG | (am ? CR0_AM : 0);
                        rflags = 2 | ac << 18;
                        unsigned want = cpl == 3 && am && ac && at % bytes != 0 ? AC : 0;
                        assert_int_equal(
                            emulate_linear(&env, SEG_DS, 0x1000 + at, bytes, false, &linear), want);
                    }
    env.cpl = 0;
    env.cr0 = CR0_PE | CR0_PG;
    rflags = 2;
}

/* A fault in either operand leaves the registers alone, and device memory untouched. */
static void test_strings_check_both(void **s)
{
    (void)s;
    struct insn in = decode((const uint8_t[]){0xf3, 0xa4}, 2);
    uint8_t before[AREA];
    for (unsigned bad = 0; bad < 2; bad++) {
        randomize();
        memcpy(before, area, AREA);
        gpr[1] = 2;
        gpr[6] = bad == 0 ? 1ull << 60 : (uint64_t)(uintptr_t)area;
        gpr[7] = bad == 1 ? 1ull << 60 : (uint64_t)(uintptr_t)area;
        uint64_t rsi = gpr[6], rdi = gpr[7];
        translations_left = 10;
        raised = 0;
        assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
        assert_int_equal(raised, GP);
        assert_true(gpr[1] == 2 && gpr[6] == rsi && gpr[7] == rdi);
        assert_memory_equal(before, area, AREA);
    }
}

/* With TF each iteration ends: there is a trap behind it. */
static void test_single_step_in_repeat(void **s)
{
    (void)s;
    struct insn in = decode((const uint8_t[]){0xf3, 0xaa}, 2);
    randomize();
    rflags = 0x102;
    gpr[1] = 2;
    gpr[7] = (uint64_t)(uintptr_t)area;
    translations_left = 10;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_REPEAT);
    assert_int_equal(gpr[1], 1);
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE);
    assert_int_equal(gpr[1], 0);
    rflags = 2; /* and so it is where data breakpoints are set */
    env.one_step = true;
    gpr[1] = 2;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_REPEAT);
    env.one_step = false;
    assert_int_equal(gpr[1], 1);
}

/* INS and OUTS exit for their port before they touch memory. */
static void test_port_strings_are_not_ours(void **s)
{
    (void)s;
    struct insn in = decode((const uint8_t[]){0xf3, 0x6c}, 2);
    gpr[1] = 5;
    raised = 0;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
    assert_true(raised == 0 && gpr[1] == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_alignment_check),
        cmocka_unit_test(test_strings_check_both),
        cmocka_unit_test(test_single_step_in_repeat),
        cmocka_unit_test(test_port_strings_are_not_ours),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
