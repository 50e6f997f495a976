/* SPDX-License-Identifier: BSD-2-Clause */
/* Works on all its CPUs for one second of the time-stamp counter and tells how much it has done:
 * beside others that do the same, its share. The second begins where the counter has a round
 * number, so that it is the same one for all, whose counters agree. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

#define SECOND 100000000u /* ticks, in the emulator */

static volatile uint64_t start;
static uint64_t rounds, done; /* of all CPUs, and those that have finished */

static void work(unsigned index)
{
    uint64_t own = 0;
    (void)index;
    while (start == 0 || rdtsc() < start) {}
    while (rdtsc() - start < SECOND)
        own++;
    __atomic_fetch_add(&rounds, own, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

int main(void)
{
    apic_enable(false);
    const unsigned cpus = smp_start(work);
    start = (rdtsc() / SECOND + 1) * SECOND;
    work(0);
    while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) != cpus) {}
    print("share: %lu rounds\n", rounds);
    return 0;
}
