// link: guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/linux.c
// link: guest/load/segments.c guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c
// link: guest/cpu/guestwalk.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a Xen PV kernel: it is refused, or its page tables lead to RAM alone, none of them
 * can be written by the kernel, and what it is told of is there. */
#include "guest/cpu/guestwalk.h"
#include "guest/load/xen.h"
#include "tests/fuzz/fuzz_program.h"

enum { START_INFO_P2M = 104 };

static void demand(bool held)
{
    if (!held)
        abort();
}

static gpa_t walk(const struct program *p, const struct cpu_state *state, uint64_t va,
                  enum walk_access access)
{
    const struct guest_paging paging = {.cr0 = state->cr0,
                                        .cr3 = state->cr3,
                                        .cr4 = state->cr4,
                                        .efer = state->efer,
                                        .phys_bits = 40,
                                        .peek = true};
    uint32_t error;
    gpa_t at = gpa(0);
    demand(guestwalk_translate(p->mem, &paging, gva(va), access, &at, &error));
    demand(at.v < p->memory_bytes);
    return at;
}

/* Every leaf leads to RAM, and to a table only where it cannot be written. */
static void check_table(const struct program *p, gpa_t table, unsigned level)
{
    const struct xen_tables *lists[] = {&p->xen.kernel_tables, &p->xen.p2m_tables};
    uint64_t entry[512];
    demand(guestmem_read(p->mem, table, entry, sizeof(entry)));
    for (unsigned i = 0; i < 512; i++) {
        const gpa_t at = gpa(entry[i] & PTE_ADDRESS);
        if (entry[i] == 0)
            continue;
        demand(at.v < p->memory_bytes && (entry[i] & PTE_P) != 0 && (entry[i] & PTE_PS) == 0);
        for (unsigned k = 0; k < 2 && level == 1; k++)
            demand((entry[i] & PTE_W) == 0 || at.v < lists[k]->first.v ||
                   at.v >= lists[k]->first.v + xen_table_pages(lists[k]) * PAGE_SIZE);
        if (level > 1)
            check_table(p, at, level - 1);
    }
}

static void check_domain(const struct program *p, const struct cpu_state *state)
{
    uint64_t list = 0, frame = 0;
    check_table(p, gpa(state->cr3), 4);
    demand(walk(p, state, state->rsi, WALK_WRITE).v == p->xen.start_info.v);
    (void)walk(p, state, state->rsp - 1, WALK_WRITE);
    demand(guestmem_read(p->mem, gpa(p->xen.start_info.v + START_INFO_P2M), &list, sizeof(list)));
    const gpa_t last = walk(p, state, list + (p->xen.pages - 1) * sizeof(frame), WALK_WRITE);
    demand(guestmem_read(p->mem, last, &frame, sizeof(frame)) && frame == p->xen.pages - 1);
}

/* The entry as guest-physical address is what fuzz_program() looks at. */
static enum status load(struct program *p, struct cpu_state *state)
{
    static uint8_t shared[XEN_BEHIND_PAGES * PAGE_SIZE];
    struct guestmem mem = *p->mem;
    demand(guestmem_add(&mem, xen_shared_info_at(p->memory_bytes), sizeof(shared), shared) == OK);
    p->mem = &mem;
    p->paravirtual = true;
    const enum status s = xen_load(p, state);
    if (s == OK) {
        check_domain(p, state);
        state->rip = walk(p, state, state->rip, WALK_FETCH).v;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_program(load, data, size);
    return 0;
}
