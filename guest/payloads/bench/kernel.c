/* SPDX-License-Identifier: BSD-2-Clause */
/* As much of a kernel as some rows need: user mode with a system call and handlers of faults, and a
 * page of 4 KiB whose entry changes.
 */
#include "guest/payloads/bench/kernel.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define MSR_STAR   0xc0000081u
#define MSR_LSTAR  0xc0000082u
#define MSR_FMASK  0xc0000084u
#define EFER_SCE   1ull
#define PAGE_RW    3ull
#define PAGE_BYTES 4096u
#define MAPPED_AT  (4ull << 30) /* the first address that the payload's start leaves alone */
#define WORDS      (PAGE_BYTES / sizeof(uint64_t))
#define CALL_RAX   \
    {              \
        0xff, 0xd0 \
    }
#define IF_ON 0x200

typedef uint64_t page[WORDS];

extern uint64_t page_tables[]; /* start.asm: the PML4, then four tables of 1 GiB pages' pointers */
void entry_syscall(void);
void handler_pgfault(void);
void handler_divzero(void);

/* For rounds_ptemod: the entry, the page that it maps, and two values of the entry. */
uint64_t *kernel_pte, kernel_page, kernel_entries[2];

bool kernel_run_user(void (*rounds)(uint32_t *, uint64_t), uint32_t *stamps, uint64_t count)
{
    static bool is_ready;
    struct code code = {.rax = (uint64_t)rounds,
                        .rdi = (uint64_t)stamps,
                        .rsi = count,
                        .length = 2,
                        .bytes = CALL_RAX};
    if (!is_ready) {
        user_init();
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
        wrmsr(MSR_STAR, (uint64_t)USER_CODE32 << 48 | (uint64_t)USER_KERNEL_CODE << 32);
        wrmsr(MSR_LSTAR, (uint64_t)entry_syscall);
        wrmsr(MSR_FMASK, IF_ON);
        trap_set_gate(VECTOR_PF, handler_pgfault);
        trap_set_gate(VECTOR_DE, handler_divzero);
        is_ready = true;
    }
    return user_probe(&code, IF_ON).vector == PROBE_NONE;
}

/* What is read at the page while the entry is this one. */
static uint64_t seen_by(uint64_t entry)
{
    *(volatile uint64_t *)kernel_pte = entry;
    __asm__ volatile("invlpg (%0)" : : "r"(kernel_page) : "memory");
    return *(volatile uint64_t *)kernel_page;
}

bool kernel_map_page(void)
{
    static page directory __attribute__((aligned(PAGE_BYTES))),
        table __attribute__((aligned(PAGE_BYTES))), frame[2] __attribute__((aligned(PAGE_BYTES)));
    page_tables[WORDS + MAPPED_AT / (1ull << 30)] = (uint64_t)directory | PAGE_RW;
    directory[0] = (uint64_t)table | PAGE_RW;
    kernel_pte = &table[0];
    kernel_page = MAPPED_AT;
    for (unsigned i = 0; i < 2; i++) {
        kernel_entries[i] = (uint64_t)frame[i] | PAGE_RW;
        frame[i][0] = 0x1234 + i;
    }
    return seen_by(kernel_entries[0]) == frame[0][0] && seen_by(kernel_entries[1]) == frame[1][0] &&
           seen_by(kernel_entries[0]) == frame[0][0];
}
