/* SPDX-License-Identifier: BSD-2-Clause */
/* The stack protector's value, and what follows where it has been overwritten. */
#include "arch/canary.h"

#include "arch/cpu.h"
#include "arch/panic.h"

/* Names of the compiler's. One value for all CPUs: it is there from the first instruction on. */
extern uint64_t __stack_chk_guard;
_Noreturn void __stack_chk_fail(void);

uint64_t __stack_chk_guard;

static bool get_random(uint64_t *value)
{
    if (cpu_cpuid(0, 0).eax >= 7 && (cpu_cpuid(7, 0).ebx & CPUID_7_EBX_RDSEED) != 0 &&
        cpu_rdseed(value))
        return true;
    return (cpu_cpuid(1, 0).ecx & CPUID_1_ECX_RDRAND) != 0 && cpu_rdrand(value);
}

/* The time since the power was switched on is hard to guess, too, and always there. */
__attribute__((no_stack_protector)) void canary_init(void)
{
    uint64_t random = 0;
    for (unsigned i = 0; i < 10 && !get_random(&random); i++)
        random = 0;
    const uint64_t value = random ^ cpu_rdtsc() * 0x9e3779b97f4a7c15;
    __stack_chk_guard = value & ~0xffull; /* the end of a text that is too long is not it */
}

__attribute__((no_stack_protector)) _Noreturn void __stack_chk_fail(void)
{
    panic("a function has written past an array on its stack (stack protector)");
}
