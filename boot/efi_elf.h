/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's ELF file, and the page tables that it starts with; pure, so that tools/warm,
 * which prepares a machine's memory without a firmware, does as the loader does. */
#pragma once

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

/* The addresses that the image spans once it is loaded, and that of its first instruction. */
struct elf_span {
    uint64_t low, high, entry;
};

/* Looks at the file and measures it. False: it is not as boot/nadir.ld makes it. */
bool elf_measure(const void *file, uint64_t size, struct elf_span *out);

/* Segment i of a file that has been measured, NULL behind the last. Those of type PT_LOAD are to
 * be copied to p_vaddr - low from the image's start on, which is zeroed. */
const Elf64_Phdr *elf_segment(const void *file, unsigned i);

/* What the tables map: RAM and the screen at their own addresses, the image at its link address. */
struct boot_map {
    uint64_t ram_end; /* the first 4 GiB are mapped in any case */
    uint64_t screen, screen_bytes;
    uint64_t link_base, image_base, image_bytes;
};

/* How many pages the tables take at most; 0: more memory than 4 levels can map. */
uint64_t boot_tables_pages(const struct boot_map *map);

/* Fills zeroed tables, whose root is the first page; `base`: their host-physical address. */
void boot_tables_fill(uint64_t *tables, uint64_t base, const struct boot_map *map);
