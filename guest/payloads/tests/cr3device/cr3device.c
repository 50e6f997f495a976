/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables in the IO-APIC: the CPU itself cannot go on. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("cr3device: now\n");
    write_cr3(IOAPIC_ADDRESS);
    return 1;
}
