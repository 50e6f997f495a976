// link: guest/load/multiboot2.c guest/load/multiboot.c guest/load/segments.c guest/load/elf.c
// link: guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a multiboot 2 kernel. */
#include "guest/load/multiboot2.h"
#include "tests/fuzz/fuzz_program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(multiboot2_load, data, size);
    return 0;
}
