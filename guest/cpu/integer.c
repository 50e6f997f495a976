/* SPDX-License-Identifier: BSD-2-Clause */
/* Integer instructions beyond those that guests use on devices: shifts, products, bits, the stack,
 * and near branches (SDM, volume 2, the operation of each instruction). */
#include "guest/cpu/emulate_parts.h"

#include <stddef.h>

enum { AX, CX, DX, BX, SP, BP, SI, DI };

/* --- one or two operands --- */

/* Reads an operand, computes, and writes it back. */
static enum emulate_result shift(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    const unsigned count = (unsigned)(in->by_cl ? env->gpr[CX] & 0xff : in->imm & 0xff);
    if (!operand_reach(in, env, true, &operand))
        return EMULATE_FAULT;
    uint64_t value = operand_read(in, env, &operand);
    if (in->op >= INSN_SHLD)
        value = alu_shift_double(in->op, value, insn_get_reg(in, env->gpr), count, in->mem_bytes,
                                 env->rflags);
    else
        value = alu_shift(in->op, value, count, in->mem_bytes, env->rflags);
    operand_write(in, env, &operand, value);
    return EMULATE_DONE;
}

/* MUL to IDIV: AX with 1 byte, DX:AX with more. */
static enum emulate_result multiply_or_divide(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    const unsigned bytes = in->mem_bytes;
    if (!operand_reach(in, env, false, &operand))
        return EMULATE_FAULT;
    const uint64_t value = operand_read(in, env, &operand);
    uint64_t low = env->gpr[AX] & mask_of(bytes);
    uint64_t high = bytes == 1 ? env->gpr[AX] >> 8 & 0xff : env->gpr[DX] & mask_of(bytes);
    if (in->op == INSN_MUL || in->op == INSN_IMUL) {
        low = alu_multiply(in->op, low, value, bytes, &high, env->rflags);
    } else if (!alu_divide(in->op, &high, &low, value, bytes)) {
        env->raise(env->ctx, VECTOR_DIVIDE_ERROR);
        return EMULATE_FAULT;
    }
    if (bytes == 1) {
        set_part(&env->gpr[AX], 2, high << 8 | low);
    } else {
        set_part(&env->gpr[AX], bytes, low);
        set_part(&env->gpr[DX], bytes, high);
    }
    return EMULATE_DONE;
}

/* An operand is read, and a register written. */
static enum emulate_result to_register(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    if (!operand_reach(in, env, false, &operand))
        return EMULATE_FAULT;
    const uint64_t value = operand_read(in, env, &operand), old = insn_get_reg(in, env->gpr);
    uint64_t high;
    switch (in->op) {
    case INSN_IMUL_TO: {
        const uint64_t by = (in->with_imm ? in->imm : old) & mask_of(in->mem_bytes);
        insn_set_reg(in, env->gpr,
                     alu_multiply(INSN_IMUL, value, by, in->mem_bytes, &high, env->rflags));
        return EMULATE_DONE;
    }
    case INSN_CMOV: /* of 4 bytes clears the upper half in any case */
        insn_set_reg(in, env->gpr, alu_condition(in->condition, *env->rflags) ? value : old);
        return EMULATE_DONE;
    default:
        if ((in->op == INSN_BSF || in->op == INSN_BSR) && value == 0) {
            (void)alu_scan(in->op, value, old, in->mem_bytes, env->rflags);
            return EMULATE_DONE; /* the register stays as it is, its upper half too */
        }
        insn_set_reg(in, env->gpr, alu_scan(in->op, value, old, in->mem_bytes, env->rflags));
        return EMULATE_DONE;
    }
}

static enum emulate_result set_on_condition(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    if (!operand_reach(in, env, true, &operand))
        return EMULATE_FAULT;
    operand_write(in, env, &operand, alu_condition(in->condition, *env->rflags));
    return EMULATE_DONE;
}

/* XLAT */
static enum emulate_result translate_byte(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    const uint64_t offset = (env->gpr[BX] + (env->gpr[AX] & 0xff)) & mask_of(in->addr_bytes);
    uint64_t value = 0;
    if (!emulate_reach(env, in->segment, offset, 1, false, false, &operand))
        return EMULATE_FAULT;
    env->read(env->ctx, &operand, &value);
    set_part(&env->gpr[AX], 1, value);
    return EMULATE_DONE;
}

/* What has registers and flags alone. */
static enum emulate_result compute_alone(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *gpr = env->gpr, *flags = env->rflags;
    const unsigned bytes = in->reg_bytes;
    switch (in->op) {
    case INSN_BSWAP: /* of 2 bytes: undefined; CPUs write 0 */
        set_part(&gpr[in->rm], bytes,
                 bytes == 2 ? 0 : __builtin_bswap64(gpr[in->rm]) >> (64 - bytes * 8));
        break;
    case INSN_LEA: insn_set_reg(in, gpr, insn_address(in, gpr, env->rip)); break;
    case INSN_CBW:
        set_part(&gpr[AX], bytes, sign_extend(gpr[AX] & mask_of(bytes / 2), bytes / 2));
        break;
    case INSN_CWD:
        set_part(&gpr[DX], bytes, gpr[AX] >> (bytes * 8 - 1) & 1 ? UINT64_MAX : 0);
        break;
    case INSN_LAHF: gpr[AX] = (gpr[AX] & ~0xff00ull) | (*flags & 0xd5) << 8 | 0x200; break;
    case INSN_SAHF: set_flags(flags, 0xd5, gpr[AX] >> 8); break;
    case INSN_SALC: set_part(&gpr[AX], 1, *flags & RFLAGS_CF ? 0xff : 0); break;
    case INSN_CLC: *flags &= ~RFLAGS_CF; break;
    case INSN_STC: *flags |= RFLAGS_CF; break;
    case INSN_CMC: *flags ^= RFLAGS_CF; break;
    case INSN_CLD: *flags &= ~RFLAGS_DF; break;
    case INSN_STD: *flags |= RFLAGS_DF; break;
    case INSN_NOP: break;
    default: /* DAA to AAD */
        if (!alu_decimal(in->op, (unsigned)in->imm, &gpr[AX], flags)) {
            env->raise(env->ctx, VECTOR_DIVIDE_ERROR);
            return EMULATE_FAULT;
        }
    }
    return EMULATE_DONE;
}

/* --- the stack --- */

/* How wide the stack pointer is (SDM, "Stack Behavior in 64-Bit Mode", "Address-Size Attribute for
 * Stack"). */
static unsigned stack_width(const struct emulate_env *env)
{
    if (env->mode == INSN_64)
        return 8;
    struct emulate_segment ss;
    env->segment(env->ctx, SEG_SS, &ss);
    return ss.access & ACCESS_DB ? 4 : 2;
}

/* A stack pointer that moves while an instruction is carried out, and takes the place of the real
 * one when nothing can fail any more. */
struct stack {
    const struct emulate_env *env;
    unsigned bytes, width;
    uint64_t top;
};

static struct stack stack_of(const struct insn *in, const struct emulate_env *env)
{
    return (struct stack){env, in->mem_bytes, stack_width(env), env->gpr[SP]};
}

static void stack_keep(const struct stack *stack)
{
    set_part(&stack->env->gpr[SP], stack->width, stack->top);
}

static bool stack_push(struct stack *stack, uint64_t value)
{
    struct emulate_operand slot;
    const uint64_t top = stack->top - stack->bytes;
    if (!emulate_reach(stack->env, SEG_SS, top & mask_of(stack->width), stack->bytes, true, false,
                       &slot))
        return false;
    stack->env->write(stack->env->ctx, &slot, &value);
    stack->top = top;
    return true;
}

static bool stack_pop(struct stack *stack, uint64_t *value)
{
    struct emulate_operand slot;
    if (!emulate_reach(stack->env, SEG_SS, stack->top & mask_of(stack->width), stack->bytes, false,
                       false, &slot))
        return false;
    *value = 0;
    stack->env->read(stack->env->ctx, &slot, value);
    stack->top += stack->bytes;
    return true;
}

static enum emulate_result push_all(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    for (unsigned reg = AX; reg <= DI; reg++) /* SP is pushed as it was */
        if (!stack_push(&stack, env->gpr[reg]))
            return EMULATE_FAULT;
    stack_keep(&stack);
    return EMULATE_DONE;
}

static enum emulate_result pop_all(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    uint64_t value[8];
    for (unsigned reg = 8; reg-- > 0;)
        if (!stack_pop(&stack, &value[reg]))
            return EMULATE_FAULT;
    for (unsigned reg = AX; reg <= DI; reg++)
        if (reg != SP)
            set_part(&env->gpr[reg], in->mem_bytes, value[reg]);
    stack_keep(&stack);
    return EMULATE_DONE;
}

static enum emulate_result enter(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    const unsigned depth = in->nesting & 31;
    uint64_t frame = env->gpr[BP], display;
    if (!stack_push(&stack, frame))
        return EMULATE_FAULT;
    const uint64_t new_frame = stack.top;
    for (unsigned i = 1; i < depth; i++) {
        struct stack outer = stack;
        outer.top = frame -= in->mem_bytes;
        if (!stack_pop(&outer, &display) || !stack_push(&stack, display))
            return EMULATE_FAULT;
    }
    if (depth != 0 && !stack_push(&stack, new_frame))
        return EMULATE_FAULT;
    stack.top -= in->imm;
    struct emulate_operand slot; /* a stack that is not there is told here, not at the next PUSH */
    if (!emulate_reach(env, SEG_SS, stack.top & mask_of(stack.width), in->mem_bytes, true, false,
                       &slot))
        return EMULATE_FAULT;
    set_part(&env->gpr[BP], in->mem_bytes, new_frame);
    stack_keep(&stack);
    return EMULATE_DONE;
}

static enum emulate_result leave(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    uint64_t frame;
    stack.top = env->gpr[BP];
    if (!stack_pop(&stack, &frame))
        return EMULATE_FAULT;
    stack_keep(&stack);
    set_part(&env->gpr[BP], in->mem_bytes, frame);
    return EMULATE_DONE;
}

static bool is_v86(const struct emulate_env *env)
{
    return (*env->rflags & RFLAGS_VM) != 0;
}

/* In virtual-8086 mode with IOPL below 3: whether the 16-bit forms see VIF instead of IF (SDM,
 * "Virtual-8086 Mode Extensions"); without that PUSHF and POPF are #GP. */
static bool has_virtual_flag(const struct insn *in, const struct emulate_env *env)
{
    return (env->cr4 & CR4_VME) != 0 && in->mem_bytes == 2;
}

static enum emulate_result general_protection(const struct emulate_env *env)
{
    env->raise(env->ctx, VECTOR_GENERAL_PROTECTION);
    return EMULATE_FAULT;
}

static enum emulate_result push_flags(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    uint64_t image = *env->rflags & ~(RFLAGS_RF | RFLAGS_VM);
    if (is_v86(env) && (image & RFLAGS_IOPL) != RFLAGS_IOPL) {
        if (!has_virtual_flag(in, env))
            return general_protection(env);
        image = (image & ~RFLAGS_IF) | RFLAGS_IOPL | (image & RFLAGS_VIF ? RFLAGS_IF : 0);
    }
    if (!stack_push(&stack, image))
        return EMULATE_FAULT;
    stack_keep(&stack);
    return EMULATE_DONE;
}

/* The flags that POPF may change. */
static uint64_t changeable_flags(const struct emulate_env *env)
{
    uint64_t which = ARITHMETIC_FLAGS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID;
    if (is_v86(env))
        return which | RFLAGS_IF;
    if (env->cpl == 0)
        which |= RFLAGS_IOPL;
    return env->cpl <= (*env->rflags & RFLAGS_IOPL) / (RFLAGS_IOPL / 3) ? which | RFLAGS_IF : which;
}

static enum emulate_result pop_flags(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    const uint64_t flags = *env->rflags;
    uint64_t image, which = changeable_flags(env);
    const bool virtual_flag = is_v86(env) && (flags & RFLAGS_IOPL) != RFLAGS_IOPL;
    if (virtual_flag && !has_virtual_flag(in, env))
        return general_protection(env);
    if (!stack_pop(&stack, &image))
        return EMULATE_FAULT;
    if (virtual_flag) {
        if ((image & RFLAGS_TF) != 0 || ((image & RFLAGS_IF) != 0 && (flags & RFLAGS_VIP) != 0))
            return general_protection(env);
        which = (which & ~RFLAGS_IF) | RFLAGS_VIF;
        image = (image & UINT16_MAX) | (image & RFLAGS_IF ? RFLAGS_VIF : 0);
    }
    if (in->mem_bytes == 2)
        which &= virtual_flag ? UINT16_MAX | RFLAGS_VIF : UINT16_MAX;
    else
        which |= RFLAGS_RF; /* cleared */
    set_flags(env->rflags, which, image & ~RFLAGS_RF);
    stack_keep(&stack);
    return EMULATE_DONE;
}

/* --- near branches --- */

/* Checks where a branch leads to, in bytes of the operand's size. */
static bool branch_check(const struct insn *in, const struct emulate_env *env, uint64_t *target)
{
    *target &= mask_of(in->mem_bytes);
    if (env->mode == INSN_64)
        return emulate_is_canonical(env, *target);
    struct emulate_segment cs;
    env->segment(env->ctx, SEG_CS, &cs);
    return *target <= cs.limit;
}

static enum emulate_result branch(const struct insn *in, const struct emulate_env *env,
                                  uint64_t target)
{
    if (!branch_check(in, env, &target))
        return general_protection(env);
    *env->target = target;
    return EMULATE_JUMP;
}

/* JMP and CALL: to an operand, or as far as the immediate says. */
static enum emulate_result jump_or_call(const struct insn *in, const struct emulate_env *env)
{
    const uint64_t next = env->rip + in->length;
    uint64_t target = next + in->imm;
    struct emulate_operand operand;
    if (in->form == INSN_MEM) {
        if (!operand_reach(in, env, false, &operand))
            return EMULATE_FAULT;
        target = operand_read(in, env, &operand);
    }
    if (in->op == INSN_JMP)
        return branch(in, env, target);
    struct stack stack = stack_of(in, env);
    if (!branch_check(in, env, &target))
        return general_protection(env);
    if (!stack_push(&stack, next))
        return EMULATE_FAULT;
    stack_keep(&stack);
    *env->target = target;
    return EMULATE_JUMP;
}

static enum emulate_result near_return(const struct insn *in, const struct emulate_env *env)
{
    struct stack stack = stack_of(in, env);
    uint64_t target;
    if (!stack_pop(&stack, &target))
        return EMULATE_FAULT;
    if (!branch_check(in, env, &target))
        return general_protection(env);
    stack.top += in->imm;
    stack_keep(&stack);
    *env->target = target;
    return EMULATE_JUMP;
}

/* Jcc, LOOP and JCXZ. */
static enum emulate_result branch_if(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *rcx = &env->gpr[CX];
    const bool loops = in->op >= INSN_LOOPNE && in->op <= INSN_LOOP;
    const uint64_t count = (*rcx - loops) & mask_of(in->addr_bytes);
    const bool zero = (*env->rflags & RFLAGS_ZF) != 0;
    bool taken;
    switch (in->op) {
    case INSN_JCC: taken = alu_condition(in->condition, *env->rflags); break;
    case INSN_JCXZ: taken = count == 0; break;
    case INSN_LOOPE: taken = count != 0 && zero; break;
    case INSN_LOOPNE: taken = count != 0 && !zero; break;
    default: taken = count != 0; break;
    }
    enum emulate_result result = EMULATE_DONE;
    if (taken)
        result = branch(in, env, env->rip + in->length + in->imm);
    if (loops && result != EMULATE_FAULT)
        set_part(rcx, in->addr_bytes, count);
    return result;
}

enum emulate_result integer_emulate(const struct insn *in, const struct emulate_env *env)
{
    if (in->op >= INSN_JCC && env->target == NULL)
        return EMULATE_FAULT;
    if (in->op <= INSN_SHRD)
        return shift(in, env);
    if (in->op <= INSN_IDIV)
        return multiply_or_divide(in, env);
    if (in->op <= INSN_POPCNT || in->op == INSN_CMOV)
        return to_register(in, env);
    switch (in->op) {
    case INSN_SET: return set_on_condition(in, env);
    case INSN_XLAT: return translate_byte(in, env);
    case INSN_PUSHA: return push_all(in, env);
    case INSN_POPA: return pop_all(in, env);
    case INSN_PUSHF: return push_flags(in, env);
    case INSN_POPF: return pop_flags(in, env);
    case INSN_ENTER: return enter(in, env);
    case INSN_LEAVE: return leave(in, env);
    case INSN_JMP:
    case INSN_CALL: return jump_or_call(in, env);
    case INSN_RET: return near_return(in, env);
    default: return in->op >= INSN_JCC ? branch_if(in, env) : compute_alone(in, env);
    }
}
