/* SPDX-License-Identifier: BSD-2-Clause */
/* All CPUs: started by one INIT and one SIPI to all others without a pause between them, at page 0;
 * each goes to x2APIC mode by itself where that is offered. Rules are headings of the SDM. */
#include "bringup.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define VECTOR_CALL 0x20
#define VECTOR_ALL  0xcf
#define VECTOR_LAST 0x44
#define MAX_CPUS    16
#define PATIENCE    20000000000ull /* TSC ticks */
#define NMI_ROUNDS  300

#define ICR_ASSERT  0x4000u
#define ICR_NMI     0x4400u
#define ICR_INIT    0xc4500u /* all but self, assert */
#define ICR_SIPI    0xc0600u /* all but self, page 0 */
#define ICR_ALL     0x80000u
#define ICR_PENDING 0x1000u

extern const char ap_start[], ap_end[];

static uint32_t online = 1, ids;
static volatile uint32_t called, came, caller_id;
static void (*volatile function)(void);
static volatile uint32_t nmis, flushed, ready_here, ready_there, nmis_done;
static volatile bool x2_failed;

static bool is_x2(void)
{
    return (rdmsr(MSR_APIC_BASE) & 0x400) != 0;
}

static volatile uint32_t *xapic(uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)(APIC_BASE_ADDRESS + offset);
}

static uint32_t own_id(void)
{
    return is_x2() ? (uint32_t)rdmsr(MSR_X2APIC + APIC_ID / 16) : *xapic(APIC_ID) >> 24;
}

static void send(uint32_t command, uint32_t to)
{
    if (is_x2()) {
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)to << 32 | command);
        return;
    }
    while ((*xapic(APIC_ICR) & ICR_PENDING) != 0) {}
    *xapic(APIC_ICR_HIGH) = to << 24;
    *xapic(APIC_ICR) = command;
}

static void eoi(void)
{
    if (is_x2())
        wrmsr(MSR_X2APIC + APIC_EOI / 16, 0);
    else
        *xapic(APIC_EOI) = 0;
}

static void on_call(struct trap_frame *frame)
{
    (void)frame;
    void (*f)(void) = function;
    called = 1;
    eoi();
    f();
}

static void on_all(struct trap_frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&came, 1, __ATOMIC_SEQ_CST);
    eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    nmis++;
}

static void on_last(struct trap_frame *frame)
{
    (void)frame;
    flushed = 1;
    eoi();
}

/* Software-enables the APIC and notes the CPU, in xAPIC mode; then on to x2APIC mode. */
static void arrive(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~0xc00ull); /* off, and on again */
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x800);
    *xapic(APIC_SVR) = 0x1ff;
    __atomic_fetch_or(&ids, 1u << own_id(), __ATOMIC_SEQ_CST);
    if (!apic_has_x2())
        return;
    const uint32_t id = own_id();
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x400);
    if (!is_x2() || own_id() != id || cpuid(0xb, 0).edx != id || cpuid(1, 0).ebx >> 24 != id)
        x2_failed = true;
}

void ap_main(void);
void ap_main(void)
{
    trap_load();
    arrive();
    interrupts_on();
    __atomic_fetch_add(&online, 1, __ATOMIC_SEQ_CST);
    for (;;)
        __asm__ volatile("hlt");
}

static bool wait_for(const volatile uint32_t *word, uint32_t value)
{
    for (const uint64_t start = rdtsc(); *word != value;)
        if (rdtsc() - start > PATIENCE)
            return false;
    return true;
}

/* Has a function run by another CPU, and waits until it has begun. */
static bool call(uint32_t cpu, void (*f)(void))
{
    function = f;
    called = 0;
    send(ICR_ASSERT | VECTOR_CALL, cpu);
    return wait_for(&called, 1);
}

static void tell_id(void)
{
    caller_id = own_id();
    ready_there = 1;
}

static void check_calls(uint32_t cpus)
{
    bool right = true;
    for (uint32_t cpu = 1; cpu < cpus; cpu++) {
        ready_there = 0;
        right = right && call(cpu, tell_id) && wait_for(&ready_there, 1) && caller_id == cpu;
    }
    test_check(right, "an IPI to each CPU runs there", "Interrupt Command Register");
    came = 0;
    send(ICR_ASSERT | VECTOR_ALL, is_x2() ? 0xffffffff : 0xff);
    wait_for(&came, cpus);
    test_equal(came, cpus, "the physical broadcast address reaches all", "Broadcast Mode");
    came = 0;
    send(ICR_ASSERT | ICR_ALL | VECTOR_ALL, 0);
    wait_for(&came, cpus);
    test_equal(came, cpus, "so does the shorthand", "Destination Shorthand");
}

/* One NMI from this CPU and one from the other, as good as at once, and behind that one an IPI. */
static void send_nmis(void)
{
    for (uint32_t round = 1; nmis_done == 0; round++) {
        ready_there = round;
        while (ready_here != round && nmis_done == 0)
            __asm__ volatile("pause");
        if (nmis_done != 0)
            return;
        send(ICR_NMI, 0);
        send(ICR_ASSERT | VECTOR_LAST, 0);
    }
}

static void check_nmis(void)
{
    uint32_t wrong = 0;
    ready_there = 0;
    bool alive = call(1, send_nmis);
    for (uint32_t round = 1; round <= NMI_ROUNDS && alive; round++) {
        alive = wait_for(&ready_there, round);
        flushed = nmis = 0;
        ready_here = round;
        send(ICR_NMI, 0);
        alive = alive && wait_for(&flushed, 1);
        wrong += nmis != 2;
    }
    nmis_done = 1;
    test_check(alive && wrong == 0, "of two NMIs from two CPUs none is lost",
               "Handling Multiple NMIs: one is handled, one latched");
}

void check_cpus(void)
{
    const uint32_t cpus = (uint32_t)fwcfg_number(5, 2);
    trap_set_handler(VECTOR_CALL, on_call);
    trap_set_handler(VECTOR_ALL, on_all);
    trap_set_handler(VECTOR_LAST, on_last);
    trap_set_handler(VECTOR_NMI, on_nmi);
    pic_set_mask(0xffff);
    void *page = (void *)0;
    __asm__("" : "+r"(page));
    memset(page, 0xcc, 4096);
    memcpy(page, ap_start, (size_t)(ap_end - ap_start));
    *xapic(APIC_SVR) = 0x1ff;
    *xapic(APIC_ICR) = ICR_INIT;
    *xapic(APIC_ICR) = ICR_SIPI;
    test_check(wait_for(&online, cpus), "INIT and SIPI to all others start as many as fw_cfg says",
               "MP Initialization Protocol Algorithm");
    arrive();
    test_equal(ids, (1u << cpus) - 1, "their APIC IDs are 0 and on", "Local APIC ID Register");
    test_check(!x2_failed, "the same in x2APIC mode and in CPUID", "x2APIC ID");
    interrupts_on();
    check_calls(cpus);
    if (cpus > 1)
        check_nmis();
    interrupts_off();
}
