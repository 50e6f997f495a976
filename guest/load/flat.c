/* SPDX-License-Identifier: BSD-2-Clause */
/* The simplest guest program: a file without any header, such as a boot sector. */
#include "guest/load/flat.h"
#include "arch/log.h"

#define SEGMENT_64K 0xffffull

bool flat_recognize(struct program *p)
{
    return p->kernel.size >= 512 && p->kernel.data[510] == 0x55 && p->kernel.data[511] == 0xaa;
}

/* In the first 64 KiB at segment 0, as a BIOS starts a boot sector; elsewhere CS begins at a
 * multiple of 64 KiB. */
static struct cpu_state real_mode(uint64_t entry)
{
    struct cpu_state state = cpu_state_real_mode((uint16_t)entry);
    state.rflags |= RFLAGS_IF; /* a BIOS's timer ticks on */
    state.cs.base = entry & ~SEGMENT_64K;
    state.cs.selector = (uint16_t)(state.cs.base >> 4);
    if (state.cs.base != 0)
        state.rsp = LAYOUT_BOOT_SECTOR;
    return state;
}

enum status flat_load(struct program *p, struct cpu_state *state)
{
    const uint64_t size = p->kernel.size;
    p->keeps_info = false;
    p->keeps_tables = p->mode != 16;
    enum status s = program_check_place(p, "the program", gpa(p->load), size);
    if (s != OK)
        return s;
    if (p->entry < p->load || p->entry - p->load >= size)
        return program_refuse(p, ERR_BAD_INPUT, "the entry 0x%llx is outside the program",
                              (unsigned long long)p->entry);
    if (p->mode == 16 && p->entry >= LAYOUT_LOW_RAM_END)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the entry 0x%llx cannot be reached in real mode (mode = 16)",
                              (unsigned long long)p->entry);
    if (!program_write(p, gpa(p->load), p->kernel.data, size))
        return program_refuse(p, ERR_NO_MEMORY, "the program does not fit into the memory");
    if (p->mode == 16) {
        *state = real_mode(p->entry);
        return OK;
    }
    if (p->mode == 32) {
        *state = cpu_state_protected_mode((uint32_t)p->entry);
    } else {
        *state = cpu_state_long_mode(p->entry, LAYOUT_PAGE_TABLES);
        s = program_write_page_tables(p);
    }
    state->rsp = p->load < LAYOUT_LOW_RAM_END ? p->load : LAYOUT_BOOT_SECTOR;
    return s == OK ? program_write_gdt(p, state) : s;
}
