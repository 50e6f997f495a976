/* SPDX-License-Identifier: BSD-2-Clause */
/* A small ELF file, 32-bit or 64-bit, made by hand: header, program headers, and room behind. */
#pragma once

#include "tests/unit/program_test.h"

#define ELF_BYTES    0x3000u
#define ELF_CONTENTS 0x1000u /* what the test puts into the file begins here */

static uint8_t elf[ELF_BYTES];
static bool elf_is64;

struct elf_part {
    uint32_t type; /* 1: to load, 4: notes */
    uint64_t offset, virtual, physical, file_bytes, memory_bytes;
};

static inline uint8_t *elf_part_at(unsigned i)
{
    return elf + 0x40 + i * 0x38;
}

static inline void elf_set_part(unsigned i, struct elf_part part)
{
    const uint64_t fields[] = {part.offset, part.virtual, part.physical, part.file_bytes,
                               part.memory_bytes};
    const unsigned width = elf_is64 ? 8 : 4;
    uint8_t *h = elf_part_at(i);
    memset(h, 0, 0x38);
    put(h, 4, part.type);
    for (unsigned k = 0; k < 5; k++)
        put(h + width + k * width, width, fields[k]);
}

struct elf_section {
    uint32_t type, flags; /* type 2: symbols, 8: no contents; flag 2: loaded by a segment */
    uint64_t address, offset, bytes;
};

/* Sections, with a first one of no type before them; their headers, of 0x40 bytes, are at `at`. */
static inline void elf_set_sections(unsigned at, const struct elf_section *s, unsigned count)
{
    const unsigned width = elf_is64 ? 8 : 4;
    put(elf + (elf_is64 ? 40 : 32), width, at);
    put(elf + (elf_is64 ? 58 : 46), 2, 0x40);
    put(elf + (elf_is64 ? 60 : 48), 2, count + 1);
    put(elf + (elf_is64 ? 62 : 50), 2, count);
    memset(elf + at, 0, 0x40);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *h = elf + at + (i + 1) * 0x40;
        memset(h, 0, 0x40);
        put(h + 4, 4, s[i].type);
        put(h + 8, width, s[i].flags);
        put(h + 8 + width, width, s[i].address);
        put(h + 8 + 2 * width, width, s[i].offset);
        put(h + 8 + 3 * width, width, s[i].bytes);
    }
}

/* A header for `parts` program headers of 0x38 bytes each, at 0x40. */
static inline void elf_begin(bool is64, uint64_t entry, unsigned parts)
{
    elf_is64 = is64;
    memset(elf, 0, sizeof(elf));
    memcpy(elf, "\177ELF\0\1\1", 7);
    elf[4] = is64 ? 2 : 1;
    put(elf + 16, 2, 2);
    put(elf + 18, 2, is64 ? 62 : 3);
    put(elf + 20, 4, 1);
    put(elf + 24, is64 ? 8 : 4, entry);
    put(elf + (is64 ? 32 : 28), is64 ? 8 : 4, 0x40);
    put(elf + (is64 ? 54 : 42), 2, 0x38);
    put(elf + (is64 ? 56 : 44), 2, parts);
}
