/* SPDX-License-Identifier: BSD-2-Clause */
/* Every interrupt masked, for ever, without a rest. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("spincli: now\n");
    interrupts_off();
    for (;;)
        __asm__ volatile("");
}
