/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that the hypervisor has the CPU execute by itself, on a page that is there for one
 * instruction: no other CPU may see it, wherever that one's local APIC moves meanwhile. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"

#define ELSEWHERE 0xfef00000u
#define ROUNDS    2000

static volatile bool done, moves;
static volatile uint32_t wrong, rounds;

/* The other CPU: its APIC goes there and back, and answers wherever it is. */
static void other_cpu(unsigned index)
{
    const uint64_t usual = rdmsr(MSR_APIC_BASE);
    const uint32_t flags = usual & 0xfff, id = apic_read(APIC_ID);
    (void)index;
    while (!done) {
        wrmsr(MSR_APIC_BASE, ELSEWHERE | flags);
        wrong += *(volatile uint32_t *)(uintptr_t)(ELSEWHERE + APIC_ID) != id;
        moves = true;
        wrmsr(MSR_APIC_BASE, usual);
        wrong += apic_read(APIC_ID) != id;
        rounds++;
    }
    for (;;)
        __asm__ volatile("hlt");
}

/* IMUL EAX, [address], 3 */
static uint32_t triple(uint64_t address)
{
    uint32_t value;
    __asm__ volatile("imull $3, (%1), %0" : "=r"(value) : "r"(address) : "memory", "cc");
    return value;
}

static void check_nowhere(void)
{
    uint32_t bad = 0, places = 0;
    for (uint64_t at = 0xc0000000; at < 0xfe000000; at += 0x200000, places++)
        bad += triple(at) != 0xfffffffd;
    test_check(bad == 0 && places > 400, "ones are read where nothing is, wherever", "unclaimed");
}

static void check_moving_apic(void)
{
    uint32_t bad = 0;
    while (!moves)
        __asm__ volatile("pause");
    for (unsigned i = 0; i < ROUNDS; i++)
        bad += triple(ELSEWHERE + APIC_ID) != 0xfffffffd;
    done = true;
    test_equal(bad, 0, "ones are read where another CPU's APIC comes and goes", "unclaimed");
    test_check(wrong == 0 && rounds > 10, "and that CPU finds its APIC there", "IA32_APIC_BASE");
}

int main(void)
{
    test_begin("stepsmp", "one instruction on a page of its own");
    apic_enable(false);
    test_equal(smp_start_at_least(other_cpu, 2), 2, "the other CPU is there",
               "MP initialization protocol");
    if (test_only(TEST_VM)) {
        check_nowhere();
        check_moving_apic();
    }
    test_both();
    return test_end();
}
