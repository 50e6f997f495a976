/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small kernel, for two vCPUs, that does the same work in two ways: as a kernel of the bare
 * machine does it, by privileged instructions, and as one that knows that it runs on Nadir, by
 * hypercalls. What differs is a table of operations with two columns; what a kernel is for goes by
 * that table.
 *
 * To be read in this order: three.h, main.c (the work, and what it costs), native.c (the one
 * column), hypercall.c (the other), memory.c (page tables and address spaces), entry.asm (the ways
 * into the kernel and out of it), user.asm (the programs), pv.c (the start as a paravirtual guest,
 * where the kernel runs at CPL 3 and has hypercalls alone). Natively it is started from three.bin,
 * and as a paravirtual guest from three.elf.
 */
#pragma once

#include "guest/hypercall.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096ull

/* Flags of a page-table entry. */
enum { PRESENT = 1, WRITABLE = 2, USER = 4 };

/* What a change of the page tables is, in either column: guest/hypercall.h's struct. */
typedef struct nadir_memory_op change;

/* The operations. Interrupts are held back while the kernel runs, but for wait(). */
struct ops {
    const char *name;
    /* One entry for a page of the address space that is in use, and several. */
    void (*map)(uint64_t linear, uint64_t entry);
    void (*map_all)(change *list, unsigned count);
    /* From now on addresses go by space number n. */
    void (*switch_space)(unsigned n);
    /* The address at which the last page fault was. */
    uint64_t (*fault_address)(void);
    /* A look at a clock. */
    uint64_t (*clock)(void);
    /* One interrupt TIMER, soon; one with this vector for another CPU; the handler has ended. */
    void (*start_timer)(void);
    void (*send)(unsigned cpu, unsigned vector);
    void (*end_interrupt)(void);
    /* Waits for an interrupt: returns when its handler has ended, or for no reason. */
    void (*wait)(void);
    void (*write)(const char *text, unsigned length);
    void (*exit)(int code) __attribute__((noreturn));
};

extern const struct ops native_ops, hypercall_ops, pv_ops;
extern const struct ops *ops; /* the column in use, of all CPUs */

/* What pv_ops has in common with hypercall_ops: Nadir's calls, hypercall.c. */
void call_map(uint64_t linear, uint64_t entry);
void call_map_all(change *list, unsigned count);
uint64_t call_clock(void);
void call_start_timer(void);
void call_send(unsigned cpu, unsigned vector);
void call_end_interrupt(void);
void call_wait(void);
void call_write(const char *text, unsigned length);
_Noreturn void call_exit(int code);
/* A hypercall, by the instruction that is right for where the kernel runs. */
int64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c);
/* Whether Nadir is below, with all calls that this kernel makes. */
bool hypercalls_exist(void);

/* --- traps: entry.asm, main.c --- */

enum vector {
    PAGE_FAULT = 14,
    TIMER = 0x60,
    PING = 0x61, /* to CPU 1, which answers: */
    PONG = 0x62,
    SYSTEM_CALL = 0x100, /* no vector of the CPU's */
};
#define EXCEPTIONS 32u
#define STUBS      (EXCEPTIONS + 3u) /* with TIMER to PONG */

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

void trap(struct frame *frame);

/* Each is STUB_BYTES long. pv_stubs: of the frames that a paravirtual kernel gets. */
#define STUB_BYTES 16u
extern const char stubs[], pv_stubs[];
void system_call_entry(void), pv_system_call_entry(void), pv_failsafe(void);

/* Segments of user code, and whether the kernel runs at CPL 3: read by entry.asm. */
extern uint64_t user_cs, user_ss;
extern bool is_pv;

/* Runs user code until it makes the system call EXIT; leave_user() is what that does. */
void enter_user(uint64_t rip, uint64_t rsp, uint64_t argument);
_Noreturn void leave_user(void);
enum { CALL_EXIT, CALL_COUNT };

/* The stack on which the kernel is entered from user code. */
extern uint8_t trap_stack[];
#define TRAP_STACK_BYTES 8192u

/* --- user.asm: less than a page, which user code has at USER_CODE --- */

extern const char user_image[], user_image_end[], user_calls[], user_writes[];

/* --- memory.c --- */

/* The user half of an address space begins here: the second entry of the top table, so that the
 * kernel, which is in the first one, can be left out of what user code sees. */
#define USER_BASE  0x8000000000ull
#define USER_CODE  USER_BASE
#define USER_STACK (USER_BASE + 2 * PAGE) /* its end */
#define USER_MARK  (USER_BASE + 2 * PAGE) /* a page that is another one in each space */
#define USER_HEAP  (USER_BASE + 0x10000)  /* pages that come when they are touched */
#define USER_VIEW  (USER_BASE + 0x80000)  /* what main.c maps and unmaps */
#define SPACES     2u

struct space {
    uint64_t root[512];      /* the kernel's half, and the user's */
    uint64_t user_root[512]; /* the user's alone: for a paravirtual guest */
    uint64_t pointers[512], directory[512], table[512];
};
extern struct space space[SPACES];
#define FRAMES 16u
extern uint64_t frame[FRAMES][512];

/* Builds the spaces. kernel: the entry of their first half. */
void spaces_build(uint64_t kernel);

/* --- the start --- */

/* What all starts end in: does the work by one column after the other. Returns whether all is as
 * it should be. */
bool work(const struct ops *const *columns, unsigned count);
/* Says that there is no CPU 1, and ends with code 1. */
_Noreturn void lack_second(void);
/* What CPU 1 does, for ever. */
_Noreturn void second_cpu(void);
/* native.c: segments, traps and system calls of this CPU, and the second one. */
void native_start(void);
