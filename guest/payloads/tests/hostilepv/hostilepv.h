/* SPDX-License-Identifier: BSD-2-Clause */
/* A paravirtual kernel that does to its hypervisor what it can. */
#pragma once

#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

#include <stdbool.h>

#define PAGE        4096ull
#define WORDS       512u
#define PTE_ADDRESS 0x000ffffffffff000ull
#define ARRAY(a)    (sizeof(a) / sizeof((a)[0]))

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PS = 0x80 };
enum { NO_TRAP = -1, DB = 1, BP = 3, UD = 6, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14 };
enum { TRAP_SYSCALL = 0x100, TRAP_FAILSAFE = 0x101, TRAP_TIMER = 0x102 };
enum { EPERM = -1, ENOENT = -2, EFAULT = -14, EINVAL = -22, ENOSYS = -38 };

typedef uint64_t page[WORDS] __attribute__((aligned(4096)));

/* The hypervisor's part of linear memory. */
#define HOLE     0xffff800000000000ull
#define HOLE_END 0xffff880000000000ull

struct trap {
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
extern volatile struct trap trap_last;

struct iret_frame {
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};

/* entry.asm: each returns the vector of the trap that has ended it, or NO_TRAP. */
int64_t probe(void (*f)(void *), void *argument);
int64_t probe_code(uint64_t registers[6]);
int64_t probe_iret(const struct iret_frame *frame);
int64_t load_selector(unsigned which, uint16_t selector);
void entry_event(void), entry_failsafe(void), entry_syscall(void), second_entry(void);
extern uint8_t stubs[], code_page[], trap_stack_end[], second_stack_end[];

/* main.c */
extern page shared; /* struct xen_shared_info */
extern struct xen_vcpu_info infos[2];
extern uint64_t kernel_root, pages;
void check(bool ok, const char *what, uint64_t a, uint64_t b);
void expect(int64_t got, int64_t want, const char *what, uint64_t about);
void make_traps(void); /* and all else of that kind, as it was */
bool is_text(const char *a, const char *b);
void put_code(const void *bytes, unsigned length);
void end_user_code_after(uint64_t ns); /* by TRAP_TIMER */
uint64_t wild(void);                   /* a number of no meaning */

/* memory.c */
extern page area[16], user_root; /* area: pages with an even number; those behind are not mapped */
uint64_t *entry_of(uint64_t linear);
int64_t map(const void *at, uint64_t entry);
int64_t mmu_update(uint64_t at, uint64_t value);
int64_t mmuext(uint32_t command, uint64_t frame, uint64_t argument);
void make_memory(const struct xen_start_info *info);
void attack_memory(void);

void attack_calls(void);      /* calls.c */
void attack_cpu(void);        /* cpu.c */
void attack_segments(void);   /* segments.c */
void attack_by_two(void);     /* two.c */
bool end_as(const char *how); /* ends.c; false: there is no such way */
