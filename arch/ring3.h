/* SPDX-License-Identifier: BSD-2-Clause */
/* Code at CPL 3, entered and left as an ordinary function: for the engines that do without VT-x. */
#pragma once

#include "arch/percpu.h"
#include "arch/weakness.h"
#include "arch/x86.h"

#include <stdbool.h>

/*
 * What ring3_enter() returns beside the vectors of exceptions and interrupts.
 * RING3_SYSCALL: SYSCALL in 64-bit code.
 * RING3_SYSCALL32: SYSCALL in 16- or 32-bit code, for which Intel's CPUs raise #UD instead.
 * RING3_REFUSED plus a vector: IRETQ has raised that exception, as it refuses the frame's RIP, CS
 * or SS; no code at CPL 3 has run.
 */
#define RING3_SYSCALL   256u
#define RING3_SYSCALL32 257u
#define RING3_REFUSED   512u

/*
 * A function that answers SYSCALLs without ring3_enter() returning, at half the cost. It is called
 * with interrupts off, on the stack that ring3_enter() was called on. Of the frame it may read and
 * change rip, rflags, and of gpr RSP and those registers that a C function need not preserve; the
 * other registers are in the CPU, and what the frame has of them is old. It returns RING3_GO_ON,
 * and the guest goes on as the frame says then; or what ring3_enter() is to return: RING3_SYSCALL,
 * or a number of its own between RING3_SYSCALL32 and RING3_REFUSED.
 */
struct ring3_frame;
typedef unsigned ring3_answer_fn(struct ring3_frame *frame);
#define RING3_GO_ON 0u

/* The registers at CPL 3. The end of what the CPU itself pushes is aligned as it aligns it. */
struct ring3_frame {
    uint64_t gpr[16];       /* in the hardware's order */
    uint64_t cr2;           /* after a page fault: its address */
    uint64_t vector, error; /* of what has ended it; after SYSCALL error is not defined */
    uint64_t rip, cs, rflags;
    uint64_t rsp; /* for the CPU: gpr[4] counts */
    uint64_t ss;
    uint64_t host_rsp, host_ssp; /* ring3_enter()'s own */
    ring3_answer_fn *answer;     /* called where bit RAX % 64 of answered is set */
    uint64_t answered;           /* 0 unless ring3_may_answer() */
} __attribute__((aligned(16)));
_Static_assert(offsetof(struct ring3_frame, vector) == 17 * 8 &&
                   offsetof(struct ring3_frame, answer) == 26 * 8,
               "arch/ring3.asm counts on it");

/* The flags that a frame may have: what CPL 3 could set itself, with interrupts on and IOPL 0. */
static inline uint64_t ring3_flags(uint64_t wanted)
{
    const uint64_t own = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF |
                         RFLAGS_DF | RFLAGS_OF | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
    return (wanted & own) | RFLAGS_FIXED | RFLAGS_IF;
}

/* Prepares this CPU, before the first ring3_enter(), and after another engine has run on it: the
 * MSRs of system calls, so that each comes here. gs_base: what GS base is at CPL 3. */
void ring3_load(uint64_t gs_base);

/* Work at each way back from CPL 3. */
enum ring3_leave_work {
    RING3_FILL_RETURNS = 1,
    RING3_CLEAR_HISTORY = 2,
    RING3_REWRITE_CONTROL = 4,
};

/*
 * What of a CPU's measures (arch/weakness.h) is needed around CPL 3. VERW before each way to it
 * (clear_buffers), which patches ring3_enter() apart. Not the level-1 data cache's flush: L1TF
 * goes by addresses in page-table entries that are not present, and those of shadow page tables
 * are the hypervisor's, and 0. IA32_SPEC_CTRL stays the host's at CPL 3, since no guest there is
 * shown it; only where IBRS counts anew with each write is it written.
 */
static inline unsigned ring3_work_of(const struct weakness_measures *m)
{
    return (m->fill_returns ? RING3_FILL_RETURNS : 0u) |
           (m->clear_history ? RING3_CLEAR_HISTORY : 0u) |
           (m->rewrite_control ? RING3_REWRITE_CONTROL : 0u);
}

/* Has ring3_enter() do that, and costs CPUs nothing that need none of it. As patch_jump(). */
void ring3_harden(const struct weakness_measures *measures);

/* Whether this CPU may take the short way of ring3_frame.answer: where there is work at each way
 * back from CPL 3 or to it, or a shadow stack, all goes through ring3_enter()'s caller. */
bool ring3_may_answer(void);

/* Loads a data segment register, as it is to be at CPL 3; IRETQ makes what CPL 3 could not load
 * null. False, and nothing done: the CPU refuses the selector. FS base becomes the descriptor's; so
 * does not GS base, which is the host's. */
bool ring3_load_ds(uint16_t selector);
bool ring3_load_es(uint16_t selector);
bool ring3_load_fs(uint16_t selector);
bool ring3_load_gs(uint16_t selector);

/* What is in DS, ES, FS and GS. */
#if __STDC_HOSTED__
void ring3_read_selectors(uint16_t out[4]); /* a unit test's */
#else
static inline void ring3_read_selectors(uint16_t out[4])
{
    __asm__ volatile("movw %%ds, %0; movw %%es, %1; movw %%fs, %2; movw %%gs, %3"
                     : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]));
}
#endif

/*
 * Executes code at CPL 3, from frame->rip on with the registers in frame, until something ends
 * that, and returns what: a vector, or one of the numbers above. An interrupt has been
 * acknowledged, and interrupt_handle() is the caller's to call. NMIs and machine checks are
 * handled, and do not end it. CS and SS are selectors of CPL 3; rflags by ring3_flags(). FS base,
 * the data segments, the debug registers, and x87 and vectors are what they are in the CPU, and
 * stay there.
 */
unsigned ring3_enter(struct ring3_frame *frame);
