/* SPDX-License-Identifier: BSD-2-Clause */
/* The pattern, left where it can be. */
#include "poisonpv.h"

#define DATA_OF_USER 0x00cff3000000ffffull

static uint64_t descriptors[WORDS] __attribute__((aligned(4096)));

static void leave_descriptors(bool all)
{
    const uint64_t frames[1] = {(uint64_t)descriptors / PAGE};
    const struct xen_mmuext ldt = {XEN_SET_LDT, (uint64_t)descriptors, WORDS};
    for (unsigned i = 20; i < (all ? WORDS : 21); i++)
        descriptors[i] = DATA_OF_USER;
    (void)xen_call(XEN_SET_GDT, (uint64_t)frames, WORDS, 0, 0);
    if (all)
        (void)xen_call(XEN_MMUEXT_OP, (uint64_t)&ldt, 1, 0, XEN_THIS_DOMAIN);
}

/* Breakpoints on writes; of those to the first address another domain, which writes there, too, has
 * no handler. */
static void leave_system_registers(uint64_t address)
{
    const uint64_t all_four = 0x99990055; /* writes of eight bytes */
    for (uint64_t i = 0; i < 4; i++)
        (void)xen_call(XEN_SET_DEBUGREG, i,
                       i == 0 ? address : pattern_word(PATTERN_POISON, 8 * (unsigned)i), 0, 0);
    (void)xen_call(XEN_SET_DEBUGREG, 6, 0xf, 0, 0);
    (void)xen_call(XEN_SET_DEBUGREG, 7, all_four, 0, 0);
    for (uint64_t i = 0; i < 3; i++)
        (void)xen_call(XEN_SET_SEGMENT_BASE, i, pattern_word(PATTERN_POISON, (unsigned)i), 0, 0);
    wrmsr(0xc0000103, 0x5e1ec7ed);
}

unsigned leave_lost(void)
{
    static const uint32_t bases[] = {0xc0000100, 0xc0000102, 0xc0000101}; /* in the call's order */
    unsigned lost = rdmsr(0xc0000103) != 0x5e1ec7ed;
    for (unsigned i = 0; i < ARRAY(bases); i++)
        lost += rdmsr(bases[i]) != pattern_word(PATTERN_POISON, i);
    for (unsigned i = 1; i < 4; i++)
        lost +=
            (uint64_t)xen_call(XEN_GET_DEBUGREG, i, 0, 0, 0) != pattern_word(PATTERN_POISON, 8 * i);
    return lost;
}

static void leave_in_frame(uint64_t frame, unsigned from, unsigned words)
{
    uint64_t *at = window(frame);
    if (at != NULL)
        pattern_fill(PATTERN_POISON, &at[from], words);
}

static void leave_in_frame_array(uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t update[2] = {i * PAGE | XEN_M2P_UPDATE,
                                    pattern_word(PATTERN_POISON, (unsigned)i)};
        (void)xen_call(XEN_MMU_UPDATE, (uint64_t)update, 1, 0, XEN_THIS_DOMAIN);
    }
}

/* Memory comes last, but for what is mapped at the start: this kernel, and what was put behind it.
 */
void leave(void)
{
    const uint64_t shared = start->shared_info / PAGE;
    leave_system_registers((uint64_t)start_gpr);
    leave_descriptors(true);
    leave_in_frame(shared, 8, SHARED_EVENTS - 8);
    leave_in_frame(shared, SHARED_REST, WORDS - SHARED_REST);
    for (unsigned i = 1; i <= XEN_GRANTS; i++)
        leave_in_frame(shared + i, 0, WORDS);
    leave_in_frame(start->console_frame, 0, CONSOLE_WORDS);
    leave_in_frame(start->store_frame, 0, STORE_WORDS);
    leave_in_frame_array(start->pages);
    for (uint64_t frame = 0; frame < start->pages; frame++)
        if (frame < FIRST_MAPPED || frame >= END_MAPPED)
            leave_in_frame(frame, 0, WORDS);
}

void plant(void)
{
    const uint64_t shared = start->shared_info / PAGE;
    start_gpr[3] = pattern_word(PATTERN_POISON, 3);
    start_extended[200] = 1;
    (void)hold(PATTERN_POISON, 1, false);
    leave_system_registers(pattern_word(PATTERN_POISON, 0));
    leave_descriptors(false);
    leave_in_frame(0x500, 7, 1);
    leave_in_frame(shared, WORDS - 1, 1);
    leave_in_frame(shared + XEN_GRANTS, WORDS - 1, 1);
    leave_in_frame(start->console_frame, 5, 1);
    leave_in_frame(start->store_frame, 5, 1);
    leave_in_frame_array(1);
}
