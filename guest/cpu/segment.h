/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments and gates as software: what loads of segment registers, far transfers and deliveries of
 * events check, in the CPU's order, and what they leave in the registers (SDM, "Protection" and
 * "Exception and Interrupt Handling"). Pure: registers in struct cpu_state, memory behind
 * callbacks. Where a check fails an exception has been raised, and no register has changed.
 */
#pragma once

#include "guest/cpu/event.h"
#include "guest/cpu/state.h"
#include "guest/cpu/task.h"

#define SEGMENT_MAX_BLOCK 264 /* the most that is read or written at once: 33 parts of 8 bytes */

struct segment_env {
    struct cpu_state *state;
    void *ctx;
    /* Linear memory, all bytes or none, with the rights of CPL 3 (user) or of the system. False: a
     * page fault has been raised. In 64-bit mode the address is canonical. */
    bool (*read)(void *ctx, uint64_t linear, void *to, unsigned bytes, bool user);
    bool (*write)(void *ctx, uint64_t linear, const void *from, unsigned bytes, bool user);
    /* Sets bits of 4 bytes with the system's rights, as LOCK OR does: other CPUs may write beside
     * them at that time, and a device takes all four. */
    bool (*set_bits)(void *ctx, uint64_t linear, uint32_t bits);
    /* An exception; error is 0 where it has no error code. */
    void (*raise)(void *ctx, unsigned vector, uint32_t error);
    bool external;            /* EXT in error codes: an event is being delivered */
    struct task_request task; /* with SEGMENT_TASK */
};

enum segment_result {
    SEGMENT_DONE,  /* RIP too is what it is to be, but for loads, which leave it to the caller */
    SEGMENT_FAULT, /* an exception has been raised */
    SEGMENT_TASK,  /* the caller does env->task by task_switch(); its next_eip is the caller's */
};

/* The privilege level, as VT-x has it: SS.DPL. */
static inline unsigned segment_cpl(const struct cpu_state *state)
{
    return access_dpl(state->ss.access);
}

static inline bool segment_is_real(const struct cpu_state *state)
{
    return (state->cr0 & CR0_PE) == 0 || (state->rflags & RFLAGS_VM) != 0;
}

static inline bool segment_is_64(const struct cpu_state *state)
{
    return (state->efer & EFER_LMA) != 0 && (state->cs.access & ACCESS_L) != 0;
}

/* MOV and POP to a segment register, LDS and its like (STATE_ES to STATE_GS, not CS); LLDT and LTR
 * (STATE_LDTR, STATE_TR), for which the caller has checked mode and CPL. */
bool segment_load(struct segment_env *env, unsigned number, uint16_t selector);

/* LAR, LSL, VERR and VERW. False: ZF is to be cleared. *fault: reading the descriptor has raised a
 * page fault. */
enum segment_query { SEGMENT_LAR, SEGMENT_LSL, SEGMENT_VERR, SEGMENT_VERW };
bool segment_query(struct segment_env *env, enum segment_query query, uint16_t selector,
                   uint32_t *value, bool *fault);

/* Far JMP and CALL; bytes: the operand size, 2, 4 or 8. next: RIP of the next instruction. */
enum segment_result segment_jump(struct segment_env *env, uint16_t selector, uint64_t offset,
                                 unsigned bytes);
enum segment_result segment_call(struct segment_env *env, uint16_t selector, uint64_t offset,
                                 unsigned bytes, uint64_t next);

/* Far RET, which takes drop more bytes from the stack, and IRET. */
enum segment_result segment_return(struct segment_env *env, unsigned bytes, unsigned drop);
enum segment_result segment_iret(struct segment_env *env, unsigned bytes);

/* An interrupt or exception, in the VMCS's format; state->rip is where its handler is to return,
 * state->rflags has RF as it is to be saved. */
enum segment_result segment_deliver(struct segment_env *env, const struct event *event);
