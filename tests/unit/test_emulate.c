// link: vmx/emulate.c vmx/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Emulation against the CPU that runs the test: same bytes, same registers, same memory and flags;
 * then strings, addresses and faults by hand. */
#define _GNU_SOURCE /* MAP_32BIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/cpu.h"
#include "vmx/emulate.h"

struct native {
    uint64_t gpr[16];
    uint64_t rflags;
    void *code;
};

void run_native(struct native *n);

/* Loads all registers but RSP, calls the code, stores them again. */
__asm__(".text\n"
        "run_native:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
        "  pushq 128(%rdi); popfq\n"
        "  mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
        "  mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
        "  mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
        "  mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
        "  pushq 136(%rdi); mov 56(%rdi), %rdi\n"
        "  call *(%rsp)\n"
        "  pushq %rdi; mov 16(%rsp), %rdi; popq 56(%rdi); lea 8(%rsp), %rsp\n"
        "  pushfq; popq 128(%rdi); cld\n"
        "  mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
        "  mov %rbp, 40(%rdi); mov %rsi, 48(%rdi)\n"
        "  mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi)\n"
        "  mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
        "  pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n");

/* Memory that native code and callbacks share by turns, in the low 2 GiB so that 32-bit addresses
 * reach it. */
#define AREA 256
static uint8_t *area, *code;
static uint64_t gpr[16], rflags;
static uint64_t bases[6];
static unsigned calls_left; /* callbacks until one fails */

static bool mem_read(void *ctx, uint64_t linear, unsigned bytes, uint64_t *value)
{
    (void)ctx;
    if (calls_left-- == 0)
        return false;
    uint64_t offset = linear - (uint64_t)(uintptr_t)area;
    assert_true(offset <= AREA - bytes);
    *value = 0;
    memcpy(value, area + offset, bytes);
    return true;
}

static bool mem_write(void *ctx, uint64_t linear, unsigned bytes, uint64_t value)
{
    (void)ctx;
    if (calls_left-- == 0)
        return false;
    uint64_t offset = linear - (uint64_t)(uintptr_t)area;
    assert_true(offset <= AREA - bytes);
    assert_true(bytes == 8 || value >> (bytes * 8) == 0);
    memcpy(area + offset, &value, bytes);
    return true;
}

static uint64_t get_base(void *ctx, enum insn_segment segment)
{
    (void)ctx;
    return bases[segment];
}

static struct emulate_env env = {.gpr = gpr,
                                 .rflags = &rflags,
                                 .mode = INSN_64,
                                 .read = mem_read,
                                 .write = mem_write,
                                 .segment_base = get_base};

static int setup(void **s)
{
    (void)s;
    area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return area != MAP_FAILED && code != MAP_FAILED ? 0 : -1;
}

static uint64_t random64(void)
{
    static const uint64_t edges[] = {0,          1,          0x7f,          0x80,       0xff,
                                     0x7fff,     0x8000,     0xffff,        0x7fffffff, 0x80000000,
                                     0xffffffff, 1ull << 63, ~(1ull << 63), ~0ull};
    if (rand() % 3 == 0)
        return edges[(unsigned)rand() % (sizeof(edges) / sizeof(edges[0]))];
    return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
}

static struct insn decode(const uint8_t *bytes, unsigned count)
{
    struct insn in;
    assert_int_equal(insn_decode(&in, bytes, count, env.mode), INSN_OK);
    assert_int_equal(in.length, count);
    return in;
}

/* Runs the bytes both ways from the state in gpr, rflags and area; checked are all but flags. */
static void compare(const uint8_t *bytes, unsigned count, uint64_t checked)
{
    struct native n = {.rflags = rflags | 0x202, .code = code};
    uint8_t before[AREA], native_area[AREA];
    memcpy(n.gpr, gpr, sizeof(gpr));
    memcpy(before, area, AREA);
    memcpy(code, bytes, count);
    code[count] = 0xc3;
    run_native(&n);
    memcpy(native_area, area, AREA);
    memcpy(area, before, AREA);
    calls_left = 1000;
    struct insn in = decode(bytes, count);
    enum emulate_result r;
    do
        r = insn_emulate(&in, &env);
    while (r == EMULATE_REPEAT);
    assert_int_equal(r, EMULATE_DONE);
    gpr[4] = n.gpr[4];
    bool same = memcmp(area, native_area, AREA) == 0 && memcmp(gpr, n.gpr, sizeof(gpr)) == 0 &&
                ((rflags ^ n.rflags) & checked) == 0;
    if (!same)
        fail_msg("%02x %02x %02x %02x %02x: rax %lx/%lx rcx %lx/%lx flags %lx/%lx", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], gpr[0], n.gpr[0], gpr[1], n.gpr[1],
                 rflags & checked, n.rflags & checked);
}

#define CF    0x001ull
#define NO_AF 0x8c5ull /* AF is undefined after the logical ones */
#define ALL   0x8d5ull

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
    {{0x0f, 0x38, 0xf0}, 3, 0, -1, ALL},
    {{0x0f, 0x38, 0xf1}, 3, 0, -1, ALL},
};

static void randomize(void)
{
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = random64();
    for (unsigned i = 0; i < AREA; i += 8) {
        uint64_t v = rand() % 4 ? random64() : gpr[0];
        memcpy(area + i, &v, 8);
    }
    rflags = 2 | ((uint64_t)rand() & ALL);
}

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
    static const uint8_t op[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad};
    for (unsigned round = 0; round < 6000; round++) {
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
        b[n++] = op[round % 6];
        randomize();
        bool down = rand() % 4 == 0;
        gpr[6] = (uint64_t)(uintptr_t)area + (down ? 120 : (uint64_t)rand() % 64);
        gpr[7] = (uint64_t)(uintptr_t)area + (down ? 248 : 128);
        gpr[1] = (uint64_t)rand() % (op[round % 6] & 1 ? 15 : 100);
        if (short_address && rep &&
            gpr[1] > 0) /* with a count of 0 CPUs differ in the upper half */
            gpr[1] |= 0x500000000;
        rflags = down ? 0x402 : 2;
        compare(b, n, ALL);
    }
}

static void test_addresses(void **s)
{
    (void)s;
    struct insn in;
    memset(gpr, 0, sizeof(gpr));
    gpr[3] = 0x1fff0;
    gpr[6] = 0x20;
    bases[SEG_DS] = 0x10000;
    bases[SEG_GS] = 0xffff880000000000;
    env.rip = 0x1000;
    in = decode((const uint8_t[]){0x8b, 0x05, 0x10, 0, 0, 0}, 6);
    assert_int_equal(insn_linear(&in, &env), 0x1016);
    in = decode((const uint8_t[]){0x65, 0x8b, 0x03}, 3);
    assert_int_equal(insn_linear(&in, &env), 0xffff88000001fff0);
    in = decode((const uint8_t[]){0x8b, 0x03}, 2); /* DS has no base there */
    assert_int_equal(insn_linear(&in, &env), 0x1fff0);
    gpr[3] = 0xfffffffffffffff0;
    in = decode((const uint8_t[]){0x67, 0x8b, 0x04, 0x33}, 4);
    assert_int_equal(insn_linear(&in, &env), 0x10);
    env.mode = INSN_32;
    bases[SEG_DS] = 0xfffff000;
    in = decode((const uint8_t[]){0x8b, 0x04, 0x33}, 3);
    assert_int_equal(insn_linear(&in, &env), 0xfffff010);
    gpr[3] = 0x2000;
    assert_int_equal(insn_linear(&in, &env), 0x1020);
    env.mode = INSN_16;
    gpr[3] = 0x7fff0;
    bases[SEG_DS] = 0xc0000;
    in = decode((const uint8_t[]){0x8b, 0x00}, 2); /* bx + si wraps at 64 KiB */
    assert_int_equal(insn_linear(&in, &env), 0xc0010);
    env.mode = INSN_64;
}

/* A callback that fails leaves registers, flags and RIP as they were. */
static void test_faults(void **s)
{
    (void)s;
    static const uint8_t code_of[][4] = {{0x48, 0x01, 0x0f}, {0x48, 0x87, 0x0f},
                                         {0x8b, 0x0f},       {0x89, 0x0f},
                                         {0x0f, 0xb1, 0x0f}, {0x0f, 0xc1, 0x0f}};
    static const unsigned length[] = {3, 3, 2, 2, 3, 3}, accesses[] = {2, 2, 1, 1, 2, 2};
    for (unsigned i = 0; i < 6; i++)
        for (unsigned fail = 0; fail < accesses[i]; fail++) {
            uint64_t old[16], old_flags;
            randomize();
            gpr[7] = (uint64_t)(uintptr_t)area;
            memcpy(old, gpr, sizeof(gpr));
            old_flags = rflags;
            struct insn in = decode(code_of[i], length[i]);
            calls_left = fail;
            assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
            assert_memory_equal(old, gpr, sizeof(gpr));
            assert_int_equal(old_flags, rflags);
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
    calls_left = 1000;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_REPEAT);
    assert_int_equal(gpr[1], 3);
    calls_left = 2; /* a fault in the third element */
    assert_int_equal(insn_emulate(&in, &env), EMULATE_FAULT);
    assert_int_equal(gpr[1], 1);
    assert_int_equal(gpr[7], (uint64_t)(uintptr_t)area + EMULATE_MAX_REPEATS + 2);
    calls_left = 1;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE);
    assert_int_equal(gpr[1], 0);
    calls_left = 0;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE); /* nothing to do */
    gpr[1] = EMULATE_MAX_REPEATS;
    gpr[7] = (uint64_t)(uintptr_t)area;
    calls_left = 1000;
    assert_int_equal(insn_emulate(&in, &env), EMULATE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_cpu),
        cmocka_unit_test(test_bit_strings),
        cmocka_unit_test(test_strings_against_cpu),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_repeat_in_pieces),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
