/* SPDX-License-Identifier: BSD-2-Clause */
/* What emulate.c and integer.c have in common: how an operand is reached, read and written. */
#pragma once

#include "guest/cpu/alu.h"
#include "guest/cpu/emulate.h"

/* Checks and translates; false: an exception has been raised. */
bool emulate_reach(const struct emulate_env *env, unsigned segment, uint64_t offset, unsigned bytes,
                   bool write, bool aligned, struct emulate_operand *operand);

/* With CR4.LA57 or without. */
bool emulate_is_canonical(const struct emulate_env *env, uint64_t address);

/* emulate_reach() for the operand that ModRM, moffs or the opcode names; a register is always
 * there. */
static inline bool operand_reach(const struct insn *in, const struct emulate_env *env, bool write,
                                 struct emulate_operand *operand)
{
    return in->rm != INSN_NO_REG ||
           emulate_reach(env, in->segment, insn_address(in, env->gpr, env->rip), in->mem_bytes,
                         write, in->aligned, operand);
}

/* Of 1, 2, 4 or 8 bytes. */
static inline uint64_t operand_read(const struct insn *in, const struct emulate_env *env,
                                    const struct emulate_operand *operand)
{
    uint64_t value = 0;
    if (in->rm == INSN_NO_REG)
        env->read(env->ctx, operand, &value);
    else
        value =
            (in->rm_high ? env->gpr[in->rm - 4] >> 8 : env->gpr[in->rm]) & mask_of(in->mem_bytes);
    return value;
}

static inline void operand_write(const struct insn *in, const struct emulate_env *env,
                                 const struct emulate_operand *operand, uint64_t value)
{
    if (in->rm == INSN_NO_REG)
        env->write(env->ctx, operand, &value);
    else if (in->rm_high)
        env->gpr[in->rm - 4] = (env->gpr[in->rm - 4] & ~0xff00ull) | (value & 0xff) << 8;
    else
        set_part(&env->gpr[in->rm], in->mem_bytes, value);
}

/* The operations from INSN_ROL on. */
enum emulate_result integer_emulate(const struct insn *in, const struct emulate_env *env);
