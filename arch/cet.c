/* SPDX-License-Identifier: BSD-2-Clause */
/* What a CPU has of CET, and what faults have to do with it. */
#include "arch/cet.h"

#include "arch/fault.h"

uint64_t cet_features(void)
{
    if (cpu_cpuid(0, 0).eax < 7)
        return 0;
    const struct cpuid_regs leaf7 = cpu_cpuid(7, 0);
    return ((leaf7.ecx & CPUID_7_ECX_CET_SS) != 0 ? S_CET_SHADOW_STACK : 0) |
           ((leaf7.edx & CPUID_7_EDX_CET_IBT) != 0 ? S_CET_ENDBRANCH : 0);
}

const char *cet_error_text(uint64_t error)
{
    static const char *const text[] = {
        [1] = "RET to where no CALL came from",
        [2] = "IRET or a far RET to where nothing came from",
        [3] = "an indirect branch to where no ENDBRANCH is",
        [4] = "RSTORSSP by what is no token",
        [5] = "SETSSBSY by what is no token",
    };
    return error < sizeof(text) / sizeof(text[0]) && text[error] != NULL ? text[error] : "unknown";
}

void cet_move_frame(const struct fault_frame *frame, uint64_t from)
{
    uint64_t *word = NULL;
    __asm__ volatile("rdsspq %0" : "+r"(word)); /* without a shadow stack it does nothing */
    if (word == NULL)
        return;
    while (word[0] != from || word[1] != frame->cs) /* RIP and CS, below the handler's calls */
        word++;
    const uint64_t control = cpu_rdmsr(MSR_IA32_S_CET);
    cpu_wrmsr(MSR_IA32_S_CET, control | S_CET_WRITE);
    __asm__ volatile("wrssq %1, %0" : "=m"(*word) : "r"(frame->rip));
    cpu_wrmsr(MSR_IA32_S_CET, control);
}
