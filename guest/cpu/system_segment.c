/* SPDX-License-Identifier: BSD-2-Clause */
/* The instructions of segments: operands for guest/cpu/segment.h, which has the checks. */
#include "guest/cpu/interpret_parts.h"

static bool is_real(const struct interpret_env *env)
{
    return segment_is_real(env->state);
}

/* CR4.UMIP hides the tables from user code. */
static bool is_hidden(const struct interpret_env *env)
{
    return (env->state->cr4 & CR4_UMIP) != 0 && env->integer.cpl != 0;
}

static enum step done(bool good)
{
    return good ? STEP_NEXT : STEP_FAULT;
}

/* Of a far transfer, a return or a delivery. */
static enum step transferred(struct interpret_env *env, enum segment_result result)
{
    if (result != SEGMENT_TASK)
        return result == SEGMENT_DONE ? STEP_JUMP : STEP_FAULT;
    env->segments.task.next_eip = (uint32_t)next_rip(env, env->insn->length);
    return STEP_TASK;
}

/* The operand that ModRM names, of mem_bytes. */
static bool read_operand(struct interpret_env *env, uint64_t *value)
{
    struct emulate_operand operand;
    if (!operand_reach(env->insn, &env->integer, false, &operand))
        return false;
    *value = operand_read(env->insn, &env->integer, &operand);
    return true;
}

static enum step write_operand(struct interpret_env *env, uint64_t value)
{
    struct emulate_operand operand;
    if (!operand_reach(env->insn, &env->integer, true, &operand))
        return STEP_FAULT;
    operand_write(env->insn, &env->integer, &operand, value);
    return STEP_NEXT;
}

/* A part of an operand in memory, behind its first byte. */
static bool read_part(struct interpret_env *env, unsigned behind, unsigned bytes, uint64_t *value)
{
    const struct insn *in = env->insn;
    struct emulate_operand operand;
    const uint64_t at = insn_address(in, env->integer.gpr, env->integer.rip) + behind;
    if (!emulate_reach(&env->integer, in->segment, at & mask_of(in->addr_bytes), bytes, false,
                       false, &operand))
        return false;
    *value = 0;
    env->calls->read(env, &operand, value);
    return true;
}

/* --- segment registers --- */

/* The instruction behind a load of SS cannot be interrupted, so that it can load RSP; nor is there
 * a trap between the two (SDM, "Masking Exceptions and Interrupts When Switching Stacks"). */
static void shadow_stack_load(struct interpret_env *env)
{
    if ((env->blocked & BLOCKED_BY_MOV_SS) != 0)
        return;
    env->state->interruptibility |= BLOCKED_BY_MOV_SS;
    env->flags &= ~RFLAGS_TF;
}

static enum step move_to_segment(struct interpret_env *env)
{
    uint64_t selector;
    if (!read_operand(env, &selector) ||
        !segment_load(&env->segments, env->insn->reg, (uint16_t)selector))
        return STEP_FAULT;
    if (env->insn->reg == STATE_SS)
        shadow_stack_load(env);
    return STEP_NEXT;
}

static unsigned stack_width(const struct interpret_env *env)
{
    return env->integer.mode == INSN_64 ? 8 : env->state->ss.access & ACCESS_DB ? 4 : 2;
}

/* A selector is two bytes on the stack too, however many it takes (SDM, "PUSH": what recent CPUs
 * do). */
static bool reach_stack(struct interpret_env *env, uint64_t top, bool write,
                        struct emulate_operand *slot)
{
    return emulate_reach(&env->integer, SEG_SS, top & mask_of(stack_width(env)), 2, write, false,
                         slot);
}

static enum step push_segment(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint64_t top = s->rsp - env->insn->mem_bytes;
    struct emulate_operand slot;
    if (!reach_stack(env, top, true, &slot))
        return STEP_FAULT;
    env->calls->write(env, &slot, &s->segment[env->insn->reg].selector);
    set_part(&s->rsp, stack_width(env), top);
    return STEP_NEXT;
}

static enum step pop_segment(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const unsigned width = stack_width(env);
    struct emulate_operand slot;
    uint16_t selector;
    if (!reach_stack(env, s->rsp, false, &slot))
        return STEP_FAULT;
    env->calls->read(env, &slot, &selector);
    if (!segment_load(&env->segments, env->insn->reg, selector))
        return STEP_FAULT;
    set_part(&s->rsp, width, s->rsp + env->insn->mem_bytes);
    if (env->insn->reg == STATE_SS)
        shadow_stack_load(env);
    return STEP_NEXT;
}

/* An offset, and behind it a selector. */
static bool read_far(struct interpret_env *env, uint64_t *offset, uint16_t *selector)
{
    uint64_t value = 0;
    if (!read_part(env, 0, env->insn->mem_bytes, offset) ||
        !read_part(env, env->insn->mem_bytes, 2, &value))
        return false;
    *selector = (uint16_t)value;
    return true;
}

static enum step load_far(struct interpret_env *env)
{
    uint64_t offset;
    uint16_t selector;
    if (!read_far(env, &offset, &selector) ||
        !segment_load(&env->segments, env->insn->reg2, selector))
        return STEP_FAULT;
    insn_set_reg(env->insn, env->integer.gpr, offset);
    return STEP_NEXT;
}

/* --- far transfers --- */

static enum step jump_or_call(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    uint64_t offset = in->imm;
    uint16_t selector = (uint16_t)in->disp;
    if (in->form == INSN_MEM && !read_far(env, &offset, &selector))
        return STEP_FAULT;
    if (in->op == SYSTEM_JMP_FAR)
        return transferred(env, segment_jump(&env->segments, selector, offset, in->reg_bytes));
    return transferred(env, segment_call(&env->segments, selector, offset, in->reg_bytes,
                                         next_rip(env, in->length)));
}

/* NMIs may come again behind an IRET, whatever it returns from. */
static enum step interrupt_return(struct interpret_env *env)
{
    const enum step step = transferred(env, segment_iret(&env->segments, env->insn->reg_bytes));
    if (step != STEP_FAULT)
        env->state->interruptibility &= ~BLOCKED_BY_NMI;
    return step;
}

/* Its handler returns to the next instruction; TF is saved there, and no trap comes before. */
static enum step interrupt(struct interpret_env *env, uint32_t type, unsigned vector)
{
    struct cpu_state *s = env->state;
    const struct event event = {.info = EVENT_VALID | type | vector};
    const uint64_t rip = s->rip, next = next_rip(env, env->insn->length);
    s->rip = next;
    s->rflags &= ~RFLAGS_RF;
    const enum segment_result result = segment_deliver(&env->segments, &event);
    if (result != SEGMENT_DONE) {
        s->rip = rip;
        s->rflags = env->flags;
    } else if (type == EVENT_PRIVILEGED_SOFTWARE) {
        s->pending_debug = 0; /* a breakpoint of MOV SS: INT1 is #DB already */
    }
    env->flags &= ~RFLAGS_TF;
    return transferred(env, result);
}

static enum step bound(struct interpret_env *env)
{
    const unsigned bytes = env->insn->mem_bytes;
    const int64_t index = (int64_t)sign_extend(insn_get_reg(env->insn, env->integer.gpr), bytes);
    uint64_t lower, upper;
    if (!read_part(env, 0, bytes, &lower) || !read_part(env, bytes, bytes, &upper))
        return STEP_FAULT;
    if (index < (int64_t)sign_extend(lower, bytes) || index > (int64_t)sign_extend(upper, bytes))
        return step_raise(env, VECTOR_BOUND_RANGE);
    return STEP_NEXT;
}

/* --- questions and tables --- */

static void set_zero_flag(struct cpu_state *s, bool set)
{
    set_flags(&s->rflags, RFLAGS_ZF, set ? RFLAGS_ZF : 0);
}

static enum step adjust_rpl(struct interpret_env *env)
{
    struct emulate_operand operand;
    if (is_real(env))
        return step_undefined(env);
    if (!operand_reach(env->insn, &env->integer, true, &operand))
        return STEP_FAULT;
    const uint64_t selector = operand_read(env->insn, &env->integer, &operand);
    const uint64_t rpl = env->integer.gpr[env->insn->reg] & 3;
    const bool lower = (selector & 3) < rpl;
    operand_write(env->insn, &env->integer, &operand, lower ? (selector & ~3ull) | rpl : selector);
    set_zero_flag(env->state, lower);
    return STEP_NEXT;
}

/* LAR, LSL, VERR, VERW. */
static enum step query(struct interpret_env *env, enum segment_query which)
{
    uint64_t selector;
    uint32_t value = 0;
    bool fault;
    if (is_real(env))
        return step_undefined(env);
    if (!read_operand(env, &selector))
        return STEP_FAULT;
    const bool good = segment_query(&env->segments, which, (uint16_t)selector, &value, &fault);
    if (fault)
        return STEP_FAULT;
    if (good && (which == SEGMENT_LAR || which == SEGMENT_LSL))
        insn_set_reg(env->insn, env->integer.gpr, value);
    set_zero_flag(env->state, good);
    return STEP_NEXT;
}

static enum step store_register(struct interpret_env *env, unsigned number)
{
    if (is_real(env))
        return step_undefined(env);
    if (is_hidden(env))
        return step_protection(env);
    return write_operand(env, env->state->segment[number].selector);
}

static enum step load_register(struct interpret_env *env, unsigned number)
{
    uint64_t selector;
    if (is_real(env))
        return step_undefined(env);
    if (env->integer.cpl != 0)
        return step_protection(env);
    return done(read_operand(env, &selector) &&
                segment_load(&env->segments, number, (uint16_t)selector));
}

enum step system_segment(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    env->segments.external = false;
    switch (in->op) {
    case SYSTEM_MOV_FROM_SEGMENT: return write_operand(env, env->state->segment[in->reg].selector);
    case SYSTEM_MOV_TO_SEGMENT: return move_to_segment(env);
    case SYSTEM_PUSH_SEGMENT: return push_segment(env);
    case SYSTEM_POP_SEGMENT: return pop_segment(env);
    case SYSTEM_LOAD_FAR: return load_far(env);
    case SYSTEM_JMP_FAR:
    case SYSTEM_CALL_FAR: return jump_or_call(env);
    case SYSTEM_RET_FAR:
        return transferred(env, segment_return(&env->segments, in->reg_bytes, (unsigned)in->imm));
    case SYSTEM_IRET: return interrupt_return(env);
    case SYSTEM_INT: return interrupt(env, EVENT_SOFTWARE_INTERRUPT, (unsigned)in->imm);
    case SYSTEM_INT1: return interrupt(env, EVENT_PRIVILEGED_SOFTWARE, VECTOR_DEBUG);
    case SYSTEM_INT3: return interrupt(env, EVENT_SOFTWARE_EXCEPTION, VECTOR_BREAKPOINT);
    case SYSTEM_INTO:
        return env->flags & RFLAGS_OF ? interrupt(env, EVENT_SOFTWARE_EXCEPTION, VECTOR_OVERFLOW)
                                      : STEP_NEXT;
    case SYSTEM_BOUND: return bound(env);
    case SYSTEM_ARPL: return adjust_rpl(env);
    case SYSTEM_LAR: return query(env, SEGMENT_LAR);
    case SYSTEM_LSL: return query(env, SEGMENT_LSL);
    case SYSTEM_SLDT: return store_register(env, STATE_LDTR);
    case SYSTEM_STR: return store_register(env, STATE_TR);
    case SYSTEM_LLDT: return load_register(env, STATE_LDTR);
    case SYSTEM_LTR: return load_register(env, STATE_TR);
    case SYSTEM_VERR: return query(env, SEGMENT_VERR);
    default: return query(env, SEGMENT_VERW);
    }
}
