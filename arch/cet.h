/* SPDX-License-Identifier: BSD-2-Clause */
/* What keeps control from going where no call or interrupt leads (SDM, "Control-Flow Enforcement
 * Technology"). Shadow stacks: the CPU keeps each return address a second time, on pages that only
 * CALL and interrupts write, and RET compares the two. Indirect-branch tracking: an indirect call
 * or jump has to meet ENDBR64, and so has an interrupt; the compiler puts it where a function's
 * address is taken (tools/branches.py looks). No branch is excepted by NOTRACK: the compiler makes
 * no jump tables, which would need that. */
#pragma once

#include "arch/cpu.h"
#include "arch/percpu.h"

struct fault_frame;

/* Which of the two this CPU has: S_CET_SHADOW_STACK, S_CET_ENDBRANCH. */
uint64_t cet_features(void);

/* Of a #CP, what was wrong, by its error code. */
const char *cet_error_text(uint64_t error);

/* After a handler has changed where its frame goes on from `from`: IRET compares that, too. */
void cet_move_frame(const struct fault_frame *frame, uint64_t from);

/* Turns on, for this CPU, what it has of `wanted`: of shadow stacks, those in cpu->memory. After
 * desc_init(), with CR0.WP set. RET finds none of the calls that were made before: so this is a
 * part of a function that does not return. WRMSR leaves SSP undefined until SETSSBSY has loaded it,
 * by the token on top. */
static inline __attribute__((always_inline)) void cet_start(struct cpu *cpu, uint64_t wanted)
{
    cpu->cet = wanted & cet_features();
    if (cpu->cet == 0)
        return;
    cpu_write_cr4(cpu_read_cr4() | CR4_CET);
    if ((cpu->cet & S_CET_SHADOW_STACK) == 0) {
        cpu_wrmsr(MSR_IA32_S_CET, cpu->cet);
        return;
    }
    for (unsigned i = 0; i < CPU_IST_COUNT; i++)
        cpu->shadow_table[i + 1] = cpu->memory.ist_shadow_token[i];
    cpu_wrmsr(MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, (uint64_t)(uintptr_t)cpu->shadow_table);
    cpu_wrmsr(MSR_IA32_PL0_SSP, cpu->memory.shadow_token);
    __asm__ volatile("wrmsr; setssbsy"
                     :
                     : "c"(MSR_IA32_S_CET), "a"((uint32_t)cpu->cet), "d"(0)
                     : "memory");
}
