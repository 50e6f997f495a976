/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds and loads GDT, TSS and IDT. */
#include "arch/desc.h"
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/percpu.h"

#define DESCRIPTOR_CODE64      0x00af9b000000ffffull /* present, ring 0, code, read, accessed, L */
#define DESCRIPTOR_DATA        0x00cf93000000ffffull /* present, ring 0, data, write, accessed */
#define DESCRIPTOR_USER_CODE64 0x00affb000000ffffull /* the same of ring 3 */
#define DESCRIPTOR_USER_DATA   0x00cff3000000ffffull
#define DESCRIPTOR_USER_CODE32 0x00cffb000000ffffull /* D instead of L */
#define DESCRIPTOR_USER_CODE16 0x008ffb000000ffffull /* neither */

/* SDM, "64-Bit IDT Gate Descriptors". */
struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist; /* 0: stay on the current stack */
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "gate layout");

static struct gate idt[256];

static void fill_idt(void)
{
    static const uint8_t ist[256] = {
        [VECTOR_DOUBLE_FAULT] = CPU_IST_DOUBLE_FAULT + 1,
        [VECTOR_NMI] = CPU_IST_NMI + 1,
        [VECTOR_MACHINE_CHECK] = CPU_IST_MACHINE_CHECK + 1,
        [VECTOR_DEBUG] = CPU_IST_DEBUG + 1,
    };
    for (unsigned v = 0; v < 256; v++) {
        idt[v] = (struct gate){
            .offset_low = (uint16_t)vector_entry[v],
            .selector = DESC_CODE,
            .ist = ist[v],
            .type = 0x8e, /* present, ring 0, interrupt gate: interrupts off */
            .offset_middle = (uint16_t)(vector_entry[v] >> 16),
            .offset_high = (uint32_t)(vector_entry[v] >> 32),
        };
    }
}

static void load_segments(void)
{
    __asm__ volatile("pushq %0\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "endbr64\n\t" /* not for LRET, but for tools/branches.py, who cannot know */
                     "movw %w1, %%ss\n\t"
                     "movw %w2, %%ds\n\t"
                     "movw %w2, %%es\n\t"
                     "movw %w2, %%fs\n\t"
                     "movw %w2, %%gs\n\t"
                     :
                     : "i"(DESC_CODE), "r"(DESC_DATA), "r"(0)
                     : "rax", "memory");
}

void desc_set_ist(struct cpu *cpu, unsigned i)
{
    const uint64_t top = cpu->memory.ist_top[i] - 16; /* aligned as the CPU aligns it */
    *(struct cpu **)(uintptr_t)top = cpu;             /* NOLINT(performance-no-int-to-ptr) */
    cpu->tss.ist[i] = top;
}

void desc_load_gdt(struct cpu *cpu)
{
    struct table_register gdtr = {sizeof(cpu->gdt) - 1, (uint64_t)(uintptr_t)cpu->gdt};
    __asm__ volatile("lgdt %0" : : "m"(gdtr));
}

void desc_init(struct cpu *cpu)
{
    uint64_t tss = (uint64_t)(uintptr_t)&cpu->tss;
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};
    cpu->tss = (struct tss){.io_map_base = sizeof(struct tss)}; /* no I/O map */
    for (unsigned i = 0; i < CPU_IST_COUNT; i++)
        desc_set_ist(cpu, i);
    cpu->gdt[DESC_CODE / 8] = DESCRIPTOR_CODE64;
    cpu->gdt[DESC_DATA / 8] = DESCRIPTOR_DATA;
    cpu->gdt[DESC_USER_CODE64 / 8] = DESCRIPTOR_USER_CODE64;
    cpu->gdt[DESC_USER_DATA / 8] = DESCRIPTOR_USER_DATA;
    cpu->gdt[DESC_USER_CODE32 / 8] = DESCRIPTOR_USER_CODE32;
    cpu->gdt[DESC_USER_CODE16 / 8] = DESCRIPTOR_USER_CODE16;
    cpu->gdt[DESC_TSS / 8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 |
                             (uint64_t)SEGMENT_TSS << 40 | (tss >> 24 & 0xff) << 56;
    cpu->gdt[DESC_TSS / 8 + 1] = tss >> 32;
    if (cpu->index == 0)
        fill_idt();

    desc_load_gdt(cpu);
    load_segments();
    cpu_wrmsr(MSR_IA32_GS_BASE, (uint64_t)(uintptr_t)cpu); /* loading GS has cleared it */
    __asm__ volatile("lidt %0" : : "m"(idtr));
    __asm__ volatile("lldt %w0" : : "r"(0));
    __asm__ volatile("ltr %w0" : : "r"(DESC_TSS));
}
