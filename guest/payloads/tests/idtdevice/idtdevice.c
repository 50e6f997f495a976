/* SPDX-License-Identifier: BSD-2-Clause */
/* An exception whose gate would have to be read from the IO-APIC. */
#include "guest/lib/apic.h"
#include "guest/lib/lib.h"

int main(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idt = {0xfff, IOAPIC_ADDRESS};
    print("idtdevice: now\n");
    __asm__ volatile("lidt %0; ud2" : : "m"(idt));
    return 1;
}
