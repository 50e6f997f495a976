/* SPDX-License-Identifier: BSD-2-Clause */
/* The software CPU's debug registers (SDM, "Debug, Branch Profile, TSC..."): breakpoints of
 * instructions, data and ports. */
#include "guest/cpu/interpret_parts.h"

/* DR7's R/W fields. */
enum { MATCH_FETCH = 0, MATCH_WRITE = 1, MATCH_PORT = 2, MATCH_ACCESS = 3 };

/* Which breakpoints with a R/W field of one of two kinds match, as bits. */
static uint32_t match(const struct cpu_state *s, unsigned kind, unsigned or_kind, uint64_t address,
                      unsigned bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint32_t hits = 0;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned field = s->dr7 >> (16 + 4 * i) & 15, rw = field & 3;
        const unsigned length = rw == MATCH_FETCH ? 1 : lengths[field >> 2];
        if ((s->dr7 >> 2 * i & 3) == 0 || (rw != kind && rw != or_kind))
            continue;
        const uint64_t start = s->dr[i] & ~(uint64_t)(length - 1);
        if (address < start + length && start < address + bytes)
            hits |= 1u << i;
    }
    return hits;
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

bool debug_begin(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    const bool watches = watches_accesses(s);
    env->breakpoints = 0;
    env->watches = watches;
    env->integer.one_step = watches;
    env->integer.translate = watches ? watched_translate : env->calls->translate;
    /* One behind MOV SS is suppressed as if by RF (SDM, "Instruction-Breakpoint Exception
     * Condition"). */
    if ((s->rflags & RFLAGS_RF) != 0 || (s->interruptibility & BLOCKED_BY_MOV_SS) != 0)
        return true;
    const uint64_t linear =
        env->integer.mode == INSN_64 ? s->rip : (s->cs.base + s->rip) & UINT32_MAX;
    const uint32_t hits = match(s, MATCH_FETCH, MATCH_FETCH, linear, 1);
    if (hits == 0)
        return true;
    debug_raise(env, hits);
    return false;
}
