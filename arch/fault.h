/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults and interrupts of the host: dumps, end of interrupt, the back-trace. */
#pragma once

#include "arch/lapic.h"
#include "arch/percpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the stubs of vectors.asm leave on the stack. */
struct fault_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* VECTOR_POSTED: there are posted interrupts for the guest of this CPU, which takes them by itself
 * while it runs (SDM, "Posted-Interrupt Processing"). */
enum { VECTOR_TIMER = 0xf0, VECTOR_WAKE = 0xf1, VECTOR_POSTED = 0xf2 };
/* The two that are rare: the timer while firmware is called (fault_set_escape_time()), and an
 * interrupt that is gone again. */
enum { VECTOR_ESCAPE = 0xfe, VECTOR_SPURIOUS = 0xff };

/* VECTOR_ESCAPE and VECTOR_SPURIOUS. */
void interrupt_handle_rare(uint8_t vector);

/* An external interrupt has been acknowledged. It has ended a sleep or a guest's run, and the
 * loaded vCPU is to look at what others ask of it (struct cpu: attention): nothing else is wanted
 * of it, so only EOI is signalled. Called from the IDT, and by the engine after a VM exit that
 * acknowledged the interrupt. Interrupts off. */
static inline void interrupt_handle(uint8_t vector)
{
    if (vector >= VECTOR_ESCAPE) {
        interrupt_handle_rare(vector);
        return;
    }
    lapic_eoi();
    if (vector == VECTOR_TIMER)
        cpu_self()->timer_interrupts++;
    if ((vector == VECTOR_POSTED || vector == VECTOR_WAKE) && cpu_self()->attention != NULL)
        *cpu_self()->attention = true;
}

/* An NMI has come, by IDT or VM exit: does not return where the machine is being stopped. */
void nmi_handle(void);

/* Where to go, once, on the next fault of any kind instead of panicking: for calling firmware that
 * may be broken. Must not return. */
void fault_set_escape(void (*escape)(void));

/* Goes there, too, once this CPU's TSC has passed the deadline: for firmware that hangs. Turns
 * interrupts on, so that the timer's is taken, which has been initialised. */
void fault_set_escape_time(uint64_t tsc_deadline);

/* Logs an address of code as nadir.sym can resolve it, and the callers' by the chain of RBP. */
void fault_log_backtrace(uint64_t rip, uint64_t rbp);

/* Logs RSP's neighbourhood and the control registers. */
void fault_log_machine(uint64_t rsp);

/* Called by vectors.asm for every vector, on the interrupted CPU's stack or an IST stack. */
void fault_handle(struct fault_frame *frame);

/* The entry points of all 256 vectors, in vectors.asm. */
extern const uint64_t vector_entry[256];
