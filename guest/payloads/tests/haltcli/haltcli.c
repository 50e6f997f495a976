/* SPDX-License-Identifier: BSD-2-Clause */
/* Halts with interrupts off and nothing that could send an NMI: a sleep without end. */
#include "guest/lib/lib.h"

int main(void)
{
    print("haltcli: now\n");
    __asm__ volatile("cli; hlt");
    print("haltcli: woken\n");
    return 1;
}
