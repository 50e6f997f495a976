/* SPDX-License-Identifier: BSD-2-Clause */
/* Works for one second of its time-stamp counter and tells how much it has done: beside others that
 * do the same on one CPU, its share. The second begins where the counter has a round number, so
 * that it is the same one for all, whose counters agree. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define SECOND 100000000u /* ticks, in the emulator */

int main(void)
{
    const uint64_t start = (rdtsc() / SECOND + 1) * SECOND;
    uint64_t work = 0;
    while (rdtsc() < start) {}
    while (rdtsc() - start < SECOND)
        work++;
    print("share: %lu rounds\n", work);
    return 0;
}
