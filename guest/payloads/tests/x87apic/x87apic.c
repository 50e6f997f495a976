/* SPDX-License-Identifier: BSD-2-Clause */
/* An instruction that Nadir does not emulate, at an address where nothing is but another CPU's
 * local APIC: memory there, even for a moment, would be in that CPU's way. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

#include <stdbool.h>

#define ELSEWHERE 0xfef00000u

static volatile bool moved;

static void other_cpu(unsigned index)
{
    (void)index;
    wrmsr(MSR_APIC_BASE, ELSEWHERE | (rdmsr(MSR_APIC_BASE) & 0xfff));
    moved = true;
    for (;;)
        __asm__ volatile("pause");
}

int main(void)
{
    apic_enable(false);
    smp_start(other_cpu);
    while (!moved)
        __asm__ volatile("pause");
    print("x87apic: now\n");
    __asm__ volatile("fninit; flds (%0)" : : "r"((uint64_t)ELSEWHERE) : "memory");
    return 1;
}
