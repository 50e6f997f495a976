/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a multiboot 1 kernel: ELF, or placed by the address fields of its header. */
#pragma once

#include "guest/load/elf.h"
#include "guest/load/program.h"
#include "guest/load/segments.h"

/* Whether a header with a right checksum is there. */
bool multiboot_recognize(struct program *p);
enum status multiboot_load(struct program *p, struct cpu_state *state);

/* What multiboot 1 and 2 share, for their two loaders. */

/* A header begins with the magic number, and its 32-bit words have the sum 0. */
struct multiboot_search {
    uint32_t magic, bytes, align, searched; /* of the file's bytes, so many */
};

/* Finds the first header, and sets *at to its offset in the file. False: there is none; where one
 * was found but for its sum, *checksum_wrong is true, and *at says where. */
bool multiboot_find_header(const struct program_file *file, const struct multiboot_search *search,
                           uint64_t *at, bool *checksum_wrong);

/* As a header gives them. */
struct multiboot_addresses {
    uint32_t header, load, load_end, bss_end;
};

#define MULTIBOOT_LOAD_WHOLE                                            \
    0xffffffffu /* load: from the first byte of the file on (version 2) \
                 */

/* The one segment that the address fields of a header at header_offset in the file describe; its
 * entry is left to the caller. Not yet checked: segments_check() is. */
enum status multiboot_segment(struct program *p, const struct multiboot_addresses *a,
                              uint64_t header_offset, struct segments *out);

#define MULTIBOOT_MAX_CMDLINE (CONFIG_MAX_PATH + CONFIG_MAX_CMDLINE)

/* The command line as kernels expect it: the file's name, then nadir.cfg's cmdline. False: too
 * long. */
bool multiboot_cmdline(const struct program *p, char out[MULTIBOOT_MAX_CMDLINE]);

/* Puts the files beside the kernel, and with them the sections that a kernel may want to look at:
 * those only where there is room, else their count becomes 0. *headers: the address of their
 * headers. Otherwise as program_place_files(). */
enum status multiboot_place_files(struct program *p, uint64_t low, uint64_t end,
                                  gpa_t at[PROGRAM_MAX_FILES], struct elf_sections *sections,
                                  gpa_t *headers);

#define MULTIBOOT_LOADER_NAME "Nadir"
#define MULTIBOOT_LOWER_KIB   ((uint32_t)(LAYOUT_EBDA / 1024))
static inline uint32_t multiboot_upper_kib(uint64_t memory_bytes)
{
    return (uint32_t)((layout_below_4g(memory_bytes) - LAYOUT_MIB) / 1024);
}

/* The PC's screen, as both versions describe it. */
void multiboot_put_screen(uint8_t out[22]);
