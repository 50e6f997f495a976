/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of CPUs, and what each turns on at start. */
#include "arch/percpu.h"
#include "arch/cpu.h"

/* The boot CPU needs these before there is a page allocator. */
static uint8_t boot_ist[CPU_IST_COUNT][CPU_IST_STACK_BYTES] __attribute__((aligned(16)));
static uint64_t boot_gdt[DESC_GDT_ENTRIES] __attribute__((aligned(64)));
extern uint8_t boot_stack_top[]; /* entry.asm */

struct cpu boot_cpu = {
    .self = &boot_cpu,
    .online = true,
    .memory = {&boot_cpu,
               boot_gdt,
               (uint64_t)(uintptr_t)boot_stack_top,
               {(uint64_t)(uintptr_t)boot_ist[1], (uint64_t)(uintptr_t)boot_ist[2],
                (uint64_t)(uintptr_t)boot_ist[3], (uint64_t)(uintptr_t)boot_ist[4]}}};

static struct cpu *cpu_table[CPU_MAX] = {&boot_cpu};

static uint32_t count = 1;

uint32_t cpu_count(void)
{
    return count;
}

struct cpu *cpu_by_index(uint32_t index)
{
    return index < count ? cpu_table[index] : NULL;
}

unsigned cpu_thread_bits(void)
{
    if (cpu_cpuid(0, 0).eax < 0xb)
        return 0;
    const struct cpuid_regs first = cpu_cpuid(0xb, 0);
    /* Level type 1: threads. Where a core has one (EBX), its APIC IDs are its own, whatever width
     * EAX tells: an emulator may tell of a bit more than there is. */
    return (first.ecx >> 8 & 0xff) == 1 && (first.ebx & 0xffff) > 1 ? first.eax & 31 : 0;
}

struct cpu *cpu_add(uint32_t apic_id, const struct cpu_memory *memory)
{
    if (count == CPU_MAX)
        return NULL;
    struct cpu *cpu = cpu_table[count] = memory->cpu;
    *cpu = (struct cpu){.self = cpu, .index = count, .apic_id = apic_id, .memory = *memory};
    count++;
    return cpu;
}

void cpu_remove_last(void)
{
    count--;
}

/* Two switches of the firmware's set-up (SDM, "IA32_MISC_ENABLE"): no execute-disable bit, and no
 * CPUID leaves above 3. Neither is of use to anybody here. */
static void undo_firmware_limits(void)
{
    const uint64_t limits = MISC_ENABLE_FEW_LEAVES | MISC_ENABLE_NO_XD;
    uint64_t value;
    if (cpu_rdmsr_safe(MSR_IA32_MISC_ENABLE, &value) && (value & limits) != 0)
        (void)cpu_wrmsr_safe(MSR_IA32_MISC_ENABLE, value & ~limits);
}

void cpu_enable_features(void)
{
    undo_firmware_limits(); /* what CPUID says depends on it */
    struct cpuid_regs leaf1 = cpu_cpuid(1, 0), leaf7 = {0};
    uint64_t cr4 = cpu_read_cr4() | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (cpu_cpuid(0, 0).eax >= 7)
        leaf7 = cpu_cpuid(7, 0);
    if (leaf1.edx & CPUID_1_EDX_MCE)
        cr4 |= CR4_MCE; /* without it a machine check would shut the CPU down silently */
    if (leaf1.ecx & CPUID_1_ECX_XSAVE)
        cr4 |= CR4_OSXSAVE;
    if (leaf7.ebx & CPUID_7_EBX_SMEP)
        cr4 |= CR4_SMEP;
    if (leaf7.ebx & CPUID_7_EBX_SMAP)
        cr4 |= CR4_SMAP;
    if (leaf7.ecx & CPUID_7_ECX_UMIP)
        cr4 |= CR4_UMIP;
    if (leaf7.ecx & CPUID_7_ECX_PKU)
        cr4 |= CR4_PKE; /* to read the PKRU of guests */
    if (cpu_cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_NX)
        cpu_wrmsr(MSR_IA32_EFER, cpu_rdmsr(MSR_IA32_EFER) | EFER_NXE);
    cpu_wrmsr(MSR_IA32_PAT, PAT_HOST_VALUE); /* nothing is mapped by the entry that changes */
    cpu_write_cr4(cr4);
    cpu_write_cr0((cpu_read_cr0() | CR0_WP | CR0_MP | CR0_NE) & ~(CR0_EM | CR0_TS));
}
