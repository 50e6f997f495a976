// link: guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Moves of MMX, SSE and AVX registers: against the CPU that runs the test, then what each raises.
 */
#include "tests/unit/emulate_test.h"

/* Each with its prefix; ModRM comes behind. */
static const struct row {
    const char *name;
    uint8_t prefix; /* 66, F3, F2 or 0 */
    uint8_t map;    /* 1: 0F, 2: 0F 38 */
    uint8_t opcode;
    bool aligned, mmx, wide, merges; /* wide: has a form of 256 bits */
} rows[] = {
    {"MOVUPS", 0, 1, 0x10, false, false, true, false},
    {"MOVUPS store", 0, 1, 0x11, false, false, true, false},
    {"MOVUPD", 0x66, 1, 0x10, false, false, true, false},
    {"MOVUPD store", 0x66, 1, 0x11, false, false, true, false},
    {"MOVSS", 0xf3, 1, 0x10, false, false, false, false},
    {"MOVSS store", 0xf3, 1, 0x11, false, false, false, false},
    {"MOVSD", 0xf2, 1, 0x10, false, false, false, false},
    {"MOVSD store", 0xf2, 1, 0x11, false, false, false, false},
    {"MOVLPS", 0, 1, 0x12, false, false, false, true},
    {"MOVLPS store", 0, 1, 0x13, false, false, false, false},
    {"MOVLPD", 0x66, 1, 0x12, false, false, false, true},
    {"MOVHPS", 0, 1, 0x16, false, false, false, true},
    {"MOVHPS store", 0, 1, 0x17, false, false, false, false},
    {"MOVHPD", 0x66, 1, 0x16, false, false, false, true},
    {"MOVHPD store", 0x66, 1, 0x17, false, false, false, false},
    {"MOVAPS", 0, 1, 0x28, true, false, true, false},
    {"MOVAPS store", 0, 1, 0x29, true, false, true, false},
    {"MOVAPD", 0x66, 1, 0x28, true, false, true, false},
    {"MOVNTPS", 0, 1, 0x2b, true, false, true, false},
    {"MOVNTPD", 0x66, 1, 0x2b, true, false, true, false},
    {"MOVD mm", 0, 1, 0x6e, false, true, false, false},
    {"MOVD mm store", 0, 1, 0x7e, false, true, false, false},
    {"MOVQ mm", 0, 1, 0x6f, false, true, false, false},
    {"MOVQ mm store", 0, 1, 0x7f, false, true, false, false},
    {"MOVNTQ", 0, 1, 0xe7, false, true, false, false},
    {"MOVD", 0x66, 1, 0x6e, false, false, false, false},
    {"MOVD store", 0x66, 1, 0x7e, false, false, false, false},
    {"MOVQ", 0xf3, 1, 0x7e, false, false, false, false},
    {"MOVQ store", 0x66, 1, 0xd6, false, false, false, false},
    {"MOVDQA", 0x66, 1, 0x6f, true, false, true, false},
    {"MOVDQA store", 0x66, 1, 0x7f, true, false, true, false},
    {"MOVDQU", 0xf3, 1, 0x6f, false, false, true, false},
    {"MOVDQU store", 0xf3, 1, 0x7f, false, false, true, false},
    {"MOVNTDQ", 0x66, 1, 0xe7, true, false, true, false},
    {"LDDQU", 0xf2, 1, 0xf0, false, false, true, false},
    {"MOVNTDQA", 0x66, 2, 0x2a, true, false, true, false},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

enum form { LEGACY, VEX2, VEX3, FORMS };

/* The instruction on [rdi + disp8], with register reg (and vvvv where it merges). */
static unsigned encode(uint8_t *b, const struct row *row, enum form form, unsigned reg, bool w,
                       bool wide, unsigned vvvv, uint8_t disp)
{
    static const uint8_t pp[] = {[0] = 0, [0x66] = 1, [0xf3] = 2, [0xf2] = 3};
    unsigned n = 0;
    uint8_t high = reg >= 8 ? 0 : 0x80, last;
    last = (uint8_t)((row->merges ? ~vvvv & 15 : 15) << 3 | (wide ? 4 : 0) | pp[row->prefix]);
    if (form == LEGACY) {
        if (row->prefix)
            b[n++] = row->prefix;
        if (reg >= 8 || w)
            b[n++] = (uint8_t)(0x40 | (w ? 8 : 0) | (reg >= 8 ? 4 : 0));
        b[n++] = 0x0f;
        if (row->map == 2)
            b[n++] = 0x38;
    } else if (form == VEX2) {
        b[n++] = 0xc5;
        b[n++] = high | last;
    } else {
        b[n++] = 0xc4;
        b[n++] = high | 0x60 | row->map;
        b[n++] = (uint8_t)(w ? 0x80 : 0) | last;
    }
    b[n++] = row->opcode;
    b[n++] = (uint8_t)(0x47 | (reg & 7) << 3);
    b[n++] = disp;
    return n;
}

static void test_against_cpu(void **s)
{
    (void)s;
    srand(21);
    struct cpuid_regs leaf1 = cpu_cpuid(1, 0), leaf7 = cpu_cpuid(7, 0);
    if ((leaf1.ecx >> 27 & 3) != 3 || (leaf7.ebx >> 5 & 1) == 0) {
        print_message("no AVX2 here: the comparison is left out\n");
        return;
    }
    with_vectors = true;
    for (unsigned round = 0; round < 30000; round++) {
        const struct row *row = &rows[round % ROWS];
        enum form form = row->mmx ? LEGACY : (enum form)(rand() % FORMS);
        bool wide = form != LEGACY && row->wide && rand() % 2;
        uint8_t b[15], disp = (uint8_t)(rand() % 96);
        if (form == VEX2 && row->map == 2)
            form = VEX3;
        if (row->aligned)
            disp &= wide ? 0x60 : 0x70;
        unsigned n = encode(b, row, form, (unsigned)rand() % 16, form != VEX2 && rand() % 2, wide,
                            (unsigned)rand() % 16, disp);
        randomize();
        gpr[7] = (uint64_t)(uintptr_t)area + 64;
        compare(b, n, ALL);
    }
    with_vectors = false;
}

/* What the instruction raises with these control registers; 0: nothing. */
static unsigned fault_of(const uint8_t *b, unsigned n, uint64_t cr0, uint64_t cr4, uint64_t xcr0)
{
    struct emulate_env old = env;
    env.cr0 = cr0;
    env.cr4 = cr4;
    env.xcr0 = xcr0;
    struct insn in = decode(b, n);
    raised = 0;
    translations_left = 10;
    enum emulate_result r = insn_emulate(&in, &env);
    assert_int_equal(r, raised ? EMULATE_FAULT : EMULATE_DONE);
    env = old;
    return raised;
}

static void test_features(void **s)
{
    (void)s;
    const uint64_t cr0 = CR0_PE, sse = CR4_OSFXSR, avx = CR4_OSXSAVE;
    randomize();
    gpr[7] = (uint64_t)(uintptr_t)area;
    for (unsigned i = 0; i < ROWS; i++) {
        uint8_t b[15];
        unsigned n = encode(b, &rows[i], LEGACY, 1, false, false, 0, 0), none = 0;
        unsigned ud = VECTOR_INVALID_OPCODE, nm = VECTOR_DEVICE_NOT_AVAILABLE;
        assert_int_equal(fault_of(b, n, cr0, sse, 0), none);
        assert_int_equal(fault_of(b, n, cr0 | CR0_TS, sse, 0), nm);
        assert_int_equal(fault_of(b, n, cr0 | CR0_EM, sse, 0), ud);
        assert_int_equal(fault_of(b, n, cr0 | CR0_EM | CR0_TS, sse, 0), ud);
        assert_int_equal(fault_of(b, n, cr0, 0, 0), rows[i].mmx ? none : ud);
        x87_error = true;
        assert_int_equal(fault_of(b, n, cr0, sse, 0), rows[i].mmx ? VECTOR_X87_ERROR : none);
        x87_error = false;
        if (rows[i].mmx)
            continue;
        n = encode(b, &rows[i], VEX3, 1, false, false, 0, 0);
        assert_int_equal(fault_of(b, n, cr0, avx, 7), none);
        assert_int_equal(fault_of(b, n, cr0 | CR0_EM, avx, 7), none);
        assert_int_equal(fault_of(b, n, cr0 | CR0_TS, avx, 7), nm);
        assert_int_equal(fault_of(b, n, cr0, sse, 7), ud);
        assert_int_equal(fault_of(b, n, cr0, avx, 3), ud);
        assert_int_equal(fault_of(b, n, cr0, avx, 5), ud);
        assert_int_equal(fault_of(b, n, 0, avx, 7), ud); /* real mode */
        rflags |= 1ull << 17;                            /* VM86 */
        assert_int_equal(fault_of(b, n, cr0, avx, 7), ud);
        rflags = 2;
    }
}

/* #GP where an aligned form is not, whatever the segment; others don't care. */
static void test_alignment(void **s)
{
    (void)s;
    for (unsigned i = 0; i < ROWS; i++) {
        for (unsigned shift = 1; shift < 32; shift <<= 1) {
            uint8_t b[15];
            randomize();
            gpr[7] = (uint64_t)(uintptr_t)area + 32 + shift;
            unsigned n = encode(b, &rows[i], LEGACY, 1, false, false, 0, 0);
            unsigned want = rows[i].aligned && shift < 16 ? VECTOR_GENERAL_PROTECTION : 0;
            assert_int_equal(fault_of(b, n, CR0_PE, CR4_OSFXSR, 7), want);
            if (!rows[i].wide)
                continue;
            n = encode(b, &rows[i], VEX3, 1, false, true, 0, 0);
            want = rows[i].aligned ? VECTOR_GENERAL_PROTECTION : 0;
            assert_int_equal(fault_of(b, n, CR0_PE, CR4_OSXSAVE, 7), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_cpu),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_alignment),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
