/* SPDX-License-Identifier: BSD-2-Clause */
/* How long one instruction keeps its CPU in the hypervisor, where the work grows with the number
 * of vCPUs, or with what a timer has missed: a line for each. Alone on one host CPU. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"
#include "guest/lib/trap.h"

#define MOST   20000u /* ticks, with as many vCPUs as a VM can have */
#define CPUS   64u    /* so many. There are fewer here, or others ran before the clock is read */
#define FIXED  1500u  /* ticks at least that are no vCPU's: the exit, and its device */
#define TIMES  8      /* the least of these: in the others another vCPU had its turn */
#define PIN    5
#define TO_ALL 0xc0000u /* but this one */
#define RULE   "a budget of time"

enum { VECTOR_FIXED = 0x61, VECTOR_TIMER = 0x41, SETTLE = 1000000 };
enum { ICR_FIXED = 0x4000, ICR_LOWEST = 0x4100, ICR_NMI = 0x4400, ICR_INIT = 0x4500 };
enum { ICR_SIPI = 0x4600, ICR_LOGICAL = 0x800, SIPI_PAGE = 6, PORT_A = 0x92, LINES = 0x2000 };

typedef void step(void);

static volatile unsigned taken;
static unsigned cpus;

static void on_interrupt(struct trap_frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
}

static void wait_for_more(unsigned index)
{
    (void)index;
    apic_write(APIC_DFR, 0);
    apic_write(APIC_LDR, 0x0fu << 24); /* one of cluster 0 */
    for (;;)
        interrupt_wait();
}

/* So that all the others have done what they were asked for, and sleep. */
static void let_others_run(void)
{
    const uint64_t start = rdtsc();
    while (rdtsc() - start < SETTLE)
        __asm__ volatile("pause");
}

/* What it would take with CPUS vCPUs, at most: each one has its part. */
static uint64_t with_all(uint64_t ticks)
{
    return ticks > FIXED && cpus > 1 ? FIXED + (ticks - FIXED) * (CPUS - 1) / (cpus - 1) : ticks;
}

static void measure(const char *what, step *before, step *once)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < TIMES; i++) {
        before();
        const uint64_t start = rdtsc();
        once();
        const uint64_t ticks = rdtsc() - start;
        least = ticks < least ? ticks : least;
        most = ticks > most ? ticks : most;
    }
    print("note longest: vm-only: %s: %lu to %lu ticks\n", what, least, most);
    test_check(with_all(least) <= MOST, what, RULE);
}

static void icr(uint32_t destination, uint32_t command)
{
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, command);
}

static void fixed_to_all(void)
{
    apic_write(APIC_ICR, TO_ALL | ICR_FIXED | VECTOR_FIXED);
}
static void nmi_to_all(void)
{
    apic_write(APIC_ICR, TO_ALL | ICR_NMI);
}
static void init_to_all(void)
{
    apic_write(APIC_ICR, TO_ALL | ICR_INIT);
}
static void sipi_to_all(void)
{
    apic_write(APIC_ICR, TO_ALL | ICR_SIPI | SIPI_PAGE);
}
static void logical_to_all(void)
{
    icr(0xff, ICR_FIXED | ICR_LOGICAL | VECTOR_FIXED);
}
static void lowest_of_all(void)
{
    icr(0xff, ICR_LOWEST | ICR_LOGICAL | VECTOR_FIXED);
}
static void raise_line(void)
{
    port_out8(LINES + PIN, 1);
}
static void a20_off(void)
{
    port_out8(PORT_A, 0);
}
static void a20_on(void)
{
    port_out8(PORT_A, 2);
}
static void nothing(void)
{
}
static void look(void)
{
    cpuid(0, 0);
}

static void init_all(void)
{
    init_to_all();
    let_others_run();
}

static void lower_line(void)
{
    port_out8(LINES + PIN, 0);
    let_others_run();
}

static void line_is_up(void)
{
    ioapic_write(0x10 + 2 * PIN, IOAPIC_MASKED);
    lower_line();
    port_out8(LINES + PIN, 1);
}

static void unmask(void)
{
    ioapic_write(0x10 + 2 * PIN, VECTOR_FIXED | IOAPIC_LEVEL);
}
static void turn_off_a20(void)
{
    a20_off();
    let_others_run();
}
static void turn_on_a20(void)
{
    a20_on();
    let_others_run();
}

static void check_ipis(void)
{
    measure("an IPI to all", let_others_run, fixed_to_all);
    measure("a logical IPI to all", let_others_run, logical_to_all);
    measure("an IPI to the lowest of all", let_others_run, lowest_of_all);
    measure("an NMI to all", let_others_run, nmi_to_all);
    measure("INIT to all", let_others_run, init_to_all);
    measure("SIPI to all", init_all, sipi_to_all);
    let_others_run();
    ioapic_write(0x11 + 2 * PIN, 0xffu << 24);
    ioapic_write(0x10 + 2 * PIN, VECTOR_FIXED);
    measure("an edge of a pin to all", lower_line, raise_line);
    measure("a level of a pin to all", line_is_up, unmask);
    ioapic_write(0x10 + 2 * PIN, IOAPIC_MASKED);
}

static void check_memory(void)
{
    measure("A20 off", turn_on_a20, a20_off);
    measure("A20 on", turn_off_a20, a20_on);
}

/* A timer that is due more often than it can be looked at. */
static void check_timers(void)
{
    apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
    apic_write(APIC_TIMER_COUNT, 1);
    measure("CPUID with an APIC timer of one tick", nothing, look);
    apic_write(APIC_TIMER_COUNT, 0);
    pit_start(2, 2);
    measure("CPUID with a PIT of two ticks", let_others_run, look);
    pit_start(2, 0);
}

int main(void)
{
    test_begin("longest", "no instruction takes the hypervisor long");
    apic_enable(false);
    trap_set_handler(VECTOR_FIXED, on_interrupt);
    trap_set_handler(VECTOR_TIMER, on_interrupt);
    trap_set_handler(VECTOR_NMI, on_nmi);
    cpus = smp_start(wait_for_more);
    apic_write(APIC_DFR, 0);
    apic_write(APIC_LDR, 0x0fu << 24);
    if (test_only(TEST_VM))
        print("note longest: vm-only: %u vCPUs\n", cpus);
    test_both();
    apic_self_ipi(VECTOR_FIXED);
    interrupts_let_in();
    test_check(taken == 1, "an IPI comes", "SDM, Issuing Interprocessor Interrupts");
    if (test_only(TEST_VM)) {
        check_ipis();
        check_memory();
        check_timers();
    }
    test_both();
    return test_end();
}
