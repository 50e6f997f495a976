/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments, task state and interrupt descriptors of the host. */
#pragma once

#include <stdint.h>

/* The GDT is as large as one can be, which is also the limit that a VM exit leaves. The host's own
 * selectors, also those of the host-state area, stand at its end: below DESC_OWN entries belong to
 * whoever runs code at CPL 3 that expects selectors of its own (guest/ring3/segments.h). TSS and
 * LDT take two entries each. */
#define DESC_GDT_ENTRIES 8192
#define DESC_OWN         0xffb0
#define DESC_CODE        0xffb0
#define DESC_DATA        0xffb8
#define DESC_TSS         0xffc0
/* Segments of CPL 3, which is in the selectors: flat, the code of each mode. */
#define DESC_USER_CODE64 0xffd3
#define DESC_USER_DATA   0xffdb
#define DESC_USER_CODE32 0xffe3
#define DESC_USER_CODE16 0xffeb
#define DESC_LDT         0xfff0 /* desc_load_ldt() */

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

/* Makes so many bytes this CPU's LDT; 0: there is none. */
void desc_load_ldt(struct cpu *cpu, const uint64_t *table, uint32_t bytes);

/* Loads this CPU's own GDT, TSS, and the common IDT, and sets its GS base. From here on faults are
 * dumped and the safe accessors of cpu.h work. Once on each CPU; cpu->memory is filled in (for the
 * boot CPU from the start). */
void desc_init(struct cpu *cpu);
