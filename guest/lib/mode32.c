/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of 32-bit protected mode. */
#include "guest/lib/mode32.h"

#define STUB_SIZE 16

extern const char mode32_stubs[];

static uint32_t home_tss[26];

uint32_t mode32_stub(unsigned vector)
{
    unsigned number = vector < 32 ? vector : vector - 0x30 + 32;
    return address32(mode32_stubs + number * STUB_SIZE);
}

void mode32_describe(uint64_t *gdt, unsigned selector, uint32_t base, uint32_t limit,
                     unsigned access, unsigned flags)
{
    gdt[selector / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
                        (uint64_t)access << 40 | (uint64_t)(limit >> 16 & 15) << 48 |
                        (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

void mode32_gate(uint64_t *idt, unsigned vector, unsigned selector, uint32_t entry, unsigned access)
{
    idt[vector] = (entry & 0xffff) | (uint64_t)selector << 16 | (uint64_t)access << 40 |
                  (uint64_t)(entry >> 16) << 48;
}

void mode32_describe_basics(uint64_t *gdt, uint64_t *idt)
{
    mode32_describe(gdt, MODE32_CODE, 0, 0xfffff, 0x9b, 0xc);
    mode32_describe(gdt, MODE32_DATA, 0, 0xfffff, 0x93, 0xc);
    mode32_describe(gdt, MODE32_HOME_TSS, address32(home_tss), sizeof(home_tss) - 1, 0x89, 0);
    for (unsigned v = 0; v < 32; v++)
        mode32_gate(idt, v, MODE32_CODE, mode32_stub(v), 0x8e);
    mode32_gate(idt, MODE32_VECTOR_HOME, MODE32_CODE, mode32_stub(MODE32_VECTOR_HOME), 0xee);
}
