// link: guest/load/kernel.c guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/foreign.c guest/load/linux.c guest/load/multiboot.c
// link: guest/load/multiboot2.c guest/load/pvh.c guest/load/flat.c guest/load/segments.c
// link: guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a kernel of a kind that is to be found out, as tools/nadir's checker and the
 * hypervisor do: it is one of the kinds, or there is a sentence that says what it is. */
#include "guest/load/kernel.h"
#include "tests/fuzz/fuzz_program.h"

static enum status load(struct program *p, struct cpu_state *state)
{
    const struct kernel_kind *kind;
    const enum status s = kernel_load(p, TYPE_AUTO, state, &kind);
    if (s == OK && kind == NULL)
        abort();
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(load, data, size);
    return 0;
}
