/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments, task state and interrupt descriptors of the host. */
#pragma once

#include <stdbool.h>
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
/* Segments of CPL 3, which is in the selectors: flat, of 64-bit code. */
#define DESC_USER_CODE64 0xffd3
#define DESC_USER_DATA   0xffdb
#define DESC_LDT         0xffe0 /* desc_load_ldt() */

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

/* Whether there is something behind DESC_USER_CODE64 and DESC_USER_DATA in a GDT: at first there
 * is. Code at CPL 3 that has selectors of its own could load these two as well, jump to another
 * mode by the first, and take them to a kernel that does not know them. */
#define DESCRIPTOR_USER_CODE64 0x00affb000000ffffull /* present, DPL 3, code, read, accessed, L */
#define DESCRIPTOR_USER_DATA   0x00cff3000000ffffull /* present, DPL 3, data, write, accessed */
static inline void desc_show_user(uint64_t *gdt, bool show)
{
    gdt[DESC_USER_CODE64 / 8] = show ? DESCRIPTOR_USER_CODE64 : 0;
    gdt[DESC_USER_DATA / 8] = show ? DESCRIPTOR_USER_DATA : 0;
}

/* Loads this CPU's own GDT, TSS, and the common IDT, and sets its GS base. From here on faults are
 * dumped and the safe accessors of cpu.h work. Once on each CPU; cpu->memory is filled in (for the
 * boot CPU from the start). */
void desc_init(struct cpu *cpu);
