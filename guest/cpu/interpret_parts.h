/* SPDX-License-Identifier: BSD-2-Clause */
/* What interpret.c and the files that carry out system instructions have in common. */
#pragma once

#include "guest/cpu/emulate_parts.h"
#include "guest/cpu/interpret.h"

enum { AX, CX, DX, BX, SP, BP, SI, DI };

/* How an instruction has ended. */
enum step {
    STEP_NEXT,   /* RIP is to go behind it */
    STEP_JUMP,   /* RIP has been set */
    STEP_REPEAT, /* RIP stays: a part of a REP is done */
    STEP_AGAIN,  /* RIP stays, and nothing has been done */
    STEP_FAULT,  /* an exception has been raised; all registers are as they were */
    STEP_HALT,   /* as STEP_NEXT; the CPU waits */
    STEP_TASK,   /* segments.task, with next_eip */
};

static inline enum step step_raise(struct interpret_env *env, unsigned vector)
{
    env->calls->raise(env, vector, 0);
    return STEP_FAULT;
}

/* #GP(0) */
static inline enum step step_protection(struct interpret_env *env)
{
    return step_raise(env, VECTOR_GENERAL_PROTECTION);
}

static inline enum step step_undefined(struct interpret_env *env)
{
    return step_raise(env, VECTOR_INVALID_OPCODE);
}

/* RIP of the instruction behind the current one. */
static inline uint64_t next_rip(const struct interpret_env *env, unsigned length)
{
    const uint64_t next = env->state->rip + length;
    return env->integer.mode == INSN_64 ? next : next & UINT32_MAX;
}

static inline unsigned iopl_of(const struct cpu_state *s)
{
    return (unsigned)(s->rflags >> 12 & 3);
}

/* A pair of registers, EDX:EAX, as most system instructions have their values. */
static inline uint64_t pair_get(const struct cpu_state *s)
{
    return (s->rax & UINT32_MAX) | s->rdx << 32;
}

static inline void pair_set(struct cpu_state *s, uint64_t value)
{
    s->rax = value & UINT32_MAX;
    s->rdx = value >> 32;
}

/* The instruction in env->insn, SYSTEM_MOV_FROM_SEGMENT and so on, or a string one of ports. */
enum step system_execute(struct interpret_env *env);
enum step system_segment(struct interpret_env *env); /* up to SYSTEM_VERW */
enum step system_call(struct interpret_env *env);    /* SYSCALL, SYSRET, SYSENTER, SYSEXIT */
enum step system_syscall(struct interpret_env *env); /* the first of them, by env->length */
enum step system_port(struct interpret_env *env);    /* IN, OUT, INS, OUTS */

/* --- interpret_debug.c --- */

/* Before an instruction, where DR7 has a breakpoint or had one: has accesses watched, or not.
 * False: an instruction breakpoint has raised #DB. */
bool debug_begin(struct interpret_env *env);
/* #DB with its causes, as bits of DR6. */
void debug_raise(struct interpret_env *env, uint64_t causes);
/* #DB for pending_debug. Beside it, as CPUs do, it tells of a breakpoint on the next instruction;
 * and of all that match, on or not (SDM, "Debug Status Register (DR6)"). */
void debug_trap(struct interpret_env *env);
/* Whether one of those that have been hit is on. */
bool debug_is_on(const struct cpu_state *s, uint32_t hits);
/* An access of an instruction that is under way. */
void debug_watch(struct interpret_env *env, uint64_t linear, unsigned bytes, bool write);
/* The same of one that a processor is to execute, unless a mask says what it touches. */
void debug_watch_computed(struct interpret_env *env);
void debug_watch_port(struct interpret_env *env, uint16_t port, unsigned bytes);
