/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow stacks (SDM, "Control-Flow Enforcement Technology"): the CPU keeps each return address a
 * second time, on pages that only CALL and interrupts write, and RET compares the two. */
#pragma once

#include "arch/cpu.h"
#include "arch/percpu.h"

struct fault_frame;

/* Whether this CPU has them. */
bool cet_has_shadow_stacks(void);

/* Of a #CP, what was wrong, by its error code. */
const char *cet_error_text(uint64_t error);

/* After a handler has changed where its frame goes on from `from`: IRET compares that, too. */
void cet_move_frame(const struct fault_frame *frame, uint64_t from);

/* Turns them on for this CPU, if cpu->memory has any; desc_init() came before, and CR0.WP is set.
 * RET finds none of the calls that were made before: so this is a part of a function that does not
 * return. WRMSR leaves SSP undefined until SETSSBSY has loaded it, by the token on top. */
static inline __attribute__((always_inline)) void cet_start(struct cpu *cpu)
{
    if (cpu->memory.shadow_token == 0)
        return;
    for (unsigned i = 0; i < CPU_IST_COUNT; i++)
        cpu->shadow_table[i + 1] = cpu->memory.ist_shadow_token[i];
    cpu_wrmsr(MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, (uint64_t)(uintptr_t)cpu->shadow_table);
    cpu_wrmsr(MSR_IA32_PL0_SSP, cpu->memory.shadow_token);
    cpu_write_cr4(cpu_read_cr4() | CR4_CET);
    __asm__ volatile("wrmsr; setssbsy"
                     :
                     : "c"(MSR_IA32_S_CET), "a"(S_CET_SHADOW_STACK), "d"(0)
                     : "memory");
}
