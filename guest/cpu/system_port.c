/* SPDX-License-Identifier: BSD-2-Clause */
/* IN, OUT, INS and OUTS: who may (SDM, "I/O Permission Bit Map"), and their data. */
#include "arch/bytes.h"
#include "guest/cpu/interpret_parts.h"

#define TSS_IO_MAP   0x66 /* where the bit map begins */
#define TSS_IO_LIMIT 0x67 /* the last byte of a TSS that has that field */

/* By the TSS's bit map. False: an exception has been raised. */
static bool map_allows(struct interpret_env *env, uint16_t port, unsigned bytes)
{
    const struct cpu_segment *tr = &env->state->tr;
    uint8_t field[2];
    const bool has_map = (tr->access & (ACCESS_UNUSABLE | ACCESS_TSS32)) == ACCESS_TSS32 &&
                         tr->limit >= TSS_IO_LIMIT;
    if (!has_map) {
        (void)step_protection(env);
        return false;
    }
    if (!env->segments.read(env, tr->base + TSS_IO_MAP, field, 2, false))
        return false;
    const uint32_t at = get_le16(field) + port / 8u;
    if (at + 1 > tr->limit) { /* two bytes are read for each port */
        (void)step_protection(env);
        return false;
    }
    if (!env->segments.read(env, tr->base + at, field, 2, false))
        return false;
    if ((get_le16(field) >> port % 8 & ((1u << bytes) - 1)) == 0)
        return true;
    (void)step_protection(env);
    return false;
}

/* Likewise. In real mode and in a kernel CPL is 0, in virtual-8086 mode 3. */
static inline bool is_allowed(struct interpret_env *env, uint16_t port, unsigned bytes)
{
    const struct cpu_state *s = env->state;
    if (env->integer.cpl == 0 || ((s->rflags & RFLAGS_VM) == 0 && env->integer.cpl <= iopl_of(s)))
        return true;
    return map_allows(env, port, bytes);
}

static bool port_read(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t *value)
{
    *value = 0;
    if (!env->calls->port_in(env, port, bytes, value))
        return false;
    debug_watch_port(env, port, bytes);
    return true;
}

static bool port_write(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t value)
{
    if (!env->calls->port_out(env, port, bytes, value & (uint32_t)mask_of(bytes)))
        return false;
    debug_watch_port(env, port, bytes);
    return true;
}

static enum step in_or_out(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    struct cpu_state *s = env->state;
    const uint16_t port = (uint16_t)(in->form == INSN_IMM ? in->imm : s->rdx);
    const unsigned bytes = in->reg_bytes;
    uint32_t value;
    if (!is_allowed(env, port, bytes))
        return STEP_FAULT;
    if (in->op == SYSTEM_OUT)
        return port_write(env, port, bytes, (uint32_t)s->rax) ? STEP_NEXT : STEP_FAULT;
    if (!port_read(env, port, bytes, &value))
        return STEP_FAULT;
    set_part(&s->rax, bytes, value);
    return STEP_NEXT;
}

/* An element of INS or OUTS. What memory has to be there is looked for first: to read a port has
 * effects. */
static bool string_element(struct interpret_env *env, uint16_t port)
{
    const struct insn *in = env->insn;
    struct cpu_state *s = env->state;
    const bool reads = in->op == INSN_INS;
    uint64_t *pointer = &s->gpr[reads ? DI : SI];
    struct emulate_operand operand;
    uint32_t value = 0;
    if (!emulate_reach(&env->integer, in->segment, *pointer & mask_of(in->addr_bytes),
                       in->mem_bytes, reads, false, &operand))
        return false;
    if (reads) {
        if (!port_read(env, port, in->mem_bytes, &value))
            return false;
        env->calls->write(env, &operand, &value);
    } else {
        env->calls->read(env, &operand, &value);
        if (!port_write(env, port, in->mem_bytes, value))
            return false;
    }
    const uint64_t step = s->rflags & RFLAGS_DF ? 0 - (uint64_t)in->mem_bytes : in->mem_bytes;
    set_part(pointer, in->addr_bytes, *pointer + step);
    return true;
}

static enum step string(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    struct cpu_state *s = env->state;
    const uint16_t port = (uint16_t)s->rdx;
    const bool single = env->integer.one_step || (s->rflags & RFLAGS_TF) != 0;
    const uint64_t mask = mask_of(in->addr_bytes);
    if (!is_allowed(env, port, in->mem_bytes))
        return STEP_FAULT;
    if (!in->rep)
        return string_element(env, port) ? STEP_NEXT : STEP_FAULT;
    for (unsigned n = 0; n < (single ? 1 : EMULATE_MAX_REPEATS); n++) {
        if ((s->rcx & mask) == 0)
            return STEP_NEXT;
        if (n != 0 && env->calls->goes_on != NULL && !env->calls->goes_on(env))
            break;
        if (!string_element(env, port))
            return STEP_FAULT;
        set_part(&s->rcx, in->addr_bytes, s->rcx - 1);
    }
    return s->rcx & mask ? STEP_REPEAT : STEP_NEXT;
}

enum step system_port(struct interpret_env *env)
{
    return env->insn->op < INSN_OPS ? string(env) : in_or_out(env);
}
