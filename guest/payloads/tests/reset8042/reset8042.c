/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the keyboard controller for a reset. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("reset8042: now\n");
    port_out8(0x64, 0xfe); /* pulse output line 0, which is RESET */
    print("reset8042: still here\n");
    return 1;
}
