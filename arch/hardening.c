/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads what the CPU tells of itself, has arch/weakness.c decide, and does it. */
#include "arch/hardening.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/patch.h"

/* For vmenter.asm: bits as there. */
enum {
    WORK_FLUSH_L1D = 1,
    WORK_CLEAR_BUFFERS = 2,
    WORK_CONTROL = 4,
    WORK_REWRITE = 8,
    WORK_FILL_RETURNS = 16,
    WORK_CLEAR_HISTORY = 32,
};
extern uint32_t vmx_entry_work;
extern uint64_t vmx_root_control;
uint32_t vmx_entry_work;
uint64_t vmx_root_control; /* IA32_SPEC_CTRL in root mode */

/* vmenter.asm: no C function calls these by their names. */
extern void vmx_enter_first(void), vmx_enter_first_hardened(void), vmx_enter_next(void),
    vmx_enter_next_hardened(void), vmx_exit_point(void), vmx_exit_hardened(void);

static struct weakness_measures measures;
static uint64_t told_to_guests;

uint64_t hardening_told_to_guests(void)
{
    return told_to_guests;
}

const struct weakness_measures *hardening_measures(void)
{
    return &measures;
}

static void look(struct weakness_cpu *cpu)
{
    const struct cpuid_regs vendor = cpu_cpuid(0, 0), leaf1 = cpu_cpuid(1, 0);
    const bool intel = vendor.ebx == 0x756e6547; /* "Genu" */
    weakness_identify(cpu, intel, leaf1.eax);
    cpu->avx = (leaf1.ecx & CPUID_1_ECX_AVX) != 0;
    if (vendor.eax < 7)
        return;
    const struct cpuid_regs leaf7 = cpu_cpuid(7, 0);
    cpu->leaf7_ebx = leaf7.ebx;
    cpu->leaf7_edx = leaf7.edx;
    if (leaf7.eax >= 2)
        cpu->leaf7_2_edx = cpu_cpuid(7, 2).edx;
    if ((leaf7.edx & CPUID_7_EDX_ARCH_CAPABILITIES) != 0 &&
        !cpu_rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &cpu->known))
        cpu->known = 0;
}

static void print(const struct weakness_cpu *cpu, const struct weakness_verdict *verdict)
{
    char text[WEAKNESS_TEXT];
    if (weakness_list(verdict, WEAKNESS_ABSENT, text, sizeof(text)) == 0)
        format_text(text, sizeof(text), "none");
    log_line("CPU weaknesses (family %u, model 0x%x, stepping %u): not affected: %s", cpu->family,
             cpu->model, cpu->stepping, text);
    if (weakness_list(verdict, WEAKNESS_MENDED, text, sizeof(text)) > 0)
        log_line("CPU weaknesses mended: %s", text);
    if (weakness_list(verdict, WEAKNESS_OPEN, text, sizeof(text)) > 0)
        log_line("CPU weaknesses OPEN: %s", text);
}

void hardening_init(bool threads_shared, bool shadow_stacks)
{
    struct weakness_cpu cpu = {.threads_shared = threads_shared};
    struct weakness_verdict verdict[WEAKNESS_COUNT];
    look(&cpu);
    weakness_decide(&cpu, verdict, &measures);
    print(&cpu, verdict);
    told_to_guests = weakness_told_to_guests(&cpu);
    if (measures.thunks)
        thunks_harden();
    if (!measures.own_entry && !shadow_stacks)
        return;
    vmx_root_control = measures.spec_control;
    vmx_entry_work = (measures.flush_l1d ? WORK_FLUSH_L1D : 0u) |
                     (measures.clear_buffers ? WORK_CLEAR_BUFFERS : 0u) |
                     (measures.barrier ? WORK_CONTROL : 0u) |
                     (measures.rewrite_control ? WORK_REWRITE : 0u) |
                     (measures.fill_returns ? WORK_FILL_RETURNS : 0u) |
                     (measures.clear_history ? WORK_CLEAR_HISTORY : 0u);
    patch_jump(vmx_enter_first, vmx_enter_first_hardened);
    patch_jump(vmx_enter_next, vmx_enter_next_hardened);
    patch_jump(vmx_exit_point, vmx_exit_hardened);
}

/* The bits are 0 after a reset, and of what has written to them since, this is later. */
static void turn_microcode_on(void)
{
    const uint64_t off = MCU_OPT_SRBDS_OFF | MCU_OPT_GDS_OFF;
    uint64_t value;
    if (!cpu_rdmsr_safe(MSR_IA32_MCU_OPT_CTRL, &value) ||
        ((value & off) != 0 && !cpu_wrmsr_safe(MSR_IA32_MCU_OPT_CTRL, value & ~off)))
        log_line("warning: IA32_MCU_OPT_CTRL does not answer: SRBDS and GDS may be open");
}

void hardening_cpu_on(void)
{
    if (measures.barrier) /* there is IA32_SPEC_CTRL, too */
        cpu_wrmsr(MSR_IA32_SPEC_CTRL, measures.spec_control);
    if (measures.tsx_off)
        cpu_wrmsr(MSR_IA32_TSX_CTRL, TSX_CTRL_RTM_OFF | TSX_CTRL_HIDE);
    if (measures.microcode_on)
        turn_microcode_on();
}
