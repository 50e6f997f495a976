// link: guest/load/flat.c guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a flat program, with any load, entry and mode: its first 17 bytes are these, too. */
#include "arch/bytes.h"
#include "guest/load/flat.h"
#include "tests/fuzz/fuzz_program.h"

static enum status load(struct program *p, struct cpu_state *state)
{
    static const uint32_t modes[] = {16, 32, 64};
    if (p->kernel.size >= 17) {
        p->mode = modes[p->kernel.data[0] % 3];
        p->load = get_le64(p->kernel.data + 1);
        p->entry = get_le64(p->kernel.data + 9);
    }
    p->file_count = 0;
    return flat_load(p, state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(load, data, size);
    return 0;
}
