/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF files of x86 kernels, 32-bit and 64-bit: program headers and notes. Pure. */
#pragma once

#include "guest/load/segments.h"

/* Whether it is an ELF file: then p->why says why it is no kernel. For files that no loader takes.
 */
bool elf_explain(struct program *p);

/* Whether it is an ELF file for a 64-bit CPU. */
bool elf_is_x86_64(const struct program_file *file);

/* The segments to load, and the entry as guest-physical address: where a segment's virtual
 * addresses hold the file's entry, it is moved to the physical ones. Not yet checked:
 * segments_check() is. */
enum status elf_segments(struct program *p, struct segments *out);

/* The section headers, and the piece of the file that holds them and all sections that are not
 * loaded as part of a segment: symbols, say. */
struct elf_sections {
    uint64_t from, to; /* the piece; from the start of a page on, lest alignments change */
    uint64_t headers;  /* in the file */
    uint32_t count;    /* 0: there are none, or they are malformed: kernels do without */
    uint32_t entry_bytes, names;
    bool is64;
};

struct elf_sections elf_find_sections(const struct program_file *file);

/* Puts the sections' addresses into the headers, after the piece has been copied to `at`. */
enum status elf_place_sections(const struct program *p, const struct elf_sections *s, gpa_t at);

/* The address of the entry as it stands in the header of an ELF file, and the contents of the first
 * section of that name; NULL: there is none, or it lies outside the file. */
uint64_t elf_entry(const struct program_file *file);
const uint8_t *elf_section(const struct program_file *file, const char *name, uint64_t *bytes);

/* The contents of the first note of that name and type, and their length; NULL: there is none. */
const uint8_t *elf_note(const struct program_file *file, const char *name, uint32_t type,
                        uint32_t *bytes);

/* Whether all notes are found so, and none is cut short. */
bool elf_notes_are_whole(const struct program_file *file);
