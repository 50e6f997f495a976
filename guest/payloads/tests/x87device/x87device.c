/* SPDX-License-Identifier: BSD-2-Clause */
/* An instruction on device memory that no driver would use, and Nadir does not emulate. */
#include "guest/lib/apic.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("x87device: now\n");
    __asm__ volatile("fninit; flds (%0)" : : "r"((uint64_t)IOAPIC_ADDRESS) : "memory");
    return 1;
}
