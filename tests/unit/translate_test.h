/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of the translator: a guest's code and data, the cache with what stands beside it, and
 * two ways to go on: as translated code, and by the software CPU or by the instruction itself. All
 * of the guest is where the guest has it, so the CPU that runs the test executes both. */
#pragma once

#include "tests/unit/ring3_native.h"

#include <errno.h>

#include <Zydis/Zydis.h>

#include "guest/bt/translate.h"
#include "guest/bt/translate_parts.h"
#include "guest/cpu/interpret.h"

/* Three guests, by the distance of their addresses: below 2 GiB, below 4 GiB, and far away. Each
 * has code and data in two pages, and nothing behind these. */
enum { LOW, MIDDLE, FAR, PLACES };
enum { AREA = 2 * 4096, GAP = 0x10000 };
static const uint64_t code_at[PLACES] = {0x21000000, 0x90000000, 0x500000000000};
static uint8_t *code_bytes[PLACES], *data_bytes[PLACES]; /* where C finds it */
static uint64_t data_at(unsigned place)
{
    return code_at[place] + GAP;
}

/* The cache, with all that has to be near; and code that jumps to any address. */
#define CACHE_AT 0x30000000ull
enum { CODE_ROOM = 1 << 20, SHARED_OFFSET = CODE_ROOM, SLOTS_OFFSET = CODE_ROOM + 4096 };
enum { SLOTS = 4096, TABLE_OFFSET = SLOTS_OFFSET + 8 * SLOTS, START_OFFSET = CODE_ROOM + 2048 };
static uint8_t *cache;
static struct bt_shared *shared;
static uint64_t *slots;
static struct bt_lookup *table;
enum { LOOKUP_AT = 64, LANDING_AT = 32, FIRST_BLOCK_AT = 512 };
static unsigned miss;

static struct cpu_state s; /* the guest */
static struct interpret_env env;
static unsigned raised; /* 0, or a vector plus 1 */
static uint64_t raised_at;

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* --- memory --- */

static uint8_t *find_bytes(uint64_t linear, unsigned bytes)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (linear - code_at[i] <= AREA - bytes)
            return code_bytes[i] + (linear - code_at[i]);
        if (linear - data_at(i) <= AREA - bytes)
            return data_bytes[i] + (linear - data_at(i));
    }
    return NULL;
}

/* The same pages at two addresses. */
static uint8_t *map_twice(int fd, off_t offset, uint64_t at, size_t bytes, int protection)
{
    void *fixed =
        mmap((void *)(uintptr_t)at, bytes, protection, MAP_SHARED | MAP_FIXED, fd, offset);
    assert_int_equal((uintptr_t)fixed, at);
    uint8_t *ours = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    assert_ptr_not_equal(ours, MAP_FAILED);
    return ours;
}

static void map_guests(void)
{
    const int everything = PROT_READ | PROT_WRITE | PROT_EXEC;
    const int fd = memfd_create("guest", 0);
    assert_return_code(ftruncate(fd, 2 * PLACES * AREA), errno);
    for (unsigned i = 0; i < PLACES; i++) {
        code_bytes[i] = map_twice(fd, 2 * i * AREA, code_at[i], AREA, everything);
        data_bytes[i] = map_twice(fd, (2 * i + 1) * AREA, data_at(i), AREA, PROT_READ | PROT_WRITE);
    }
    close(fd);
    const size_t bytes = TABLE_OFFSET + sizeof(struct bt_lookup) * BT_LOOKUPS;
    cache = mmap((void *)(uintptr_t)CACHE_AT, bytes, everything,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_int_equal((uintptr_t)cache, CACHE_AT);
    shared = (struct bt_shared *)(cache + SHARED_OFFSET);
    slots = (uint64_t *)(cache + SLOTS_OFFSET);
    table = (struct bt_lookup *)(cache + TABLE_OFFSET);
}

static void empty_table(void)
{
    for (unsigned i = 0; i < BT_LOOKUPS; i++)
        table[i] = (struct bt_lookup){.minus_pc = 1};
}

/* --- the software CPU --- */

static bool at_fetch(struct interpret_env *e, uint64_t linear, uint8_t *to, unsigned bytes)
{
    (void)e;
    const uint8_t *from = find_bytes(linear, bytes);
    raised = from == NULL ? 1 + VECTOR_PAGE_FAULT : raised;
    if (from != NULL)
        memcpy(to, from, bytes);
    return from != NULL;
}

static bool at_translate(void *e, gva_t linear, unsigned bytes, bool write,
                         struct emulate_operand *out)
{
    (void)e;
    (void)write;
    *out = (struct emulate_operand){.at = {gpa(linear.v)}, .first = bytes, .bytes = bytes};
    for (unsigned i = 0; i < bytes; i++) {
        if (find_bytes(linear.v + i, 1) == NULL) {
            raised = 1 + VECTOR_PAGE_FAULT;
            raised_at = linear.v + i;
            return false;
        }
    }
    return true;
}

static void at_read(void *e, const struct emulate_operand *o, void *to)
{
    (void)e;
    memcpy(to, find_bytes(o->at[0].v, o->bytes), o->bytes);
}

static void at_write(void *e, const struct emulate_operand *o, const void *from)
{
    (void)e;
    memcpy(find_bytes(o->at[0].v, o->bytes), from, o->bytes);
}

static void at_raise(struct interpret_env *e, unsigned vector, uint32_t error)
{
    (void)e;
    (void)error;
    raised = 1 + vector;
}

static uint64_t at_rdtsc(struct interpret_env *e)
{
    (void)e;
    return __builtin_ia32_rdtsc() + shared->tsc_offset;
}

static const struct interpret_calls calls = {
    .fetch = at_fetch,
    .translate = at_translate,
    .read = at_read,
    .write = at_write,
    .raise = at_raise,
    .rdtsc = at_rdtsc,
};

/* The instruction at RIP, by the software CPU. */
static void __attribute__((unused)) interpret(void)
{
    raised = 0;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
}

/* --- the CPU that runs the test --- */

/* Executes code from an address on, on the guest's registers, and takes them back. */
static void execute(uint64_t at)
{
    static const uint8_t jmp[] = {0xff, 0x25, 0, 0, 0, 0};
    memcpy(cache + START_OFFSET, jmp, sizeof(jmp));
    put_le(cache + START_OFFSET + sizeof(jmp), 8, at);
    memcpy(native_state.gpr, s.gpr, sizeof(s.gpr));
    native_state.rip = CACHE_AT + START_OFFSET;
    native_state.rflags = s.rflags | RFLAGS_IF;
    native_run(INSN_64, 0);
    memcpy(s.gpr, native_state.gpr, sizeof(s.gpr));
    s.rflags = (native_state.rflags & ~(uint64_t)(RFLAGS_IF | RFLAGS_RF)) | (s.rflags & RFLAGS_IF);
}

/* The instruction at RIP, of so many bytes, by itself. Returns whether nothing was raised. */
static bool __attribute__((unused)) execute_original(unsigned length)
{
    uint8_t *hlt = find_bytes(s.rip + length, 1);
    const uint8_t old = *hlt;
    *hlt = 0xf4;
    execute(s.rip);
    const bool done = native_state.rip == s.rip + length;
    *hlt = old;
    assert_true(done || native_state.rip == s.rip);
    s.rip = native_state.rip;
    return done;
}

/* --- translated code --- */

static struct translation block;
static uint8_t input_bytes[AREA];

static struct translate_input input_at(uint64_t pc, unsigned max_insns)
{
    return (struct translate_input){.pc = pc,
                                    .bytes = input_bytes,
                                    .max_insns = max_insns,
                                    .mode = INSN_64,
                                    .has_fsgsbase = true,
                                    .at = CACHE_AT + FIRST_BLOCK_AT,
                                    .shared = CACHE_AT + SHARED_OFFSET,
                                    .slots = CACHE_AT + SLOTS_OFFSET,
                                    .lookup = CACHE_AT + LOOKUP_AT};
}

/* The block at RIP. */
static void translate_at(struct translate_input *in)
{
    const uint8_t *from = find_bytes(in->pc, 1);
    unsigned count = 0;
    while (count < 4096 && find_bytes(in->pc + count, 1) != NULL)
        count++;
    assert_non_null(from);
    memcpy(input_bytes, from, count);
    in->count = count;
    in->page_bytes = 4096 - in->pc % 4096;
    assert_true(translate(&block, in));
    memcpy((void *)(uintptr_t)in->at, block.code, block.code_bytes);
    for (unsigned i = 0; i < block.slots; i++)
        ((uint64_t *)(uintptr_t)in->slots)[i] = in->at + block.slot[i].stub;
}

/* How translated code was left. */
enum left {
    LEFT_BY_SLOT,
    LEFT_BY_MISS,
    LEFT_BY_LANDING, /* where the table sends */
    LEFT_BY_WAY_OUT, /* before an instruction, by HLT */
    LEFT_BY_FAULT,   /* likewise, by something else */
};
static unsigned left_insn; /* of the last two */

/* What the hypervisor makes of the place where a block was left: RIP is where the guest goes on. */
static enum left see_end(const struct translate_input *in, const struct translation *t)
{
    const uint64_t at = native_state.rip - in->at;
    for (unsigned i = 0; i < t->slots; i++) {
        if (at == t->slot[i].stub) {
            s.rip = t->slot[i].target;
            return LEFT_BY_SLOT;
        }
    }
    for (left_insn = t->insns - 1; t->insn[left_insn].at > at;)
        left_insn--;
    for (unsigned i = 0; i < 16; i++)
        if ((t->insn[left_insn].spilled >> i & 1) != 0)
            s.gpr[i] = shared->spill[i];
    s.rip = in->pc + t->insn[left_insn].guest;
    return t->code[at] == 0xf4 ? LEFT_BY_WAY_OUT : LEFT_BY_FAULT;
}

/* Executes from a block's beginning on, with IF where the guest has it. */
static void execute_translated(uint64_t at)
{
    shared->interrupts_off = s.rflags & RFLAGS_IF ? 0 : ~(uint64_t)RFLAGS_IF + 1;
    execute(at);
    s.rflags =
        (s.rflags & ~(uint64_t)RFLAGS_IF) | ((RFLAGS_IF + shared->interrupts_off) & RFLAGS_IF);
}

static bool has_missed(void)
{
    if (native_state.rip != CACHE_AT + LOOKUP_AT + miss)
        return false;
    s.rip = shared->target;
    return true;
}

static enum left __attribute__((unused)) execute_block(const struct translate_input *in)
{
    execute_translated(in->at);
    if (has_missed())
        return LEFT_BY_MISS;
    if (native_state.rip == CACHE_AT + LANDING_AT)
        return LEFT_BY_LANDING;
    if (native_state.rip - in->at >= block.code_bytes)
        fail_msg("the code was left at %#lx", native_state.rip);
    return see_end(in, &block);
}

/* --- start --- */

static void start_cpu(void)
{
    s = cpu_state_long_mode(0, 0);
    s.cr4 |= CR4_OSFXSR | CR4_FSGSBASE;
    interpret_init(&env, &s, &calls, NULL);
    native_init();
    native_state = (struct native){.rip = 0};
    put_le(native_state.xsave, 2, 0x37f);
    put_le(native_state.xsave + 24, 4, 0x1f80);
}

static void start_translator(void)
{
    map_guests();
    cache[LANDING_AT] = 0xf4;
    translate_lookup(cache + LOOKUP_AT, INSN_64, CACHE_AT + LOOKUP_AT, CACHE_AT + SHARED_OFFSET,
                     CACHE_AT + TABLE_OFFSET, &miss);
    empty_table();
    start_cpu();
}

/* Registers: addresses of data, small numbers, any numbers. */
static void __attribute__((unused)) randomize(unsigned place)
{
    for (unsigned i = 0; i < 16; i++) {
        const uint64_t r = random64();
        switch (r % 4) {
        case 0: s.gpr[i] = random64(); break;
        case 1: s.gpr[i] = r >> 8 & 0xff; break;
        default: s.gpr[i] = data_at(r % 3 == 0 ? LOW : place) + 64 + (r >> 8) % 4096; break;
        }
    }
    s.gpr[SP] = data_at(place) + 4096 + (random64() & 0x1f8);
    s.rflags = RFLAGS_FIXED | (random64() & 0xad5);
    s.rip = code_at[place] + (random64() & 0x7f0);
    for (unsigned i = 0; i < PLACES; i++)
        for (unsigned j = 0; j < AREA; j += 8)
            put_le(data_bytes[i] + j, 8, random64());
}
