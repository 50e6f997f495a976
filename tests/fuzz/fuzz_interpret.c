// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any registers, memory and bytes on the software CPU: what it asks of memory is within the address
 * space of its mode, an instruction that faults has changed no register but a string's, and what
 * takes an event is where the event's handler can be. */
#include "arch/x86.h"
#include "guest/cpu/interpret.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY       4096u /* linear memory repeats every so many bytes */
#define INSTRUCTIONS 24

/* The input: this, then memory. */
struct input {
    struct cpu_state state;
    struct interpret_registers extra;
    uint8_t features, faults, refusals, at; /* at: where in memory the code is */
};

static struct world {
    uint8_t faults, refusals;
    uint8_t memory[MEMORY];
    unsigned asked, refused, raised, writes;
    bool locked; /* between the read and the write of an instruction with LOCK */
    struct cpu_state state;
    struct interpret_env env;
} world;
static struct interpret_cache cache;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void raise(struct interpret_env *env, unsigned vector, uint32_t error)
{
    (void)env;
    require(vector < 32 && error <= UINT16_MAX);
    require(world.raised == 0);
    world.raised = 1 + vector;
}

static bool page_is_there(struct interpret_env *env)
{
    if ((world.faults >> world.asked++ % 8 & 1) == 0)
        return true;
    raise(env, VECTOR_PAGE_FAULT, 0);
    return false;
}

/* A policy's answer. */
static bool is_done(struct interpret_env *env)
{
    if ((world.refusals >> world.refused++ % 8 & 1) == 0)
        return true;
    raise(env, VECTOR_GENERAL_PROTECTION, 0);
    return false;
}

static void check_address(const struct cpu_state *s, uint64_t linear)
{
    const unsigned unused = s->cr4 & CR4_LA57 ? 7 : 16;
    if ((s->efer & EFER_LMA) == 0)
        require(linear <= UINT32_MAX);
    else
        require((uint64_t)((int64_t)(linear << unused) >> unused) == linear);
}

static bool fetch(struct interpret_env *env, uint64_t linear, uint8_t *to, unsigned bytes)
{
    require(bytes >= 1 && bytes <= 16);
    require(linear / 4096 == (linear + bytes - 1) / 4096);
    require(to >= env->bytes && to + bytes <= env->bytes + sizeof(env->bytes));
    check_address(env->state, linear);
    if (!page_is_there(env))
        return false;
    for (unsigned i = 0; i < bytes; i++)
        to[i] = world.memory[(linear + i) % MEMORY];
    return true;
}

static bool translate_as(struct interpret_env *env, gva_t linear, unsigned bytes, bool write,
                         bool user, struct emulate_operand *out)
{
    const unsigned room = MEMORY - (unsigned)(linear.v % MEMORY);
    (void)write;
    (void)user;
    require(bytes >= 1 && bytes <= 32);
    check_address(env->state, linear.v);
    *out = (struct emulate_operand){.at = {gpa(linear.v), gpa(linear.v + room)},
                                    .first = bytes < room ? bytes : room,
                                    .bytes = bytes};
    return page_is_there(env);
}

static bool translate(void *env, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out)
{
    return translate_as(env, linear, bytes, write, false, out);
}

static void read_memory(void *env, const struct emulate_operand *o, void *to)
{
    (void)env;
    for (unsigned i = 0; i < o->bytes; i++)
        ((uint8_t *)to)[i] = world.memory[(o->at[0].v + i) % MEMORY];
}

static void write_memory(void *env, const struct emulate_operand *o, const void *from)
{
    (void)env;
    require(++world.writes <= 3 * EMULATE_MAX_REPEATS);
    for (unsigned i = 0; i < o->bytes; i++)
        world.memory[(o->at[0].v + i) % MEMORY] = ((const uint8_t *)from)[i];
}

static void read_locked(struct interpret_env *env, const struct emulate_operand *o, void *to)
{
    require(!world.locked);
    world.locked = true;
    read_memory(env, o, to);
}

static bool exchange(struct interpret_env *env, const struct emulate_operand *o, const void *old,
                     const void *new)
{
    uint8_t now[16];
    require(world.locked); /* each read is followed by one exchange: a lock may be held meanwhile */
    world.locked = false;
    require(o->bytes <= sizeof(now));
    read_memory(env, o, now);
    require(memcmp(now, old, o->bytes) == 0);
    if ((world.refusals >> world.refused++ % 8 & 1) != 0)
        return false;
    write_memory(env, o, new);
    return true;
}

static bool port_in(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t *value)
{
    require(bytes == 1 || bytes == 2 || bytes == 4);
    *value = port * 0x9e3779b9u;
    return is_done(env);
}

static bool port_out(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)port;
    require(bytes == 4 || value >> 8 * bytes == 0);
    return is_done(env);
}

static bool cpuid(struct interpret_env *env, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    out[0] = leaf;
    out[3] = subleaf;
    return is_done(env);
}

static bool rdmsr(struct interpret_env *env, uint32_t msr, uint64_t *value)
{
    *value = msr;
    return is_done(env);
}

static bool wrmsr(struct interpret_env *env, uint32_t msr, uint64_t value)
{
    (void)msr;
    (void)value;
    return is_done(env);
}

static bool write_cr(struct interpret_env *env, unsigned number, uint64_t value)
{
    require(number == 0 || number == 3 || number == 4 || number == 8);
    if (!is_done(env))
        return false;
    if (number == 0) /* PG decides of LMA, which is not what is tried here */
        env->state->cr0 = (value & ~CR0_PG) | (env->state->cr0 & CR0_PG);
    else if (number == 4)
        env->state->cr4 = value;
    return true;
}

static bool read_cr8(struct interpret_env *env, uint64_t *value)
{
    *value = 5;
    return is_done(env);
}

static bool write_xcr0(struct interpret_env *env, uint64_t value)
{
    env->extra.xcr0 = value;
    return is_done(env);
}

static void invlpg(struct interpret_env *env, uint64_t linear)
{
    check_address(env->state, linear);
}

static void flush_tlb(struct interpret_env *env)
{
    require(segment_cpl(env->state) == 0);
}

static uint64_t rdtsc(struct interpret_env *env)
{
    (void)env;
    return 1;
}

static const struct interpret_calls calls = {
    .fetch = fetch,
    .translate = translate,
    .translate_as = translate_as,
    .read = read_memory,
    .write = write_memory,
    .read_locked = read_locked,
    .exchange = exchange,
    .raise = raise,
    .port_in = port_in,
    .port_out = port_out,
    .cpuid = cpuid,
    .rdmsr = rdmsr,
    .wrmsr = wrmsr,
    .write_cr = write_cr,
    .read_cr8 = read_cr8,
    .write_xcr0 = write_xcr0,
    .invlpg = invlpg,
    .flush_tlb = flush_tlb,
    .rdtsc = rdtsc,
    .hypercall = is_done,
};

/* What holds of a CPU's registers whatever it does; the rest is the input's. */
static void settle(struct cpu_state *s)
{
    const bool in_64 = (s->efer & EFER_LMA) != 0 && (s->cs.access & ACCESS_L) != 0;
    if (!in_64) {
        s->rip &= UINT32_MAX;
        for (unsigned i = 0; i <= STATE_GS; i++)
            s->segment[i].base &= UINT32_MAX;
    }
    if ((s->efer & EFER_LMA) != 0)
        s->rflags &= ~RFLAGS_VM;
    if ((s->rflags & RFLAGS_VM) != 0)
        s->ss.access |= 3 << ACCESS_DPL_SHIFT;
    s->pending_debug &= PENDING_DEBUG_BS | PENDING_DEBUG_ENABLED | DR6_BREAKPOINTS;
}

static void check_state(const struct cpu_state *s)
{
    require(segment_is_64(s) || s->rip <= UINT32_MAX);
    require((s->rflags & RFLAGS_FIXED) != 0);
}

/* A string instruction has done a part before it faults, #DB has its registers, and #PF its own. */
static void check_fault(const struct interpret_env *env, const struct cpu_state *before)
{
    const struct cpu_state *s = env->state;
    if (world.raised == 1 + VECTOR_DEBUG ||
        (env->insn->op < INSN_OPS && env->insn->form == INSN_STRING))
        return;
    require(memcmp(before, s, sizeof(*s)) == 0);
}

static void deliver(struct interpret_env *env)
{
    const struct cpu_state before = *env->state;
    const unsigned vector = world.raised - 1;
    struct event event = {.info = EVENT_VALID | EVENT_EXCEPTION | vector};
    if (vector >= 10 && vector <= 14)
        event.info |= EVENT_ERROR_CODE;
    bool fault;
    world.raised = 0;
    world.writes = 0;
    (void)interpret_deliver(env, &event, &fault);
    require(fault == (world.raised != 0));
    if (fault)
        require(memcmp(&before, env->state, sizeof(before)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in;
    if (size <= sizeof(in) || size > sizeof(in) + MEMORY)
        return 0;
    memcpy(&in, data, sizeof(in));
    memset(&world, 0, sizeof(world));
    for (unsigned i = 0; i < MEMORY; i++)
        world.memory[i] = data[sizeof(in) + i % (size - sizeof(in))];
    world.state = in.state;
    struct cpu_state *s = &world.state;
    s->rflags |= RFLAGS_FIXED;
    interpret_init(&world.env, s, &calls, NULL);
    world.env.extra = in.extra;
    world.env.features = in.features;
    if ((in.features & 0x80) != 0) {
        memset(&cache, 0, sizeof(cache));
        world.env.cache = &cache;
    }
    settle(s);
    for (unsigned i = 0; i < INSTRUCTIONS; i++) {
        const struct cpu_state before = *s;
        world.faults = i < 2 ? 0 : in.faults;
        world.refusals = in.refusals;
        world.writes = 0;
        const enum interpret_result result = interpret_one(&world.env);
        require(!world.locked);
        check_state(s);
        if (world.raised != 0) {
            check_fault(&world.env, &before);
            deliver(&world.env);
            check_state(s);
        }
        if (world.raised != 0 || result == INTERPRET_TASK)
            break;
        if (result == INTERPRET_COMPUTE)
            interpret_computed(&world.env);
        settle(s); /* registers of the system that were anything */
    }
    return 0;
}
