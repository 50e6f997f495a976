/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF files of x86 kernels, 32-bit and 64-bit: program headers and notes. Pure. */
#pragma once

#include "guest/segments.h"

bool elf_recognize(const struct program_file *file);

/* The segments to load, and the entry as guest-physical address: where a segment's virtual
 * addresses hold the file's entry, it is moved to the physical ones. Not yet checked:
 * segments_check() is. */
enum status elf_segments(struct program *p, struct segments *out);

/* The contents of the first note of that name and type, and their length; NULL: there is none. */
const uint8_t *elf_note(const struct program_file *file, const char *name, uint32_t type,
                        uint32_t *bytes);
