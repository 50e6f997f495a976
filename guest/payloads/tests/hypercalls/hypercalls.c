/* SPDX-License-Identifier: BSD-2-Clause */
/* Nadir's own hypercalls, from a 64-bit kernel: that they do what guest/hypercall.h says, and what
 * they answer to what is wrong. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"
#include "guest/lib/user.h"
#include "guest/lib/vmcall.h"

#define RULE      "guest/hypercall.h"
#define PRESENT   1ull
#define WRITABLE  2ull
#define ACCESSED  0x20ull
#define DIRTY     0x40ull
#define WINDOW    0x8000000000ull /* the second entry of the PML4: nothing is there */
#define NOWHERE   0x800000000000ull
#define NOT_RAM   0x40000000ull /* more than this VM has */
#define LONG      3000u         /* operations: some parts */
#define MS        1000000ull    /* ns */
#define FAR       (5000 * MS)   /* for emulators on a busy machine, too */
#define VECTOR    0x61u
#define UNDEFINED ((struct probe){VECTOR_UD, 0})

extern uint64_t page_tables[];

static uint64_t tables[3][512] __attribute__((aligned(4096)));
static uint64_t pages[2][512] __attribute__((aligned(4096)));
static struct nadir_memory_op ops[LONG];
static volatile uint64_t interrupted_at;

static uint64_t address(const void *p)
{
    return (uint64_t)p;
}

static int64_t change(uint32_t op, uint64_t linear, uint64_t entry)
{
    ops[0] = (struct nadir_memory_op){op, 77, linear, entry};
    return vmcall(NADIR_CALL_MEMORY, address(ops), 1, 0);
}

static void touch(void *at)
{
    *(volatile uint64_t *)at = 3;
}

static struct probe write_to(uint64_t linear)
{
    return probe_call(touch, (void *)linear);
}

static void check_presence(void)
{
    const struct cpuid own = cpuid(0x40000001, 0);
    test_equal(own.eax, NADIR_VERSION, "CPUID tells the version", RULE);
    test_equal(own.ebx, NADIR_FEATURES, "and what there is", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_VERSION, 0, 0, 0), NADIR_FEATURES << 8 | NADIR_VERSION,
               "as does a call", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_END_OF_LIST, 0, 0, 0), (uint64_t)HYPERCALL_UNKNOWN,
               "there is none behind the last", RULE);
    struct code code = {.rax = NADIR_CALL_EXIT, .length = 3, .bytes = {0x0f, 0x01, 0xc1}};
    user_init();
    user_probe(&code, 0);
    test_equal(code.rax, (uint64_t)HYPERCALL_NOT_PERMITTED, "a program may not end the VM", RULE);
}

static void check_memory(void)
{
    const uint64_t flags = PRESENT | WRITABLE;
    test_equal((uint64_t)change(NADIR_MAP, WINDOW, address(pages[0]) | flags),
               (uint64_t)NADIR_NO_TABLE, "no table is made", RULE);
    tables[0][0] = address(tables[1]) | flags;
    tables[1][0] = address(tables[2]) | flags;
    page_tables[1] = address(tables[0]) | flags;
    write_cr3(read_cr3());
    test_fault(write_to(WINDOW), (struct probe){VECTOR_PF, 2}, "nothing is mapped", RULE);
    test_equal((uint64_t)change(NADIR_MAP, WINDOW, address(pages[0]) | flags), 0,
               "a page is mapped", RULE);
    test_fault(write_to(WINDOW), (struct probe){PROBE_NONE, 0}, "and can be written", RULE);
    test_equal(pages[0][0], 3, "what is written arrives", RULE);
    change(NADIR_PROTECT, WINDOW + 4095, PRESENT);
    test_equal(ops[0].entry, address(pages[0]) | flags | ACCESSED | DIRTY,
               "a change tells what was before", RULE);
    test_fault(write_to(WINDOW), (struct probe){VECTOR_PF, 3}, "a page is made read-only", RULE);
    change(NADIR_MAP, WINDOW, address(pages[1]) | flags);
    test_fault(write_to(WINDOW), (struct probe){PROBE_NONE, 0}, "another takes its place", RULE);
    test_equal(pages[1][0], 3, "and is written", RULE);
    tables[2][0] = address(pages[0]) | PRESENT;
    test_equal((uint64_t)change(NADIR_FLUSH, WINDOW, 0), 0, "a translation is dropped", RULE);
    test_fault(write_to(WINDOW), (struct probe){VECTOR_PF, 3}, "so that the table counts", RULE);
    change(NADIR_UNMAP, WINDOW, 0);
    test_fault(write_to(WINDOW), (struct probe){VECTOR_PF, 2}, "a page is taken away", RULE);
    test_equal((uint64_t)change(NADIR_PROTECT, WINDOW, PRESENT), (uint64_t)NADIR_NOT_MAPPED,
               "what is not there has no flags", RULE);
    test_equal((uint64_t)change(NADIR_MAP, WINDOW, NOT_RAM | flags), (uint64_t)NADIR_BAD_FRAME,
               "what is not RAM is not mapped", RULE);
    test_equal((uint64_t)change(NADIR_MAP, address(ops), flags), (uint64_t)NADIR_NO_TABLE,
               "a large page is left alone", RULE);
    test_equal((uint64_t)change(NADIR_MAP, NOWHERE, flags), (uint64_t)NADIR_BAD_ADDRESS,
               "what no address can be", RULE);
    test_equal((uint64_t)change(9, WINDOW, flags), (uint64_t)NADIR_BAD_ARGUMENT,
               "an operation that there is not", RULE);
}

static void note_where(struct trap_frame *frame)
{
    irq_on_apic(frame);
    interrupted_at = frame->rip;
}

/* Interrupts come between the parts of a long call, and find the instruction itself. */
static void check_parts(void)
{
    struct vmcall_rest rest = {0, 0};
    for (unsigned i = 0; i < LONG; i++)
        ops[i] = (struct nadir_memory_op){NADIR_FLUSH, 77, WINDOW, 0};
    irq_forget();
    interrupts_on();
    /* How long the way into the call takes is the machine's; the call takes longer. */
    interrupted_at = 0;
    for (uint64_t i = 1; i < 20 && interrupted_at == 0; i++) {
        vmcall(NADIR_CALL_TIMER, (uint64_t)vmcall(NADIR_CALL_TIME, 0, 0, 0) + i * 20000, VECTOR, 0);
        if (vmcall_rest(NADIR_CALL_MEMORY, address(ops), LONG, 0, &rest) != 0)
            break;
        if (interrupted_at != 0 && memcmp((const void *)interrupted_at, "\x0f\x01\xc1", 3) != 0)
            interrupted_at = 0;
    }
    interrupts_off();
    test_check(interrupted_at != 0, "an interrupt comes in a long call, at the instruction", RULE);
    test_check(rest.count == 0 && rest.at == address(ops + LONG), "which goes to its end", RULE);
    test_check(ops[LONG - 1].result == 0, "with all that was asked for", RULE);
    ops[LONG / 2].op = 0;
    test_equal((uint64_t)vmcall_rest(NADIR_CALL_MEMORY, address(ops), LONG, 0, &rest),
               (uint64_t)NADIR_BAD_ARGUMENT, "or to the first error", RULE);
    test_equal(rest.count, LONG - LONG / 2, "of which it tells the place", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_MEMORY, NOWHERE, ~0ull, 0), (uint64_t)NADIR_BAD_ADDRESS,
               "an array that is nowhere", RULE);
}

static void check_interrupts(void)
{
    static const uint64_t bad[] = {0, 2, 15, 256, 1ull << 32 | VECTOR};
    irq_forget();
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        test_equal((uint64_t)vmcall(NADIR_CALL_SEND, bad[i], 0, 0), (uint64_t)NADIR_BAD_ARGUMENT,
                   "a vector that there is not", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_SEND, VECTOR, 64, 0), (uint64_t)NADIR_BAD_ARGUMENT,
               "a vCPU that there is not", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_SEND, VECTOR, (uint64_t)NADIR_ALL_BUT_SELF, 0),
               (uint64_t)NADIR_NOT_TAKEN, "there is no other", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_UNMASK, 0, 0, 0), 0, "interrupts were masked", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_MASK, 0, 0, 0), 1, "and were not", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_SEND, VECTOR, 0, 0), 0, "one is sent to itself", RULE);
    test_equal(irq_hits[VECTOR], 0, "and waits", RULE);
    vmcall(NADIR_CALL_UNMASK, 0, 0, 0);
    test_equal(irq_hits[VECTOR], 1, "until it may come", RULE);
    vmcall(NADIR_CALL_MASK, 0, 0, 0);
}

static void on_vector(struct trap_frame *frame)
{
    irq_note(frame);
    vmcall(NADIR_CALL_END, 0, 0, 0);
}

static uint64_t now_ns(void)
{
    return (uint64_t)vmcall(NADIR_CALL_TIME, 0, 0, 0);
}

static void check_time(void)
{
    trap_set_handler(VECTOR, on_vector);
    irq_forget();
    uint64_t begin = now_ns();
    test_check(now_ns() >= begin, "time goes on", RULE);
    vmcall(NADIR_CALL_TIMER, begin + 2 * MS, VECTOR, 0);
    vmcall(NADIR_CALL_SLEEP, begin + FAR, 0, 0);
    interrupts_off();
    uint64_t slept = now_ns() - begin;
    test_equal(irq_hits[VECTOR], 1, "a timer's interrupt ends a sleep", RULE);
    test_check(slept >= 2 * MS && slept < FAR, "at its time", RULE);
    begin = now_ns();
    vmcall(NADIR_CALL_SLEEP, begin + 3 * MS, 0, 0);
    interrupts_off();
    slept = now_ns() - begin;
    test_equal(irq_hits[VECTOR], 1, "which comes once", RULE);
    test_check(slept >= 3 * MS && slept < FAR, "a sleep ends at its own time", RULE);
    vmcall(NADIR_CALL_TIMER, now_ns() + MS, VECTOR, 0);
    vmcall(NADIR_CALL_TIMER, 0, 0, 0);
    vmcall(NADIR_CALL_SLEEP, now_ns() + 3 * MS, 0, 0);
    interrupts_off();
    test_equal(irq_hits[VECTOR], 1, "a timer is called off", RULE);
    vmcall(NADIR_CALL_TIMER, 1, VECTOR, 0);
    vmcall(NADIR_CALL_SLEEP, ~0ull, 0, 0);
    interrupts_off();
    test_equal(irq_hits[VECTOR], 2, "a time that is over comes at once", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_TIMER, 1, 15, 0), (uint64_t)NADIR_BAD_ARGUMENT,
               "a timer's vector that there is not", RULE);
}

static void check_console(void)
{
    static const char text[] = "ok hypercalls: vm-only: this line goes by one call (" RULE ")\r\n";
    struct nadir_stat stats[NADIR_CLASS_COUNT + 1];
    serial_drain();
    test_equal((uint64_t)vmcall(NADIR_CALL_WRITE, address(text), sizeof(text) - 1, 0), 0,
               "text is written", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_WRITE, NOWHERE, 1, 0), (uint64_t)NADIR_BAD_ADDRESS,
               "text that is nowhere", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_YIELD, 0, 0, 0), 0, "others may run", RULE);
    memset(stats, 0xff, sizeof(stats));
    test_equal((uint64_t)vmcall(NADIR_CALL_STATS, address(stats), NADIR_CLASS_COUNT + 1, 0),
               NADIR_CLASS_COUNT, "there are accounts of so many classes", RULE);
    test_check(stats[NADIR_CLASS_SYSCALL].count > 50 && stats[NADIR_CLASS_SYSCALL].ticks > 5000,
               "with these calls", RULE);
    test_equal(stats[NADIR_CLASS_COUNT].count, ~0ull, "and no more", RULE);
    test_equal((uint64_t)vmcall(NADIR_CALL_STATS, NOWHERE, 1, 0), (uint64_t)NADIR_BAD_ADDRESS,
               "accounts that go nowhere", RULE);
}

int main(void)
{
    struct code code = {.length = 3, .bytes = {0x0f, 0x01, 0xc1}};
    struct code locked = {.length = 4, .bytes = {0xf0, 0x0f, 0x01, 0xc1}};
    test_begin("hypercalls", "what Nadir does for kernels that ask");
    apic_enable(false);
    trap_set_handler(VECTOR, note_where);
    if (test_only(TEST_NATIVE))
        test_fault(code_probe(&code), UNDEFINED, "VMCALL is no instruction here", "SDM: VMCALL");
    test_both();
    test_fault(code_probe(&locked), UNDEFINED, "nor is it one with LOCK anywhere", "SDM: LOCK");
    if (test_only(TEST_VM)) {
        check_presence();
        check_memory();
        check_parts();
        check_interrupts();
        check_time();
        check_console();
    }
    return test_end();
}
