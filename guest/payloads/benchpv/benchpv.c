/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What operations cost a paravirtual kernel (engine = pv): those of guest/payloads/bench that such
 * a kernel does in a way of its own, by the same names, and two that only it has. All is mapped
 * where it is loaded, kernel and user code alike.
 */
#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

#include <stdbool.h>
#include <stddef.h>

#define ROUNDS  200
#define WARM    10
#define PAGE    4096ull
#define WORDS   512u
#define BATCH   64u
#define ADDRESS 0x000ffffffffff000ull

enum { PRESENT = 1, WRITABLE = 2, USER = 4 };
enum { DIVIDE_ERROR = 0, INVALID_OPCODE = 6, PAGE_FAULT = 14 };

typedef void rounds_fn(uint32_t *stamps, uint64_t rounds);
typedef uint64_t page[WORDS] __attribute__((aligned(4096)));

rounds_fn rounds_nothing, rounds_hypercall, rounds_cpuid, rounds_update_64, rounds_mapping_64,
    rounds_ptemod, rounds_mov_cr3, rounds_irq_save, rounds_timer, rounds_loop, rounds_call_ret,
    rounds_syscall, rounds_pgfault, rounds_divzero;
void entry_syscall(void), entry_event(void), entry_failsafe(void);
void handler_pgfault(void), handler_divzero(void), handler_end(void);
uint64_t enter_user(rounds_fn *rounds, uint32_t *stamps, uint64_t count, uint8_t *stack);

struct update {
    uint64_t at, entry;
};
struct multicall {
    uint64_t op, result, args[6];
};

/* For rounds.asm: the shared page, and what it counts in its handlers; lists of calls, two for each
 * row that takes turns; the page of ptemod with two values of its entry; an operation on CR3; the
 * timer's port. */
extern struct xen_vcpu_info *bench_info;
extern volatile uint32_t bench_interrupts;
struct multicall *bench_lists[2][2];
uint64_t bench_page, bench_entries[2];
struct xen_mmuext bench_base;
uint32_t bench_port;

static uint32_t stamp[ROUNDS + 1];
static page shared, frames[2], pages[BATCH];
static page user_root, user_pointers, user_directory, user_table;
static uint8_t kernel_stack[PAGE] __attribute__((aligned(16))), user_stack[PAGE];

/* --- the end of it --- */

static _Noreturn void fail(const char *what)
{
    print("bench: %s\n", what);
    xen_end(false);
}

static void must(int64_t result, const char *what)
{
    if (result != 0)
        fail(what);
}

/* --- page tables --- */

static uint64_t kernel_root;

/* Where the kernel's entry for a page is. Tables can be read where they are. */
static uint64_t *entry_of(uint64_t linear)
{
    uint64_t *table = (uint64_t *)kernel_root;
    for (unsigned shift = 39; shift > 12; shift -= 9)
        table = (uint64_t *)(table[linear >> shift & 511] & ADDRESS);
    return &table[linear >> 12 & 511];
}

static void map(const void *at, uint64_t entry)
{
    must(xen_call(XEN_UPDATE_VA_MAPPING, (uint64_t)at, entry, XEN_FLUSH_INVLPG, 0),
         "update_va_mapping is refused");
}

static void mmuext(uint32_t command, const void *root)
{
    const struct xen_mmuext op = {command, (uint64_t)root / PAGE, 0};
    must(xen_call(XEN_MMUEXT_OP, (uint64_t)&op, 1, 0, XEN_THIS_DOMAIN), "mmuext_op is refused");
}

/* User code has all of this kernel where the kernel has it, but for page tables, which nobody may
 * write. */
static void make_user_tables(void)
{
    const uint64_t base = (uint64_t)&user_root & ~((WORDS * PAGE) - 1);
    uint64_t *const tables[] = {user_root, user_pointers, user_directory, user_table};
    user_root[0] = (uint64_t)user_pointers | PRESENT | WRITABLE | USER;
    user_pointers[0] = (uint64_t)user_directory | PRESENT | WRITABLE | USER;
    user_directory[base / (WORDS * PAGE)] = (uint64_t)user_table | PRESENT | WRITABLE | USER;
    for (unsigned i = 0; i < WORDS; i++)
        user_table[i] = (base + i * PAGE) | PRESENT | WRITABLE | USER;
    for (unsigned i = 0; i < 4; i++)
        user_table[(uint64_t)tables[i] / PAGE % WORDS] &= ~(uint64_t)WRITABLE;
    for (unsigned i = 0; i < 4; i++)
        map(tables[i], (uint64_t)tables[i] | PRESENT);
    mmuext(XEN_PIN_L4, user_root);
    mmuext(XEN_NEW_USER_BASEPTR, user_root);
}

/* --- what rows need --- */

/* Two lists of calls each: all pages of the batch come to be the one frame, or the other. */
static void make_lists(void)
{
    static struct update updates[2][BATCH];
    static struct multicall one[2][1], many[2][BATCH];
    for (unsigned f = 0; f < 2; f++) {
        const uint64_t entry = bench_entries[f];
        for (unsigned i = 0; i < BATCH; i++) {
            updates[f][i] = (struct update){(uint64_t)entry_of((uint64_t)pages[i]), entry};
            many[f][i].op = XEN_UPDATE_VA_MAPPING;
            many[f][i].args[0] = (uint64_t)pages[i];
            many[f][i].args[1] = entry;
            many[f][i].args[2] = XEN_FLUSH_NONE;
        }
        one[f][0].op = XEN_MMU_UPDATE;
        one[f][0].args[0] = (uint64_t)updates[f];
        one[f][0].args[1] = BATCH;
        one[f][0].args[3] = XEN_THIS_DOMAIN;
        bench_lists[0][f] = one[f];
        bench_lists[1][f] = many[f];
    }
}

/* Whether a list has the effect that it is measured for. */
static void try_list(const struct multicall *list, unsigned calls, unsigned f)
{
    must(xen_call(XEN_MULTICALL, (uint64_t)list, calls, 0, 0), "multicall is refused");
    mmuext(XEN_FLUSH_LOCAL, NULL);
    for (unsigned i = 0; i < calls; i++)
        must((int64_t)list[i].result, "a call of a multicall is refused");
    for (unsigned i = 0; i < BATCH; i++)
        if (*(volatile uint64_t *)pages[i] != frames[f][0])
            fail("a page is not what its entry says");
}

static void make_pages(void)
{
    for (unsigned f = 0; f < 2; f++) {
        frames[f][0] = 0x1234 + f;
        bench_entries[f] = (uint64_t)frames[f] | PRESENT | WRITABLE;
    }
    bench_page = (uint64_t)pages[0];
    make_lists();
    for (unsigned f = 0; f < 2; f++) {
        try_list(bench_lists[0][f], 1, f);
        try_list(bench_lists[1][1 - f], BATCH, 1 - f);
    }
    bench_base = (struct xen_mmuext){XEN_NEW_BASEPTR, kernel_root / PAGE, 0};
}

static void make_traps(void)
{
    static const struct xen_trap_info traps[] = {
        {DIVIDE_ERROR, XEN_MASKS_EVENTS, XEN_FLAT_CODE, (uint64_t)handler_divzero},
        {INVALID_OPCODE, XEN_MASKS_EVENTS, XEN_FLAT_CODE, (uint64_t)handler_end},
        {PAGE_FAULT, XEN_MASKS_EVENTS, XEN_FLAT_CODE, (uint64_t)handler_pgfault},
        {0, 0, 0, 0},
    };
    must(xen_call(XEN_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0), "set_trap_table is refused");
    (void)xen_call(XEN_STACK_SWITCH, XEN_FLAT_DATA, (uint64_t)kernel_stack + PAGE, 0, 0);
    xen_tell_callback(XEN_CALLBACK_EVENT, entry_event);
    xen_tell_callback(XEN_CALLBACK_FAILSAFE, entry_failsafe);
    xen_tell_callback(XEN_CALLBACK_SYSCALL, entry_syscall);
}

static void make_timer(uint64_t shared_frame)
{
    enum { BIND_VIRQ = 1, UNMASK = 9, VIRQ_TIMER = 0 };
    uint32_t bind[3] = {VIRQ_TIMER, 0, 0};
    map(shared, shared_frame | PRESENT | WRITABLE);
    bench_info = (struct xen_vcpu_info *)shared;
    must(xen_call(XEN_EVENT_CHANNEL_OP, BIND_VIRQ, (uint64_t)bind, 0, 0), "bind_virq is refused");
    bench_port = bind[2];
    must(xen_call(XEN_EVENT_CHANNEL_OP, UNMASK, (uint64_t)&bench_port, 0, 0), "unmask is refused");
}

/* --- rows --- */

/* TIMER, FAULT: each round is one entry into the kernel, and counted. LONG: a round is a loop. */
enum need { NOTHING, LONG, TIMER, USER_CODE, FAULT };

static const struct row {
    const char *name;
    rounds_fn *rounds;
    enum need need;
} rows[] = {
    {"nothing", rounds_nothing, NOTHING},
    {"hypercall", rounds_hypercall, NOTHING},   /* xen_version, there and back */
    {"update-64", rounds_update_64, NOTHING},   /* a multicall: one mmu_update of 64 entries */
    {"mapping-64", rounds_mapping_64, NOTHING}, /* a multicall: 64 update_va_mapping */
    {"cpuid", rounds_cpuid, NOTHING},
    {"mov-cr3", rounds_mov_cr3, NOTHING},
    {"tsc-deadline", rounds_timer, TIMER},
    {"loop", rounds_loop, LONG},
    {"call-ret", rounds_call_ret, LONG},
    {"irq-save", rounds_irq_save, NOTHING},
    {"ptemod", rounds_ptemod, NOTHING},
    {"syscall", rounds_syscall, USER_CODE},
    {"pgfault", rounds_pgfault, FAULT},
    {"divzero", rounds_divzero, FAULT},
};

static void sort(uint32_t *v, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        const uint32_t x = v[i];
        unsigned at = i;
        for (; at >= 1 && v[at - 1] > x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
}

static void run(const struct row *row, unsigned count)
{
    if (row->need != USER_CODE && row->need != FAULT)
        row->rounds(stamp, count);
    else if (enter_user(row->rounds, stamp, count, user_stack + PAGE) != 0)
        fail("user code has ended elsewhere");
}

/* Each round leaves its stamp before its operation, so that the last operation has none. */
static void measure(const struct row *row)
{
    const unsigned count = row->need == LONG ? ROUNDS / 10 : ROUNDS;
    run(row, WARM);
    const uint32_t before = bench_interrupts;
    run(row, count);
    if ((row->need == TIMER || row->need == FAULT) && bench_interrupts - before != count + 1)
        fail("events were lost, or came twice");
    for (unsigned i = 0; i < count; i++)
        stamp[i] = stamp[i + 1] - stamp[i];
    sort(stamp, count);
    print("bench: %s %u %u %u\n", row->name, stamp[0], stamp[count / 2], stamp[count - 1]);
}

_Noreturn void pv_main(const struct xen_start_info *info);
_Noreturn void pv_main(const struct xen_start_info *info)
{
    xen_print();
    kernel_root = info->page_tables;
    make_traps();
    make_timer(info->shared_info);
    make_user_tables();
    make_pages();
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        measure(&rows[i]);
    print("bench: done\n");
    xen_end(true);
}
