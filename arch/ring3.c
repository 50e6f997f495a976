/* SPDX-License-Identifier: BSD-2-Clause */
/* What the way to CPL 3 and back (ring3.asm) needs of a CPU. */
#include "arch/ring3.h"

#include "arch/cet.h"
#include "arch/cpu.h"
#include "arch/patch.h"

extern const char ring3_syscall[], ring3_syscall32[]; /* ring3.asm */

extern uint32_t ring3_leave_work; /* for ring3.asm */
extern uint64_t ring3_root_control;
uint32_t ring3_leave_work;
static bool clears_buffers;
uint64_t ring3_root_control; /* IA32_SPEC_CTRL at CPL 0 */

/* ring3.asm: parts of ring3_enter(), which no C function calls. */
extern void ring3_go(void), ring3_go_hardened(void), ring3_leave(void), ring3_leave_hardened(void);

void ring3_harden(const struct weakness_measures *measures)
{
    ring3_leave_work = ring3_work_of(measures);
    ring3_root_control = measures->spec_control;
    clears_buffers = measures->clear_buffers;
    if (clears_buffers)
        patch_jump(ring3_go, ring3_go_hardened);
    if (ring3_leave_work != 0)
        patch_jump(ring3_leave, ring3_leave_hardened);
}

bool ring3_may_answer(void)
{
    return ring3_leave_work == 0 && !clears_buffers && (cpu_self()->cet & S_CET_SHADOW_STACK) == 0;
}

void ring3_load(uint64_t gs_base)
{
    cpu_wrmsr(MSR_IA32_STAR, (uint64_t)DESC_CODE << 32); /* SS is the next: DESC_DATA */
    cpu_wrmsr(MSR_IA32_LSTAR, (uint64_t)(uintptr_t)ring3_syscall);
    (void)cpu_wrmsr_safe(MSR_IA32_CSTAR, (uint64_t)(uintptr_t)ring3_syscall32);
    cpu_wrmsr(MSR_IA32_FMASK, RFLAGS_DEFINED & ~RFLAGS_FIXED);
    cpu_wrmsr(MSR_IA32_SYSENTER_CS, 0); /* SYSENTER raises #GP */
    cpu_wrmsr(MSR_IA32_EFER, cpu_rdmsr(MSR_IA32_EFER) | EFER_SCE);
    cpu_wrmsr(MSR_IA32_KERNEL_GS_BASE, gs_base);
    if ((cpu_read_cr4() & CR4_PKE) != 0)
        cpu_wrpkru(0); /* the window has key 0 */
    if (cet_features() != 0)
        cpu_wrmsr(MSR_IA32_U_CET, 0);
}
_Static_assert(DESC_DATA == DESC_CODE + 8, "as SYSCALL has it");
