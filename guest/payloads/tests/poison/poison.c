/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel whose registers are all full of a pattern, for poisonpv, which looks for that. */
#include "guest/lib/hold.h"
#include "guest/lib/lib.h"

int main(void)
{
    enum { TIMES = 40, ROUNDS = 100000 };
    unsigned bad = 0;
    hold_begin(cpuid);
    for (unsigned i = 0; i < TIMES; i++)
        bad += hold(PATTERN_POISON, ROUNDS, false);
    print("%s poison: its registers are kept (%u differ)\n", bad == 0 ? "ok" : "FAIL", bad);
    return bad != 0;
}
