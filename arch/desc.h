/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments, task state and interrupt descriptors of the host. */
#pragma once

#include <stdint.h>

/* Selectors, also the host-state area's. The TSS descriptor takes two entries. */
#define DESC_CODE        0x08
#define DESC_DATA        0x10
#define DESC_TSS         0x18
#define DESC_GDT_ENTRIES 5

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

/* Loads this CPU's own GDT, TSS, and the common IDT, and sets its GS base. From here on faults are
 * dumped and the safe accessors of cpu.h work. Once on each CPU; cpu->memory is filled in (for the
 * boot CPU from the start). */
void desc_init(struct cpu *cpu);
