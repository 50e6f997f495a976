/* SPDX-License-Identifier: BSD-2-Clause */
/* INIT to the first CPU itself: it would go to the reset vector, where a PC has its firmware. */
#include "guest/lib/apic.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("initself: now\n");
    serial_drain();
    apic_enable(false);
    apic_ipi(apic_read(APIC_ID), 0x4500);
    for (volatile unsigned i = 0; i < 1000; i++) {}
    print("initself: still here\n");
    return 1;
}
