// link: guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Emulation against the CPU that runs the test: same bytes, same registers, same memory and flags;
 * then strings, addresses and faults by hand. */
#include "tests/unit/emulate_test.h"

static const struct {
    uint8_t bytes[3], count;
    uint8_t imm; /* bytes of immediate; 0xff: by operand size */
    int group;   /* ModRM.reg, -1: a register */
    uint64_t flags;
} operations[] = {
    {{0x00}, 1, 0, -1, ALL},
    {{0x01}, 1, 0, -1, ALL},
    {{0x02}, 1, 0, -1, ALL},
    {{0x03}, 1, 0, -1, ALL},
    {{0x08}, 1, 0, -1, NO_AF},
    {{0x09}, 1, 0, -1, NO_AF},
    {{0x0b}, 1, 0, -1, NO_AF},
    {{0x10}, 1, 0, -1, ALL},
    {{0x11}, 1, 0, -1, ALL},
    {{0x13}, 1, 0, -1, ALL},
    {{0x18}, 1, 0, -1, ALL},
    {{0x19}, 1, 0, -1, ALL},
    {{0x1b}, 1, 0, -1, ALL},
    {{0x20}, 1, 0, -1, NO_AF},
    {{0x23}, 1, 0, -1, NO_AF},
    {{0x28}, 1, 0, -1, ALL},
    {{0x29}, 1, 0, -1, ALL},
    {{0x2b}, 1, 0, -1, ALL},
    {{0x30}, 1, 0, -1, NO_AF},
    {{0x33}, 1, 0, -1, NO_AF},
    {{0x38}, 1, 0, -1, ALL},
    {{0x39}, 1, 0, -1, ALL},
    {{0x3b}, 1, 0, -1, ALL},
    {{0x63}, 1, 0, -1, ALL},
    {{0x80}, 1, 1, 0, ALL},
    {{0x80}, 1, 1, 3, ALL},
    {{0x81}, 1, 0xff, 2, ALL},
    {{0x81}, 1, 0xff, 7, ALL},
    {{0x81}, 1, 0xff, 4, NO_AF},
    {{0x83}, 1, 1, 5, ALL},
    {{0x83}, 1, 1, 6, NO_AF},
    {{0x83}, 1, 1, 1, NO_AF},
    {{0x84}, 1, 0, -1, NO_AF},
    {{0x85}, 1, 0, -1, NO_AF},
    {{0x86}, 1, 0, -1, ALL},
    {{0x87}, 1, 0, -1, ALL},
    {{0x88}, 1, 0, -1, ALL},
    {{0x89}, 1, 0, -1, ALL},
    {{0x8a}, 1, 0, -1, ALL},
    {{0x8b}, 1, 0, -1, ALL},
    {{0xc6}, 1, 1, 0, ALL},
    {{0xc7}, 1, 0xff, 0, ALL},
    {{0xf6}, 1, 1, 0, NO_AF},
    {{0xf7}, 1, 0xff, 0, NO_AF},
    {{0xf6}, 1, 0, 2, ALL},
    {{0xf7}, 1, 0, 2, ALL},
    {{0xf6}, 1, 0, 3, ALL},
    {{0xf7}, 1, 0, 3, ALL},
    {{0xfe}, 1, 0, 0, ALL},
    {{0xff}, 1, 0, 0, ALL},
    {{0xfe}, 1, 0, 1, ALL},
    {{0xff}, 1, 0, 1, ALL},
    {{0x0f, 0xba}, 2, 1, 4, CF},
    {{0x0f, 0xba}, 2, 1, 5, CF},
    {{0x0f, 0xba}, 2, 1, 6, CF},
    {{0x0f, 0xba}, 2, 1, 7, CF},
    {{0x0f, 0xb0}, 2, 0, -1, ALL},
    {{0x0f, 0xb1}, 2, 0, -1, ALL},
    {{0x0f, 0xc0}, 2, 0, -1, ALL},
    {{0x0f, 0xc1}, 2, 0, -1, ALL},
    {{0x0f, 0xb6}, 2, 0, -1, ALL},
    {{0x0f, 0xb7}, 2, 0, -1, ALL},
    {{0x0f, 0xbe}, 2, 0, -1, ALL},
    {{0x0f, 0xbf}, 2, 0, -1, ALL},
    {{0x0f, 0xc3}, 2, 0, -1, ALL},
    {{0x0f, 0xc7}, 2, 0, 1, ALL},
    {{0x0f, 0x38, 0xf0}, 3, 0, -1, ALL},
    {{0x0f, 0x38, 0xf1}, 3, 0, -1, ALL},
};

/* One operation on [rdi + rsi * 2 + disp8], with a random register, size and REX. */
static void test_against_cpu(void **s)
{
    (void)s;
    srand(5);
    unsigned count_of = sizeof(operations) / sizeof(operations[0]);
    if ((cpu_cpuid(1, 0).ecx & 1u << 22) == 0) {
        print_message("no MOVBE here: its comparison is left out\n");
        count_of -= 2; /* the last two */
    }
    for (unsigned round = 0; round < 60000; round++) {
        unsigned which = round % count_of, n = 0;
        uint8_t b[15] = {0};
        bool rex = rand() % 2, wide = rex && rand() % 2, half = !wide && rand() % 3 == 0;
        unsigned reg =
            operations[which].group >= 0 ? (unsigned)operations[which].group : (unsigned)rand() % 8;
        bool high = rex && operations[which].group < 0 && rand() % 2;
        if (operations[which].bytes[1] == 0xc3 || operations[which].bytes[0] == 0x63)
            half = false; /* MOVNTI has no such form; MOVSXD differs between makers */
        if (operations[which].group < 0 && !high && (reg == 4 || reg == 7))
            reg = rex || wide ? 3 : reg == 7 ? 2 : (operations[which].bytes[0] & 1 ? 1 : 4);
        bool byte_op = operations[which].count == 1 && !(operations[which].bytes[0] & 1);
        if (reg == 4 && operations[which].group < 0 && !high && !byte_op)
            reg = 1; /* RSP; as a byte without REX it is AH */
        if (half)
            b[n++] = 0x66;
        if (rex)
            b[n++] = (uint8_t)(0x40 | (wide ? 8 : 0) | (high ? 4 : 0));
        memcpy(b + n, operations[which].bytes, operations[which].count);
        n += operations[which].count;
        b[n++] = (uint8_t)(0x44 | reg << 3);
        b[n++] = 0x77; /* rdi + rsi * 2 */
        b[n++] = (uint8_t)(rand() % 32);
        unsigned imm = operations[which].imm == 0xff ? (half ? 2 : 4) : operations[which].imm;
        while (imm-- > 0)
            b[n++] = (uint8_t)(random64() & 0xff);
        randomize();
        gpr[6] = (uint64_t)rand() % 32;
        gpr[7] = (uint64_t)(uintptr_t)area + 64;
        if (operations[which].bytes[1] == 0xc7) {
            b[n - 1] = 0;
            gpr[6] &= 24; /* CMPXCHG16B must be aligned */
            memcpy(&gpr[0], area + 64 + 2 * gpr[6], 8);
            memcpy(&gpr[2], area + 64 + 2 * gpr[6] + (wide ? 8 : 4), 8);
            if (rand() % 2) /* equal or not */
                gpr[rand() % 2 * 2] ^= 1;
        }
        compare(b, n, operations[which].flags);
    }
}

/* BT and its kin with a register: the bit may lie far from the operand, on both sides. */
static void test_bit_strings(void **s)
{
    (void)s;
    static const uint8_t op[] = {0xa3, 0xab, 0xb3, 0xbb};
    for (unsigned round = 0; round < 4000; round++) {
        unsigned size = round % 3;
        uint8_t b[] = {(uint8_t)(size == 0   ? 0x66
                                 : size == 1 ? 0x40
                                             : 0x48),
                       0x0f, op[round / 3 % 4], 0x0f}; /* [rdi], ecx */
        randomize();
        gpr[7] = (uint64_t)(uintptr_t)area + 128;
        int64_t bit = rand() % 1600 - 800;
        gpr[1] = (uint64_t)bit;
        if (size == 0)
            gpr[1] = (gpr[2] & ~0xffffull) | (gpr[1] & 0xffff);
        else if (size == 1)
            gpr[1] = (gpr[2] & ~0xffffffffull) | (gpr[1] & 0xffffffff);
        compare(b, 4, CF);
    }
}

static void test_strings_against_cpu(void **s)
{
    (void)s;
    static const uint8_t op[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae, 0xaf};
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t b[5];
        unsigned n = 0;
        bool rep = rand() % 2, short_address = rand() % 4 == 0;
        if (rep)
            b[n++] = rand() % 2 ? 0xf3 : 0xf2;
        if (short_address)
            b[n++] = 0x67;
        unsigned size = (unsigned)rand() % 3;
        if (size == 1)
            b[n++] = 0x66;
        if (size == 2)
            b[n++] = 0x48;
        b[n++] = op[round % 10];
        randomize();
        bool down = rand() % 4 == 0;
        gpr[6] = (uint64_t)(uintptr_t)area + (down ? 120 : (uint64_t)rand() % 64);
        gpr[7] = (uint64_t)(uintptr_t)area + (down ? 248 : 128);
        gpr[1] = (uint64_t)rand() % (op[round % 10] & 1 ? 15 : 100);
        if (short_address && rep &&
            gpr[1] > 0) /* with a count of 0 CPUs differ in the upper half */
            gpr[1] |= 0x500000000;
        if (op[round % 10] > 0xa5 && rand() % 2) /* something to be equal or to differ */
            memset(area, (uint8_t)gpr[0], AREA - (unsigned)rand() % AREA);
        if (op[round % 10] > 0xa5 && rand() % 2)
            gpr[0] = (gpr[0] & 0xff) * 0x0101010101010101;
        rflags |= down ? 0x400 : 0;
        compare(b, n, ALL);
    }
}

/* PUSH and POP of memory, the stack in the same area; an address by way of RSP among them. */
static void test_stack_against_cpu(void **s)
{
    (void)s;
    with_stack = true;
    for (unsigned round = 0; round < 8000; round++) {
        uint8_t b[8];
        unsigned n = 0;
        bool push = round % 2, by_rsp = round % 3 == 0;
        if (rand() % 3 == 0)
            b[n++] = 0x66;
        if (rand() % 3 == 0)
            b[n++] = 0x48;
        b[n++] = push ? 0xff : 0x8f;
        b[n++] = (uint8_t)(0x40 | (push ? 6 : 0) << 3 | (by_rsp ? 4 : 7));
        if (by_rsp)
            b[n++] = 0x24;
        b[n++] = (uint8_t)(rand() % 64);
        randomize();
        gpr[7] = (uint64_t)(uintptr_t)area + 64;
        gpr[15] = (uint64_t)(uintptr_t)area + 64 + (unsigned)rand() % 64;
        compare(b, n, ALL);
    }
    with_stack = false;
}

static void check_address(const char *name, const uint8_t *bytes, unsigned count, uint64_t want)
{
    struct insn in = decode(bytes, count);
    asked = 0;
    translations_left = 0;
    raised = 0;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
    if (raised != VECTOR_PAGE_FAULT || asked != want)
        fail_msg("%s: vector %u at %#lx, not %#lx", name, raised, asked, want);
}

static void test_addresses(void **s)
{
    (void)s;
    memset(gpr, 0, sizeof(gpr));
    for (unsigned i = 0; i < 6; i++)
        segments[i] = (struct emulate_segment){.limit = UINT32_MAX, .access = 0xc093};
    gpr[3] = 0x1fff0;
    gpr[6] = 0x20;
    segments[SEG_DS].base = 0x10000;
    segments[SEG_GS].base = 0xffff880000000000;
    env.rip = 0x1000;
    check_address("RIP", (const uint8_t[]){0x8b, 0x05, 0x10, 0, 0, 0}, 6, 0x1016);
    check_address("GS", (const uint8_t[]){0x65, 0x8b, 0x03}, 3, 0xffff88000001fff0);
    check_address("DS without base", (const uint8_t[]){0x8b, 0x03}, 2, 0x1fff0);
    gpr[3] = 0xfffffffffffffff0;
    check_address("wraps", (const uint8_t[]){0x67, 0x8b, 0x04, 0x33}, 4, 0x10);
    env.mode = INSN_32;
    segments[SEG_DS].base = 0xfffff000;
    check_address("32", (const uint8_t[]){0x8b, 0x04, 0x33}, 3, 0xfffff010);
    gpr[3] = 0x2000;
    check_address("32 wraps", (const uint8_t[]){0x8b, 0x04, 0x33}, 3, 0x1020);
    env.mode = INSN_16;
    gpr[3] = 0x7fff0;
    segments[SEG_DS].base = 0xc0000;
    check_address("16 wraps", (const uint8_t[]){0x8b, 0x00}, 2, 0xc0010); /* bx + si */
    /* The stack pointer's width is that of SS. */
    segments[SEG_SS] = (struct emulate_segment){.base = 0x20000, .limit = 0xffff, .access = 0x93};
    gpr[4] = 0x50000;
    translations_left = 1;
    struct insn in = decode((const uint8_t[]){0xff, 0x30}, 2); /* push word [bx + si] */
    assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
    assert_int_equal(asked, 0x2fffe);
    assert_int_equal(gpr[4], 0x50000);
    env.mode = INSN_64;
}

/* A callback that fails leaves registers, flags and RIP as they were. */
static void test_faults(void **s)
{
    (void)s;
    static const uint8_t code_of[][4] = {{0x48, 0x01, 0x0f}, {0x48, 0x87, 0x0f}, {0x8b, 0x0f},
                                         {0x89, 0x0f},       {0x0f, 0xb1, 0x0f}, {0x0f, 0xc1, 0x0f},
                                         {0x66, 0xa5},       {0xff, 0x34, 0x24}, {0x8f, 0x07},
                                         {0x0f, 0xc7, 0x0f}};
    static const unsigned length[] = {3, 3, 2, 2, 3, 3, 2, 3, 2, 3},
                          operands[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1};
    for (unsigned i = 0; i < 10; i++)
        for (unsigned fail = 0; fail < operands[i]; fail++) {
            uint64_t old[16], old_flags;
            randomize();
            uint8_t before[AREA];
            memcpy(before, area, AREA);
            gpr[4] = gpr[6] = gpr[7] = (uint64_t)(uintptr_t)area + 64;
            memcpy(old, gpr, sizeof(gpr));
            old_flags = rflags;
            struct insn in = decode(code_of[i], length[i]);
            translations_left = fail;
            assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
            assert_memory_equal(old, gpr, sizeof(gpr));
            assert_int_equal(old_flags, rflags);
            assert_memory_equal(before, area, AREA);
        }
}

static void test_repeat_in_pieces(void **s)
{
    (void)s;
    struct insn in = decode((const uint8_t[]){0xf3, 0xaa}, 2);
    gpr[0] = 0x5a;
    gpr[1] = EMULATE_MAX_REPEATS + 3;
    gpr[7] = (uint64_t)(uintptr_t)area;
    rflags = 2;
    translations_left = 1000;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_REPEAT);
    assert_int_equal(gpr[1], 3);
    translations_left = 2; /* a fault in the third element */
    assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
    assert_int_equal(gpr[1], 1);
    assert_int_equal(gpr[7], (uint64_t)(uintptr_t)area + EMULATE_MAX_REPEATS + 2);
    translations_left = 1;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE);
    assert_int_equal(gpr[1], 0);
    translations_left = 0;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE); /* nothing to do */
    gpr[1] = EMULATE_MAX_REPEATS;
    gpr[7] = (uint64_t)(uintptr_t)area;
    translations_left = 1000;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE);
}

static unsigned elements_left;

static bool still_goes_on(void *ctx)
{
    (void)ctx;
    return --elements_left != 0;
}

/* Behind an element the caller may want a look at the clock. */
static void test_repeat_is_stopped(void **s)
{
    (void)s;
    struct insn in = decode((const uint8_t[]){0xf3, 0xa4}, 2);
    struct emulate_env stopped = env;
    stopped.goes_on = still_goes_on;
    gpr[1] = 5;
    gpr[6] = gpr[7] = (uint64_t)(uintptr_t)area;
    rflags = 2;
    translations_left = 1000;
    elements_left = 3;
    assert_int_equal(insn_emulate(&in, &stopped), EMULATE_REPEAT);
    assert_int_equal(gpr[1], 2);
    assert_int_equal(gpr[7], (uint64_t)(uintptr_t)area + 3);
    elements_left = 1; /* one at least */
    assert_int_equal(insn_emulate(&in, &stopped), EMULATE_REPEAT);
    assert_int_equal(gpr[1], 1);
    assert_int_equal(insn_emulate(&in, &stopped), EMULATE_DONE); /* nothing is behind the last */
    assert_int_equal(gpr[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_cpu),         cmocka_unit_test(test_bit_strings),
        cmocka_unit_test(test_strings_against_cpu), cmocka_unit_test(test_stack_against_cpu),
        cmocka_unit_test(test_addresses),           cmocka_unit_test(test_faults),
        cmocka_unit_test(test_repeat_in_pieces),    cmocka_unit_test(test_repeat_is_stopped),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
