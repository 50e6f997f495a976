// link: guest/bt/translate.c guest/bt/translate_64.c guest/bt/translate_32.c guest/bt/translate_system.c guest/bt/translate_lookup.c
// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The translator's 64-bit code, executed by the CPU that runs the test. What computes is compared
 * with the same instruction where the guest has it; branches and templates with the software CPU;
 * registers, flags, memory, and where it faults that nothing has changed. Pseudo-random, and the
 * same in each run.
 */
#include "tests/unit/translate_test.h"

#include "guest/cpu/operands.h"

enum { SAMPLES = 60000, MAX_SHOWN = 12, GS_BASE = 16 };

static unsigned shown;
static ZydisDecoder decoder;

struct world {
    struct cpu_state state;
    uint8_t xsave[XSAVE_BYTES];
    uint8_t data[PLACES][AREA];
};
static struct world first, expected;

static void save(struct world *w)
{
    w->state = s;
    memcpy(w->xsave, native_state.xsave, XSAVE_BYTES);
    for (unsigned i = 0; i < PLACES; i++)
        memcpy(w->data[i], data_bytes[i], AREA);
}

static void restore(const struct world *w)
{
    s = w->state;
    memcpy(native_state.xsave, w->xsave, XSAVE_BYTES);
    for (unsigned i = 0; i < PLACES; i++)
        memcpy(data_bytes[i], w->data[i], AREA);
}

/* Whether all is as in w, where flags says which of these count. */
static bool is_as(const struct world *w, uint64_t flags)
{
    bool same = s.rip == w->state.rip && ((s.rflags ^ w->state.rflags) & flags) == 0 &&
                memcmp(s.gpr, w->state.gpr, sizeof(s.gpr)) == 0 &&
                memcmp(native_state.xsave, w->xsave, XSAVE_BYTES) == 0;
    for (unsigned i = 0; i < PLACES; i++)
        same = same && memcmp(data_bytes[i], w->data[i], AREA) == 0;
    return same;
}

static void show(const char *what, enum left how, const struct world *w)
{
    if (shown++ >= MAX_SHOWN)
        return;
    fprintf(stderr, "%s:", what);
    for (unsigned i = 0; i < block.guest_bytes; i++)
        fprintf(stderr, " %02x", input_bytes[i]);
    fprintf(stderr, "; became");
    for (unsigned i = 0; i < block.code_bytes; i++)
        fprintf(stderr, " %02x", block.code[i]);
    fprintf(stderr, "; left by %d", how);
    fprintf(stderr, "\n  rip %#lx not %#lx, flags %#lx not %#lx, vector %u error %#lx at %#lx\n",
            s.rip, w->state.rip, s.rflags, w->state.rflags, native_vector, native_error,
            native_address);
    for (unsigned i = 0; i < 16; i++)
        if (s.gpr[i] != w->state.gpr[i])
            fprintf(stderr, "  register %u: %#lx not %#lx\n", i, s.gpr[i], w->state.gpr[i]);
}

static int setup(void **state)
{
    (void)state;
    start_translator();
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return 0;
}

/* --- what computes --- */

static unsigned put_prefixes(uint8_t *to)
{
    static const uint8_t prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x65, 0x2e, 0x66};
    unsigned n = 0;
    const uint64_t r = random64();
    for (unsigned i = 0; i < sizeof(prefix); i++)
        if ((r >> 4 * i & 15) == 0)
            to[n++] = prefix[i];
    if (r >> 32 & 1)
        to[n++] = 0x40 | (r >> 33 & 15);
    return n;
}

/* Prefixes and opcode; returns where ModRM would be. */
static unsigned put_opcode(uint8_t *to)
{
    const uint64_t r = random64();
    unsigned n = r % 8 < 5 ? put_prefixes(to) : 0;
    switch (r % 8) {
    case 0:
    case 1: to[n++] = 0x0f; break;
    case 2:
        to[n++] = 0x0f;
        to[n++] = r >> 8 & 1 ? 0x38 : 0x3a;
        break;
    case 5:
        to[n++] = 0xc5;
        to[n++] = r >> 16 & 0xff;
        break;
    case 6:
        to[n++] = 0xc4;
        to[n++] = (r >> 16 & 0xe0) | (1 + (r >> 8) % 3);
        to[n++] = r >> 24 & 0xff;
        break;
    case 7:
        to[n++] = 0x62;
        to[n++] = (r >> 16 & 0xf0) | (1 + (r >> 8) % 3);
        to[n++] = (r >> 24 & 0xff) | 4;
        to[n++] = r >> 32 & 0xff;
        break;
    default: break;
    }
    to[n++] = r >> 40 & 0xff;
    return n;
}

/* Half of them are relative to RIP, and most of these reach data. */
static void put_insn(uint8_t *to, unsigned place)
{
    for (unsigned i = 0; i < 24; i += 8)
        put_le(to + i, 8, random64());
    const unsigned at = put_opcode(to);
    const uint64_t r = random64(), away = r >> 16 & 7 ? 64 + (r >> 24) % 4096 : 0x7000;
    if (r & 1) {
        to[at] = (uint8_t)((r >> 8 & 0x38) | 5);
        put_le(to + at + 1, 4, (uint32_t)(data_at(place) + away - s.rip));
    }
}

/* Whether the translator is to leave it as it is, and this CPU does with it the same each time.
 * Whatever has FS is the C library's. */
static bool is_plain(const uint8_t *bytes, unsigned *length)
{
    struct insn in;
    struct compute compute;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, 15, &z, operand)) ||
        (z.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) != 0 || z.mnemonic == ZYDIS_MNEMONIC_RDRAND ||
        z.mnemonic == ZYDIS_MNEMONIC_RDSEED)
        return false;
    const enum insn_result result = insn_decode(&in, bytes, 15, INSN_64);
    *length = z.length;
    if (result != INSN_UNKNOWN)
        return result == INSN_OK && in.length == z.length && in.op < INSN_JCC &&
               in.op != INSN_PUSHF && in.op != INSN_POPF && in.op != INSN_INS && in.op != INSN_OUTS;
    return system_decode(&in, bytes, 15, INSN_64) == INSN_UNKNOWN &&
           compute_decode(&compute, bytes, 15, INSN_64) == INSN_OK && compute.length == z.length &&
           compute.class != COMPUTE_X87 && compute.class != COMPUTE_FXSAVE &&
           compute.class != COMPUTE_XSAVE;
}

/* Whether it may touch what is not the guest's: the second time it could do something else. */
static bool is_astray(const uint8_t *bytes, unsigned length)
{
    struct insn_operands o = {.bytes = 0};
    const enum insn_result known = insn_decode(&o.insn, bytes, 15, INSN_64);
    if (known == INSN_OK && o.insn.form == INSN_STRING)
        return o.insn.addr_bytes != 8;
    if (known == INSN_OK && (o.insn.rm != INSN_NO_REG || o.insn.form >= INSN_IMM))
        return false;
    if (known != INSN_OK && (insn_decode_operands(&o, bytes, 15, INSN_64) != INSN_OK ||
                             o.bytes == 0 || o.implicit || o.elements != 0))
        return false;
    const uint64_t at =
        insn_address(&o.insn, s.gpr, s.rip + length) + (o.insn.segment == SEG_GS ? GS_BASE : 0);
    for (unsigned i = 0; i < PLACES; i++)
        if (at + 1024 - data_at(i) < 1024 + GAP)
            return false;
    return at < UINT32_MAX;
}

static struct {
    unsigned done, faulted, borrowed;
} count;

static void compare_plain(unsigned length)
{
    struct translate_input in = input_at(s.rip, 1);
    translate_at(&in);
    save(&first);
    *find_bytes(s.rip + length, 1) = 0xf4; /* for all of it, should it be read */
    const bool done = execute_original(length);
    const unsigned vector = native_vector;
    const uint64_t error = native_error, address = native_address;
    save(&expected);
    restore(&first);
    (void)execute_original(length);
    if (!is_as(&expected, UINT64_MAX))
        return; /* it has touched what is not the guest's */
    restore(&first);
    const enum left left = execute_block(&in);
    bool same = is_as(&expected, UINT64_MAX);
    same = same && left == (done ? LEFT_BY_SLOT : LEFT_BY_FAULT);
    if (!done)
        same = same && native_vector == vector && native_error == error &&
               (vector != VECTOR_PAGE_FAULT || native_address == address);
    count.done += done;
    count.faulted += !done;
    count.borrowed += done && block.insn[0].spilled != 0;
    if (!same)
        show("plain", left, &expected);
}

static void test_plain(void **state)
{
    (void)state;
    native_init();
    __asm__ volatile("wrgsbase %0" : : "r"((uint64_t)GS_BASE));
    memset(&count, 0, sizeof(count));
    shown = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        unsigned length;
        const unsigned place = i / 16 % PLACES;
        if (i % 16 == 0)
            randomize(place);
        s.rip = code_at[place] + (random64() & 0x7f0);
        uint8_t *bytes = find_bytes(s.rip, 32);
        put_insn(bytes, place);
        if (!is_plain(bytes, &length) || is_astray(bytes, length))
            continue;
        const struct cpu_state was = s;
        compare_plain(length);
        s = was;
    }
    __asm__ volatile("wrgsbase %0" : : "r"(0ull));
    printf("%u executed, %u faulted, %u had a register borrowed\n", count.done, count.faulted,
           count.borrowed);
    assert_true(count.done > SAMPLES / 20);
    assert_true(count.faulted > SAMPLES / 50);
    assert_true(count.borrowed > SAMPLES / 100);
    assert_int_equal(shown, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
