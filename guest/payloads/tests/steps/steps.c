/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that the hypervisor steps over: single-step, breakpoints and the shadow of STI have
 * to be what they are on the bare machine. */
#include "guest/lib/apic.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define RFLAGS_TF 0x100ull
#define RFLAGS_RF 0x10000ull
#define DR6_BS    0x4000ull
#define DR6_B0    1ull
#define DR6_B1    2ull
#define VECTOR    0x60

struct piece {
    void (*run)(void);
    uint64_t next; /* the address behind the instruction */
    const char *name;
};

extern const struct piece step_rows[], step_vm_rows[], shadow_rows[], shadow_vm_rows[];
extern const char broken_cpuid[], broken_next[];
void broken_run(void);

static volatile unsigned traps;
static volatile uint64_t trap_rip[4], trap_dr6[4], interrupt_rip;

static void on_debug(struct trap_frame *frame)
{
    uint64_t dr6;
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    if (traps < 4) {
        trap_rip[traps] = frame->rip;
        trap_dr6[traps] = dr6;
    }
    traps++;
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    frame->rflags &= ~RFLAGS_TF;
    if ((dr6 & DR6_BS) == 0)
        frame->rflags |= RFLAGS_RF; /* past the breakpoint */
}

static void on_interrupt(struct trap_frame *frame)
{
    interrupt_rip = frame->rip;
    apic_eoi();
}

static void check_steps(const struct piece *rows)
{
    for (const struct piece *p = rows; p->run != NULL; p++) {
        traps = 0;
        p->run();
        __asm__ volatile("cli");
        test_check(traps == 1 && trap_rip[0] == p->next && (trap_dr6[0] & DR6_BS) != 0, p->name,
                   "#DB after it, RFLAGS.TF");
        if (traps != 1 || trap_rip[0] != p->next)
            print("  %u traps, the first at %lx, not %lx\n", traps, trap_rip[0], p->next);
    }
}

static void check_shadows(const struct piece *rows)
{
    for (const struct piece *p = rows; p->run != NULL; p++) {
        interrupt_rip = 0;
        apic_self_ipi(VECTOR);
        p->run();
        test_equal(interrupt_rip, p->next, p->name, "the interrupt comes behind it");
    }
}

static void check_breakpoints(void)
{
    traps = 0;
    __asm__ volatile("mov %0, %%dr0" : : "r"(broken_cpuid));
    __asm__ volatile("mov %0, %%dr1" : : "r"(broken_next));
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x40aull)); /* global, on execution */
    broken_run();
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
    test_equal(traps, 2, "two breakpoints are hit", "debug registers");
    test_check(trap_rip[0] == (uint64_t)broken_cpuid && (trap_dr6[0] & DR6_B0) != 0,
               "the first before CPUID", "fault, B0");
    test_check(trap_rip[1] == (uint64_t)broken_next && (trap_dr6[1] & DR6_B1) != 0,
               "the second right after it", "RFLAGS.RF is for one instruction only");
}

static void go(void *address)
{
    __asm__ volatile("jmp *%0" : : "r"(address), "a"(0), "c"(0) : "rbx", "rdx", "memory");
    __builtin_unreachable();
}

/* The last instruction of the lower half of 48-bit addresses: what follows has no address. */
static void check_edge(const uint8_t *instruction, unsigned length, const char *what)
{
    static uint64_t tables[3][512] __attribute__((aligned(4096)));
    static uint8_t page[4096] __attribute__((aligned(4096)));
    extern uint64_t page_tables[];
    page_tables[255] = (uint64_t)tables[0] | 3;
    tables[0][511] = (uint64_t)tables[1] | 3;
    tables[1][511] = (uint64_t)tables[2] | 3;
    tables[2][511] = (uint64_t)page | 3;
    memcpy(page + sizeof(page) - length, instruction, length);
    const struct probe p = probe_call(go, (void *)(0x800000000000 - length));
    test_fault(p, (struct probe){VECTOR_GP, 0}, what, "Canonical Addressing");
    test_equal(trap_last.rip, 0x800000000000, "the fault is the next instruction's",
               "Canonical Addressing");
}

int main(void)
{
    test_begin("steps", "what is stepped over, and when");
    pic_init(0x20);
    apic_enable(true);
    trap_set_handler(VECTOR_DB, on_debug);
    trap_set_handler(VECTOR, on_interrupt);
    check_steps(step_rows);
    check_shadows(shadow_rows);
    check_edge((const uint8_t *)"\x0f\xa2", 2, "CPUID is the last of the canonical addresses");
    if (test_only(TEST_VM)) { /* VMCALL is undefined elsewhere */
        check_steps(step_vm_rows);
        check_shadows(shadow_vm_rows);
        check_edge((const uint8_t *)"\x0f\x01\xc1", 3, "VMCALL is the last of them");
    }
    test_both();
    check_breakpoints();
    return test_end();
}
