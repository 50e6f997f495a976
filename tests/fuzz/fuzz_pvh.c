// link: guest/load/pvh.c guest/load/segments.c guest/load/elf.c guest/load/program.c
// link: mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a PVH kernel. */
#include "guest/load/pvh.h"
#include "tests/fuzz/fuzz_program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(pvh_load, data, size);
    return 0;
}
