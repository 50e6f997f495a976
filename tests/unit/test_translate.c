// link: guest/bt/translate.c guest/bt/translate_64.c guest/bt/translate_32.c
// link: guest/bt/translate_32_stack.c guest/ring3/encode.c guest/bt/translate_system.c
// link: guest/bt/translate_lookup.c
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

#include <asm/prctl.h>
#include <sys/auxv.h>

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

/* All components of XSAVE's area as if they were in use. Whether one that has its first values is,
 * a switch of tasks may change. */
static void normalize(void)
{
    native_normalize(native_state.xsave);
    put_le(native_state.xsave + 512, 8, native_components);
}

static void save(struct world *w)
{
    normalize();
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
    normalize();
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

/* By the kernel, which keeps it then; what WRGSBASE has set is lost at a switch of tasks where the
 * kernel does not know that the CPU has it. */
static void set_gs_base(uint64_t base)
{
    assert_return_code(syscall(SYS_arch_prctl, ARCH_SET_GS, base), errno);
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
    set_gs_base(GS_BASE);
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
    set_gs_base(0);
    printf("%u executed, %u faulted, %u had a register borrowed\n", count.done, count.faulted,
           count.borrowed);
    assert_true(count.done > SAMPLES / 20);
    assert_true(count.faulted > SAMPLES / 50);
    assert_true(count.borrowed > SAMPLES / 100);
    assert_int_equal(shown, 0);
}

/* --- branches --- */

/* Not to the block's own beginning: there it would stay. */
static void put_branch(uint8_t *to)
{
    static const uint8_t ignored[] = {0xf2, 0xf3, 0x3e, 0x2e};
    const uint64_t r = random64();
    const int distance = (int)(r >> 32 & 0xfff) + 16;
    for (unsigned i = 0; i < 16; i += 8)
        put_le(to + i, 8, random64());
    if (r >> 60 == 0)
        *to++ = ignored[r >> 8 & 3];
    switch (r % 10) {
    case 0: *to++ = 0xe8; break;
    case 1: *to++ = 0xe9; break;
    case 2:
        *to++ = 0xeb;
        *to = 4 + (r >> 32) % 100;
        return;
    case 3:
        *to++ = 0x70 | (r >> 16 & 15);
        *to = 4 + (r >> 32) % 100;
        return;
    case 4:
        *to++ = 0x0f;
        *to++ = 0x80 | (r >> 16 & 15);
        break;
    case 5:
        if (r >> 20 & 1)
            *to++ = 0x67;
        *to++ = 0xe0 | (r >> 16 & 3);
        *to = 4 + (r >> 32) % 100;
        return;
    case 6: *to = 0xc3; return;
    case 7:
        *to++ = 0xc2;
        put_le(to, 2, r >> 16 & 0x1f8);
        return;
    default:
        if (r >> 16 & 1)
            *to++ = 0x65;
        if ((r >> 18 & 7) == 0)
            *to++ = 0x67;
        if (r >> 17 & 1)
            *to++ = 0x40 | (r >> 21 & 15);
        *to++ = 0xff;
        *to++ = (uint8_t)((r >> 24 & 0xc7) | (r >> 28 & 1 ? 0x10 : 0x20));
        if ((to[-1] & 0xc7) == 5)
            put_le(to, 4, GAP + (r >> 32 & 0x7f8));
        return;
    }
    put_le(to, 4, (uint32_t)(r >> 31 & 1 ? distance : -distance));
}

static unsigned left_by[5], raised_alike, hidden_target;

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* What the software CPU has done is in expected, and raised says what it has raised. */
static bool is_alike(enum left left, uint64_t flags)
{
    left_by[left]++;
    if (raised != 0) {
        raised_alike++;
        if (left == LEFT_BY_MISS && !is_canonical(s.rip)) { /* seen where the miss is handled */
            hidden_target++;
            return true;
        }
        return left >= LEFT_BY_WAY_OUT && is_as(&first, flags);
    }
    if (left == LEFT_BY_LANDING)
        s.rip = expected.state.rip;
    return left < LEFT_BY_WAY_OUT && is_as(&expected, UINT64_MAX);
}

static void test_branches(void **state)
{
    (void)state;
    native_init();
    set_gs_base(GS_BASE);
    s.gs.base = GS_BASE;
    shown = 0;
    memset(left_by, 0, sizeof(left_by));
    for (unsigned i = 0; i < SAMPLES / 2; i++) {
        const unsigned place = i / 16 % PLACES;
        if (i % 16 == 0) {
            randomize(place);
            for (unsigned j = 0; j < PLACES * AREA; j += 8)
                data_bytes[j / AREA][j % AREA + 6] = data_bytes[j / AREA][j % AREA + 7] = 0;
        }
        s.rip = code_at[place] + (random64() & 0x7f0);
        s.gpr[SP] = data_at(place) + (i % 8 == 0 ? 0xe00000 : (random64() & 0xff8));
        put_branch(find_bytes(s.rip, 16));
        struct translate_input in = input_at(s.rip, 1);
        translate_at(&in);
        if (is_astray(input_bytes, block.guest_bytes))
            continue;
        save(&first);
        interpret();
        save(&expected);
        restore(&first);
        struct bt_lookup *entry = &table[expected.state.rip % BT_LOOKUPS];
        if (i & 1)
            *entry = (struct bt_lookup){-expected.state.rip, CACHE_AT + LANDING_AT};
        const enum left left = execute_block(&in);
        *entry = (struct bt_lookup){.minus_pc = 1};
        if (!is_alike(left, UINT64_MAX))
            show("branch", left, &expected);
        s = first.state;
    }
    set_gs_base(0);
    printf("%u by slots, %u looked up, %u of these found, %u raised, %u not canonical\n",
           left_by[LEFT_BY_SLOT], left_by[LEFT_BY_MISS] + left_by[LEFT_BY_LANDING],
           left_by[LEFT_BY_LANDING], raised_alike, hidden_target);
    assert_true(left_by[LEFT_BY_SLOT] > SAMPLES / 6);
    assert_true(left_by[LEFT_BY_MISS] > SAMPLES / 40 && left_by[LEFT_BY_LANDING] > SAMPLES / 40);
    assert_true(left_by[LEFT_BY_FAULT] > SAMPLES / 100);
    assert_int_equal(shown, 0);
}

/* --- templates --- */

#define POPF_LEAVES 0x1f7100ull /* TF, IOPL, NT, RF, VM, AC, VIF, VIP */

/* One instruction, with NOP behind it. */
static void put_template(uint8_t *to)
{
    const uint64_t r = random64();
    static const uint8_t one[] = {0xfa, 0xfb, 0x9c, 0x9d};
    memset(to, 0x90, 16);
    switch (r % 8) {
    case 0:
        put_le(to, 3, 0xf8010f); /* SWAPGS */
        break;
    case 1:
        *to++ = 0x40 | (r >> 8 & 9);
        *to++ = 0x8c;
        *to = (uint8_t)(0xc0 | (r >> 16) % 6 << 3 | (r >> 24 & 7));
        break;
    default: *to = one[r % 4]; break;
    }
}

static uint64_t random_flags(void)
{
    const uint64_t r = random64();
    return r & 1 ? r >> 1 : (r >> 1 & 0x200ed5) | RFLAGS_FIXED;
}

static void set_gs_bases(void)
{
    shared->gs_base = s.gs.base = random64() >> 17;
    shared->kernel_gs_base = env.extra.kernel_gs_base = random64() >> 17;
    set_gs_base(s.gs.base);
}

/* GS's bases and IF after the software CPU, and after the template. */
static bool has_same_bases(const struct interpret_registers *extra)
{
    uint64_t base;
    __asm__ volatile("rdgsbase %0" : "=r"(base));
    return base == expected.state.gs.base && shared->gs_base == base &&
           shared->kernel_gs_base == extra->kernel_gs_base;
}

static bool same_bases; /* at the end of execute_template() */

/* Executes the template from `first` on: again, at most three times, if GS has another base then
 * and the kernel does not know of WRGSBASE, so that the base may have been lost on the way. */
static enum left execute_template(const struct translate_input *in,
                                  const struct interpret_registers *extra)
{
    enum { MAX_AGAIN = 3, KNOWS_FSGSBASE = 2 }; /* Linux's HWCAP2_FSGSBASE */
    const bool kept = (getauxval(AT_HWCAP2) & KNOWS_FSGSBASE) != 0;
    const uint64_t kernel_gs_base = shared->kernel_gs_base;
    for (unsigned again = 0;; again++) {
        restore(&first);
        const enum left left = execute_block(in);
        same_bases = has_same_bases(extra);
        if (same_bases || kept || again == MAX_AGAIN)
            return left;
        shared->gs_base = first.state.gs.base;
        shared->kernel_gs_base = kernel_gs_base;
        set_gs_base(first.state.gs.base);
    }
}

/* Whether what is pending, or what stands on the stack, is the software CPU's. */
static bool has_to_leave(unsigned opcode, uint64_t popped)
{
    if (shared->pending != 0 && (opcode == 0xfb || (opcode == 0x9d && (popped & RFLAGS_IF) != 0)))
        return true;
    return opcode == 0x9d && (popped & POPF_LEAVES) != 0;
}

static void compare_template(void)
{
    uint64_t popped = 0;
    set_gs_bases();
    shared->pending = random64() % 4 == 0;
    s.rflags |= random64() & RFLAGS_IF;
    for (unsigned i = 0; i < 6; i++)
        shared->selector[i] = s.segment[i].selector = (uint16_t)random64();
    s.cs.selector &= ~3u;
    s.ss.selector &= ~3u;
    shared->selector[SEG_CS] = s.cs.selector;
    shared->selector[SEG_SS] = s.ss.selector;
    put_template(find_bytes(s.rip, 16));
    const uint8_t opcode = *find_bytes(s.rip, 1);
    uint8_t *top = find_bytes(s.gpr[SP], 8);
    if (top != NULL) {
        popped = random_flags();
        put_le(top, 8, popped);
    }
    struct translate_input in = input_at(s.rip, opcode == 0xfb ? 2 : 1);
    translate_at(&in);
    save(&first);
    interpret();
    if (opcode == 0xfb)
        interpret();
    save(&expected);
    const struct interpret_registers extra = env.extra;
    const enum left left = execute_template(&in, &extra);
    if (left == LEFT_BY_WAY_OUT) {
        left_by[left]++;
        if (!has_to_leave(opcode, popped) ||
            !is_as(&first, opcode == 0x9d ? RFLAGS_IF : UINT64_MAX))
            show("left", left, &first);
    } else if (!is_alike(left, UINT64_MAX) || !same_bases ||
               (left != LEFT_BY_FAULT && has_to_leave(opcode, popped))) {
        show("template", left, &expected);
    }
    if (opcode == 0xfb)
        assert_true(!block.insn[0].shadow && block.insn[1].shadow);
    s = first.state;
}

static void test_templates(void **state)
{
    (void)state;
    native_init();
    shown = 0;
    memset(left_by, 0, sizeof(left_by));
    for (unsigned i = 0; i < SAMPLES / 4; i++) {
        const unsigned place = i / 16 % PLACES;
        if (i % 16 == 0)
            randomize(place);
        s.rip = code_at[place] + (random64() & 0x7f0);
        s.rflags = RFLAGS_FIXED | (random64() & 0xad5);
        s.gpr[SP] = data_at(place) + (i % 8 == 0 ? 0xe00000 : 8 + (random64() & 0xff8));
        compare_template();
    }
    set_gs_base(0);
    shared->pending = 0;
    printf("%u done, %u left, %u faulted\n", left_by[LEFT_BY_SLOT], left_by[LEFT_BY_WAY_OUT],
           left_by[LEFT_BY_FAULT]);
    assert_true(left_by[LEFT_BY_SLOT] > SAMPLES / 16);
    assert_true(left_by[LEFT_BY_WAY_OUT] > SAMPLES / 100);
    assert_true(left_by[LEFT_BY_FAULT] > SAMPLES / 100);
    assert_int_equal(shown, 0);
}

/* A jump stands before what QEMU's emulation would make wrong flags of. */
static void test_pairs(void **state)
{
    static const struct {
        const char *bytes;
        enum insn_mode mode;
    } pair[] = {
        {"\x0f\xc7\x0e\x90", INSN_32},         {"\x64\xf0\x0f\xc7\x0e\x90", INSN_32},
        {"\x0f\xc7\x0e\x90", INSN_64},         {"\x65\x48\x0f\xc7\x0e\x90", INSN_64},
        {"\xf0\x48\x0f\xc7\x0e\x90", INSN_64},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
        struct translate_input in = input_at(code_at[0], 2);
        in.mode = pair[i].mode;
        in.bytes = (const uint8_t *)pair[i].bytes;
        in.count = in.page_bytes = (unsigned)strlen(pair[i].bytes);
        assert_true(translate(&block, &in));
        assert_int_equal(block.insns, 2);
        assert_memory_equal(block.code, "\xeb\0", 2);
        assert_true(block.insn[1].at >= 2 + strlen(pair[i].bytes) - 1);
    }
}

static void test_rdtsc(void **state)
{
    (void)state;
    native_init();
    for (unsigned i = 0; i < 1000; i++) {
        randomize(i % PLACES);
        put_le(find_bytes(s.rip, 2), 2, 0x310f);
        struct translate_input in = input_at(s.rip, 1);
        translate_at(&in);
        shared->tsc_offset = random64();
        save(&first);
        const uint64_t from = __builtin_ia32_rdtsc();
        assert_int_equal(execute_block(&in), LEFT_BY_SLOT);
        const uint64_t to = __builtin_ia32_rdtsc();
        assert_true(s.rax <= UINT32_MAX && s.rdx <= UINT32_MAX);
        assert_in_range((s.rdx << 32 | s.rax) - shared->tsc_offset, from, to);
        first.state.rax = s.rax;
        first.state.rdx = s.rdx;
        first.state.rip += 2;
        assert_true(is_as(&first, UINT64_MAX));
    }
    shared->tsc_offset = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_branches),
        cmocka_unit_test(test_templates), cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_rdtsc),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
