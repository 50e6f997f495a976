/* SPDX-License-Identifier: BSD-2-Clause */
/* A move of AVX-512 from device memory, which Nadir does not emulate. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define XCR0_X87_TO_AVX512 0xe7u

int main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE);
    __asm__ volatile("xsetbv" : : "c"(0), "a"(XCR0_X87_TO_AVX512), "d"(0));
    print("evexdevice: now\n");
    /* VMOVUPS ZMM0, [RSI] */
    __asm__ volatile(".byte 0x62, 0xf1, 0x7c, 0x48, 0x10, 0x06"
                     :
                     : "S"((uint64_t)IOAPIC_ADDRESS)
                     : "memory");
    return 1;
}
