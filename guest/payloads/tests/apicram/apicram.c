/* SPDX-License-Identifier: BSD-2-Clause */
/* Local APIC registers in the place of RAM: that would be another memory for each CPU. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("apicram: now\n");
    wrmsr(MSR_APIC_BASE, 0x100000 | (rdmsr(MSR_APIC_BASE) & 0xfff));
    return 1;
}
