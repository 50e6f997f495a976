/* SPDX-License-Identifier: BSD-2-Clause */
/* For the test of the translator's 32-bit half: a guest's memory below 4 GiB, and code executed on
 * it by the CPU that runs the test, by its 32-bit mode, as the translator makes it, and by the
 * software CPU. */
#pragma once

#include "tests/unit/ring3_native.h"

#include "guest/bt/translate.h"
#include "tests/unit/interpret_test.h"

enum { AX, CX, DX, BX, SP, BP, SI, DI, R8 };
enum { MAX_SHOWN = 12 };

#define PAGE       4096u
#define DATA       0x20001000u /* three pages, and a read-only one */
#define CODE       0x20010000u /* the guest's */
#define NEAR       0x51700000u /* of the translation */
#define TOP        0xffffe000u /* two pages, at the end of all addresses */
#define DATA_PAGES 4u
#define TOP_PAGES  2u
#define CODE_PAGE  (DATA_PAGES + TOP_PAGES) /* the last one */
#define PAGES      (CODE_PAGE + 1)
#define BYTES      ((size_t)PAGES * PAGE)
#define PHYSICAL   0x10000u /* in the software CPU's RAM; its page tables: */
#define TABLES     0x1000u

/* What there is near the code: the code, look-up, slots, shared page. */
struct near {
    uint8_t code[PAGE], lookup[PAGE];
    uint64_t slot[512];
    union {
        struct bt_shared shared;
        uint8_t page[PAGE];
    };
};

static uint8_t *memory; /* the guest's pages, one behind the other */
static struct near *near;
static unsigned shown;

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static unsigned below(unsigned n)
{
    return (unsigned)(random64() >> 20) % n;
}

/* --- the guest's memory --- */

static void map_at(int file, uint32_t at, unsigned first, unsigned pages, int protection)
{
    void *const to = (void *)(uintptr_t)at;
    assert_ptr_equal(mmap(to, (size_t)pages * PAGE, protection, MAP_SHARED | MAP_FIXED, file,
                          (off_t)first * PAGE),
                     to);
}

static void put_entry(unsigned table, unsigned index, uint32_t entry)
{
    put_le(ram + table + 4 * index, 4, entry);
}

static void map_page(uint32_t at, unsigned page, bool writable)
{
    const unsigned table = TABLES + PAGE * (1 + (at >> 30)); /* one for each GiB is enough */
    put_entry(TABLES, at >> 22, table | 3);
    put_entry(table, at >> 12 & 1023, (PHYSICAL + page * PAGE) | (writable ? 3 : 1));
}

static int set_up(void **state)
{
    const int file = memfd_create("guest", 0);
    (void)state;
    assert_int_equal(ftruncate(file, (off_t)BYTES), 0);
    memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    near = mmap((void *)(uintptr_t)NEAR, sizeof(*near), PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_true(memory != MAP_FAILED && near != MAP_FAILED);
    near->lookup[0] = 0xf4;
    map_at(file, DATA, 0, DATA_PAGES - 1, PROT_READ | PROT_WRITE);
    map_at(file, DATA + (DATA_PAGES - 1) * PAGE, DATA_PAGES - 1, 1, PROT_READ);
    map_at(file, TOP, DATA_PAGES, TOP_PAGES, PROT_READ | PROT_WRITE);
    map_at(file, CODE, CODE_PAGE, 1, PROT_READ | PROT_EXEC);
    assert_int_equal(guestmem_add(&mem, gpa(0), RAM_BYTES, ram), OK);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        map_page(DATA + i * PAGE, i, i != DATA_PAGES - 1);
    for (unsigned i = 0; i < TOP_PAGES; i++)
        map_page(TOP + i * PAGE, DATA_PAGES + i, true);
    map_page(CODE, CODE_PAGE, false);
    return 0;
}

/* --- a sample --- */

/* Registers and memory: as they are at first, and as they have become; with the guest's IF. */
struct machine {
    uint64_t gpr[8], rflags, target; /* target: where the guest goes on */
    unsigned vector;                 /* of the exception that has ended it; or NOTHING */
    uint8_t memory[BYTES], xsave[1024];
};

static struct machine before, translated, expected;
static struct translation code;
static uint8_t bytes[64]; /* the guest's code */
static uint32_t gs_base;

/* An address of memory that is there, or nearly. */
static uint32_t random_address(void)
{
    static const uint32_t edges[] = {DATA,
                                     DATA + 4,
                                     DATA + 2,
                                     DATA + 3 * PAGE,
                                     DATA + 4 * PAGE,
                                     DATA + 4 * PAGE - 2,
                                     TOP,
                                     TOP + 6,
                                     TOP + 2 * PAGE,
                                     2,
                                     4,
                                     0xfffffff0,
                                     0xfffffffe,
                                     0xfffffffc,
                                     DATA + PAGE,
                                     DATA + PAGE + 2};
    switch (below(8)) {
    case 0: return edges[below(16)] + below(9) - 4;
    case 1: return TOP + below(TOP_PAGES * PAGE);
    default: return DATA + (below(3 * PAGE) & (below(4) == 0 ? ~0u : ~15u));
    }
}

static void random_machine(void)
{
    enum { FLAGS = 0xcd5 };
    for (unsigned i = 0; i < 8; i++)
        before.gpr[i] = below(8) == 0   ? (uint32_t)random64() | 1u << 31
                        : below(8) == 0 ? below(256)
                                        : random_address();
    before.rflags = (random64() & (FLAGS | RFLAGS_ID)) | RFLAGS_FIXED | RFLAGS_IF;
    for (unsigned i = 0; i < CODE_PAGE * PAGE; i += 8)
        put_le(before.memory + i, 8, random64());
    memset(before.xsave, 0, sizeof(before.xsave));
    for (unsigned i = 32; i < 832; i = i == 280 ? 576 : i + 8)
        put_le(before.xsave + i, 8, random64());
    put_le(before.xsave, 2, 0x37f);
    put_le(before.xsave + 24, 4, 0x1f80);
    put_le(before.xsave + 512, 8, 7);
}

static void random_bytes_from(unsigned at)
{
    for (; at < sizeof(bytes); at++)
        bytes[at] = (uint8_t)(random64() >> 24);
}

static void random_bytes(void)
{
    random_bytes_from(0);
}

static void show(const char *what)
{
    fprintf(stderr, "%s:", what);
    for (unsigned i = 0; i < code.guest_bytes; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, " became");
    for (unsigned i = 0; i < code.code_bytes; i++)
        fprintf(stderr, " %02x", code.code[i]);
    fprintf(stderr, "; exception %u, expected %u; registers, before:\n", translated.vector,
            expected.vector);
    for (unsigned i = 0; i < 8; i++)
        fprintf(stderr, " %lx %lx %lx\n", translated.gpr[i], expected.gpr[i], before.gpr[i]);
    fprintf(stderr, " flags %lx %lx %lx, target %lx %lx\n", translated.rflags, expected.rflags,
            before.rflags, translated.target, expected.target);
    if (++shown == MAX_SHOWN)
        fail();
}

/* --- execution --- */

static bool translate_bytes(unsigned max_insns)
{
    const struct translate_input in = {.pc = CODE,
                                       .bytes = bytes,
                                       .count = sizeof(bytes),
                                       .page_bytes = PAGE,
                                       .max_insns = max_insns,
                                       .mode = INSN_32,
                                       .at = (uintptr_t)near->code,
                                       .shared = (uintptr_t)&near->shared,
                                       .slots = (uintptr_t)near->slot,
                                       .lookup = (uintptr_t)near->lookup};
    if (!translate(&code, &in))
        return false;
    memcpy(near->code, code.code, sizeof(near->code));
    for (unsigned i = 0; i < code.slots; i++)
        near->slot[i] = (uintptr_t)near->code + code.slot[i].stub;
    return true;
}

/* Executes code of a mode on `before`; its registers are in native_state then. */
static void execute(struct machine *m, enum insn_mode mode, uint64_t at)
{
    memcpy(memory, before.memory, CODE_PAGE * PAGE);
    memcpy(memory + CODE_PAGE * PAGE, bytes, sizeof(bytes));
    memset(native_state.gpr, 0, sizeof(native_state.gpr));
    memset(native_state.xsave, 0, sizeof(native_state.xsave));
    memcpy(native_state.gpr, before.gpr, sizeof(before.gpr));
    memcpy(native_state.xsave, before.xsave, sizeof(before.xsave));
    native_state.rflags = before.rflags | RFLAGS_IF;
    native_state.rip = at;
    native_run(mode, 0);
    memcpy(m->gpr, native_state.gpr, sizeof(m->gpr));
    memcpy(m->memory, memory, CODE_PAGE * PAGE);
    memcpy(m->xsave, native_state.xsave, sizeof(m->xsave));
    m->rflags = native_state.rflags & ~RFLAGS_RF;
}

/* Executes the translation, and does what the hypervisor does where it ends. Returns the number of
 * the instruction which that is before; or of all of them, where they have been carried out. */
static unsigned run_translated(void)
{
    const uint64_t at = (uintptr_t)near->code;
    near->shared.interrupts_off = before.rflags & RFLAGS_IF ? 0 : (uint64_t)-RFLAGS_IF;
    execute(&translated, INSN_64, at);
    translated.rflags += near->shared.interrupts_off;
    const uint64_t rip = native_state.rip, end = rip - at;
    const bool way_out = native_vector == VECTOR_GENERAL_PROTECTION && *(uint8_t *)rip == 0xf4;
    translated.vector = way_out ? NOTHING : native_vector;
    translated.target = native_state.gpr[R8] & UINT32_MAX;
    if (rip == (uintptr_t)near->lookup)
        return code.insns;
    assert_true(end < code.code_bytes);
    for (unsigned i = 0; i < code.slots && way_out; i++) {
        translated.target = code.slot[i].target;
        if (end == code.slot[i].stub)
            return code.insns;
    }
    unsigned last = code.insns - 1;
    while (code.insn[last].at > end)
        last--;
    translated.target = CODE + code.insn[last].guest;
    for (unsigned reg = 0; reg < 8; reg++)
        if ((code.insn[last].spilled >> reg & 1) != 0)
            translated.gpr[reg] = near->shared.spill[reg];
    return last;
}

/* The software CPU, before the block. */
static void start_software(void)
{
    uint8_t *pages = ram + PHYSICAL;
    memcpy(pages, before.memory, CODE_PAGE * PAGE);
    memcpy(pages + CODE_PAGE * PAGE, bytes, sizeof(bytes));
    s = cpu_state_protected_mode(CODE);
    s.cr0 |= CR0_PG | CR0_WP;
    s.cr3 = TABLES;
    s.gs.base = gs_base;
    for (unsigned i = 0; i < 6; i++)
        s.segment[i].selector = (uint16_t)near->shared.selector[i];
    memcpy(s.gpr, before.gpr, sizeof(before.gpr));
    s.rflags = before.rflags;
    memset(&pc, 0, sizeof(pc));
    pc.vector = NOTHING;
    interpret_init(&env, &s, &calls, NULL);
}

/* Whether an instruction of the block is next. */
static bool is_inside(void)
{
    for (unsigned i = 0; i < code.insns; i++)
        if (s.rip == CODE + code.insn[i].guest)
            return true;
    return false;
}

/* Whether the block goes back to one of its instructions: for ever, maybe; or into the middle of
 * what was to be one, and so to any instruction. */
static bool __attribute__((unused)) goes_astray(const bool *starts)
{
    uint64_t last = 0;
    start_software();
    while (pc.event.info == 0 && is_inside()) {
        if (s.rip <= last || !starts[s.rip - CODE])
            return true;
        last = s.rip;
        assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    }
    return false;
}

/* Lets the software CPU go to where run_translated() has: to that instruction, or out of the block;
 * and carry out the next one if that raises an exception. */
static void run_software(unsigned done)
{
    const bool left = done == code.insns;
    const uint64_t end = left ? translated.target : CODE + code.insn[done].guest;
    start_software();
    for (bool begun = !left; pc.event.info == 0 && is_inside() && (!begun || s.rip != end);
         begun = true)
        assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    if (pc.event.info == 0 && translated.vector != NOTHING)
        assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    expected.vector = pc.event.info == 0 ? NOTHING : pc.vector;
    expected.target = s.rip;
    expected.rflags = s.rflags & ~RFLAGS_RF;
    memcpy(expected.gpr, s.gpr, sizeof(expected.gpr));
    memcpy(expected.memory, ram + PHYSICAL, CODE_PAGE * PAGE);
}

/* Whether both have had the same; not which exception: the CPU may see a page fault where segments
 * end at 4 GiB. */
static bool same_machine(uint64_t flags)
{
    return memcmp(translated.gpr, expected.gpr, sizeof(expected.gpr)) == 0 &&
           memcmp(translated.memory, expected.memory, CODE_PAGE * PAGE) == 0 &&
           ((translated.rflags ^ expected.rflags) & flags) == 0 &&
           (translated.vector == NOTHING) == (expected.vector == NOTHING);
}
