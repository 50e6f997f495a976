/* SPDX-License-Identifier: BSD-2-Clause */
/* What the fuzzers of the loaders share: any file as a guest's kernel is refused or placed, and
 * nothing outside the guest's memory is touched. */
#pragma once

#include "guest/load/program.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY (34u << 20)
#define MARK   0x5a

uint64_t physmap_base;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte decides how much memory the guest has: 1 to 32 MiB; what is behind shows overruns
 * by its marks, and half the file is the guest's ramdisk, too. */
static inline void fuzz_program(program_loader *load, const uint8_t *data, size_t size)
{
    static uint8_t *ram;
    if (ram == NULL)
        ram = calloc(1, MEMORY);
    if (ram == NULL || size < 1)
        return;
    const uint64_t bytes = (1u + (data[0] & 31u)) << 20;
    memset(ram + bytes, MARK, PAGE_SIZE);
    struct guestmem mem = {0};
    guestmem_add(&mem, gpa(0), bytes, ram);

    size--;
    uint8_t *file = malloc(size != 0 ? size : 1); /* exact, so that ASan sees one byte too far */
    if (file == NULL)
        return;
    memcpy(file, data + 1, size);
    struct program program = {.mem = &mem,
                              .memory_bytes = bytes,
                              .rsdp = {LAYOUT_ACPI},
                              .kernel = {file, size, "kernel", ""},
                              .file = {{file, size / 2, "file", ""}},
                              .file_count = data[0] >> 7,
                              .cmdline = "quiet",
                              .load = 0x7c00,
                              .entry = 0x7c00,
                              .mode = 16,
                              .keeps_info = true,
                              .keeps_tables = true};
    struct cpu_state state;
    const enum status s = load(&program, &state);
    free(file);
    /* Neither a refusal without a word, nor an entry outside the memory. */
    if (s != OK ? program.why[0] == 0 : state.cs.base + state.rip >= bytes)
        abort();
    for (unsigned i = 0; i < PAGE_SIZE; i++) {
        if (ram[bytes + i] != MARK)
            abort();
    }
}
