/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments, task state and interrupt descriptors of the host. */
#pragma once

#include <stdint.h>

/* Selectors, also the host-state area's. The TSS descriptor takes two entries. */
#define DESC_CODE 0x08
#define DESC_DATA 0x10
#define DESC_TSS  0x18
/* Segments of CPL 3, which is in the selectors: flat, the code of each mode. */
#define DESC_USER_CODE64 0x2b
#define DESC_USER_DATA   0x33
#define DESC_USER_CODE32 0x3b
#define DESC_USER_CODE16 0x43
#define DESC_GDT_ENTRIES 9

/* SDM, "64-Bit Task-State Segment (TSS)". */
struct __attribute__((packed)) tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
};
_Static_assert(sizeof(struct tss) == 104, "TSS layout");

struct cpu;

/* The stack that an interrupt of IST entry i begins on: its top, which says whose it is. */
void desc_set_ist(struct cpu *cpu, unsigned i);

/* Loads the GDT with its limit once more: a VM exit leaves a limit of 64 KiB, and what is behind
 * the table would be descriptors for code at CPL 3. */
void desc_load_gdt(struct cpu *cpu);

/* Loads this CPU's own GDT, TSS, and the common IDT, and sets its GS base. From here on faults are
 * dumped and the safe accessors of cpu.h work. Once on each CPU; cpu->memory is filled in (for the
 * boot CPU from the start). */
void desc_init(struct cpu *cpu);
