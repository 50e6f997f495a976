/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions and interrupts: handlers by vector, and probes, which learn how an instruction faults.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    PROBE_NONE = 256, /* a probe's answer where nothing faulted */
};

/* What vectors.asm pushes; a handler may change it. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "vectors.asm pushes this");

typedef void trap_handler(struct trap_frame *frame);

/* NULL: an exception or interrupt of that vector ends the payload with its registers printed. */
void trap_set_handler(unsigned vector, trap_handler *handler);

/* Lets the CPU enter a function of assembly at a vector, without trap_dispatch() between. */
void trap_set_gate(unsigned vector, void (*entry)(void));

/* The same, open to INT at CPL 3. */
void trap_set_user_gate(unsigned vector, void (*entry)(void));

/* A gate's descriptor, to be changed by tests. */
uint64_t *trap_gate(unsigned vector);

struct probe {
    uint32_t vector; /* enum vector */
    uint32_t error;
};

/* Calls a function; if it causes an exception, that is the answer and the rest is not run. Not
 * nested. */
struct probe probe_call(void (*function)(void *), void *argument);

/* The registers at the last probed fault. */
extern struct trap_frame trap_last;

/* The IDT for another CPU (smp.c). */
void trap_load(void);

/* Called by start.asm and vectors.asm. */
void trap_init(void);
void trap_dispatch(struct trap_frame *frame);
