/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables: what is refused, and what only this kernel has to bear. */
#include "hostilepv.h"

page area[16], user_root;
static page user_pointers, user_directory, user_table, table[4], scratch[2];

/* Tables can be read where they are. */
uint64_t *entry_of(uint64_t linear)
{
    uint64_t *t = (uint64_t *)kernel_root;
    for (unsigned shift = 39; shift > 12; shift -= 9)
        t = (uint64_t *)(t[linear >> shift & 511] & PTE_ADDRESS);
    return &t[linear >> 12 & 511];
}

int64_t map(const void *at, uint64_t entry)
{
    return xen_call(XEN_UPDATE_VA_MAPPING, (uint64_t)at, entry, XEN_FLUSH_INVLPG, 0);
}

int64_t mmu_update(uint64_t at, uint64_t value)
{
    const uint64_t list[2] = {at, value};
    return xen_call(XEN_MMU_UPDATE, (uint64_t)list, 1, 0, XEN_THIS_DOMAIN);
}

int64_t mmuext(uint32_t command, uint64_t frame, uint64_t argument)
{
    const struct xen_mmuext op = {command, frame, argument};
    return xen_call(XEN_MMUEXT_OP, (uint64_t)&op, 1, 0, XEN_THIS_DOMAIN);
}

/* User code has all of this kernel, but the tables themselves. */
static void make_user_tables(void)
{
    const uint64_t base = (uint64_t)&user_root & ~((WORDS * PAGE) - 1);
    uint64_t *const tables[] = {user_root, user_pointers, user_directory, user_table};
    user_root[0] = (uint64_t)user_pointers | PTE_P | PTE_W | PTE_U;
    user_pointers[0] = (uint64_t)user_directory | PTE_P | PTE_W | PTE_U;
    user_directory[base / (WORDS * PAGE)] = (uint64_t)user_table | PTE_P | PTE_W | PTE_U;
    for (unsigned i = 0; i < WORDS; i++)
        user_table[i] = (base + i * PAGE) | PTE_P | PTE_W | PTE_U;
    for (unsigned i = 0; i < 4; i++)
        user_table[(uint64_t)tables[i] / PAGE % WORDS] &= ~(uint64_t)PTE_W;
    for (unsigned i = 0; i < 4; i++)
        expect(map(tables[i], (uint64_t)tables[i] | PTE_P), 0, "a table, read-only", i);
    expect(mmuext(XEN_PIN_L4, (uint64_t)user_root / PAGE, 0), 0, "pin", 0);
    expect(mmuext(XEN_NEW_USER_BASEPTR, (uint64_t)user_root / PAGE, 0), 0, "user tables", 0);
}

/* Pages of all kinds, none with another one behind: what runs beyond the end is seen. */
void make_memory(const struct xen_start_info *info)
{
    const uint64_t last = (pages - 1) * PAGE;
    make_user_tables();
    expect(map(area[2], last | PTE_P | PTE_W), 0, "the last frame", last);
    expect(map(area[4], info->shared_info | PTE_P | PTE_W), 0, "the shared page", 0);
    expect(map(area[6], (uint64_t)info | PTE_P | PTE_W), 0, "start_info", 0);
    expect(map(area[8], kernel_root | PTE_P), 0, "the top table", 0);
    expect(map(area[12], (uint64_t)area[12] | PTE_P), 0, "a read-only page", 0);
    memcpy(area[10], stubs, PAGE);
    for (unsigned i = 1; i < 16; i += 2)
        expect(map(area[i], 0), 0, "a gap", i);
    memset((void *)0, 0xff, PAGE);
    expect(map((void *)PAGE, 0), 0, "a gap behind page 0", 0);
}

/* --- what is refused --- */

static void refused(void)
{
    const uint64_t ram = pages * PAGE, entry = (uint64_t)entry_of((uint64_t)scratch),
                   good = (uint64_t)scratch | PTE_P | PTE_W;
    const uint64_t beyond[] = {ram + 16 * PAGE, 1ull << 32, 1ull << 36, 1ull << 39,
                               1ull << 40,      1ull << 46, 1ull << 51};
    for (unsigned i = 0; i < ARRAY(beyond); i++) {
        expect(mmu_update(entry, beyond[i] | PTE_P), EINVAL, "a frame beyond RAM", i);
        expect(map(scratch, beyond[i] | PTE_P | PTE_W), EINVAL, "the same, by its address", i);
        expect(mmu_update(beyond[i], good), EINVAL, "an entry beyond RAM", i);
        expect(mmu_update(beyond[i] << 12, good), EINVAL, "an entry beyond all", i);
        expect(mmuext(XEN_PIN_L4, beyond[i] / PAGE, 0), EINVAL, "a table beyond RAM", i);
        expect(mmuext(XEN_PIN_L4, ~beyond[i], 0), EINVAL, "a table beyond all", i);
        expect(mmuext(XEN_NEW_BASEPTR, beyond[i] / PAGE, 0), EINVAL, "CR3 beyond RAM", i);
        expect(mmuext(XEN_NEW_USER_BASEPTR, beyond[i] / PAGE, 0), EINVAL, "user's CR3", i);
        expect(mmuext(XEN_NEW_BASEPTR, ~beyond[i], 0), EINVAL, "CR3 beyond all", i);
        expect(mmuext(4, beyond[i] / PAGE, 0), EINVAL, "unpin beyond RAM", i);
    }
    expect(mmu_update(ram | 1, 5), EINVAL, "the M2P of a frame beyond RAM", 0);
    expect(mmu_update(1ull << 63 | 1, 5), EINVAL, "the M2P beyond all", 0);
    expect(mmu_update(entry | 3, good), ENOSYS, "an update of no kind", 0);
    expect(mmu_update(0x8000000000000000ull, good), EINVAL, "an entry that is no address", 0);
    expect(xen_call(XEN_MMU_UPDATE, (uint64_t)scratch, 1, 0, 0), EPERM, "another domain's", 0);
    expect(xen_call(XEN_MMU_UPDATE, (uint64_t)scratch, 1, 0, 0x7ff2), EPERM, "no domain's", 0);
    expect(xen_call(XEN_MMUEXT_OP, (uint64_t)scratch, 1, 0, 5), EPERM, "another domain's", 0);
    expect(xen_call(XEN_UPDATE_VA_MAPPING, HOLE, good, 0, 0), EINVAL, "a mapping in the hole", 0);
    expect(xen_call(XEN_UPDATE_VA_MAPPING, 1ull << 47, good, 0, 0), EINVAL, "of no address", 0);
    for (uint32_t command = 16; command < 40; command++)
        expect(mmuext(command, 0, 0), ENOSYS, "an operation of no kind", command);
    expect(mmuext(13, (uint64_t)area[0], 513), EINVAL, "an LDT that is too long", 0);
    expect(mmuext(13, (uint64_t)area[0] + 8, 1), EINVAL, "an LDT that is not aligned", 0);
}

/* --- reads, writes and calls, where there is nothing of this kernel's --- */

static void read_it(void *at)
{
    (void)*(volatile uint8_t *)at;
}

static void write_it(void *at)
{
    *(volatile uint8_t *)at = 0x5a;
}

static void call_it(void *at)
{
    ((void (*)(void))at)();
}

/* Frame numbers, which Xen shows: they can be read, and no more. */
static uint64_t m2p[3];

static void forbidden(uint64_t at)
{
    const bool shown = at >= m2p[0] && at < m2p[1];
    const int64_t got = probe(read_it, (void *)at);
    if (got != (shown ? NO_TRAP : PF))
        expect(got, shown ? NO_TRAP : PF, "a read in the hole", at);
    if (probe(write_it, (void *)at) != PF)
        expect(NO_TRAP, PF, "a write in the hole", at);
    if (probe(call_it, (void *)at) != PF)
        expect(NO_TRAP, PF, "a call into the hole", at);
}

static void hole(const char *when)
{
    expect(xen_call(12, 12, (uint64_t)m2p, 0, 0), 0, "machphys_mapping", 0);
    for (uint64_t at = HOLE; at < HOLE_END; at += 8ull << 30)
        forbidden(at + (wild() & 0x1fffff));
    for (uint64_t at = m2p[0]; at < m2p[0] + (256 + 64) * PAGE; at += PAGE)
        forbidden(at + (wild() & 0xff8));
    for (uint64_t at = 0xffff878000000000ull; at < 0xffff878000400000ull; at += PAGE)
        forbidden(at);
    static const uint64_t places[] = {HOLE, HOLE_END - 1, 0xffff830000000000ull,
                                      0xffff868000000000ull, 0xffff870000000000ull};
    for (unsigned i = 0; i < ARRAY(places); i++)
        forbidden(places[i]);
    check(true, when, 0, 0);
}

/* Entries of the top table that would lead there. */
static void entries_for_hole(void)
{
    const uint64_t *root = (const uint64_t *)kernel_root;
    for (unsigned i = 256; i < 272; i++)
        (void)mmu_update(kernel_root + 8 * i, root[0]);
    hole("the hole, with entries of the top table for it");
    for (unsigned i = 256; i < 272; i++)
        (void)mmu_update(kernel_root + 8 * i, 0);
}

/* --- tables that lead to each other --- */

static void touch_all(uint64_t base)
{
    static const uint64_t offsets[] = {0,          8,          PAGE,           511 * PAGE,
                                       1ull << 21, 1ull << 30, 0x7fffffffffull};
    for (unsigned i = 0; i < ARRAY(offsets); i++)
        (void)probe(read_it, (void *)(base + offsets[i]));
}

/* Each entry is put into slot 300 of the top table, looked at, and taken away. */
static void loops(void)
{
    const uint64_t slot = kernel_root + 8 * 300, base = 0xffff000000000000ull | 300ull << 39;
    const uint64_t all = PTE_P | PTE_W | PTE_U;
    uint64_t *const t[4] = {table[0], table[1], table[2], table[3]};
    for (unsigned from = 0; from < 4; from++)
        for (unsigned i = 0; i < WORDS; i++)
            t[from][i] = (uint64_t)t[(from + i) % 4] | all | (i % 7 == 3 ? PTE_PS : 0);
    const uint64_t entries[] = {kernel_root | all,
                                (uint64_t)t[0] | all,
                                (uint64_t)t[1] | all | PTE_PS,
                                (uint64_t)t[3] | all | 1ull << 63,
                                (uint64_t)code_page | all,
                                (pages - 1) * PAGE | all};
    for (unsigned i = 0; i < ARRAY(entries); i++) {
        (void)mmu_update(slot, entries[i]);
        for (uint64_t at = 0; at < 1ull << 39; at += (1ull << 33) + (1ull << 24) + 7 * PAGE)
            touch_all(base + at);
        for (uint32_t level = 0; level < 4; level++)
            (void)mmuext(level, (entries[i] & PTE_ADDRESS) / PAGE, 0);
        (void)mmuext(XEN_FLUSH_LOCAL, 0, 0);
        touch_all(base);
        (void)mmu_update(slot, 0);
    }
    (void)mmuext(XEN_FLUSH_LOCAL, 0, 0);
    expect(probe(read_it, (void *)base), PF, "what was taken away", 0);
    check(true, "tables that lead to each other", 0, 0);
}

/* Pages of 2 MiB and 1 GiB, of which the domain has the first part, and entries of all bits. */
static void strange_entries(void)
{
    const uint64_t slot = kernel_root + 8 * 301, base = 0xffff000000000000ull | 301ull << 39;
    const uint64_t all = PTE_P | PTE_W | PTE_U;
    memset(table[0], 0, PAGE);
    memset(table[1], 0, PAGE);
    expect(mmu_update(slot, (uint64_t)table[0] | all), 0, "a table", 0);
    for (unsigned i = 0; i < 20000; i++) {
        const uint64_t value = wild() & ~(wild() & 0x7ffffffff0000000ull);
        const bool upper = i % 2 != 0;
        (void)mmu_update((uint64_t)table[0], upper ? value : (uint64_t)table[1] | all);
        (void)mmu_update((uint64_t)table[1], value | (wild() & PTE_PS) | PTE_P);
        (void)mmuext(7, base, 0); /* INVLPG */
        const uint64_t at = base + (wild() & 0x1fffff);
        const int64_t got = probe(read_it, (void *)at);
        check(got == NO_TRAP || got == PF, "a read by a strange entry", value, (uint64_t)got);
    }
    (void)mmu_update(slot, 0);
    (void)mmuext(XEN_FLUSH_LOCAL, 0, 0);
    check(true, "strange entries", 0, 0);
}

void attack_memory(void)
{
    refused();
    hole("the hole");
    entries_for_hole();
    loops();
    strange_entries();
}
