// link: guest/load/linux.c guest/load/flat.c guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a Linux kernel, or as a flat program if it does not look like one. */
#include "guest/load/flat.h"
#include "guest/load/linux.h"
#include "tests/fuzz/fuzz_program.h"

static enum status load(struct program *p, struct cpu_state *state)
{
    return linux_recognize(p) ? linux_load(p, state) : flat_load(p, state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(load, data, size);
    return 0;
}
