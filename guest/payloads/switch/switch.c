/* SPDX-License-Identifier: BSD-2-Clause */
/* For a row of tools/bench.py: on each of its CPUs it looks at the time-stamp counter again and
 * again, and prints when it did not run: when it last ran before, and when it ran first behind.
 * Where the CPU was another vCPU's meanwhile, which does the same, the time between the one's last
 * look and the other's first is what the switch has cost. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

#define LOOKS_MAX 40        /* gaps that a CPU notes */
#define GAP       400       /* ticks: no less than what a switch takes and back */
#define PATIENCE  50000000u /* ticks: a CPU that nobody else wants has no gaps */

static struct gap {
    uint64_t last, first;
} gaps[SMP_MAX_CPUS][LOOKS_MAX];
static unsigned count[SMP_MAX_CPUS];
static unsigned done;

static void look(unsigned index)
{
    const uint64_t start = rdtsc();
    uint64_t last = start;
    while (count[index] < LOOKS_MAX && last - start < PATIENCE) {
        const uint64_t now = rdtsc();
        if (now - last > GAP)
            gaps[index][count[index]++] = (struct gap){last, now};
        last = now;
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

int main(void)
{
    apic_enable(false);
    const unsigned cpus = smp_start(look);
    look(0);
    while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) != cpus) {}
    for (unsigned i = 0; i < cpus; i++)
        for (unsigned j = 0; j < count[i]; j++)
            print("switch: %u %lu %lu\n", i, gaps[i][j].last, gaps[i][j].first);
    return 0;
}
