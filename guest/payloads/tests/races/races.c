/* SPDX-License-Identifier: BSD-2-Clause */
/* Several CPUs that get in each other's way: code that one changes while another executes it, and
 * interrupts in such numbers that they cannot all be told apart. */
#include "races.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"

static unsigned cpus;
static race_fn *volatile current;
static volatile uint32_t round, back;

static void run(unsigned cpu)
{
    current(cpu);
    __atomic_fetch_add(&back, 1, __ATOMIC_SEQ_CST);
}

static void other_cpu(unsigned index)
{
    for (uint32_t last = 0;; last++) {
        while (round == last)
            __asm__ volatile("pause");
        run(index);
    }
}

void race(race_fn *fn)
{
    back = 0;
    current = fn;
    __atomic_fetch_add(&round, 1, __ATOMIC_SEQ_CST);
    run(0);
    while (back != cpus)
        __asm__ volatile("pause");
}

unsigned race_cpus(void)
{
    return cpus;
}

int main(void)
{
    test_begin("races", "CPUs in each other's way");
    pic_init(0x20);
    apic_enable(false);
    cpus = smp_start_at_least(other_cpu, 2);
    if (!test_check(cpus >= 2, "the others are there", "MP initialization protocol"))
        return test_end();
    check_rewriting();
    check_storms();
    return test_end();
}
