/* SPDX-License-Identifier: BSD-2-Clause */
/* The software CPU's debug registers (SDM, "Debug, Branch Profile, TSC..."): breakpoints of
 * instructions, data and ports. */
#include "guest/cpu/interpret_parts.h"
#include "guest/cpu/operands.h"

/* DR7's R/W fields. */
enum { MATCH_FETCH = 0, MATCH_WRITE = 1, MATCH_PORT = 2, MATCH_ACCESS = 3 };

/* Which breakpoints with a R/W field of one of two kinds match, whether they are on or not: as bits
 * of DR6. */
static uint32_t match(const struct cpu_state *s, unsigned kind, unsigned or_kind, uint64_t address,
                      unsigned bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint32_t hits = 0;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned field = s->dr7 >> (16 + 4 * i) & 15, rw = field & 3;
        const unsigned length = rw == MATCH_FETCH ? 1 : lengths[field >> 2];
        const uint64_t start = s->dr[i] & ~(uint64_t)(length - 1);
        if ((rw == kind || rw == or_kind) && address < start + length && start < address + bytes)
            hits |= 1u << i;
    }
    return hits;
}

bool debug_is_on(const struct cpu_state *s, uint32_t hits)
{
    for (unsigned i = 0; i < 4; i++)
        if ((hits >> i & 1) != 0 && (s->dr7 >> 2 * i & 3) != 0)
            return true;
    return false;
}

/* Breakpoints on the next instruction; none by RF, nor behind MOV SS (SDM, "Instruction-Breakpoint
 * Exception Condition"). */
static uint32_t match_fetch(const struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    if ((s->rflags & RFLAGS_RF) != 0 || (s->interruptibility & BLOCKED_BY_MOV_SS) != 0)
        return 0;
    const uint64_t linear =
        env->integer.mode == INSN_64 ? s->rip : (s->cs.base + s->rip) & UINT32_MAX;
    return match(s, MATCH_FETCH, MATCH_FETCH, linear, 1);
}

void debug_watch(struct interpret_env *env, uint64_t linear, unsigned bytes, bool write)
{
    env->breakpoints |=
        match(env->state, write ? MATCH_WRITE : MATCH_ACCESS, MATCH_ACCESS, linear, bytes);
}

void debug_watch_port(struct interpret_env *env, uint16_t port, unsigned bytes)
{
    if ((env->state->dr7 & DR7_ENABLED) != 0 && (env->state->cr4 & CR4_DE) != 0)
        env->breakpoints |= match(env->state, MATCH_PORT, MATCH_PORT, port, bytes);
}

void debug_watch_computed(struct interpret_env *env)
{
    const struct emulate_env *e = &env->integer;
    struct insn_operands o;
    gva_t linear;
    if (insn_decode_operands(&o, env->bytes, env->length, e->mode) != INSN_OK || o.bytes == 0 ||
        o.mask != MASK_NONE || o.elements != 0)
        return;
    const uint64_t at = insn_address(&o.insn, e->gpr, e->rip);
    if (emulate_linear(e, o.insn.segment, at, o.bytes, o.writes, &linear) == 0)
        debug_watch(env, linear.v, o.bytes, o.writes);
}

static bool watched_translate(void *ctx, gva_t linear, unsigned bytes, bool write,
                              struct emulate_operand *out)
{
    struct interpret_env *env = ctx;
    if (!env->calls->translate(env, linear, bytes, write, out))
        return false;
    debug_watch(env, linear.v, bytes, write);
    return true;
}

/* Whether a breakpoint of data or ports is on. */
static bool watches_accesses(const struct cpu_state *s)
{
    for (unsigned i = 0; i < 4; i++)
        if ((s->dr7 >> 2 * i & 3) != 0 && (s->dr7 >> (16 + 4 * i) & 3) != MATCH_FETCH)
            return true;
    return false;
}

void debug_raise(struct interpret_env *env, uint64_t causes)
{
    struct cpu_state *s = env->state;
    s->dr6 = (s->dr6 & ~DR6_BREAKPOINTS) | DR6_SET_BY_DB |
             (causes & (DR6_BREAKPOINTS | PENDING_DEBUG_BS | DR6_BD));
    s->dr7 &= ~DR7_GD;
    s->debugctl &= ~DEBUGCTL_BTF;
    env->calls->raise(env, VECTOR_DEBUG, 0);
}

void debug_trap(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    uint64_t causes = s->pending_debug;
    s->pending_debug = 0;
    if ((s->dr7 & DR7_ENABLED) != 0)
        causes |= match_fetch(env);
    debug_raise(env, causes);
}

bool debug_begin(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    const bool watches = (s->dr7 & DR7_ENABLED) != 0;
    env->breakpoints = 0;
    env->watches = watches;
    env->integer.one_step = watches_accesses(s);
    env->integer.translate = watches ? watched_translate : env->calls->translate;
    const uint32_t hits = watches ? match_fetch(env) : 0;
    if (!debug_is_on(s, hits))
        return true;
    debug_raise(env, hits);
    return false;
}
