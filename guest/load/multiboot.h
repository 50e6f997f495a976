/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a multiboot 1 kernel: ELF, or placed by the address fields of its header. */
#pragma once

#include "guest/load/elf.h"
#include "guest/load/program.h"
#include "guest/load/segments.h"

/* Whether a header with a right checksum is there. */
bool multiboot_recognize(struct program *p);

/* Whether there is a header that does not count, for its place or checksum: then p->why says so. */
bool multiboot_explain(struct program *p);
enum status multiboot_load(struct program *p, struct cpu_state *state);

/* What multiboot 1 and 2 share, for their two loaders. */

/* A header begins with the magic number, and its 32-bit words have the sum 0. */
struct multiboot_search {
    const char *name;                       /* of the protocol */
    uint32_t magic, bytes, align, searched; /* of the file's bytes, so many */
    uint32_t sum_at;                        /* the checksum, in the header */
};

/* Finds the first header, and sets *at to its offset in the file. False: there is none. */
bool multiboot_find_header(const struct program_file *file, const struct multiboot_search *search,
                           uint64_t *at);

/* For a file without a header: whether there is one that does not count. */
bool multiboot_explain_header(struct program *p, const struct multiboot_search *search);

/* The same for a kernel that is to have one: p->why says what is wrong. Returns ERR_BAD_INPUT. */
enum status multiboot_refuse_header(struct program *p, const struct multiboot_search *search);

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

#define MULTIBOOT_MAX_LINE (CONFIG_MAX_PATH + CONFIG_MAX_CMDLINE)

/* The line that a kernel or module is handed over with: the file's name and the text, as QEMU and
 * GRUB legacy have it; GRUB 2 leaves the name out. False: too long. */
bool multiboot_line(const struct program *p, const char *name, const char *text,
                    char out[MULTIBOOT_MAX_LINE]);

/* Puts the files beside the kernel, and with them the sections that a kernel may want to look at:
 * those only where there is room, else their count becomes 0. *headers: the address of their
 * headers. Otherwise as program_place_files(). */
enum status multiboot_place_files(struct program *p, uint64_t low, uint64_t end,
                                  gpa_t at[PROGRAM_MAX_FILES], struct elf_sections *sections,
                                  gpa_t *headers);

/* Kernels, Xen for one, look for "GRUB 2" in it to know whether lines begin with a name. */
static inline const char *multiboot_loader_name(const struct program *p)
{
    return p->loader == LOADER_GRUB2 ? "GRUB 2 (Nadir)" : "Nadir";
}

#define MULTIBOOT_LOWER_KIB ((uint32_t)(LAYOUT_EBDA / 1024))
static inline uint32_t multiboot_upper_kib(uint64_t memory_bytes)
{
    return (uint32_t)((layout_below_4g(memory_bytes) - LAYOUT_MIB) / 1024);
}

/* The PC's screen, as both versions describe it. */
void multiboot_put_screen(uint8_t out[22]);
