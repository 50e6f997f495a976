// link: guest/bt/translate.c guest/bt/translate_32.c guest/bt/translate_32_stack.c guest/bt/translate_64.c
// link: guest/bt/translate_system.c
// link: guest/ring3/encode.c guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c
// link: guest/cpu/system_segment.c guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c
// link: guest/cpu/decode.c guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c
// link: guest/cpu/transfer.c guest/cpu/deliver.c guest/cpu/operands.c guest/cpu/operand_table.c
// link: guest/cpu/event.c guest/cpu/control.c guest/cpu/guestwalk.c mm/guestmem.c
// libs: -fno-sanitize=address
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 32-bit code as the translator makes 64-bit code of it, executed by the CPU that runs the test: on
 * random registers and memory, some of it read-only and some of it missing. What stays one
 * instruction is compared with that CPU's 32-bit mode, if it can be had; templates, and blocks of
 * them, with the software CPU: registers, flags, memory, and where it goes on. Wherever an
 * exception ends the code, all is as it was before that instruction.
 *
 * The address sanitizer is off: it has memory of its own below 4 GiB, where nothing is to be.
 */
#include "tests/unit/translate_32_test.h"

#include <asm/prctl.h>

/* --- what stays one instruction --- */

/* Prefixes, an opcode, and ModRM whose operand is likely to be in memory that is there. */
static void random_instruction(void)
{
    static const uint8_t prefixes[] = {0x66, 0x66, 0x66, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e};
    static const uint8_t maps[][2] = {{0x0f, 0}, {0x0f, 0x38}, {0x0f, 0x3a}};
    unsigned at = 0;
    random_bytes();
    for (unsigned n = below(4); n > 1; n--)
        bytes[at++] = prefixes[below(sizeof(prefixes))];
    switch (below(8)) {
    case 0:
    case 1: bytes[at++] = 0x0f; break;
    case 2:
        memcpy(bytes + at, maps[below(3)], 2);
        at += bytes[at + 1] == 0 ? 1 : 2;
        break;
    case 3:
        bytes[at++] = 0xc5;
        bytes[at++] |= 0xc0;
        break;
    case 4:
        bytes[at++] = 0xc4;
        bytes[at] = (uint8_t)(0xc0 | (bytes[at] & 0x20) | (1 + below(3)));
        bytes[at + 1] |= below(2) ? 0x78 : 0x40;
        at += 2;
        break;
    default: break;
    }
    at++; /* the opcode */
    const unsigned mod = bytes[at] >> 6, rm = bytes[at] & 7;
    if (mod == 2)
        put_le(bytes + at + 1 + (rm == 4), 4, below(2) ? below(64) : (uint32_t)random64());
    if (mod == 0 && (rm == 5 || below(16) == 0))
        put_le(bytes + at + 1, 4, random_address());
}

static bool is_prefix(uint8_t byte)
{
    return (byte & 0xe7) == 0x26 || (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 ||
           (byte & 0xfe) == 0xf2;
}

enum kind { OTHER, PLAIN, TEMPLATE };

/* Whether it is one to be compared with the CPU's own 32-bit mode. */
static enum kind kind_of(void)
{
    struct insn in;
    struct compute what;
    const enum insn_result result = insn_decode(&in, bytes, INSN_MAX_BYTES, INSN_32);
    for (unsigned at = 0; is_prefix(bytes[at]); at++)
        if (bytes[at] == 0x64 || bytes[at] == 0x65) /* has no base there */
            return OTHER;
    if (result == INSN_UNKNOWN)
        return system_decode(&in, bytes, INSN_MAX_BYTES, INSN_32) == INSN_UNKNOWN &&
                       compute_decode(&what, bytes, INSN_MAX_BYTES, INSN_32) == INSN_OK
                   ? PLAIN
                   : OTHER;
    if (result != INSN_OK || in.op == INSN_INS || in.op == INSN_OUTS)
        return OTHER;
    const bool stack = in.op == INSN_PUSH || in.op == INSN_POP ||
                       (in.op >= INSN_PUSHA && in.op <= INSN_LEAVE) || in.op >= INSN_JCC;
    return stack ? TEMPLATE : PLAIN;
}

/* RDRAND and RDSEED. */
static bool is_random(void)
{
    unsigned at = 0;
    while (bytes[at] != 0x0f && at < 8)
        at++;
    return bytes[at] == 0x0f && bytes[at + 1] == 0xc7 && bytes[at + 2] >= 0xc0;
}

/* What is in use of XSAVE's area: of x87 its registers and words, MXCSR, XMM, YMM. A component
 * that is not there has its first values. */
static void normalize(uint8_t *xsave)
{
    const uint64_t there = get_le64(xsave + 512);
    memset(xsave + 6, 0, 18);
    memset(xsave + 28, 0, 4);
    if ((there & 1) == 0) {
        memset(xsave, 0, 24);
        put_le(xsave, 2, 0x37f);
        memset(xsave + 32, 0, 128);
    }
    if ((there & 2) == 0)
        memset(xsave + 160, 0, 256);
    if ((there & 4) == 0)
        memset(xsave + 576, 0, 256);
    memset(xsave + 416, 0, 160);
    memset(xsave + 832, 0, 192);
}

/* VPEXTRQ and VPINSRQ: in 32-bit mode W does not count by the SDM, and is #UD on AMD's CPUs. */
static bool is_quadword(void)
{
    unsigned at = 0;
    while (is_prefix(bytes[at]))
        at++;
    return bytes[at] == 0xc4 && (bytes[at + 1] & 31) == 3 && (bytes[at + 2] & 0x80) != 0 &&
           (bytes[at + 3] == 0x16 || bytes[at + 3] == 0x22);
}

/* An operand that reaches beyond 4 GiB: the translation has a page fault there, which the software
 * CPU makes the segment's. */
static bool is_beyond(void)
{
    return translated.vector == VECTOR_PAGE_FAULT &&
           (expected.vector == VECTOR_GENERAL_PROTECTION || expected.vector == VECTOR_STACK_FAULT);
}

/* A string instruction that is repeated may have done a part. */
static bool is_repeated(void)
{
    struct insn in;
    return insn_decode(&in, bytes, INSN_MAX_BYTES, INSN_32) == INSN_OK && in.rep;
}

/* Where the CPU executes no 32-bit code: an exception has changed nothing, and what has none is
 * behind the instruction. */
static void look_at_end(unsigned length)
{
    const bool ended = translated.vector == NOTHING;
    const bool same = memcmp(translated.gpr, before.gpr, sizeof(before.gpr)) == 0 &&
                      ((translated.rflags ^ before.rflags) & RFLAGS_DEFINED) == 0 &&
                      memcmp(translated.memory, before.memory, CODE_PAGE * PAGE) == 0;
    expected = translated;
    if ((!ended && !same && !is_repeated()) || translated.target != (ended ? CODE + length : CODE))
        show("something has changed");
}

static void compare_with_cpu(unsigned length)
{
    run_translated();
    if (!native_has_32()) {
        look_at_end(length);
        return;
    }
    bytes[length] = 0xf4;
    execute(&expected, INSN_32, CODE);
    const bool ended = native_state.rip == CODE + length;
    expected.vector = ended ? NOTHING : native_vector;
    normalize(translated.xsave);
    normalize(expected.xsave);
    translated.rflags |= RFLAGS_IF;
    if (expected.vector == VECTOR_INVALID_OPCODE && is_quadword())
        return;
    if (!same_machine(RFLAGS_DEFINED) || (translated.vector != expected.vector && !is_beyond()) ||
        translated.target != (ended ? CODE + length : CODE))
        show("not as in 32-bit mode");
    else if (memcmp(translated.xsave, expected.xsave, sizeof(expected.xsave)) != 0)
        show("vectors differ");
}

static void test_plain(void **state)
{
    enum { SAMPLES = 150000, MIN_COMPARED = 60000 };
    unsigned compared = 0, left = 0;
    (void)state;
    native_init(); /* cmocka has taken the signals */
    for (unsigned i = 0; i < SAMPLES; i++) {
        random_instruction();
        if (kind_of() != PLAIN || is_random() || !translate_bytes(1))
            continue;
        if (code.code[0] == 0xf4) {
            left++;
            continue;
        }
        if (compared % 8 == 0)
            random_machine();
        compare_with_cpu(code.guest_bytes);
        compared++;
    }
    print_message("%u compared, %u left to the software CPU\n", compared, left);
    assert_true(compared > MIN_COMPARED);
    assert_int_equal(shown, 0);
}

/* --- templates --- */

/* Opcodes of which templates are made; ModRM.reg, where it says which. */
static const struct {
    uint8_t map, opcode, reg;
} templates[] = {
    {0, 0x06, 0}, {0, 0x0e, 0}, {0, 0x16, 0}, {0, 0x1e, 0}, {1, 0xa0, 0}, {1, 0xa8, 0},
    {0, 0x50, 0}, {0, 0x54, 0}, {0, 0x57, 0}, {0, 0x58, 0}, {0, 0x5c, 0}, {0, 0x5e, 0},
    {0, 0x60, 0}, {0, 0x61, 0}, {0, 0x68, 0}, {0, 0x6a, 0}, {0, 0x74, 0}, {0, 0x7d, 0},
    {1, 0x82, 0}, {1, 0x8f, 0}, {0, 0x8c, 2}, {0, 0x8c, 5}, {0, 0x8f, 0}, {0, 0x9c, 0},
    {0, 0x9d, 0}, {0, 0xc2, 0}, {0, 0xc3, 0}, {0, 0xc9, 0}, {0, 0xe0, 0}, {0, 0xe1, 0},
    {0, 0xe2, 0}, {0, 0xe3, 0}, {0, 0xe8, 0}, {0, 0xe9, 0}, {0, 0xeb, 0}, {0, 0xfa, 0},
    {0, 0xfb, 0}, {0, 0xff, 2}, {0, 0xff, 4}, {0, 0xff, 6}, {0, 0x48, 0}, {0, 0x45, 0},
    {0, 0x01, 1}, {0, 0x03, 2}, {0, 0x39, 3}, {0, 0x8b, 4}, {0, 0x89, 5}, {0, 0x8d, 6},
    {0, 0x13, 7}, {0, 0xbc, 0}, {0, 0xa1, 0}, {0, 0xa3, 0}, {0, 0xd7, 0}, {0, 0xaa, 0},
};
enum { TEMPLATES = sizeof(templates) / sizeof(templates[0]) };

/* One of them at a place in the guest's code; returns where it ends. */
static unsigned random_template(unsigned at, unsigned number)
{
    const unsigned begin = at;
    struct insn in;
    random_bytes_from(at);
    switch (below(12)) {
    case 0: bytes[at++] = 0x65; break;
    case 1: bytes[at++] = 0x2e; break;
    case 2: bytes[at++] = 0x3e; break;
    case 3: bytes[at++] = below(4) ? 0x36 : 0x66; break;
    default: break;
    }
    if (templates[number].map == 1)
        bytes[at++] = 0x0f;
    bytes[at++] = templates[number].opcode;
    bytes[at] = (uint8_t)((bytes[at] & 0xc7) | templates[number].reg << 3);
    if ((bytes[at] & 0xc7) == 5 || (templates[number].opcode & 0xfd) == 0xa1)
        put_le(bytes + at + ((templates[number].opcode & 0xfd) != 0xa1), 4, random_address());
    if (bytes[at] >> 6 == 2)
        put_le(bytes + at + 1 + ((bytes[at] & 7) == 4), 4, below(64));
    if (insn_decode(&in, bytes + begin, INSN_MAX_BYTES, INSN_32) != INSN_OK &&
        system_decode(&in, bytes + begin, INSN_MAX_BYTES, INSN_32) != INSN_OK)
        return random_template(begin, number); /* LEA of a register */
    return begin + in.length;
}

static void random_shared(void)
{
    for (unsigned i = 0; i < 6; i++)
        near->shared.selector[i] = random64() & 0xfffc;
    near->shared.pending = below(4) == 0;
    gs_base = below(256) * 16;
    assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, (long)gs_base), 0);
    if (below(2)) /* images of flags, as POPF may take them */
        for (unsigned i = 0; i < CODE_PAGE * PAGE; i += 4)
            put_le(before.memory + i, 4, (get_le32(before.memory + i) & 0x200ed5) | RFLAGS_FIXED);
    if (below(2))
        before.rflags &= ~RFLAGS_IF;
}

/* Whether the template of an instruction, of that opcode, may have gone out; the software CPU is
 * before it. */
static bool may_go_out(uint8_t opcode)
{
    enum { STI = 0xfb, POPF = 0x9d };
    const uint64_t others = RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM |
                            RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP;
    struct emulate_operand image;
    uint32_t value;
    if (opcode == STI || near->shared.pending != 0)
        return (opcode == STI || opcode == POPF) && near->shared.pending != 0;
    if (opcode != POPF || !pc_translate(&env, gva(s.rsp), 4, false, &image))
        return false;
    pc_read(&env, &image, &value);
    return (value & others) != 0;
}

/* PUSHA that has ended by an exception may have written a part of what it is to write. */
static void forget_below_sp(void)
{
    for (unsigned i = 1; i <= 32; i++) {
        const uint32_t at = (uint32_t)expected.gpr[SP] - i;
        const bool in_data = at - DATA < DATA_PAGES * PAGE;
        if (in_data || at >= TOP) {
            const uint32_t offset = in_data ? at - DATA : at - TOP + DATA_PAGES * PAGE;
            translated.memory[offset] = expected.memory[offset];
        }
    }
}

/* Returns how many instructions have been carried out. */
static unsigned compare_with_software(void)
{
    enum { PUSHA = 0x60, POPF = 0x9d };
    const unsigned done = run_translated();
    const uint64_t end = native_state.rip - (uintptr_t)near->code;
    const uint8_t *next = bytes + code.insn[done < code.insns ? done : 0].guest;
    bool inside = false; /* a way out that is not all there is */
    run_software(done);
    while (is_prefix(*next))
        next++;
    if (done < code.insns) {
        inside = translated.vector == NOTHING && end != code.insn[done].at;
        if (translated.vector != NOTHING && *next == PUSHA)
            forget_below_sp();
    }
    if (!same_machine(inside && *next == POPF ? RFLAGS_IF : RFLAGS_DEFINED) ||
        translated.target != expected.target)
        show("not as by the software CPU");
    else if (inside && !may_go_out(*next))
        show("out for nothing");
    return done;
}

static void test_templates(void **state)
{
    enum { SAMPLES = 300, NOP = 0x90 };
    (void)state;
    native_init(); /* cmocka has taken the signals */
    for (unsigned number = 0; number < TEMPLATES; number++) {
        unsigned done = 0, faults = 0;
        for (unsigned i = 0; i < SAMPLES; i++) {
            random_bytes();
            const unsigned behind = random_template(0, number);
            memset(bytes + behind, NOP, sizeof(bytes) - behind); /* what is behind STI counts */
            random_machine();
            random_shared();
            assert_true(translate_bytes(2));
            done += compare_with_software();
            faults += translated.vector != NOTHING;
        }
        if (done < SAMPLES / 8)
            fail_msg("opcode %x: %u done, %u faults", templates[number].opcode, done, faults);
    }
    assert_int_equal(shown, 0);
}

static void test_blocks(void **state)
{
    enum { SAMPLES = 20000, MIN_DONE = 20000, MIN_FAULTS = 1000, NOP = 0x90 };
    unsigned done = 0, faults = 0, astray = 0;
    (void)state;
    native_init(); /* cmocka has taken the signals */
    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned at = 0, insns = 0;
        bool starts[sizeof(bytes)] = {false};
        for (unsigned n = 1 + below(8); n > 0 && at < 48; n--, insns++) {
            starts[at] = true;
            at = random_template(at, below(TEMPLATES));
        }
        memset(bytes + at, NOP, sizeof(bytes) - at);
        memset(starts + at, true, sizeof(starts) - at);
        if (i % 4 == 0)
            random_machine();
        random_shared();
        assert_true(translate_bytes(insns));
        if (goes_astray(starts)) {
            astray++;
            continue;
        }
        done += compare_with_software();
        faults += translated.vector != NOTHING;
    }
    print_message("%u instructions, %u exceptions, %u go astray\n", done, faults, astray);
    assert_true(done > MIN_DONE && faults > MIN_FAULTS && astray < SAMPLES / 8);
    assert_int_equal(shown, 0);
}

/* --- some that are not random --- */

static void put_code(const uint8_t *from, unsigned count)
{
    random_bytes();
    memcpy(bytes, from, count);
}

/* A block that begins anew by itself. */
static void test_loop(void **state)
{
    static const uint8_t loop[] = {0x01, 0xc8, 0x49, 0x75, 0xfb};
    (void)state;
    native_init();
    put_code(loop, sizeof(loop));
    random_machine();
    before.gpr[AX] = 0;
    before.gpr[CX] = 1000;
    assert_true(translate_bytes(3));
    assert_int_equal(code.insns, 3);
    assert_int_equal(code.slots, 1);
    run_translated();
    run_software(code.insns);
    assert_true(same_machine(RFLAGS_DEFINED));
    assert_int_equal(translated.gpr[AX], 500500);
    assert_int_equal(translated.target, CODE + sizeof(loop));
}

static void test_tsc(void **state)
{
    static const uint8_t rdtsc[] = {0x0f, 0x31};
    (void)state;
    native_init();
    put_code(rdtsc, sizeof(rdtsc));
    assert_true(translate_bytes(1));
    for (unsigned i = 0; i < 100; i++) {
        const uint64_t offset = near->shared.tsc_offset = random64();
        random_machine();
        const uint64_t least = __builtin_ia32_rdtsc() + offset;
        assert_int_equal(run_translated(), 1);
        const uint64_t most = __builtin_ia32_rdtsc() + offset,
                       told = translated.gpr[AX] | translated.gpr[DX] << 32;
        assert_true(told - least <= most - least);
        assert_int_equal(translated.rflags, before.rflags);
        assert_true(translated.gpr[AX] <= UINT32_MAX);
        translated.gpr[AX] = before.gpr[AX];
        translated.gpr[DX] = before.gpr[DX];
        assert_memory_equal(translated.gpr, before.gpr, sizeof(before.gpr));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),  cmocka_unit_test(test_templates),
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_loop),
        cmocka_unit_test(test_tsc),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
