/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order is the CPU's: what is missing, then the operand's segment and pages, then the
 * instruction. All of an operand is translated before the first byte is read, and nothing is
 * written unless the instruction has been executed. (A gather that meets a page fault has done
 * nothing, where a CPU may have done a part, and says so in its mask.)
 */
#include "guest/ring3/compute.h"

#include "arch/string.h"
#include "guest/ring3/live.h"
#include "guest/ring3/operand.h"

/* Whether an instruction with an operand in memory raises #MF before it looks at that. Of others
 * the CPU looks by itself. */
static bool waits_for_x87(const struct compute *what, const uint8_t *bytes)
{
    if (what->class == COMPUTE_MMX)
        return true;
    if (what->class != COMPUTE_X87)
        return false;
    while (*bytes < 0xd8 || *bytes > 0xdf) /* prefixes */
        bytes++;
    const unsigned reg = bytes[1] >> 3 & 7;
    return (*bytes != 0xd9 && *bytes != 0xdd) || reg < 6; /* FNSTENV, FNSTCW; FNSAVE, FNSTSW */
}

/* Whether a store that waits for errors has been made: unmasked errors keep it from that, without
 * any exception before the next instruction. */
static bool has_stored(void)
{
    return (ring3_x87_status() & ~ring3_x87_control() & X87_STOPS_STORES) == 0;
}

static enum ring3_result raise(const struct emulate_env *env, unsigned vector)
{
    env->raise(env->ctx, vector);
    return RING3_RAISED;
}

/* What the processor has found. */
static enum ring3_result conclude(const struct emulate_env *env, unsigned vector)
{
    switch (vector) {
    case RING3_SYSCALL: return RING3_DONE;
    case VECTOR_X87_ERROR: return RING3_X87_ERROR;
    case VECTOR_SIMD_ERROR:
        return raise(env, (env->cr4 & CR4_OSXMMEXCPT) != 0 ? vector : VECTOR_INVALID_OPCODE);
    case VECTOR_DIVIDE_ERROR:
    case VECTOR_INVALID_OPCODE:
    case VECTOR_DEVICE_NOT_AVAILABLE:
    case VECTOR_STACK_FAULT:
    case VECTOR_GENERAL_PROTECTION:
    case VECTOR_ALIGNMENT_CHECK: return raise(env, vector);
    default: return RING3_LOST;
    }
}

static bool is_zeroing(const struct compute *what, const uint8_t *bytes)
{
    const uint8_t *end = bytes + what->length;
    if (what->class != COMPUTE_AVX || what->memory)
        return false;
    while (*bytes != 0xc4 && *bytes != 0xc5)
        bytes++;
    const bool is_map_1 = *bytes == 0xc5 || (bytes[1] & 31) == 1;
    return end - bytes == (*bytes == 0xc5 ? 3 : 4) && is_map_1 && end[-1] == 0x77 &&
           (end[-2] & 0x7b) == 0x78; /* no register, no prefix */
}

/* VZEROUPPER and VZEROALL of 16- and 32-bit code clear eight registers, and no more: by VMOVAPS
 * XMMi, XMMi, or VXORPS, for each. */
static enum ring3_result zero_vectors(struct ring3_window *window, const struct emulate_env *env,
                                      bool all)
{
    unsigned vector = RING3_SYSCALL;
    for (unsigned i = 0; i < 8 && vector == RING3_SYSCALL; i++) {
        const uint8_t move[] = {0xc5, 0xf8, 0x28, (uint8_t)(0xc0 | i * 9)};
        const uint8_t zero[] = {0xc5, (uint8_t)(0xf8 - i * 8), 0x57, (uint8_t)(0xc0 | i * 9)};
        vector = ring3_helper(window, all ? zero : move, sizeof(move), RING3_SCRATCH);
    }
    return conclude(env, vector);
}

/* Executes it, with registers lent that are to address operands. */
static unsigned execute(struct ring3_window *window, const struct emulate_env *env,
                        const struct compute *what, const struct ring3_operand *o)
{
    enum { RAX, RDI = 7 };
    unsigned slot;
    uint64_t *gpr = env->gpr;
    if (!ring3_place(window, o->bytes, what->length, env->mode, o->at, &slot))
        return VECTOR_INVALID_OPCODE;
    if (!o->lends_index && !o->in_rdi && !o->to_es)
        return ring3_single(window, slot, gpr, env->rflags);
    const unsigned lent = o->lends_index ? RAX : o->in_rdi ? RDI : o->es_reg;
    const uint64_t value = gpr[lent];
    gpr[lent] = window->data_at + (o->to_es ? o->es_at : o->at);
    const unsigned vector = ring3_single(window, slot, gpr, env->rflags);
    gpr[lent] = value;
    return vector;
}

enum ring3_result ring3_compute(struct ring3_window *window, const struct emulate_env *env,
                                const struct compute *what, const uint8_t *bytes)
{
    struct ring3_operand *o = &window->operand;
    unsigned vector = compute_missing(env, what->class);
    if (vector != 0)
        return raise(env, vector);
    const bool waits = what->memory && waits_for_x87(what, bytes);
    if (waits && env->x87_pending(env->ctx))
        return RING3_X87_ERROR;
    if (env->mode != INSN_64 && is_zeroing(what, bytes))
        return zero_vectors(window, env, (bytes[what->length - 2] & 4) != 0);
    switch (ring3_operand_find(o, env, window, what, bytes)) {
    case OPERAND_FOUND: break;
    case OPERAND_RAISED: return RING3_RAISED;
    default: return raise(env, VECTOR_INVALID_OPCODE);
    }
    ring3_operand_read(o, window, env);
    vector = execute(window, env, what, o);
    ring3_operand_restore(o, window, env);
    if (vector == RING3_SYSCALL)
        ring3_x87_follow(window, env, what);
    if (vector == RING3_SYSCALL && (!waits || what->class == COMPUTE_MMX || has_stored()))
        ring3_operand_write(o, window, env);
    return conclude(env, vector);
}
