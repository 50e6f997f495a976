/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions on memory where nothing is, everywhere: each place costs the hypervisor a table. */
#include "guest/lib/lib.h"

int main(void)
{
    print("holes: now\n");
    for (uint64_t at = 0xc0000000; at < 0xfe000000; at += 0x200000)
        __asm__ volatile("roll $3, (%0)" : : "r"(at) : "memory", "cc");
    return 1;
}
