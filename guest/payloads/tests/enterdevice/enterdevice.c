/* SPDX-License-Identifier: BSD-2-Clause */
/* One of the few instructions that Nadir does not carry out on a device's registers, in a kernel.
 */
#include "guest/lib/apic.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("enterdevice: now\n");
    __asm__ volatile("xchg %%rsp, %0; enter $8, $2; xchg %%rsp, %0"
                     :
                     : "r"((uint64_t)IOAPIC_ADDRESS + 0x800)
                     : "memory");
    return 1;
}
