/* SPDX-License-Identifier: BSD-2-Clause */
/* Several CPUs: start, identity, clocks in step, every kind of interrupt between them, INIT while
 * they run, and the end of the machine by another than the first. */
#include "guest/lib/smp.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define VECTOR_CALL  0x40 /* + the sender's index */
#define VECTOR_COUNT 0x60
#define VECTOR_PIT   0x70
#define PIN_PIT      2
#define ROUNDS       1000
#define CLOCK_ROUNDS 2000
#define ANSWERS      50

#define ICR_LOWEST  0x100u
#define ICR_NMI     0x4400u
#define ICR_LOGICAL 0x800u
#define ICR_ASSERT  0x4000u
#define ICR_ALL     0x80000u
#define ICR_OTHERS  0xc0000u

/* 0xc0000 to 0xc7fff, where no ROM is: types write-back and write-through differ by 2. */
enum { MTRR_FIX4K_C0000 = 0x268 };
#define MTRR_TYPES 0x0202020202020202
enum { MISC_ENABLE = 0x1a0, MISC_FEW_LEAVES = 1 << 22 };

enum order {
    NOTHING,
    COUNT_UP,
    COUNT_DEVICE,
    CLOCK,
    CALL_ALL,
    LIMIT,
    ANSWER,
    HALT,
    HALT_CLOSED,
    END
};

static unsigned cpus;
static volatile uint32_t order, order_number;
static uint32_t done, counter, nmis;
static volatile uint64_t clock_word, backwards;
static volatile uint32_t acknowledged[SMP_MAX_CPUS][SMP_MAX_CPUS]; /* [sender][receiver] */
static volatile uint32_t counted[SMP_MAX_CPUS];
static volatile uint32_t awake[SMP_MAX_CPUS];
static volatile uint32_t pit_on;
static volatile uint32_t leaves[SMP_MAX_CPUS];
static volatile bool all_answered;

static unsigned own_index(void)
{
    const uint32_t id = apic_is_x2() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
    for (unsigned i = 0; i < cpus; i++)
        if (smp_apic_id(i) == id)
            return i;
    return 0;
}

static void on_call(struct trap_frame *frame)
{
    const unsigned sender = (unsigned)frame->vector - VECTOR_CALL;
    acknowledged[sender][own_index()]++;
    apic_eoi();
}

static void on_count(struct trap_frame *frame)
{
    (void)frame;
    counted[own_index()]++;
    apic_eoi();
}

static void on_pit(struct trap_frame *frame)
{
    (void)frame;
    pit_on = own_index() + 1;
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
}

/* The highest TSC that any CPU has seen: nobody may read one below it afterwards. */
static void watch_clock(void)
{
    for (unsigned i = 0; i < CLOCK_ROUNDS; i++) {
        uint64_t seen = clock_word, now;
        __asm__ volatile("mfence; lfence" : : : "memory");
        now = rdtsc();
        if (now < seen)
            backwards++;
        else
            __atomic_compare_exchange_n(&clock_word, &seen, now, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST);
    }
}

/* Sends to each other CPU again and again, each time waiting for its answer: none may be lost, and
 * none come twice. All CPUs do so at once. */
static void call_all(unsigned self)
{
    for (unsigned round = 1; round <= ROUNDS / cpus; round++) {
        for (unsigned to = 0; to < cpus; to++) {
            if (to == self)
                continue;
            smp_send(smp_apic_id(to), ICR_ASSERT | (VECTOR_CALL + self));
            while (acknowledged[self][to] < round)
                __asm__ volatile("pause");
        }
    }
}

/* In the vector of a masked redirection entry, which the IO-APIC's index has been set to. */
static void count_in_device(void)
{
    volatile uint32_t *data = (volatile uint32_t *)(uintptr_t)(IOAPIC_ADDRESS + 0x10);
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        __asm__ volatile("lock addl $3, %0" : "+m"(*data));
        __asm__ volatile("lock subl $2, %0" : "+m"(*data));
        __asm__ volatile("lock decl %0" : "+m"(*data));
    }
}

static void obey(unsigned self)
{
    interrupts_on();
    switch (order) {
    case COUNT_UP:
        for (unsigned i = 0; i < ROUNDS; i++)
            __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
        break;
    case COUNT_DEVICE: count_in_device(); break;
    case CLOCK: watch_clock(); break;
    case CALL_ALL: call_all(self); break;
    case LIMIT:
        wrmsr(MISC_ENABLE, rdmsr(MISC_ENABLE) ^ MISC_FEW_LEAVES);
        leaves[self] = cpuid(0, 0).eax;
        wrmsr(MTRR_FIX4K_C0000, rdmsr(MTRR_FIX4K_C0000) ^ MTRR_TYPES);
        break;
    case ANSWER:
        __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
        while (self == 1 && !all_answered) {} /* without PAUSE */
        return;
    case HALT:
        __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST); /* about to */
        __asm__ volatile("cli");
        while (counted[self] == 0)
            interrupt_wait();
        awake[self] = 1;
        return;
    case HALT_CLOSED:
        __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
        __asm__ volatile("cli; hlt");
        awake[self] = 1;
        return;
    case END: exit(test_end());
    default: break;
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void other_cpu(unsigned index)
{
    uint32_t last = order_number;
    interrupts_on();
    for (;;) {
        while (order_number == last)
            __asm__ volatile("pause");
        last = order_number;
        obey(index);
        interrupts_on();
    }
}

static void wait_for(const volatile uint32_t *word, uint32_t value)
{
    const uint64_t start = rdtsc();
    while (*word != value && rdtsc() - start < 10000000000ull)
        __asm__ volatile("pause");
}

/* Gives an order to all others, and takes part in it. */
static void everybody(enum order what, bool wait)
{
    done = 0;
    order = what;
    __atomic_fetch_add(&order_number, 1, __ATOMIC_SEQ_CST);
    if (wait) {
        obey(0);
        wait_for(&done, cpus);
    } else {
        wait_for(&done, cpus - 1);
    }
}

static uint32_t sum_of(const volatile uint32_t *words)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < cpus; i++)
        sum += words[i];
    return sum;
}

static void test_start(void)
{
    const uint32_t signature = cpuid(1, 0).eax;
    bool unique = true, cr0 = true, edx = true;
    for (unsigned i = 1; i < cpus; i++) {
        for (unsigned j = 0; j < i; j++)
            unique = unique && smp_apic_id(i) != smp_apic_id(j);
        cr0 = cr0 && (smp_first_cr0[i] & 0x8005003f) == 0x10;
        edx = edx && smp_first_edx[i] == signature;
    }
    test_check(unique, "each CPU has an APIC ID of its own", "local APIC ID");
    test_check(cr0, "SIPI starts in real mode: CR0.PE, MP, EM, TS, NE, WP, PG are 0",
               "processor state after INIT");
    test_check(edx, "EDX holds the signature of CPUID leaf 1", "processor state after INIT");
    test_check((rdmsr(MSR_APIC_BASE) & 0x100) != 0, "the first is the boot processor",
               "IA32_APIC_BASE.BSP");
}

/* The bare machine has no IA32_MISC_ENABLE. */
static void test_misc_enable(void)
{
    const uint32_t all = cpuid(0, 0).eax;
    if (test_only(TEST_VM)) {
        const uint64_t before = rdmsr(MISC_ENABLE);
        uint64_t mtrr = rdmsr(MTRR_FIX4K_C0000);
        everybody(LIMIT, false);
        test_equal(rdmsr(MTRR_FIX4K_C0000), mtrr, "another CPU's MTRRs are not this one's",
                   "SDM, MTRRs: each processor has its own");
        test_equal(leaves[cpus - 1], 2, "limit CPUID maxval: the CPU that sets it has up to leaf 2",
                   "IA32_MISC_ENABLE");
        test_check(cpuid(0, 0).eax == all && rdmsr(MISC_ENABLE) == before, "and no other has",
                   "IA32_MISC_ENABLE: scope: thread");
        everybody(LIMIT, false);
        test_equal(leaves[cpus - 1], all, "until it is cleared", "IA32_MISC_ENABLE");
    }
    test_both();
}

static void test_memory_and_clock(void)
{
    everybody(COUNT_UP, true);
    test_equal(counter, cpus * ROUNDS, "locked additions of all CPUs at once are all there",
               "locked atomic operations");
    ioapic_write(0x10 + 2 * PIN_PIT, IOAPIC_MASKED | 0x80);
    everybody(COUNT_DEVICE, true);
    test_equal(ioapic_read(0x10 + 2 * PIN_PIT), IOAPIC_MASKED | 0x80,
               "and so are those in a device's register", "locked atomic operations");
    everybody(CLOCK, true);
    test_equal(backwards, 0, "no CPU's time-stamp counter is behind another's",
               "time-stamp counter");
}

static void test_interrupts(void)
{
    bool exact = true;
    everybody(CALL_ALL, true);
    for (unsigned from = 0; from < cpus; from++)
        for (unsigned to = 0; to < cpus; to++)
            exact = exact && acknowledged[from][to] == (from == to ? 0 : ROUNDS / cpus);
    test_check(exact, "IPIs of all CPUs to all others at once: none lost, none doubled",
               "interrupt command register");

    everybody(HALT, false);
    smp_send(0, ICR_OTHERS | ICR_ASSERT | VECTOR_COUNT);
    for (unsigned i = 1; i < cpus; i++)
        wait_for(&awake[i], 1);
    test_equal(sum_of(awake), cpus - 1, "an IPI to all others wakes each from HLT",
               "destination shorthand");
    test_equal(sum_of(counted), cpus - 1, "and each has taken it once", "destination shorthand");

    interrupts_on();
    smp_send(0, ICR_ALL | ICR_ASSERT | VECTOR_COUNT);
    for (unsigned i = 0; i < cpus; i++)
        wait_for(&counted[i], i == 0 ? 1 : 2);
    test_equal(sum_of(counted), 2 * cpus - 1, "an IPI to all includes the sender",
               "destination shorthand");
    interrupts_off();
}

/* Both sides spin without PAUSE: a hypervisor whose virtual CPUs share one cannot see who waits for
 * whom. */
static void test_answers(void)
{
    const uint32_t millisecond = cpuid(0x16, 0).eax * 1000;
    everybody(ANSWER, false);
    const uint64_t start = rdtsc();
    for (unsigned i = 0; i < ANSWERS; i++) {
        const uint32_t before = acknowledged[0][1];
        smp_send(smp_apic_id(1), ICR_ASSERT | VECTOR_CALL);
        while (acknowledged[0][1] == before) {}
    }
    const uint64_t ticks = rdtsc() - start;
    all_answered = true;
    test_check(ticks / ANSWERS < cpus * (millisecond / 5),
               "a busy CPU answers an IPI as soon as each has had a short turn",
               "turns of virtual CPUs");
}

/* Logical destinations: in x2APIC mode the IDs follow from the APIC ID; in xAPIC mode a flat one is
 * written by each CPU in apic_enable(), the same on all. */
static void test_logical(void)
{
    uint32_t before = sum_of(counted);
    const bool x2 = apic_is_x2();
    const uint32_t set = x2 ? (1u << cpus) - 1 : 1;
    interrupts_on();
    smp_send(set, ICR_LOGICAL | ICR_ASSERT | VECTOR_COUNT);
    const uint64_t start = rdtsc();
    while (sum_of(counted) != before + cpus && rdtsc() - start < 10000000000ull)
        __asm__ volatile("pause");
    test_equal(sum_of(counted), before + cpus, "a logical destination reaches every member of it",
               "logical destination mode");
    interrupts_off();
}

static void test_device(void)
{
    const unsigned last = cpus - 1;
    ioapic_write(0x11 + 2 * PIN_PIT, smp_apic_id(last) << 24);
    ioapic_write(0x10 + 2 * PIN_PIT, VECTOR_PIT);
    pit_start(0, 100);
    wait_for(&pit_on, last + 1);
    test_equal(pit_on, last + 1, "the timer's interrupt goes to the CPU that the IO-APIC names",
               "redirection table: destination");
    ioapic_write(0x10 + 2 * PIN_PIT, IOAPIC_MASKED);
}

static void test_nmi_and_init(void)
{
    for (unsigned i = 1; i < cpus; i++)
        awake[i] = 0;
    everybody(HALT_CLOSED, false);
    for (unsigned i = 1; i < cpus; i++)
        smp_send(smp_apic_id(i), ICR_NMI);
    for (unsigned i = 1; i < cpus; i++)
        wait_for(&awake[i], 1);
    test_equal(sum_of(awake), cpus - 1, "an NMI wakes from HLT with interrupts off",
               "HLT; nonmaskable interrupt");
    test_equal(nmis, cpus - 1, "each has taken it once", "nonmaskable interrupt");

    const uint32_t number = order_number;
    for (unsigned i = 1; i < cpus; i++) {
        smp_first_cr0[i] = 0;
        smp_sipi(i);
    }
    everybody(COUNT_UP, true);
    bool ignored = true;
    for (unsigned i = 1; i < cpus; i++)
        ignored = ignored && smp_first_cr0[i] == 0;
    test_check(ignored && order_number == number + 1, "SIPI to a running CPU does nothing",
               "MP initialization protocol");

    const unsigned last = cpus - 1;
    everybody(HALT_CLOSED, false); /* they sleep for good but for INIT */
    for (unsigned i = 1; i < cpus; i++) {
        smp_first_cr0[i] = 0;
        smp_init(i);
    }
    test_equal(smp_first_cr0[last], 0, "after INIT a CPU waits for SIPI", "wait-for-SIPI state");
    for (unsigned i = 1; i < cpus; i++) {
        const volatile uint32_t *came = &smp_first_cr0[i];
        smp_sipi(i);
        for (const uint64_t start = rdtsc(); *came == 0 && rdtsc() - start < 1000000000ull;)
            __asm__ volatile("pause");
    }
    test_check(smp_first_cr0[last] != 0, "and starts anew by SIPI", "MP initialization protocol");
    counter = 0;
    everybody(COUNT_UP, true);
    test_equal(counter, cpus * ROUNDS, "all CPUs work after that", "MP initialization protocol");
}

int main(void)
{
    test_begin("smp", "several CPUs");
    for (unsigned i = 0; i < SMP_MAX_CPUS; i++)
        trap_set_handler(VECTOR_CALL + i, on_call);
    trap_set_handler(VECTOR_COUNT, on_count);
    trap_set_handler(VECTOR_PIT, on_pit);
    trap_set_handler(VECTOR_NMI, on_nmi);
    pic_init(0x20);
    apic_enable(true);
    cpus = smp_start_at_least(other_cpu, 2);
    print("smp: %u CPUs, %s\n", cpus, apic_is_x2() ? "x2APIC" : "xAPIC");
    if (!test_check(cpus >= 2, "INIT and SIPI start the others", "MP initialization protocol"))
        return test_end();
    test_start();
    test_misc_enable();
    test_memory_and_clock();
    test_interrupts();
    if (test_only(TEST_VM))
        test_answers();
    test_both();
    test_logical();
    test_device();
    test_nmi_and_init();
    done = 0;
    order = END; /* the last of the others ends the machine, while this one spins */
    for (unsigned i = 2; i < cpus; i++)
        smp_init(i); /* only one is to print */
    __atomic_fetch_add(&order_number, 1, __ATOMIC_SEQ_CST);
    for (;;)
        __asm__ volatile("pause");
}
