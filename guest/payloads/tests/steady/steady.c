/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints a line now and then, and tells the longest that one took. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define LINES 100
#define REST  2000000 /* ticks between two */

int main(void)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < LINES; i++) {
        const uint64_t start = rdtsc();
        print("steady line %u\n", i);
        const uint64_t ticks = rdtsc() - start;
        if (ticks > longest)
            longest = ticks;
        while (rdtsc() - start < REST) {}
    }
    print("steady: longest %lu\n", longest);
    return 0;
}
