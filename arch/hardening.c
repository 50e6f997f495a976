/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads what the CPU tells of itself, has arch/weakness.c decide, and does it. */
#include "arch/hardening.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/patch.h"
#include "arch/ring3.h"

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
    weakness_identify(cpu, vendor.ebx, leaf1.eax);
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

void hardening_init(bool threads_shared)
{
    static bool done;
    struct weakness_cpu cpu = {.threads_shared = threads_shared};
    struct weakness_verdict verdict[WEAKNESS_COUNT];
    if (done)
        return;
    done = true;
    look(&cpu);
    weakness_decide(&cpu, verdict, &measures);
    print(&cpu, verdict);
    told_to_guests = weakness_told_to_guests(&cpu);
    if (measures.thunks)
        thunks_harden();
    ring3_harden(&measures);
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

void hardening_enter_domain(struct cpu *cpu, uint64_t number)
{
    if (cpu->last_vm == number)
        return;
    cpu->last_vm = number;
    if (measures.barrier)
        cpu_wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
}
