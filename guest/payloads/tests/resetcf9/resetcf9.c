/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks for a reset by the reset control register. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("resetcf9: now\n");
    port_out8(0xcf9, 2); /* hard reset, then its edge */
    port_out8(0xcf9, 6);
    print("resetcf9: still here\n");
    return 1;
}
