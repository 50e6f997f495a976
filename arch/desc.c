/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds and loads GDT, TSS and IDT. */
#include "arch/desc.h"
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/percpu.h"

#define DESCRIPTOR_CODE64 0x00af9b000000ffffull /* present, ring 0, code, read, accessed, L */
#define DESCRIPTOR_DATA   0x00cf93000000ffffull /* present, ring 0, data, write, accessed */

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

/* SDM, "System Segment Descriptors" of IA-32e mode: two entries. */
static void put_system(struct cpu *cpu, unsigned selector, const void *table, uint32_t bytes,
                       uint32_t type)
{
    const uint64_t base = (uint64_t)(uintptr_t)table;
    uint64_t *entry = &cpu->memory.gdt[selector / 8];
    entry[0] =
        (bytes - 1) | (base & 0xffffff) << 16 | (uint64_t)type << 40 | (base >> 24 & 0xff) << 56;
    entry[1] = base >> 32;
}

void desc_load_ldt(struct cpu *cpu, const uint64_t *table, uint32_t bytes)
{
    if (bytes != 0)
        put_system(cpu, DESC_LDT, table, bytes, SEGMENT_LDT);
    __asm__ volatile("lldt %w0" : : "r"(bytes != 0 ? DESC_LDT : 0) : "memory");
}

void desc_init(struct cpu *cpu)
{
    uint64_t *gdt = cpu->memory.gdt;
    struct table_register gdtr = {DESC_GDT_ENTRIES * 8 - 1, (uint64_t)(uintptr_t)gdt};
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};
    cpu->tss = (struct tss){.io_map_base = sizeof(struct tss)}; /* no I/O map */
    for (unsigned i = 0; i < CPU_IST_COUNT; i++)
        desc_set_ist(cpu, i);
    gdt[DESC_CODE / 8] = DESCRIPTOR_CODE64;
    gdt[DESC_DATA / 8] = DESCRIPTOR_DATA;
    desc_show_user(gdt, true);
    put_system(cpu, DESC_TSS, &cpu->tss, sizeof(struct tss), SEGMENT_TSS);
    if (cpu->index == 0)
        fill_idt();

    __asm__ volatile("lgdt %0" : : "m"(gdtr));
    load_segments();
    cpu_wrmsr(MSR_IA32_GS_BASE, (uint64_t)(uintptr_t)cpu); /* loading GS has cleared it */
    __asm__ volatile("lidt %0" : : "m"(idtr));
    __asm__ volatile("lldt %w0" : : "r"(0));
    __asm__ volatile("ltr %w0" : : "r"(DESC_TSS));
}
