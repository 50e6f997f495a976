// link: guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/decode.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Integer instructions against the CPU that runs the test, as 64-bit and as 32-bit code: random
 * registers, memory and flags, then the same bytes on the CPU and in the emulator. What the CPU
 * that runs the test has no mode for (16-bit stacks, limits, virtual-8086 mode) follows by hand. */
#define _GNU_SOURCE /* MAP_32BIT */
#include <signal.h>
#include <stdio.h>

#include "tests/unit/emulate_test.h"
#include "tests/unit/native_32.h"

/* What stands behind an opcode. */
enum { NOTHING = 0, IMM_8 = 1, IMM_16 = 2, IMM_Z = 3, IMM_V = 4, IMM_ENTER = 5, TO_TARGET = 6 };
enum { NO_MODRM = -2, ANY = -1 }; /* or ModRM.reg */
enum { B32 = 1, B64 = 2, BOTH = 3 };

/* Flags that an instruction defines; those of shifts and rotates depend on the count. */
#define SHIFT 0x10000ull
#define CF_OF 0x801ull
#define ZF    0x040ull
#define NO_OF 0x0d5ull
#define SZP   0x0c4ull
#define EVERY 0xcd5ull /* and DF */

static const struct row {
    uint8_t bytes[3], count;
    int8_t modrm;
    uint8_t imm, modes;
    uint8_t registers; /* the opcode has a register in it, this many */
    uint64_t flags;
} rows[] = {
    {{0x00}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x13}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x29}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x1a}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x39}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x04}, 1, NO_MODRM, IMM_8, BOTH, 0, EVERY},
    {{0x15}, 1, NO_MODRM, IMM_Z, BOTH, 0, EVERY},
    {{0x3d}, 1, NO_MODRM, IMM_Z, BOTH, 0, EVERY},
    {{0x80}, 1, 3, IMM_8, BOTH, 0, EVERY},
    {{0x81}, 1, 7, IMM_Z, BOTH, 0, EVERY},
    {{0x82}, 1, 2, IMM_8, B32, 0, EVERY},
    {{0x83}, 1, 0, IMM_8, BOTH, 0, EVERY},
    {{0x27}, 1, NO_MODRM, 0, B32, 0, NO_OF},
    {{0x2f}, 1, NO_MODRM, 0, B32, 0, NO_OF},
    {{0x37}, 1, NO_MODRM, 0, B32, 0, 0x11},
    {{0x3f}, 1, NO_MODRM, 0, B32, 0, 0x11},
    {{0xd4}, 1, NO_MODRM, IMM_8, B32, 0, SZP},
    {{0xd5}, 1, NO_MODRM, IMM_8, B32, 0, SZP},
    {{0xd6}, 1, NO_MODRM, 0, B32, 0, EVERY},
    {{0x40}, 1, NO_MODRM, 0, B32, 8, EVERY},
    {{0x48}, 1, NO_MODRM, 0, B32, 8, EVERY},
    {{0x50}, 1, NO_MODRM, 0, BOTH, 8, EVERY},
    {{0x58}, 1, NO_MODRM, 0, BOTH, 8, EVERY},
    {{0xff}, 1, 6, 0, BOTH, 0, EVERY},
    {{0x8f}, 1, 0, 0, BOTH, 0, EVERY},
    {{0x68}, 1, NO_MODRM, IMM_Z, BOTH, 0, EVERY},
    {{0x6a}, 1, NO_MODRM, IMM_8, BOTH, 0, EVERY},
    {{0x60}, 1, NO_MODRM, 0, B32, 0, EVERY},
    {{0x61}, 1, NO_MODRM, 0, B32, 0, EVERY},
    {{0xc8}, 1, NO_MODRM, IMM_ENTER, BOTH, 0, EVERY},
    {{0xc9}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x9c}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x69}, 1, ANY, IMM_Z, BOTH, 0, CF_OF},
    {{0x6b}, 1, ANY, IMM_8, BOTH, 0, CF_OF},
    {{0x0f, 0xaf}, 2, ANY, 0, BOTH, 0, CF_OF},
    {{0xf6}, 1, 4, 0, BOTH, 0, CF_OF},
    {{0xf7}, 1, 4, 0, BOTH, 0, CF_OF},
    {{0xf6}, 1, 5, 0, BOTH, 0, CF_OF},
    {{0xf7}, 1, 5, 0, BOTH, 0, CF_OF},
    {{0xf6}, 1, 6, 0, BOTH, 0, 0},
    {{0xf7}, 1, 6, 0, BOTH, 0, 0},
    {{0xf6}, 1, 7, 0, BOTH, 0, 0},
    {{0xf7}, 1, 7, 0, BOTH, 0, 0},
    {{0xf6}, 1, 2, 0, BOTH, 0, EVERY},
    {{0xf7}, 1, 3, 0, BOTH, 0, EVERY},
    {{0xf7}, 1, 0, IMM_Z, BOTH, 0, NO_AF},
    {{0xfe}, 1, 0, 0, BOTH, 0, EVERY},
    {{0xff}, 1, 1, 0, BOTH, 0, EVERY},
    {{0x86}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x87}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x88}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x8b}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0xc6}, 1, 0, IMM_8, BOTH, 0, EVERY},
    {{0xc7}, 1, 0, IMM_Z, BOTH, 0, EVERY},
    {{0x8d}, 1, ANY, 0, BOTH, 0, EVERY},
    {{0x90}, 1, NO_MODRM, 0, BOTH, 8, EVERY},
    {{0x98}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x99}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x9e}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x9f}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xa8}, 1, NO_MODRM, IMM_8, BOTH, 0, NO_AF},
    {{0xa9}, 1, NO_MODRM, IMM_Z, BOTH, 0, NO_AF},
    {{0xb0}, 1, NO_MODRM, IMM_8, BOTH, 8, EVERY},
    {{0xb8}, 1, NO_MODRM, IMM_V, BOTH, 8, EVERY},
    {{0xd7}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xc0}, 1, ANY, IMM_8, BOTH, 0, SHIFT},
    {{0xc1}, 1, ANY, IMM_8, BOTH, 0, SHIFT},
    {{0xd0}, 1, ANY, 0, BOTH, 0, SHIFT},
    {{0xd1}, 1, ANY, 0, BOTH, 0, SHIFT},
    {{0xd2}, 1, ANY, 0, BOTH, 0, SHIFT},
    {{0xd3}, 1, ANY, 0, BOTH, 0, SHIFT},
    {{0x0f, 0xa4}, 2, ANY, IMM_8, BOTH, 0, SHIFT},
    {{0x0f, 0xa5}, 2, ANY, 0, BOTH, 0, SHIFT},
    {{0x0f, 0xac}, 2, ANY, IMM_8, BOTH, 0, SHIFT},
    {{0x0f, 0xad}, 2, ANY, 0, BOTH, 0, SHIFT},
    {{0x0f, 0x1f}, 2, 0, 0, BOTH, 0, EVERY},
    {{0x0f, 0x18}, 2, 1, 0, BOTH, 0, EVERY},
    {{0x0f, 0x40}, 2, ANY, 0, BOTH, 16, EVERY},
    {{0x0f, 0x90}, 2, 0, 0, BOTH, 16, EVERY},
    {{0x0f, 0xa3}, 2, ANY, 0, BOTH, 0, CF},
    {{0x0f, 0xab}, 2, ANY, 0, BOTH, 0, CF},
    {{0x0f, 0xba}, 2, 6, IMM_8, BOTH, 0, CF},
    {{0x0f, 0xb0}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xb1}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xc0}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xc1}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xb6}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xb7}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xbe}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xbf}, 2, ANY, 0, BOTH, 0, EVERY},
    {{0x63}, 1, ANY, 0, B64, 0, EVERY},
    {{0x0f, 0xbc}, 2, ANY, 0, BOTH, 0, ZF},
    {{0x0f, 0xbd}, 2, ANY, 0, BOTH, 0, ZF},
    {{0xf3, 0x0f, 0xbc}, 3, ANY, 0, BOTH, 0, 0x41},
    {{0xf3, 0x0f, 0xbd}, 3, ANY, 0, BOTH, 0, 0x41},
    {{0xf3, 0x0f, 0xb8}, 3, ANY, 0, BOTH, 0, EVERY},
    {{0x0f, 0xc8}, 2, NO_MODRM, 0, BOTH, 8, EVERY},
    {{0xf5}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xf8}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xf9}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xfc}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0xfd}, 1, NO_MODRM, 0, BOTH, 0, EVERY},
    {{0x70}, 1, NO_MODRM, TO_TARGET, BOTH, 16, EVERY},
    {{0xe0}, 1, NO_MODRM, TO_TARGET, BOTH, 0, EVERY},
    {{0xe1}, 1, NO_MODRM, TO_TARGET, BOTH, 0, EVERY},
    {{0xe2}, 1, NO_MODRM, TO_TARGET, BOTH, 0, EVERY},
    {{0xe3}, 1, NO_MODRM, TO_TARGET, BOTH, 0, EVERY},
    {{0xeb}, 1, NO_MODRM, TO_TARGET, BOTH, 0, EVERY},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* --- the CPU --- */

enum { SP = 4, BP = 5, DI = 7, CODE32 = 0x23, CODE64 = 0x33, DATA = 0x2b };

/* In the low 2 GiB, where both modes reach it. */
static struct low {
    uint8_t text[2048];
    uint64_t gpr[16], flags, saved_rsp, taken;
    uint64_t helper[32]; /* a stack for the moments when the one under test must not be touched */
    uint8_t area[512];
} * low;

static sigjmp_buf divided;
static bool is_32;

static void on_divide_error(int signal)
{
    (void)signal;
    siglongjmp(divided, 1);
}

/* An opcode with [absolute address] as operand. */
static void emit_at_address(uint8_t rex, uint8_t opcode, unsigned reg, const void *where)
{
    if (rex != 0 && !is_32)
        emit(&rex, 1);
    emit(&opcode, 1);
    if (is_32) {
        const uint32_t address = (uint32_t)(uintptr_t)where;
        emit((const uint8_t[]){(uint8_t)(5 | (reg & 7) << 3)}, 1);
        emit(&address, 4);
    } else {
        emit_absolute(reg, where);
    }
}

static void emit_address(uint8_t opcode, const void *where)
{
    const uint32_t address = (uint32_t)(uintptr_t)where;
    emit(&opcode, 1);
    emit(&address, 4);
}

/* MOV between all registers (RSP apart) and memory. */
static void emit_registers(bool store)
{
    for (unsigned i = 0; i < (is_32 ? 8u : 16u); i++)
        if (i != SP)
            emit_at_address(i < 8 ? 0x48 : 0x4c, store ? 0x89 : 0x8b, i, &low->gpr[i]);
}

/* To 32-bit code that follows, or back to 64-bit code. */
static void emit_change_of_mode(bool to_32)
{
    static const uint8_t segments[] = {0xb8, DATA, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x6a, CODE32};
    if (to_32) {
        emit(segments, sizeof(segments));
        emit_address(0x68, emit_at + 7);
        emit((const uint8_t[]){0x48, 0xcb}, 2); /* far return */
    } else {
        emit_address(0xea, emit_at + 7); /* far jump */
        emit((const uint8_t[]){CODE64, 0}, 2);
    }
}

/* How far a jump goes. */
#define TARGET_BYTES 16

static void emit_taken(uint8_t value)
{
    emit_at_address(0, 0xc6, 0, &low->taken);
    emit(&value, 1);
}

/* The function that loads the state, executes the bytes and stores it; returns where the bytes
 * are. */
static uint8_t *build(const uint8_t *bytes, unsigned count)
{
    static const uint8_t pushes[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const uint8_t pops[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d,
                                   0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    static const uint8_t popf = 0x9d, pushf_pop[] = {0x9c, 0x8f}, jump[] = {0xeb, 0}, nop = 0x90;
    const bool mode_32 = is_32;
    emit_at = low->text;
    is_32 = false;
    emit(pushes, sizeof(pushes));
    emit_at_address(0x48, 0x89, SP, &low->saved_rsp);
    emit_address(0xbc, &low->helper[30]);
    if (mode_32)
        emit_change_of_mode(true);
    is_32 = mode_32;
    emit_at_address(0, 0xff, 6, &low->flags);
    emit(&popf, 1);
    emit_registers(false);
    emit_at_address(0x48, 0x8b, SP, &low->gpr[SP]);

    uint8_t *at = emit_at;
    emit(bytes, count);
    uint8_t *next = emit_at;
    emit_taken(0);
    emit(jump, sizeof(jump));
    uint8_t *from = emit_at;
    while (emit_at < next + TARGET_BYTES)
        emit(&nop, 1);
    emit_taken(1);
    from[-1] = (uint8_t)(emit_at - from);

    emit_at_address(0x48, 0x89, SP, &low->gpr[SP]);
    emit_address(0xbc, &low->helper[30]);
    emit(pushf_pop, 1);
    emit_at_address(0, pushf_pop[1], 0, &low->flags);
    emit((const uint8_t[]){0xfc}, 1);
    emit_registers(true);
    if (is_32)
        emit_change_of_mode(false);
    is_32 = false;
    emit_at_address(0x48, 0x8b, SP, &low->saved_rsp);
    emit(pops, sizeof(pops));
    is_32 = mode_32;
    return at;
}

/* --- an instruction --- */

struct random_insn {
    uint8_t bytes[15];
    unsigned count;
    bool branch;
};

static unsigned below(unsigned limit)
{
    return (unsigned)rand() % limit;
}

static void put_byte(struct random_insn *i, unsigned byte)
{
    i->bytes[i->count++] = (uint8_t)byte;
}

static void put_immediate(struct random_insn *i, unsigned kind, bool half, bool wide)
{
    unsigned bytes = 1;
    switch (kind) {
    case NOTHING: return;
    case TO_TARGET: put_byte(i, TARGET_BYTES); return;
    case IMM_ENTER:
        put_byte(i, below(16));
        put_byte(i, 0);
        put_byte(i, below(4) | below(2) << 5);
        return;
    case IMM_Z: bytes = half ? 2 : 4; break;
    case IMM_V: bytes = wide ? 8 : half ? 2 : 4; break;
    default: break;
    }
    while (bytes-- > 0)
        put_byte(i, (unsigned)random64() & 0xff);
}

/* Whether an operand of 2 bytes is let alone: it would move or truncate what the test stands on. */
static bool never_half(const struct row *row)
{
    return row->imm == TO_TARGET || row->bytes[0] == 0x63 || row->bytes[0] == 0xc9;
}

static struct random_insn make(const struct row *row)
{
    struct random_insn i = {.branch = row->imm == TO_TARGET};
    const bool rex = !is_32 && below(2), wide = rex && below(2);
    const bool half = !wide && !never_half(row) && below(3) == 0;
    unsigned opcode = 0;
    if (half)
        put_byte(&i, 0x66);
    if (row->bytes[0] == 0xf3)
        put_byte(&i, row->bytes[opcode++]);
    if (rex) /* RSI + R8 to R15 as register, as index, as base */
        put_byte(&i, 0x40 | (wide ? 8 : 0) | below(2) << 2);
    for (; opcode < row->count; opcode++)
        put_byte(&i, row->bytes[opcode]);
    if (row->registers)
        i.bytes[i.count - 1] = (uint8_t)(i.bytes[i.count - 1] + below(row->registers));
    if (row->modrm != NO_MODRM) {
        const unsigned reg = row->modrm == ANY ? below(8) : (unsigned)row->modrm;
        const bool in_register = row->bytes[0] != 0x8d && below(2);
        const bool bit_offset = row->count == 2 && (row->bytes[1] & 0xf7) == 0xa3;
        put_byte(&i, (in_register || bit_offset ? 0xc0 : 0x40) | reg << 3 |
                         (in_register || bit_offset ? below(8) : DI));
        if (!in_register && !bit_offset)
            put_byte(&i, below(64));
    }
    put_immediate(&i, row->imm, half, wide);
    return i;
}

/* The flags that are defined: of a shift, by its count as it is masked. */
static uint64_t defined_flags(const struct row *row, const struct insn *in, unsigned cl)
{
    if (row->flags != SHIFT)
        return row->flags;
    const bool rotate = in->op < INSN_SHL;
    const unsigned bits = in->mem_bytes * 8;
    const unsigned count = (in->by_cl ? cl : (unsigned)in->imm & 0xff) & (bits == 64 ? 63 : 31);
    if (count == 0)
        return EVERY;
    uint64_t flags = rotate ? EVERY : EVERY & NO_AF;
    if (count != 1)
        flags &= ~0x800ull;
    if (!rotate && count > bits) /* undefined; of SHLD and SHRD the result is, too */
        flags &= ~1ull;
    return flags;
}

/* --- both --- */

static void start_state(void)
{
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = is_32 && i > DI ? 0 : is_32 ? random64() & UINT32_MAX : random64();
    for (unsigned i = 0; i < AREA; i += 8) {
        const uint64_t v = below(4) ? random64() : gpr[0];
        memcpy(area + i, &v, 8);
    }
    gpr[DI] = (uint64_t)(uintptr_t)area + below(16);
    gpr[BP] = (uint64_t)(uintptr_t)area + 128;
    gpr[SP] = (uint64_t)(uintptr_t)area + 200;
    if (below(4) == 0)
        gpr[2] = below(3); /* dividends that fit */
    rflags = 2 | ((uint64_t)rand() & EVERY);
}

static const char *describe(const struct random_insn *i)
{
    static char text[64];
    for (unsigned n = 0; n < i->count; n++)
        snprintf(text + 3 * n, sizeof(text) - 3 * n, "%02x ", i->bytes[n]);
    return text;
}

/* What the CPU refuses (#DE) is refused here. */
static void check_divide_error(const struct random_insn *i, enum emulate_result result)
{
    if (result != EMULATE_FAULT || raised != VECTOR_DIVIDE_ERROR)
        fail_msg("%s: the CPU says #DE", describe(i));
}

static void compare_one(const struct row *row)
{
    start_state();
    const struct random_insn i = make(row);
    if (row->bytes[0] == 0xd7)
        gpr[3] = (uint64_t)(uintptr_t)area;
    uint8_t before[AREA], native_area[AREA];
    uint8_t *at = build(i.bytes, i.count);
    memcpy(low->gpr, gpr, sizeof(gpr));
    memcpy(before, area, AREA);
    low->flags = rflags | RFLAGS_IF;
    const bool refused = sigsetjmp(divided, 1) != 0;
    if (!refused)
        ((void (*)(void))(uintptr_t)low->text)();
    memcpy(native_area, area, AREA);
    memcpy(area, before, AREA);

    struct insn in;
    uint64_t target = 0;
    env.mode = is_32 ? INSN_32 : INSN_64;
    env.rip = (uint64_t)(uintptr_t)at;
    env.target = &target;
    rflags |= RFLAGS_IF;
    raised = 99;
    translations_left = 10000;
    if (insn_decode(&in, i.bytes, i.count, env.mode) != INSN_OK || in.length != i.count)
        fail_msg("%s: not decoded", describe(&i));
    const uint64_t checked = defined_flags(row, &in, (unsigned)gpr[1] & 0xff);
    const bool undefined = row->flags == SHIFT && in.op >= INSN_SHLD && (checked & 1) == 0;
    const enum emulate_result result = insn_emulate(&in, &env);
    if (refused) {
        check_divide_error(&i, result);
        return;
    }
    if (result != EMULATE_DONE && result != EMULATE_JUMP)
        fail_msg("%s: refused with %u", describe(&i), raised);
    if (i.branch && (result == EMULATE_JUMP) != (low->taken & 1))
        fail_msg("%s: taken is %u", describe(&i), (unsigned)low->taken & 1);
    if (result == EMULATE_JUMP)
        assert_int_equal(target, env.rip + i.count + TARGET_BYTES);
    if (undefined)
        return;
    for (unsigned n = 0; n < (is_32 ? 8u : 16u); n++)
        if (gpr[n] != (is_32 ? low->gpr[n] & UINT32_MAX : low->gpr[n]))
            fail_msg("%s: register %u is %#lx, not %#lx", describe(&i), n, gpr[n], low->gpr[n]);
    if (memcmp(area, native_area, AREA) != 0)
        fail_msg("%s: memory differs", describe(&i));
    if (((rflags ^ low->flags) & checked) != 0)
        fail_msg("%s: flags are %#lx, not %#lx", describe(&i), rflags & checked,
                 low->flags & checked);
}

static void compare_all(void)
{
    const unsigned mode = is_32 ? B32 : B64;
    /* Here, since cmocka has handlers of its own for the time of a test. */
    const struct sigaction action = {.sa_handler = on_divide_error, .sa_flags = SA_ONSTACK};
    assert_int_equal(sigaction(SIGFPE, &action, NULL), 0);
    srand(7);
    for (unsigned round = 0; round < 2000; round++)
        for (unsigned n = 0; n < ROWS; n++)
            if ((rows[n].modes & mode) != 0)
                compare_one(&rows[n]);
}

static void test_64(void **s)
{
    (void)s;
    is_32 = false;
    compare_all();
}

static void test_32(void **s)
{
    (void)s;
    is_32 = true;
    for (unsigned i = 0; i < 6; i++)
        segments[i] = (struct emulate_segment){0, UINT32_MAX, i == SEG_CS ? 0xc09b : 0xc093};
    if (native_has_32()) /* else what is by hand is all that there is of this mode */
        compare_all();
}

/* --- by hand --- */

static enum emulate_result execute(const char *text, enum insn_mode mode)
{
    struct insn in;
    uint8_t bytes[15];
    unsigned count = 0;
    for (const char *at = text; *at != 0; at += at[2] == ' ' ? 3 : 2)
        bytes[count++] = (uint8_t)strtoul(at, NULL, 16);
    env.mode = mode;
    raised = 99;
    translations_left = 10000;
    assert_int_equal(insn_decode(&in, bytes, count, mode), INSN_OK);
    return insn_emulate(&in, &env);
}

static uint64_t jump_target;

/* A stack of 16 bits that ends at area + 0x80, code of 64 KiB. */
static void start_16(uint64_t flags)
{
    start_state();
    for (unsigned i = 0; i < 6; i++)
        segments[i] = (struct emulate_segment){(uint64_t)(uintptr_t)area, UINT16_MAX, 0x93};
    segments[SEG_CS] = (struct emulate_segment){0, 0xfff, 0x9b};
    gpr[SP] = 0x1230080;
    rflags = 2 | flags;
    env.target = &jump_target;
    env.rip = 0x100;
    env.cpl = 0;
    env.cr4 = 0;
}

static uint16_t word_at(unsigned offset)
{
    uint16_t word;
    memcpy(&word, area + offset, 2);
    return word;
}

/* SP alone moves, and IP has 16 bits. */
static void test_16(void **s)
{
    (void)s;
    start_16(0);
    assert_int_equal(execute("e8 10 00", INSN_16), EMULATE_JUMP);
    assert_int_equal(jump_target, 0x113);
    assert_int_equal(gpr[SP], 0x123007e);
    assert_int_equal(word_at(0x7e), 0x103);
    assert_int_equal(execute("c2 04 00", INSN_16), EMULATE_JUMP);
    assert_int_equal(jump_target, 0x103);
    assert_int_equal(gpr[SP], 0x1230084);
    gpr[SP] = 0x80;
    assert_int_equal(execute("66 6a ff", INSN_16), EMULATE_DONE);
    assert_int_equal(gpr[SP], 0x7c);
    assert_int_equal(word_at(0x7e), 0xffff);
    env.rip = 0xff0; /* backwards below 0, IP wraps, and 0xfff0 is beyond the limit */
    assert_int_equal(execute("e9 00 f0", INSN_16), EMULATE_FAULT);
    assert_int_equal(raised, VECTOR_GENERAL_PROTECTION);
    gpr[1] = 0x50001;
    assert_int_equal(execute("e2 fe", INSN_16), EMULATE_DONE); /* CX, not ECX */
    assert_int_equal(gpr[1], 0x50000);
}

/* A branch that faults leaves everything as it was. */
static void test_branch_faults(void **s)
{
    (void)s;
    start_16(0);
    gpr[1] = 7;
    const uint64_t before = gpr[SP];
    env.rip = 0xff0;
    assert_int_equal(execute("e2 70", INSN_16), EMULATE_FAULT);
    assert_int_equal(gpr[1], 7);
    assert_int_equal(execute("e8 00 20", INSN_16), EMULATE_FAULT);
    assert_int_equal(raised, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(gpr[SP], before);
    env.target = NULL;
    assert_int_equal(execute("e9 00 00", INSN_16), EMULATE_FAULT);
    assert_int_equal(raised, 99);

    start_state();
    env.target = &jump_target;
    gpr[3] = 1ull << 47; /* not canonical */
    assert_int_equal(execute("ff e3", INSN_64), EMULATE_FAULT);
    assert_int_equal(raised, VECTOR_GENERAL_PROTECTION);
    gpr[3] = 0xffff800000000000;
    assert_int_equal(execute("ff d3", INSN_64), EMULATE_JUMP);
    assert_int_equal(jump_target, gpr[3]);
}

/* A stack that is not there: registers stay. */
static void test_stack_faults(void **s)
{
    (void)s;
    static const char *const all[] = {"60", "61", "c8 10 00 02", "c9", "50",
                                      "58", "9c", "9d",          "c3"};
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        uint64_t before[16];
        start_16(RFLAGS_CF);
        segments[SEG_SS].limit = 0x10;
        memcpy(before, gpr, sizeof(gpr));
        assert_int_equal(execute(all[i], INSN_16), EMULATE_FAULT);
        assert_int_equal(raised, VECTOR_STACK_FAULT);
        assert_memory_equal(before, gpr, sizeof(gpr));
        assert_int_equal(rflags, 2 | RFLAGS_CF);
    }
}

static uint64_t pop_flags_of(uint16_t image, uint64_t flags, unsigned cpl)
{
    start_16(flags);
    env.cpl = (uint8_t)cpl;
    memcpy(area + 0x80, &image, 2);
    assert_int_equal(execute("9d", INSN_16), EMULATE_DONE);
    return rflags;
}

/* SDM, "POPF/POPFD/POPFQ": what CPL, IOPL and virtual-8086 mode allow. */
static void test_flags_by_privilege(void **s)
{
    (void)s;
    const uint16_t image = RFLAGS_IF | RFLAGS_IOPL | RFLAGS_DF;
    const uint64_t iopl_1 = RFLAGS_IOPL / 3;
    assert_int_equal(pop_flags_of(image, 0, 0), 2 | image);
    assert_int_equal(pop_flags_of(image, 0, 1), 2 | RFLAGS_DF);
    assert_int_equal(pop_flags_of(image, iopl_1, 1), 2 | RFLAGS_IF | RFLAGS_DF | iopl_1);
    assert_int_equal(pop_flags_of(0, RFLAGS_IF | iopl_1, 2), 2 | RFLAGS_IF | iopl_1);

    start_16(RFLAGS_VM);
    assert_int_equal(execute("9c", INSN_16), EMULATE_FAULT);
    assert_int_equal(raised, VECTOR_GENERAL_PROTECTION);
    env.cr4 = CR4_VME;
    rflags |= RFLAGS_VIF;
    assert_int_equal(execute("9c", INSN_16), EMULATE_DONE);
    assert_int_equal(word_at(0x7e), 2 | RFLAGS_IF | RFLAGS_IOPL);
    assert_int_equal(execute("66 9c", INSN_16), EMULATE_FAULT);
    rflags = 2 | RFLAGS_VM;
    assert_int_equal(execute("9d", INSN_16), EMULATE_DONE);
    assert_int_equal(rflags, 2 | RFLAGS_VM | RFLAGS_VIF);
    gpr[SP] -= 2;
    rflags |= RFLAGS_VIP;
    assert_int_equal(execute("9d", INSN_16), EMULATE_FAULT);
    assert_int_equal(raised, VECTOR_GENERAL_PROTECTION);
    rflags = 2 | RFLAGS_VM | RFLAGS_IOPL;
    assert_int_equal(execute("9d", INSN_16), EMULATE_DONE);
    assert_int_equal(rflags, 2 | RFLAGS_VM | RFLAGS_IOPL | RFLAGS_IF);
}

static int set_up(void **s)
{
    low = mmap(NULL, sizeof(*low), PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    area = low == MAP_FAILED ? NULL : low->area;
    /* The stack under test is too small for a signal. */
    const stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    *s = stack.ss_sp;
    return low != MAP_FAILED && stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0 ? 0 : -1;
}

static int tear_down(void **s)
{
    const stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    free(*s);
    return munmap(low, sizeof(*low));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_64),           cmocka_unit_test(test_32),
        cmocka_unit_test(test_16),           cmocka_unit_test(test_branch_faults),
        cmocka_unit_test(test_stack_faults), cmocka_unit_test(test_flags_by_privilege),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
