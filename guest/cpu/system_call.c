/* SPDX-License-Identifier: BSD-2-Clause */
/* SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM, volume 2, the operation of each). */
#include "guest/cpu/interpret_parts.h"

/* The flags that SYSRET takes from R11. */
#define SYSRET_FLAGS 0x3c7fd7ull

/* Flat segments, of which the selector alone comes from an MSR. */
static void set_flat(struct cpu_state *s, uint16_t code, uint16_t stack, uint32_t code_access,
                     unsigned cpl)
{
    s->cs = (struct cpu_segment){
        .selector = code, .access = code_access | cpl << ACCESS_DPL_SHIFT, .limit = UINT32_MAX};
    s->ss = (struct cpu_segment){
        .selector = stack, .access = SEGMENT_DATA32 | cpl << ACCESS_DPL_SHIFT, .limit = UINT32_MAX};
}

static bool is_amd(const struct interpret_env *env)
{
    return (env->features & INTERPRET_AMD) != 0;
}

/* Whether there are SYSCALL and SYSRET: Intel's CPUs have them in 64-bit code alone, AMD's in any
 * (AMD64 Architecture Programmer's Manual, volume 3, "SYSCALL"). */
static bool has_syscall(const struct interpret_env *env)
{
    return (env->state->efer & EFER_SCE) != 0 && (env->integer.mode == INSN_64 || is_amd(env));
}

/* A single step traps behind both by the TF that they leave. Without long mode, on AMD's CPUs, the
 * target is in STAR, and no more flags change than those that an interrupt clears. */
enum step __attribute__((hot)) system_syscall(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint16_t selector = (uint16_t)(env->extra.star >> 32);
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    const uint64_t flags = s->rflags & ~RFLAGS_RF;
    if (!has_syscall(env))
        return step_undefined(env);
    s->rcx = next_rip(env, env->length);
    if (long_mode) {
        s->r11 = flags;
        s->rip = env->integer.mode == INSN_64 ? env->extra.lstar : env->extra.cstar;
        s->rflags = (flags & ~env->extra.fmask) | RFLAGS_FIXED;
    } else {
        s->rip = (uint32_t)env->extra.star;
        s->rflags = flags & ~(uint64_t)(RFLAGS_IF | RFLAGS_VM);
    }
    set_flat(s, selector & 0xfffc, (uint16_t)(selector + 8),
             long_mode ? SEGMENT_CODE64 : SEGMENT_CODE32, 0);
    env->flags &= s->rflags;
    return STEP_JUMP;
}

/* On AMD's CPUs an address that is not canonical faults where it leads to. (They leave the
 * attributes of SS as they are; here they are those of user code always.) */
static enum step __attribute__((hot)) system_sysret(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint16_t selector = (uint16_t)(env->extra.star >> 48);
    const bool to_64 = env->insn->reg_bytes == 8;
    if (!has_syscall(env))
        return step_undefined(env);
    if (env->integer.cpl != 0 || (s->cr0 & CR0_PE) == 0 ||
        (to_64 && !is_amd(env) && !emulate_is_canonical(&env->integer, s->rcx)))
        return step_protection(env);
    s->rip = to_64 ? s->rcx : s->rcx & UINT32_MAX;
    s->rflags =
        (s->efer & EFER_LMA) != 0 ? (s->r11 & SYSRET_FLAGS) | RFLAGS_FIXED : s->rflags | RFLAGS_IF;
    set_flat(s, (uint16_t)((selector + (to_64 ? 16 : 0)) | 3), (uint16_t)((selector + 8) | 3),
             to_64 ? SEGMENT_CODE64 : SEGMENT_CODE32, 3);
    env->flags = s->rflags;
    return STEP_JUMP;
}

/* AMD's CPUs have SYSENTER and SYSEXIT without long mode alone. */
static bool lacks_sysenter(const struct interpret_env *env)
{
    return is_amd(env) && (env->state->efer & EFER_LMA) != 0;
}

static bool has_sysenter(const struct cpu_state *s)
{
    return (s->cr0 & CR0_PE) != 0 && (s->sysenter_cs & 0xfffc) != 0;
}

static enum step __attribute__((cold)) system_sysenter(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    if (lacks_sysenter(env))
        return step_undefined(env);
    if (!has_sysenter(s))
        return step_protection(env);
    s->rflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    s->rsp = long_mode ? s->sysenter_esp : s->sysenter_esp & UINT32_MAX;
    s->rip = long_mode ? s->sysenter_eip : s->sysenter_eip & UINT32_MAX;
    set_flat(s, s->sysenter_cs & 0xfffc, (uint16_t)((s->sysenter_cs & 0xfffc) + 8),
             long_mode ? SEGMENT_CODE64 : SEGMENT_CODE32, 0);
    return STEP_JUMP;
}

static enum step __attribute__((cold)) system_sysexit(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint16_t selector = (uint16_t)s->sysenter_cs;
    const bool to_64 = env->insn->reg_bytes == 8;
    if (lacks_sysenter(env))
        return step_undefined(env);
    if (!has_sysenter(s) || env->integer.cpl != 0)
        return step_protection(env);
    if (to_64 && (!emulate_is_canonical(&env->integer, s->rdx) ||
                  !emulate_is_canonical(&env->integer, s->rcx)))
        return step_protection(env);
    s->rsp = to_64 ? s->rcx : s->rcx & UINT32_MAX;
    s->rip = to_64 ? s->rdx : s->rdx & UINT32_MAX;
    set_flat(s, (uint16_t)((selector + (to_64 ? 32 : 16)) | 3),
             (uint16_t)((selector + (to_64 ? 40 : 24)) | 3),
             to_64 ? SEGMENT_CODE64 : SEGMENT_CODE32, 3);
    return STEP_JUMP;
}

enum step __attribute__((hot)) system_call(struct interpret_env *env)
{
    switch (env->insn->op) {
    case SYSTEM_SYSCALL: return system_syscall(env);
    case SYSTEM_SYSRET: return system_sysret(env);
    case SYSTEM_SYSENTER: return system_sysenter(env);
    default: return system_sysexit(env);
    }
}
