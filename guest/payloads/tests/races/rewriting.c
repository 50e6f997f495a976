/* SPDX-License-Identifier: BSD-2-Clause */
/* The second CPU changes an instruction, back and forth, while the first one executes it: one of
 * the two is what has been executed, and never something between them. */
#include "races.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

#define ROUNDS     400
#define RAM_VALUE  0x11223344u
#define CHIP_VALUE 0x15u /* of the IO-APIC's register select */
#define RULE       "SDM, Handling Self- and Cross-Modifying Code"
#define IOAPIC     ((volatile uint32_t *)(uint64_t)IOAPIC_ADDRESS)

/* Two instructions for the same place, in 16 bytes with a RET behind. */
static union {
    uint64_t words[2];
    uint8_t bytes[16];
} place[2] __attribute__((aligned(64)));
static uint64_t variant[2][2];
static volatile bool stop;
static volatile uint32_t ram;
static unsigned breakpoints;

struct registers {
    uint64_t rax, rcx;
};

static void write_code(unsigned which)
{
    /* Both instructions are alike but for one of these words. */
    __atomic_store_n(&place[0].words[0], variant[which][0], __ATOMIC_SEQ_CST);
    __atomic_store_n(&place[0].words[1], variant[which][1], __ATOMIC_SEQ_CST);
}

static void set_variant(unsigned which, const uint8_t *bytes, unsigned length)
{
    uint8_t *to = (uint8_t *)variant[which];
    for (unsigned i = 0; i < 16; i++)
        to[i] = i < length ? bytes[i] : 0x90;
    place[1].bytes[0] = 0xc3;
}

/* RDI is the IO-APIC's, RSI the RAM's. */
static void execute(void *arg)
{
    struct registers *r = arg;
    __asm__ volatile("call *%[code]"
                     : "+a"(r->rax), "+c"(r->rcx)
                     : [code] "r"(&place[0]), "D"(IOAPIC), "S"(&ram)
                     : "memory", "cc", "rbx", "rdx");
}

static void on_breakpoint(struct trap_frame *frame)
{
    breakpoints++;
    frame->rip++; /* the byte behind INT3 may have become the other instruction's again */
}

/* What the first CPU does in each round; false: neither instruction does that. */
typedef bool attempt_fn(void);
static attempt_fn *attempt;
static unsigned wrong, increments;

static void rewrite(unsigned cpu)
{
    if (cpu == 1) {
        for (unsigned i = 0; !stop; i++) {
            write_code(i & 1);
            for (volatile unsigned wait = i % 7; wait > 0; wait--)
                ;
        }
    } else if (cpu == 0) {
        for (unsigned i = 0; i < ROUNDS; i++)
            wrong += attempt() ? 0 : 1;
        stop = true;
    }
}

static bool load(void)
{
    struct registers r = {0, 0};
    const struct probe probe = probe_call(execute, &r);
    return probe.vector == PROBE_NONE &&
           ((r.rax == CHIP_VALUE && r.rcx == 0) || (r.rax == 0 && r.rcx == RAM_VALUE));
}

static bool load_or_break(void)
{
    struct registers r = {0, 0};
    const unsigned before = breakpoints;
    const struct probe probe = probe_call(execute, &r);
    return probe.vector == PROBE_NONE &&
           (breakpoints == before + 1 ? r.rax == 0 : r.rax == CHIP_VALUE);
}

static bool load_or_gp(void)
{
    struct registers r = {0, 0};
    const struct probe probe = probe_call(execute, &r);
    return (probe.vector == PROBE_NONE && r.rax == CHIP_VALUE) ||
           (probe.vector == VECTOR_GP && probe.error == 0);
}

static bool store(void)
{
    static uint32_t last;
    struct registers r = {last = (last + 1) % 0x40, 0};
    ram = *IOAPIC = 0x80;
    const struct probe probe = probe_call(execute, &r);
    const uint32_t chip = *IOAPIC;
    return probe.vector == PROBE_NONE &&
           ((chip == last && ram == 0x80) || (chip == 0x80 && ram == last));
}

static bool port_or_move(void)
{
    struct registers r = {0x77, 0};
    const struct probe probe = probe_call(execute, &r);
    return probe.vector == PROBE_NONE && (r.rax == 0xff || r.rax == 0x55);
}

static bool leaf_or_nothing(void)
{
    struct registers r = {0x80000000, 0};
    const struct probe probe = probe_call(execute, &r);
    return probe.vector == PROBE_NONE && r.rax >= 0x80000000;
}

static void check_pair(attempt_fn *fn, const uint8_t *a, unsigned a_length, const uint8_t *b,
                       unsigned b_length, const char *what)
{
    set_variant(0, a, a_length);
    set_variant(1, b, b_length);
    write_code(0);
    *IOAPIC = CHIP_VALUE;
    ram = RAM_VALUE;
    attempt = fn;
    wrong = 0;
    stop = false;
    race(rewrite);
    test_equal(wrong, 0, what, RULE);
}

/* LOCK INC of the chip or of RAM, where another CPU counts at the same time: none may get lost. */
static volatile uint32_t others;

static bool increment(void)
{
    struct registers r = {0, 0};
    *IOAPIC = 0;
    if (probe_call(execute, &r).vector != PROBE_NONE)
        return false;
    increments += *IOAPIC == 0 ? 1 : 0;
    return true;
}

static void count_and_rewrite(unsigned cpu)
{
    if (cpu == 1) {
        uint32_t count = 0;
        for (; !stop; count++) {
            write_code(count & 1);
            __asm__ volatile("lock incl %0" : "+m"(ram));
        }
        others = count;
    } else {
        rewrite(cpu);
    }
}

static void check_increments(void)
{
    static const uint8_t chip[] = {0xf0, 0xff, 0x07}, memory[] = {0xf0, 0xff, 0x06};
    set_variant(0, chip, sizeof(chip));
    set_variant(1, memory, sizeof(memory));
    write_code(0);
    ram = 0;
    attempt = increment;
    wrong = increments = 0;
    stop = false;
    race(count_and_rewrite);
    test_equal(wrong, 0, "LOCK INC of a device or of RAM", RULE);
    test_equal(ram, others + increments, "RAM has been counted up by locked accesses", RULE);
}

void check_rewriting(void)
{
    static const uint8_t load_chip[] = {0x8b, 0x07}, load_ram[] = {0x8b, 0x0e};
    static const uint8_t store_chip[] = {0x89, 0x07}, store_ram[] = {0x89, 0x06};
    static const uint8_t int3[] = {0xcc};
    static const uint8_t in_port[] = {0xe4, 0xed}, move_al[] = {0xb0, 0x55};
    static const uint8_t leaf[] = {0x0f, 0xa2}, nothing[] = {0x66, 0x90};
    static const uint8_t fifteen[] = {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e,
                                      0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x8b, 0x07};
    /* Its last byte by itself, behind the other one, is NOP. */
    static const uint8_t sixteen[] = {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e,
                                      0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x8b, 0x90};
    trap_set_handler(VECTOR_BP, on_breakpoint);
    check_pair(load, load_chip, 2, load_ram, 2, "a load from a device or from RAM");
    check_pair(store, store_chip, 2, store_ram, 2, "a store to a device or to RAM");
    check_pair(load_or_break, load_chip, 2, int3, 1, "a load from a device, or INT3");
    check_pair(load_or_gp, fifteen, 15, sixteen, 16, "one of 15 bytes, or a longer one");
    check_pair(port_or_move, in_port, 2, move_al, 2, "IN, or MOV");
    check_pair(leaf_or_nothing, leaf, 2, nothing, 2, "CPUID, or NOP");
    check_increments();
}
