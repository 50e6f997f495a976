/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors and selectors of all kinds, in calls, in registers and in frames of iret. */
#include "hostilepv.h"

enum { SET_LDT = 13, DESCRIPTORS = 512 };

#define S           (1ull << 44)
#define P           (1ull << 47)
#define DPL         (3ull << 45)
#define FLAT_CODE_0 0x00af9b000000ffffull /* of DPL 0 */

static page gdt, ldt;

static bool is_known(uint32_t selector)
{
    const uint32_t flat = selector | 3;
    return flat == 0xe023 || flat == XEN_FLAT_DATA || flat == XEN_FLAT_CODE;
}

/* --- what is taken --- */

static void updates(void)
{
    const uint64_t at = (uint64_t)gdt + 8 * 20, frames[2] = {(uint64_t)gdt / PAGE, 0};
    expect(xen_call(XEN_SET_GDT, (uint64_t)frames, DESCRIPTORS, 0, 0), 0, "set_gdt", 0);
    for (unsigned type = 0; type < 16; type++) /* gates, TSS, LDT: S = 0 */
        for (unsigned dpl = 0; dpl < 4; dpl++) {
            const uint64_t d =
                P | (uint64_t)dpl << 45 | (uint64_t)type << 40 | 0x200000 | 0xe033ull << 16;
            expect(xen_call(XEN_UPDATE_DESCRIPTOR, at, d, 0, 0), EINVAL,
                   "a descriptor of the system", d);
        }
    expect(xen_call(XEN_UPDATE_DESCRIPTOR, pages * PAGE, FLAT_CODE_0, 0, 0), EINVAL, "beyond RAM",
           0);
    expect(xen_call(XEN_UPDATE_DESCRIPTOR, ~0ull, FLAT_CODE_0, 0, 0), EINVAL, "beyond all", 0);
    expect(xen_call(XEN_UPDATE_DESCRIPTOR, at, FLAT_CODE_0, 0, 0), 0, "code of DPL 0", 0);
    uint64_t rights = 0;
    __asm__ volatile("lar %1, %0" : "=r"(rights) : "r"(20ull * 8));
    check((rights >> 13 & 3) == 3, "code of DPL 0 has CPL 3", rights, 0);
    const uint64_t wrong[] = {pages, ~0ull, 1ull << 40};
    for (unsigned i = 0; i < ARRAY(wrong); i++) {
        const uint64_t other[2] = {wrong[i], wrong[i]};
        expect(xen_call(XEN_SET_GDT, (uint64_t)other, 1, 0, 0), EINVAL,
               "a frame that is not its own", i);
    }
    for (unsigned k = 0; k < 3; k++) {
        expect(xen_call(XEN_SET_SEGMENT_BASE, 3, 0xffb0 + 8 * k, 0, 0), EFAULT,
               "the hypervisor's selector for GS", k);
        expect(xen_call(XEN_SET_SEGMENT_BASE, 3, 0x10000 + k, 0, 0), EFAULT, "no selector", k);
    }
}

/* --- what can be seen of the real tables --- */

static void look(const char *when, bool own)
{
    for (uint32_t selector = 0; selector < 0x10000; selector++) {
        uint64_t rights = 0, limit = 0;
        bool seen, limited, readable, writable;
        __asm__("lar %2, %0; setz %1" : "+r"(rights), "=qm"(seen) : "r"((uint64_t)selector) : "cc");
        __asm__("lsl %2, %0; setz %1"
                : "+r"(limit), "=qm"(limited)
                : "r"((uint64_t)selector)
                : "cc");
        __asm__("verr %1; setz %0" : "=qm"(readable) : "r"((uint16_t)selector) : "cc");
        __asm__("verw %1; setz %0" : "=qm"(writable) : "r"((uint16_t)selector) : "cc");
        const bool may = own && ((selector & 4) != 0 || selector < DESCRIPTORS * 8);
        if ((seen || limited || readable || writable) && !is_known(selector) && !may)
            check(false, when, selector, rights);
        if (seen && ((rights >> 12 & 1) == 0 || (rights >> 13 & 3) != 3))
            check(false, "a segment of the system, or not of CPL 3", selector, rights);
    }
    check(true, when, 0, 0);
}

/* --- in registers --- */

static void load_all(bool own)
{
    for (uint32_t selector = 0; selector < 0x10000; selector += 1 + (uint32_t)(wild() & 3))
        for (unsigned which = 0; which < 5; which++) {
            const int64_t got = load_selector(which, (uint16_t)selector);
            const bool may = own && ((selector & 4) != 0 || selector < DESCRIPTORS * 8);
            if (got != NO_TRAP && got != GP && got != SS && got != NP)
                expect(got, GP, "a load of a selector", selector << 4 | which);
            if (got == NO_TRAP && !may && !is_known(selector) && selector > 3)
                check(false, "a selector is loaded", selector, which);
        }
    for (unsigned which = 0; which < 4; which++)
        (void)load_selector(which, 0);
    (void)load_selector(4, XEN_FLAT_DATA);
    check(true, "loads of selectors", 0, 0);
}

/* --- in frames --- */

static page frame_stack;

static int64_t go(uint64_t cs, uint64_t ss, uint64_t rip, uint64_t rflags)
{
    const struct iret_frame f = {.rip = rip,
                                 .cs = cs,
                                 .rflags = rflags,
                                 .rsp = (uint64_t)frame_stack + PAGE - 256,
                                 .ss = ss};
    return probe_iret(&f);
}

/* What is there raises #UD, in each mode. */
static void frames(bool own)
{
    const uint64_t rip = (uint64_t)code_page;
    memset(code_page, 0x90, 16);
    memcpy(code_page + 16, "\x0f\x05\x0f\x0b", 4); /* SYSCALL, in each mode */
    memcpy(code_page + 32, "\x0f\x34\x0f\x0b", 4);
    memcpy(code_page, "\x0f\x0b", 2);
    for (uint64_t cs = 0; cs < 0x10000; cs += 1 + (wild() & 7)) {
        const int64_t got = go(cs, XEN_FLAT_DATA, rip, 2);
        const bool may = own && ((cs & 4) != 0 || cs < DESCRIPTORS * 8);
        if (got != UD && got != TRAP_FAILSAFE && got != GP && got != PF)
            expect(got, UD, "CS in a frame", cs);
        if (got == UD && !may && !is_known((uint32_t)cs))
            check(false, "CS in a frame, taken", cs, (uint64_t)got);
    }
    for (uint64_t ss = 0; ss < 0x10000; ss += 1 + (wild() & 7)) {
        const int64_t got = go((wild() & 1) != 0 ? XEN_FLAT_CODE : 0xe030, ss, rip, 2);
        if (got != UD && got != TRAP_FAILSAFE)
            expect(got, UD, "SS in a frame", ss);
    }
    static const uint64_t rips[] = {
        0,    1ull << 47, ~0ull, HOLE, HOLE_END - 1, 0xffff878000200000, 0x7fffffffffff,
        8192, 1ull << 63};
    for (unsigned i = 0; i < ARRAY(rips); i++)
        for (unsigned k = 0; k < 8; k++) {
            const int64_t got =
                go(k % 2 != 0 ? XEN_FLAT_CODE : 0xe030, XEN_FLAT_DATA, rips[i], wild());
            check(got == TRAP_FAILSAFE || got == GP || got == PF || got == DB || got == UD,
                  "RIP in a frame", rips[i], (uint64_t)got);
        }
    for (unsigned i = 0; i < 64; i++) { /* all flags; IOPL, VM and IF are not the guest's */
        const int64_t got = go((wild() & 1) != 0 ? XEN_FLAT_CODE : 0xe030, XEN_FLAT_DATA, rip,
                               1ull << i | (i % 3 == 1 ? 0x100 : 0));
        check(got == UD || got == DB || got == TRAP_TIMER, "RFLAGS in a frame", i, (uint64_t)got);
    }
    static const uint16_t modes[] = {XEN_FLAT_CODE, 0xe023};
    for (unsigned i = 0; i < ARRAY(modes); i++)
        for (unsigned at = 16; at <= 32; at += 16)
            for (unsigned kernel = 0; kernel < 2; kernel++) {
                const int64_t got =
                    go(kernel != 0 ? modes[i] & ~3ull : modes[i], XEN_FLAT_DATA, rip + at, 2);
                check(got >= 0, "SYSCALL and SYSENTER in each mode", modes[i], (uint64_t)got);
            }
    check(true, "frames", 0, 0);
}

/* Descriptors of all kinds. Code begins at 0, so that it is this kernel's that runs. */
static void fill(uint64_t *table)
{
    for (unsigned i = 0; i < DESCRIPTORS; i++) {
        uint64_t d = wild();
        if ((d & (S | 1ull << 43)) == (S | 1ull << 43))
            d &= ~0xff0000ffffff0000ull;
        table[i] = i % 3 == 0 ? d | P | S : d;
        if ((table[i] & (S | 1ull << 43)) == (S | 1ull << 43))
            table[i] &= ~0xff0000ffffff0000ull;
    }
}

void attack_segments(void)
{
    const uint64_t frames_of[2] = {(uint64_t)gdt / PAGE, 0};
    look("selectors that are not this kernel's", false);
    load_all(false);
    frames(false);
    updates();
    for (unsigned i = 0; i < 2; i++) {
        fill(gdt);
        fill(ldt);
        expect(xen_call(XEN_SET_GDT, (uint64_t)frames_of, DESCRIPTORS, 0, 0), 0, "a GDT of rubbish",
               i);
        expect(mmuext(SET_LDT, (uint64_t)ldt, DESCRIPTORS), 0, "an LDT of rubbish", i);
        look("selectors beside a table of rubbish", true);
        load_all(true);
        frames(true);
    }
    expect(mmuext(SET_LDT, 0, 0), 0, "no LDT", 0);
    expect(xen_call(XEN_SET_GDT, (uint64_t)frames_of, 0, 0, 0), 0, "no GDT", 0);
    look("selectors when it is gone", false);
}
