/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest-physical memory map of the virtual PC, and what the boot loader puts below 1 MiB. */
#pragma once

#include <stdint.h>

#define LAYOUT_LOW_RAM_END 0xa0000ull
#define LAYOUT_EBDA        0x9fc00ull    /* reserved up to LAYOUT_LOW_RAM_END, as a BIOS has it */
#define LAYOUT_SHADOW      0xc0000ull    /* with firmware: ROM, or RAM in its place */
#define LAYOUT_ACPI        0xe0000ull    /* RSDP first, where firmware-less systems search it */
#define LAYOUT_MP_TABLE    0xf0000ull    /* its floating pointer first */
#define LAYOUT_BIOS_CODE   0xf1000ull    /* what answers BIOS calls: nothing */
#define LAYOUT_GDT         0xf1f00ull    /* the first one: a kernel may use all RAM, and keep it */
#define LAYOUT_BIOS_END    0xf2000ull    /* memory from here on, though no map says so */
#define LAYOUT_MIB         0x100000ull   /* that area ends, RAM goes on */
#define LAYOUT_HOLE        0xc0000000ull /* RAM stops: PCI, IO-APIC, local APIC */
#define LAYOUT_4GIB        0x100000000ull

#define LAYOUT_BIOS_DATA_END 0x500ull /* interrupt vectors and the BIOS data area */
#define LAYOUT_BOOT_SECTOR   0x7c00ull

/* Free once the kernel has taken over: RAM in the memory map. High, for some kernels are linked to
 * lie below 1 MiB. */
#define LAYOUT_BOOT_INFO       0x70000ull /* what the boot protocol hands over, the zero page first */
#define LAYOUT_CMDLINE         0x71000ull /* Linux's, in the same area */
#define LAYOUT_BOOT_INFO_END   0x7e000ull
#define LAYOUT_BOOT_STACK      0x7ff00ull /* the first stack's top, where GRUB 2 has it */
#define LAYOUT_BOOT_END        0x80000ull
#define LAYOUT_PAGE_TABLES     0x90000ull /* PML4, PDPT, 4 page directories */
#define LAYOUT_PAGE_TABLES_END 0x96000ull

/* How much of a guest's memory lies below the hole, and how much from 4 GiB on. */
static inline uint64_t layout_below_4g(uint64_t memory_bytes)
{
    return memory_bytes < LAYOUT_HOLE ? memory_bytes : LAYOUT_HOLE;
}

static inline uint64_t layout_above_4g(uint64_t memory_bytes)
{
    return memory_bytes - layout_below_4g(memory_bytes);
}
