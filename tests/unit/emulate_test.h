/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of the emulator: runs the same bytes on the CPU that runs the test and in the
 * emulator, on the same registers and memory, and compares. */
#pragma once

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
#include "guest/cpu/emulate.h"

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
static uint64_t vectors[16][4], mmx[8]; /* YMM, with XMM below */
static struct emulate_segment segments[6];
static unsigned translations_left; /* until one faults */
static uint64_t asked;             /* the last address translated */
static unsigned raised;            /* the vector of the last exception */
static bool x87_error;

static bool area_translate(void *ctx, gva_t linear, unsigned bytes, bool write,
                           struct emulate_operand *out)
{
    (void)ctx;
    (void)write;
    asked = linear.v;
    if (translations_left-- == 0) {
        raised = VECTOR_PAGE_FAULT;
        return false;
    }
    *out = (struct emulate_operand){.at = {gpa(linear.v)}, .first = bytes, .bytes = bytes};
    return true;
}

static uint8_t *area_at(const struct emulate_operand *operand)
{
    uint64_t offset = operand->at[0].v - (uint64_t)(uintptr_t)area;
    if (offset > AREA - operand->bytes)
        fail_msg("%u bytes at %#lx", operand->bytes, operand->at[0].v);
    return area + offset;
}

static void area_read(void *ctx, const struct emulate_operand *operand, void *to)
{
    (void)ctx;
    memcpy(to, area_at(operand), operand->bytes);
}

static void area_write(void *ctx, const struct emulate_operand *operand, const void *from)
{
    (void)ctx;
    memcpy(area_at(operand), from, operand->bytes);
}

static void segment_get(void *ctx, enum insn_segment segment, struct emulate_segment *out)
{
    (void)ctx;
    *out = segments[segment];
}

static void raise_exception(void *ctx, unsigned vector)
{
    (void)ctx;
    raised = vector;
}

static void vector_get(void *ctx, const struct insn *insn, unsigned reg, uint64_t value[4])
{
    (void)ctx;
    if (insn->reg_bytes == 8)
        value[0] = mmx[reg];
    else
        memcpy(value, vectors[reg], insn->vex ? 32 : 16);
}

static void vector_set(void *ctx, const struct insn *insn, const uint64_t value[4])
{
    (void)ctx;
    if (insn->reg_bytes == 8)
        mmx[insn->reg] = value[0];
    else
        memcpy(vectors[insn->reg], value, insn->vex ? 32 : 16);
}

static bool x87_pending(void *ctx)
{
    (void)ctx;
    return x87_error;
}

static struct emulate_env env = {.gpr = gpr,
                                 .rflags = &rflags,
                                 .cr0 = CR0_PE | CR0_PG | CR0_NE,
                                 .cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_PAE,
                                 .xcr0 = 7,
                                 .mode = INSN_64,
                                 .translate = area_translate,
                                 .read = area_read,
                                 .write = area_write,
                                 .segment = segment_get,
                                 .raise = raise_exception,
                                 .vector_read = vector_get,
                                 .vector_write = vector_set,
                                 .x87_pending = x87_pending};

static int __attribute__((unused)) setup(void **s)
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

#define CF    0x001ull
#define NO_AF 0x8c5ull /* AF is undefined after the logical ones */
#define ALL   0x8d5ull

static void __attribute__((unused)) randomize(void)
{
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = random64();
    for (unsigned i = 0; i < AREA; i += 8) {
        uint64_t v = rand() % 4 ? random64() : gpr[0];
        memcpy(area + i, &v, 8);
    }
    for (unsigned i = 0; i < 64; i++)
        vectors[i / 4][i % 4] = random64();
    for (unsigned i = 0; i < 8; i++)
        mmx[i] = random64();
    rflags = 2 | ((uint64_t)rand() & ALL);
}

/* --- native code --- */

static uint8_t *emit_at;

static void emit(const void *bytes, unsigned count)
{
    memcpy(emit_at, bytes, count);
    emit_at += count;
}

/* [disp32] behind an opcode whose ModRM.reg is reg */
static void emit_absolute(unsigned reg, const void *where)
{
    uint32_t address = (uint32_t)(uintptr_t)where;
    emit((const uint8_t[]){(uint8_t)(4 | (reg & 7) << 3), 0x25}, 2);
    emit(&address, 4);
}

/* Beside the area, in the low 2 GiB too. */
#define NATIVE_YMM (area + 1024)
#define NATIVE_MMX (area + 2048)

/* VMOVUPS of all YMM, MOVQ of all MMX registers. */
static void emit_vectors(bool store)
{
    for (unsigned i = 0; i < 16; i++) {
        emit((const uint8_t[]){0xc5, i < 8 ? 0xfc : 0x7c, store ? 0x11 : 0x10}, 3);
        emit_absolute(i, NATIVE_YMM + 32 * i);
    }
    for (unsigned i = 0; i < 8; i++) {
        emit((const uint8_t[]){0x0f, store ? 0x7f : 0x6f}, 2);
        emit_absolute(i, NATIVE_MMX + 8 * i);
    }
}

static bool with_vectors; /* in native code as in the emulator; else it leaves them alone */
static bool with_stack __attribute__((unused)); /* R15 is its stack pointer */

static void run_in_area(struct native *n, const uint8_t *bytes, unsigned count)
{
    static const uint8_t switch_stack[] = {0x49, 0x87, 0xe7}, emms[] = {0x0f, 0x77}, ret = 0xc3;
    emit_at = code;
    memcpy(NATIVE_YMM, vectors, sizeof(vectors));
    memcpy(NATIVE_MMX, mmx, sizeof(mmx));
    if (with_vectors)
        emit_vectors(false);
    if (with_stack)
        emit(switch_stack, 3);
    emit(bytes, count);
    if (with_stack)
        emit(switch_stack, 3);
    if (with_vectors) {
        emit_vectors(true);
        emit(emms, 2);
    }
    emit(&ret, 1);
    n->code = code;
    run_native(n);
}

/* Runs the bytes both ways from the state in gpr, rflags, vectors and area; checked are all but
 * flags. */
static inline void compare(const uint8_t *bytes, unsigned count, uint64_t checked)
{
    struct native n = {.rflags = rflags | 0x202};
    uint8_t before[AREA], native_area[AREA];
    memcpy(n.gpr, gpr, sizeof(gpr));
    memcpy(before, area, AREA);
    run_in_area(&n, bytes, count);
    memcpy(native_area, area, AREA);
    memcpy(area, before, AREA);
    translations_left = 10000;
    struct insn in = decode(bytes, count);
    enum emulate_result r;
    if (with_stack)
        gpr[4] = gpr[15];
    do
        r = insn_emulate(&in, &env);
    while (r == EMULATE_REPEAT);
    assert_int_equal(r, EMULATE_DONE);
    if (with_stack) {
        assert_int_equal(gpr[4], n.gpr[15]);
        n.gpr[15] = gpr[15];
    }
    gpr[4] = n.gpr[4];
    bool same = memcmp(area, native_area, AREA) == 0 && memcmp(gpr, n.gpr, sizeof(gpr)) == 0 &&
                memcmp(vectors, NATIVE_YMM, sizeof(vectors)) == 0 &&
                memcmp(mmx, NATIVE_MMX, sizeof(mmx)) == 0 && ((rflags ^ n.rflags) & checked) == 0;
    if (!same)
        fail_msg("%02x %02x %02x %02x %02x: rax %lx/%lx rcx %lx/%lx flags %lx/%lx", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], gpr[0], n.gpr[0], gpr[1], n.gpr[1],
                 rflags & checked, n.rflags & checked);
}
