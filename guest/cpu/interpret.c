/* SPDX-License-Identifier: BSD-2-Clause */
/* The software CPU: fetches, decodes, has one of the executing parts do it, and does what comes
 * behind every instruction. */
#include "guest/cpu/interpret.h"

#include "arch/string.h"
#include "guest/cpu/descriptor.h"
#include "guest/cpu/interpret_parts.h"

#define CODE_PAGE 4096u

/* --- memory and segments, for the parts --- */

static void segment_read(void *ctx, enum insn_segment number, struct emulate_segment *out)
{
    const struct interpret_env *env = ctx;
    const struct cpu_segment *s = &env->state->segment[number];
    *out = (struct emulate_segment){s->base, s->limit, s->access};
}

static void raise_without_error(void *ctx, unsigned vector)
{
    struct interpret_env *env = ctx;
    env->calls->raise(env, vector, 0);
}

static void raise_with_error(void *ctx, unsigned vector, uint32_t error)
{
    struct interpret_env *env = ctx;
    env->calls->raise(env, vector, error);
}

#define PART_BYTES 32 /* the most that is translated at once */
#define MAX_PARTS  ((SEGMENT_MAX_BLOCK + PART_BYTES - 1) / PART_BYTES)

/* All of it, or nothing: what is to be there is looked for first. */
static bool system_translate(struct interpret_env *env, uint64_t linear, unsigned bytes, bool write,
                             bool user, struct emulate_operand part[MAX_PARTS])
{
    const bool long_mode = (env->state->efer & EFER_LMA) != 0;
    if (long_mode && (!emulate_is_canonical(&env->integer, linear) ||
                      !emulate_is_canonical(&env->integer, linear + bytes - 1))) {
        env->calls->raise(env, VECTOR_GENERAL_PROTECTION, env->segments.external);
        return false;
    }
    for (unsigned at = 0; at < bytes; at += PART_BYTES) {
        const unsigned now = bytes - at < PART_BYTES ? bytes - at : PART_BYTES;
        const uint64_t where = long_mode ? linear + at : (linear + at) & UINT32_MAX;
        if (!env->calls->translate_as(env, gva(where), now, write, user, &part[at / PART_BYTES]))
            return false;
    }
    if (env->watches)
        debug_watch(env, linear, bytes, write);
    return true;
}

static bool __attribute__((noinline))
read_in_parts(struct interpret_env *env, uint64_t linear, void *to, unsigned bytes, bool user)
{
    struct emulate_operand part[MAX_PARTS];
    if (!system_translate(env, linear, bytes, false, user, part))
        return false;
    for (unsigned at = 0; at < bytes; at += PART_BYTES)
        env->calls->read(env, &part[at / PART_BYTES], (uint8_t *)to + at);
    return true;
}

static bool __attribute__((noinline)) write_in_parts(struct interpret_env *env, uint64_t linear,
                                                     const void *from, unsigned bytes, bool user)
{
    struct emulate_operand part[MAX_PARTS];
    if (!system_translate(env, linear, bytes, true, user, part))
        return false;
    for (unsigned at = 0; at < bytes; at += PART_BYTES)
        env->calls->write(env, &part[at / PART_BYTES], (const uint8_t *)from + at);
    return true;
}

static bool system_read(void *ctx, uint64_t linear, void *to, unsigned bytes, bool user)
{
    struct interpret_env *env = ctx;
    const struct interpret_calls *calls = env->calls;
    return (!env->watches && calls->read_quickly != NULL &&
            calls->read_quickly(env, linear, to, bytes, user)) ||
           read_in_parts(env, linear, to, bytes, user);
}

static bool system_write(void *ctx, uint64_t linear, const void *from, unsigned bytes, bool user)
{
    struct interpret_env *env = ctx;
    const struct interpret_calls *calls = env->calls;
    return (!env->watches && calls->write_quickly != NULL &&
            calls->write_quickly(env, linear, from, bytes, user)) ||
           write_in_parts(env, linear, from, bytes, user);
}

static bool goes_on(void *ctx)
{
    struct interpret_env *env = ctx;
    return env->calls->goes_on(env);
}

#define MAX_EXCHANGES 32 /* per call, as other CPUs may go on for ever */

static bool system_set_bits(void *ctx, uint64_t linear, uint32_t bits)
{
    struct interpret_env *env = ctx;
    struct emulate_operand part[MAX_PARTS];
    uint32_t old, new;
    if (!system_translate(env, linear, sizeof(old), true, false, part))
        return false;
    for (unsigned n = 0; n < MAX_EXCHANGES && env->calls->exchange != NULL; n++) {
        env->calls->read_locked(env, part, &old);
        new = old | bits;
        if (env->calls->exchange(env, part, &old, &new))
            return true;
    }
    env->calls->read(env, part, &old);
    new = old | bits;
    env->calls->write(env, part, &new);
    return true;
}

void interpret_init(struct interpret_env *env, struct cpu_state *state,
                    const struct interpret_calls *calls, void *ctx)
{
    *env = (struct interpret_env){.state = state, .calls = calls, .ctx = ctx};
    env->extra.xcr0 = XCR0_X87;
    env->insn = &env->decoded;
    env->integer = (struct emulate_env){
        .gpr = state->gpr,
        .rflags = &state->rflags,
        .target = &env->target,
        .ctx = env,
        .translate = calls->translate,
        .read = calls->read,
        .write = calls->write,
        .segment = segment_read,
        .goes_on = calls->goes_on != NULL ? goes_on : NULL,
        .raise = raise_without_error,
    };
    env->segments = (struct segment_env){.state = state,
                                         .ctx = env,
                                         .read = system_read,
                                         .write = system_write,
                                         .set_bits = system_set_bits,
                                         .raise = raise_with_error};
}

/* --- fetch and decode --- */

/* Which of the decoders knows the instruction. */
enum kind { KIND_NONE, KIND_INTEGER, KIND_SYSTEM, KIND_COMPUTE };

static bool is_vector_move(const struct insn *in)
{
    return in->op >= INSN_VMOV && in->op <= INSN_VMOVL;
}

static enum insn_result decode(struct interpret_env *env, unsigned count)
{
    const enum insn_mode mode = env->integer.mode;
    struct insn *in = &env->decoded;
    enum insn_result result = insn_decode(in, env->bytes, count, mode);
    env->insn = in;
    env->kind = in->op == INSN_INS || in->op == INSN_OUTS ? KIND_SYSTEM : KIND_INTEGER;
    if (result == INSN_UNKNOWN || (result == INSN_OK && is_vector_move(in))) {
        env->kind = KIND_SYSTEM;
        result = system_decode(in, env->bytes, count, mode);
    }
    env->length = in->length;
    if (result == INSN_UNKNOWN) {
        env->kind = KIND_COMPUTE;
        result = compute_decode(&env->compute, env->bytes, count, mode);
        env->length = env->compute.length;
    }
    return result;
}

static uint64_t mask_below(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : (1ull << 8 * bytes) - 1;
}

/* Leaves of two words the first bytes. */
static void mask_words(uint64_t word[2], unsigned bytes)
{
    if (bytes < 8)
        word[0] &= mask_below(bytes);
    word[1] &= bytes <= 8 ? 0 : mask_below(bytes - 8);
}

static struct interpret_entry *cache_entry(const struct interpret_env *env)
{
    const uint64_t rip = env->state->rip;
    return &env->cache->entry[(rip ^ rip >> 10) % INTERPRET_ENTRIES];
}

/* Whether the bytes that have been fetched begin with an instruction that is known. */
static bool cache_find(struct interpret_env *env, unsigned count)
{
    const struct interpret_entry *e = cache_entry(env);
    uint64_t word[2];
    memcpy(word, env->bytes, sizeof(word));
    mask_words(word, e->length);
    if (e->length == 0 || e->length > count || e->mode != env->integer.mode ||
        word[0] != e->bytes[0] || word[1] != e->bytes[1])
        return false;
    env->insn = &e->insn;
    env->compute = e->compute;
    env->length = e->length;
    env->kind = e->kind;
    return true;
}

static void cache_keep(const struct interpret_env *env)
{
    struct interpret_entry *e = cache_entry(env);
    memcpy(e->bytes, env->bytes, sizeof(e->bytes));
    mask_words(e->bytes, env->length);
    e->insn = env->decoded;
    e->compute = env->compute;
    e->kind = env->kind;
    e->mode = (uint8_t)env->integer.mode;
    e->length = env->length;
}

/* Bytes of code from RIP on, up to the end of the segment or of the canonical addresses; 0: RIP is
 * beyond. */
static uint64_t code_room(const struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    if (env->integer.mode != INSN_64)
        return s->rip <= s->cs.limit ? s->cs.limit - s->rip + 1 : 0;
    const uint64_t last = (1ull << (s->cr4 & CR4_LA57 ? 56 : 47)) - 1;
    if (s->rip <= last)
        return last - s->rip + 1;
    return emulate_is_canonical(&env->integer, s->rip) ? CODE_PAGE : 0;
}

static bool protection(struct interpret_env *env)
{
    (void)step_protection(env);
    return false;
}

/* Fetches and decodes the instruction at CS:RIP; what lies in a second page only if it is needed.
 * False: an exception has been raised. */
static bool take_instruction(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    const bool in_64 = env->integer.mode == INSN_64;
    const uint64_t room = code_room(env);
    const uint64_t linear = in_64 ? s->rip : (s->cs.base + s->rip) & UINT32_MAX;
    const unsigned in_page = CODE_PAGE - (unsigned)linear % CODE_PAGE;
    const unsigned most = room < sizeof(env->bytes) ? (unsigned)room : sizeof(env->bytes);
    const unsigned first = most < in_page ? most : in_page;
    if (room == 0)
        return protection(env);
    if (!env->calls->fetch(env, linear, env->bytes, first))
        return false;
    if (env->cache != NULL && cache_find(env, first))
        return true;
    enum insn_result result = decode(env, first);
    if (result == INSN_TRUNCATED && first < most) {
        const uint64_t next = in_64 ? linear + first : (linear + first) & UINT32_MAX;
        if (!env->calls->fetch(env, next, env->bytes + first, most - first))
            return false;
        result = decode(env, most);
    }
    if (result == INSN_OK) {
        if (env->cache != NULL)
            cache_keep(env);
        return true;
    }
    env->kind = KIND_NONE;
    if (result == INSN_TRUNCATED || result == INSN_TOO_LONG)
        return protection(env);
    (void)step_undefined(env);
    return false;
}

/* --- one instruction --- */

static void __attribute__((hot)) begin(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    struct emulate_env *e = &env->integer;
    e->rip = s->rip;
    e->cr0 = s->cr0;
    e->cr4 = s->cr4;
    e->cpl = (uint8_t)segment_cpl(s);
    e->mode = segment_is_64(s) ? INSN_64 : s->cs.access & ACCESS_DB ? INSN_32 : INSN_16;
    env->flags = s->rflags;
    env->blocked = s->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
}

/* What comes behind an instruction: RF and the shadows go, traps become pending. keep_rf: it has
 * loaded RF (IRET), or is to go on (REP). */
static void __attribute__((hot)) finish(struct interpret_env *env, bool branch, bool keep_rf)
{
    struct cpu_state *s = env->state;
    if (!keep_rf)
        s->rflags &= ~RFLAGS_RF;
    s->interruptibility &= ~env->blocked;
    if ((env->flags & RFLAGS_TF) != 0 && (branch || (s->debugctl & DEBUGCTL_BTF) == 0))
        s->pending_debug |= PENDING_DEBUG_BS;
    if (env->breakpoints == 0)
        return;
    if (debug_is_on(s, env->breakpoints))
        s->pending_debug |= PENDING_DEBUG_ENABLED;
    if (s->pending_debug != 0)
        s->pending_debug |= env->breakpoints;
    env->breakpoints = 0;
}

/* --- LOCK --- */

static void locked_read(void *ctx, const struct emulate_operand *operand, void *to)
{
    struct interpret_env *env = ctx;
    env->calls->read_locked(env, operand, env->seen);
    memcpy(to, env->seen, operand->bytes);
}

static void locked_write(void *ctx, const struct emulate_operand *operand, const void *from)
{
    struct interpret_env *env = ctx;
    env->missed = !env->calls->exchange(env, operand, env->seen, from);
}

static bool is_locked(const struct insn *in)
{
    return in->lock || (in->op == INSN_XCHG && in->rm == INSN_NO_REG);
}

/* Again, until no other CPU has written meanwhile. */
static enum step __attribute__((noinline)) run_locked(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    enum step step = STEP_AGAIN;
    env->integer.read = locked_read;
    env->integer.write = locked_write;
    for (unsigned n = 0; n < MAX_EXCHANGES && step == STEP_AGAIN; n++) {
        uint64_t gpr[16];
        memcpy(gpr, s->gpr, sizeof(gpr));
        env->missed = false;
        if (insn_emulate(env->insn, &env->integer) == EMULATE_FAULT)
            step = STEP_FAULT;
        else if (!env->missed)
            step = STEP_NEXT;
        if (env->missed) {
            memcpy(s->gpr, gpr, sizeof(gpr));
            s->rflags = env->flags;
        }
    }
    env->integer.read = env->calls->read;
    env->integer.write = env->calls->write;
    return step;
}

static enum step __attribute__((noinline)) run_integer(struct interpret_env *env)
{
    if (env->calls->exchange != NULL && is_locked(env->insn))
        return run_locked(env);
    switch (insn_emulate(env->insn, &env->integer)) {
    case EMULATE_DONE: return STEP_NEXT;
    case EMULATE_JUMP: env->state->rip = env->target; return STEP_JUMP;
    case EMULATE_REPEAT: return STEP_REPEAT;
    default: return STEP_FAULT;
    }
}

static enum interpret_result __attribute__((hot)) end(struct interpret_env *env, enum step step)
{
    struct cpu_state *s = env->state;
    switch (step) {
    case STEP_AGAIN:
    case STEP_FAULT: env->breakpoints = 0; return INTERPRET_DONE;
    case STEP_TASK:
        s->interruptibility &= ~env->blocked;
        env->task = env->segments.task;
        return INTERPRET_TASK;
    case STEP_JUMP: finish(env, true, env->insn->op == SYSTEM_IRET); return INTERPRET_DONE;
    case STEP_REPEAT:
        s->rflags |= RFLAGS_RF; /* an interrupt in between saves it so */
        finish(env, false, true);
        return INTERPRET_DONE;
    default: break;
    }
    s->rip = next_rip(env, env->length);
    finish(env, false, false);
    return step == STEP_HALT && s->pending_debug == 0 ? INTERPRET_HALT : INTERPRET_DONE;
}

/* Neither of the parts that only compute, which have their bytes executed, nor of none. System
 * calls go a way of their own, on which there is little else. */
static enum interpret_result __attribute__((hot)) execute(struct interpret_env *env)
{
    if (env->kind == KIND_INTEGER)
        return end(env, run_integer(env));
    const bool call = env->insn->op >= SYSTEM_SYSCALL && env->insn->op <= SYSTEM_SYSEXIT;
    return end(env, call ? system_call(env) : system_execute(env));
}

enum interpret_result __attribute__((noinline)) interpret_one(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    env->kind = KIND_NONE;
    begin(env);
    if (__builtin_expect(interpret_has_debug_trap(env), 0)) {
        debug_trap(env);
        return INTERPRET_DONE;
    }
    if (__builtin_expect((s->dr7 & DR7_ENABLED) != 0 || env->watches, 0) && !debug_begin(env))
        return INTERPRET_DONE;
    if (!take_instruction(env))
        return INTERPRET_DONE;
    if (env->kind != KIND_COMPUTE)
        return execute(env);
    env->integer.xcr0 = env->extra.xcr0;
    const unsigned vector = compute_missing(&env->integer, env->compute.class);
    if (vector != 0) {
        env->calls->raise(env, vector, 0);
        return INTERPRET_DONE;
    }
    if (env->watches)
        debug_watch_computed(env);
    return INTERPRET_COMPUTE;
}

bool interpret_note(const struct interpret_env *env, struct interpret_known *out)
{
    if (env->kind == KIND_NONE || env->kind == KIND_COMPUTE)
        return false;
    *out = (struct interpret_known){*env->insn, env->kind, env->length};
    return true;
}

static void take_known(struct interpret_env *env, const struct interpret_known *known)
{
    env->insn = &known->insn;
    env->kind = known->kind;
    env->length = known->length;
}

enum interpret_result __attribute__((hot))
interpret_known(struct interpret_env *env, const struct interpret_known *known)
{
    begin(env);
    take_known(env, known);
    env->watches = false;
    return execute(env);
}

void __attribute__((hot)) interpret_syscall(struct interpret_env *env)
{
    begin(env);
    env->length = SYSCALL_BYTES;
    env->watches = false;
    if (system_syscall(env) == STEP_JUMP)
        finish(env, true, false);
}

void __attribute__((hot)) interpret_settle(struct interpret_env *env)
{
    begin(env);
    env->watches = false;
}

bool __attribute__((hot))
interpret_light(struct interpret_env *env, const struct interpret_known *known)
{
    struct cpu_state *s = env->state;
    env->integer.rip = s->rip;
    env->flags = s->rflags;
    take_known(env, known);
    if (system_execute(env) != STEP_NEXT)
        return false;
    s->rip = next_rip(env, known->length);
    return true;
}

void interpret_computed(struct interpret_env *env)
{
    (void)end(env, STEP_NEXT);
}

/* --- events --- */

/* Whether RF is to be saved as 1 (SDM, "Instruction-Breakpoint Exception Condition"): of all faults
 * but #DB. */
static bool is_fault(const struct event *event)
{
    const unsigned vector = event->info & 0xff;
    return (event->info & EVENT_TYPE_MASK) == EVENT_EXCEPTION && vector != VECTOR_DEBUG &&
           vector != VECTOR_DOUBLE_FAULT && vector != VECTOR_MACHINE_CHECK;
}

static bool is_of_instruction(const struct event *event)
{
    const uint32_t type = event->info & EVENT_TYPE_MASK;
    return type >= EVENT_SOFTWARE_INTERRUPT && type <= EVENT_SOFTWARE_EXCEPTION;
}

enum interpret_result interpret_deliver(struct interpret_env *env, const struct event *event,
                                        bool *fault)
{
    struct cpu_state *s = env->state;
    const uint64_t rip = s->rip, rflags = s->rflags;
    const bool watches = env->watches;
    begin(env);
    env->watches = false; /* breakpoints are of instructions */
    if (is_of_instruction(event))
        s->rip = next_rip(env, event->length);
    if (is_fault(event))
        s->rflags |= RFLAGS_RF;
    const enum segment_result result = segment_deliver(&env->segments, event);
    env->watches = watches;
    *fault = result == SEGMENT_FAULT;
    if (result == SEGMENT_TASK) {
        env->task = env->segments.task;
        env->task.next_eip = (uint32_t)s->rip;
        s->rip = rip;
    } else if (result == SEGMENT_FAULT) {
        s->rip = rip;
        s->rflags = rflags;
        return INTERPRET_DONE;
    }
    s->interruptibility &= ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
    s->pending_debug = 0; /* of a MOV SS, behind which the event has come */
    if ((event->info & EVENT_TYPE_MASK) == EVENT_NMI)
        s->interruptibility |= BLOCKED_BY_NMI;
    return result == SEGMENT_TASK ? INTERPRET_TASK : INTERPRET_DONE;
}
