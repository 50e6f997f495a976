/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls by all numbers, with pointers and counts of all kinds. */
#include "hostilepv.h"

#include "guest/hypercall.h"

/* Which pointers lead nowhere, so that whoever reads or writes 32 bytes there has to say so. */
static uint64_t bad[24], good[24];
static unsigned bads, goods;

static void make_pointers(void)
{
    static const uint64_t nowhere[] = {0x0000800000000000,
                                       0x00007ffffffffff8,
                                       0xffff7fffffffffff,
                                       0xfffffffffffffff8,
                                       ~0ull,
                                       0x1000000000,
                                       HOLE,
                                       0xffff830000000000,
                                       0xffff860000000000,
                                       0xffff870000000000,
                                       0xffff878000200000,
                                       HOLE_END - 1};
    static const uint64_t left[] = {1, 7, 8, 31};
    for (unsigned i = 0; i < ARRAY(nowhere); i++)
        bad[bads++] = nowhere[i];
    for (unsigned i = 0; i < ARRAY(left); i++) {
        bad[bads++] = (uint64_t)area[1] - left[i];
        bad[bads++] = (uint64_t)area[3] - left[i]; /* RAM ends there, too */
    }
    for (unsigned i = 0; i < ARRAY(area); i += 2)
        good[goods++] = (uint64_t)area[i];
    good[goods++] = 0;
    good[goods++] = (uint64_t)area[1] - 64;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return xen_call(number, a, b, c, d);
}

/* --- what is defined --- */

static void bad_pointers(void)
{
    static const struct {
        uint64_t number;
        uint8_t first, last; /* operations */
        bool third;          /* the pointer is the third argument */
    } by_operation[] = {{XEN_EVENT_CHANNEL_OP, 3, 9, false}, {XEN_EVENT_CHANNEL_OP, 1, 1, false},
                        {XEN_MEMORY_OP, 9, 9, false},        {XEN_VERSION, 3, 6, false},
                        {XEN_VERSION, 8, 9, false},          {XEN_VCPU_OP, 4, 4, true},
                        {XEN_VCPU_OP, 8, 8, true},           {XEN_VCPU_OP, 10, 10, true},
                        {XEN_SCHED_OP, 2, 3, false},         {XEN_CALLBACK_OP, 0, 0, false}};
    for (unsigned i = 0; i < ARRAY(by_operation); i++)
        for (unsigned op = by_operation[i].first; op <= by_operation[i].last; op++)
            for (unsigned p = 0; p < bads; p++) {
                const uint64_t left = PAGE - bad[p] % PAGE;
                if (left > 8 && left < 32) /* enough for some */
                    continue;
                if (left <= 8 && (by_operation[i].number == XEN_EVENT_CHANNEL_OP ||
                                  by_operation[i].number == XEN_SCHED_OP))
                    continue;
                if (by_operation[i].number == XEN_VERSION && op >= 5 && op <= 6 && left == 8)
                    continue;
                const int64_t got = by_operation[i].third
                                        ? call(by_operation[i].number, op, 0, bad[p], 0)
                                        : call(by_operation[i].number, op, bad[p], 0, 0);
                expect(got, EFAULT, "a bad pointer",
                       by_operation[i].number << 56 | (uint64_t)op << 48 |
                           (bad[p] & 0xffffffffffff));
            }
    for (unsigned p = 0; p < bads; p++) {
        if (PAGE - bad[p] % PAGE != 31) /* that is a whole entry */
            expect(call(XEN_MMU_UPDATE, bad[p], 1, 0, XEN_THIS_DOMAIN), EFAULT, "mmu_update",
                   bad[p]);
    }
}

static void defined(void)
{
    for (unsigned p = 0; p < bads; p++) {
        const bool some = PAGE - bad[p] % PAGE == 31;
        if (!some) {
            expect(call(XEN_SET_TRAP_TABLE, bad[p], 0, 0, 0), EFAULT, "set_trap_table", bad[p]);
            expect(call(XEN_MMUEXT_OP, bad[p], 1, 0, XEN_THIS_DOMAIN), EFAULT, "mmuext_op", bad[p]);
        }
        expect(call(XEN_MULTICALL, bad[p], 1, 0, 0), EFAULT, "multicall", bad[p]);
        expect(call(XEN_CONSOLE_IO, 0, 100, bad[p], 0), EFAULT, "console_io", bad[p]);
        expect(call(XEN_VCPU_OP, 0, 1, bad[p], 0), EFAULT, "initialise", bad[p]);
    }
    bad_pointers();
    make_traps();
    expect(call(XEN_SET_GDT, bad[0], 1, 0, 0), EFAULT, "set_gdt", 0);
    expect(call(XEN_SET_GDT, good[0], 7169, 0, 0), EINVAL, "set_gdt: too many", 0);
    expect(call(XEN_VCPU_OP, 10, 2, good[0], 0), ENOENT, "vCPU 2", 0);
    expect(call(XEN_VCPU_OP, 1, 0xffffffff, 0, 0), ENOENT, "no vCPU", 0);
    expect(call(XEN_VCPU_OP, 1, 1, 0, 0), EINVAL, "one that is not initialised", 0);
    expect(call(XEN_VCPU_OP, 0, 0, bad[0], 0), EFAULT, "this vCPU, initialised again", 0);
    expect(call(XEN_SET_CALLBACKS, 1ull << 47, 0, 0, 0), EINVAL, "set_callbacks", 0);
    expect(call(XEN_SET_SEGMENT_BASE, 0, 1ull << 47, 0, 0), EINVAL, "FS base", 0);
    expect(call(XEN_SET_SEGMENT_BASE, 4, 0, 0, 0), EINVAL, "no base", 0);
    expect(call(XEN_SET_DEBUGREG, 8, 0, 0, 0), EINVAL, "DR8", 0);
    check(true, "defined answers", 0, 0);
}

/* --- all numbers --- */

static const uint64_t counts[] = {0,          1,          2,           0x1000,     0x7fffffff,
                                  0x80000000, 0xffffffff, 0x100000000, 1ull << 63, ~0ull};

/* What would end the domain, wait for ever, or print all of memory. */
static bool is_left_out(uint64_t number)
{
    switch ((uint32_t)number) {
    case XEN_IRET:
    case XEN_SCHED_OP_COMPAT:
    case XEN_SCHED_OP:
    case XEN_CONSOLE_IO:
    case NADIR_CALL_SLEEP:
    case NADIR_CALL_WRITE:
    case NADIR_CALL_EXIT: return true;
    default: return false;
    }
}

/* Afterwards this kernel may be without traps or stack. */
static bool changes_traps(uint64_t number)
{
    const uint32_t n = (uint32_t)number;
    return n <= XEN_STACK_SWITCH || n == XEN_SET_CALLBACKS || n == XEN_FPU_TASKSWITCH ||
           n == XEN_SET_DEBUGREG || n == XEN_MULTICALL || n == XEN_CALLBACK_OP ||
           n == XEN_SET_TIMER_OP;
}

static void fill_areas(bool rubbish)
{
    for (unsigned i = 0; i < ARRAY(area); i += 2)
        for (unsigned k = 0; k < WORDS && i != 8 && i != 12; k++)
            area[i][k] = rubbish ? wild() >> (wild() & 63) : 0;
}

static void by_pointer(uint64_t number, uint64_t p, uint64_t count)
{
    const uint64_t ways[][4] = {{p, count, 0, XEN_THIS_DOMAIN},
                                {p, count, p, XEN_THIS_DOMAIN},
                                {count, p, p, XEN_THIS_DOMAIN},
                                {count, count, p, p}};
    for (unsigned i = 0; i < ARRAY(ways); i++) {
        if (number == XEN_VCPU_OP && (uint32_t)ways[i][0] == 2 /* down */)
            continue;
        infos[0].masked = 1; /* there may be no callback for a moment */
        (void)call(number, ways[i][0], ways[i][1], ways[i][2], ways[i][3]);
        if (changes_traps(number))
            make_traps();
    }
}

static void all_with(uint64_t number)
{
    if (is_left_out(number))
        return;
    for (unsigned c = 0; c < ARRAY(counts); c++) {
        for (unsigned p = 0; p < bads; p++)
            by_pointer(number, bad[p], counts[c]);
        for (unsigned p = 0; p < goods; p++)
            by_pointer(number, good[p], counts[c]);
    }
    fill_areas(false);
}

static void all_numbers(void)
{
    static const uint64_t strange[] = {64,         0xfff,      0x1fff,          0x7fffffff,
                                       0x80000000, 0xffffffff, 1ull << 32 | 17, ~0ull};
    static const uint8_t nothing[] = {7, 11, 19, 22, 27, 28, 31, 36, 38, 39, 63};
    for (unsigned i = 0; i < ARRAY(nothing); i++)
        expect(call(nothing[i], 0, 0, 0, 0), ENOSYS, "a call that is not there", nothing[i]);
    for (uint64_t n = 0; n < 64; n++)
        all_with(n);
    for (uint64_t n = NADIR_CALL_VERSION; n < NADIR_CALL_END_OF_LIST + 2; n++)
        all_with(n);
    for (unsigned i = 0; i < ARRAY(strange); i++)
        all_with(strange[i]);
    check(true, "all numbers", 0, 0);
}

/* --- all operations --- */

static void all_operations(void)
{
    static const uint8_t numbers[] = {
        XEN_MEMORY_OP, XEN_VERSION, XEN_VCPU_OP, XEN_CALLBACK_OP, XEN_EVENT_CHANNEL_OP, 21, 33, 20};
    static const uint64_t vcpus[] = {0, 1, 2, 31, 32, 0xffffffff};
    for (unsigned i = 0; i < ARRAY(numbers); i++)
        for (unsigned op = 0; op < 48; op++)
            for (unsigned p = 0; p < bads + goods; p++) {
                const uint64_t at = p < bads ? bad[p] : good[p - bads];
                if (numbers[i] != XEN_VCPU_OP) {
                    (void)call(numbers[i], op, at, at, 0);
                    continue;
                }
                for (unsigned v = 0; v < ARRAY(vcpus) && op != 2; v++)
                    (void)call(XEN_VCPU_OP, op, vcpus[v], at, 0);
            }
    fill_areas(false);
    make_traps();
    check(true, "all operations", 0, 0);
}

/* --- lists of rubbish --- */

/* A list whose numbers are those of calls, and whose arguments are what these take, in some order.
 */
static uint64_t argument(void)
{
    const uint64_t r = wild();
    switch (r & 7) {
    case 0: return r >> 8 & 63;
    case 1: return bad[(r >> 8) % bads];
    case 2: return (uint64_t)area[0] + (r >> 8 & 0xff8);
    case 3: return (uint64_t)area[2] + (r >> 8 & 0xff8);
    case 4: return counts[(r >> 8) % ARRAY(counts)];
    case 5: return XEN_THIS_DOMAIN;
    case 6: return r;
    default: return 0;
    }
}

/* Left out: what would change this kernel's own tables or end it by chance. */
static uint64_t number_in_list(void)
{
    const uint64_t n = wild() % 44;
    return is_left_out(n) || n == XEN_MMU_UPDATE || n == XEN_MMUEXT_OP ||
                   n == XEN_UPDATE_VA_MAPPING || n == XEN_VCPU_OP
               ? XEN_MULTICALL
               : n;
}

static void lists_of_rubbish(void)
{
    enum { ROUNDS = 4000, CALLS = 8, ROOM = PAGE / 64 - CALLS };
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t *list =
            (uint64_t *)((uint64_t)area[2] + (wild() % ROOM) * 64 + (wild() & 7) * (i & 1));
        for (unsigned k = 0; k < CALLS; k++) {
            list[8 * k] = number_in_list();
            for (unsigned a = 0; a < 6; a++)
                list[8 * k + 2 + a] = argument();
        }
        infos[0].masked = 1;
        (void)call(XEN_MULTICALL, (uint64_t)list, CALLS, 0, 0);
        make_traps();
    }
    check(true, "lists of rubbish", 0, 0);
}

/* Nadir's own calls on arrays go on by themselves: what is wrong is told in RAX. */
static void own_calls(void)
{
    static const uint32_t on_arrays[] = {NADIR_CALL_MEMORY, NADIR_CALL_WRITE, NADIR_CALL_STATS};
    for (unsigned i = 0; i < ARRAY(on_arrays); i++)
        for (unsigned p = 0; p < bads; p++)
            if (PAGE - bad[p] % PAGE > 31 || bad[p] == ~0ull)
                check(call(on_arrays[i], bad[p], 1, 0, 0) < 0, "Nadir's call, a bad pointer",
                      on_arrays[i], bad[p]);
    for (unsigned i = 0; i < 2000; i++) {
        struct nadir_memory_op op = {(uint32_t)(wild() % 6), 0,
                                     i % 3 != 0 ? (uint64_t)area[0] : argument(), argument()};
        if (op.linear < PAGE)
            continue;
        (void)call(NADIR_CALL_MEMORY, (uint64_t)&op, 1, 0, 0);
    }
    expect(map(area[0], (uint64_t)area[0] | PTE_P | PTE_W), 0, "the page is back", 0);
    (void)mmuext(XEN_FLUSH_LOCAL, 0, 0);
    check(true, "Nadir's own calls", 0, 0);
}

/* The console's ring, with counts of all kinds. Port 1 is the console's. */
void attack_calls(void)
{
    make_pointers();
    defined();
    all_numbers();
    all_operations();
    lists_of_rubbish();
    own_calls();
}
