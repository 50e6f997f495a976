/* SPDX-License-Identifier: BSD-2-Clause */
/* A triple fault: an exception, and no IDT to find its handler in, nor the double fault's. */
#include "guest/lib/lib.h"

int main(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};

    print("triple: now\n");
    __asm__ volatile("lidt %0; ud2" : : "m"(nothing));
    return 1;
}
