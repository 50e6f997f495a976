/* SPDX-License-Identifier: BSD-2-Clause */
/* A Xen PV kernel's file, made by hand, and what its domain's memory must hold: walked by the page
 * tables that it starts with. */
#pragma once

#include "tests/unit/elf_build.h"

#include "guest/cpu/guestwalk.h"
#include "guest/load/xen.h"

#define BASE      0xffffffff80000000ull
#define LOAD      0x100000u /* as guest-physical, where the kernel begins */
#define IMAGE     0x3000u   /* bytes in memory, of which the last 0x1800 are no file's */
#define ENTRY     (BASE + LOAD + 0x123)
#define P2M       0x8000000000ull
#define FRAMES    (MEMORY / PAGE_SIZE)
#define NOTE      0x2800u
#define SHARED    MEMORY
#define NEVER     UINT64_MAX
#define P2M_PAGES (FRAMES * 8 / PAGE_SIZE)

enum { N_ENTRY = 1, N_HYPERCALL, N_BASE, N_OFFSET, N_VERSION, N_P2M = 15, N_BY_PFN };

static uint32_t notes_bytes;
static uint8_t shared[XEN_BEHIND_PAGES * PAGE_SIZE];

static inline void set_segments(uint64_t physical)
{
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, physical, IMAGE - 0x1800, IMAGE});
    elf_set_part(1, (struct elf_part){4, NOTE, 0, 0, notes_bytes, notes_bytes});
}

static inline void add_note(uint32_t type, const void *data, uint32_t bytes)
{
    uint8_t *n = elf + NOTE + notes_bytes;
    put(n, 4, 4);
    put(n + 4, 4, bytes);
    put(n + 8, 4, type);
    memcpy(n + 12, "Xen", 4);
    memcpy(n + 16, data, bytes);
    notes_bytes += 16 + ((bytes + 3) & ~3u);
    put(elf_part_at(1) + 32, 8, notes_bytes);
    put(elf_part_at(1) + 40, 8, notes_bytes);
}

static inline void add_number(uint32_t type, uint64_t value)
{
    add_note(type, &value, 8);
}

/* Memory as the engine gives it, with what a life before has left. */
static inline void set_up(void)
{
    program_set_up(elf, sizeof(elf));
    memset(ram, 0xee, MEMORY);
    memset(shared, 0xee, sizeof(shared));
    guestmem_add(&mem, gpa(SHARED), sizeof(shared), shared);
    program.paravirtual = true;
    program.keeps_info = program.keeps_tables = false;
}

static inline void give_memory(uint64_t bytes)
{
    set_up();
    mem = (struct guestmem){0};
    guestmem_add(&mem, gpa(0), bytes, ram);
    guestmem_add(&mem, xen_shared_info_at(bytes), sizeof(shared), shared);
    program.memory_bytes = bytes;
}

/* Without what makes a difference: the entry and where it is. */
static inline void begin(uint64_t entry, uint64_t base)
{
    elf_begin(true, 0x77, 2);
    notes_bytes = 0;
    set_segments(LOAD);
    memset(elf + 0x1000, 0xab, 0x1800);
    add_note(N_VERSION, "xen-3.0", 8);
    add_number(N_ENTRY, entry);
    add_number(N_BASE, base);
    set_up();
}

/* As Debian's kernels ask for it. */
static inline void linux_like(void)
{
    begin(ENTRY, BASE);
    add_number(N_P2M, P2M);
    add_note(N_BY_PFN, "\1\0\0\0", 4);
    set_up();
}

static inline struct guest_paging paging(void)
{
    return (struct guest_paging){.cr0 = boot.cr0,
                                 .cr3 = boot.cr3,
                                 .cr4 = boot.cr4,
                                 .efer = boot.efer,
                                 .phys_bits = 40,
                                 .peek = true};
}

/* Where an address leads for that access; NEVER: nowhere. */
static uint64_t walk(uint64_t va, enum walk_access access)
{
    const struct guest_paging p = paging();
    uint32_t error;
    gpa_t at;
    return guestwalk_translate(&mem, &p, gva(va), access, &at, &error) ? at.v : NEVER;
}

static const uint8_t *info(void)
{
    return ram + program.xen.start_info.v;
}

static uint64_t info_at(unsigned offset, unsigned bytes)
{
    return get(info() + offset, bytes);
}

/* All that is mapped at VIRT_BASE, page by page, and nothing around it. */
static inline void check_mapping(void)
{
    const struct xen_domain *d = &program.xen;
    const uint64_t tables = d->kernel_tables.first.v;
    const uint64_t tables_end = tables + xen_table_pages(&d->kernel_tables) * PAGE_SIZE;
    for (uint64_t at = 0; at < d->mapped_bytes; at += PAGE_SIZE) {
        const bool is_table = at >= tables && at < tables_end;
        assert_int_equal(walk(d->virt_base + at, WALK_READ), at);
        assert_int_equal(walk(d->virt_base + at, WALK_FETCH), at);
        assert_int_equal(walk(d->virt_base + at, WALK_WRITE), is_table ? NEVER : at);
    }
    assert_int_equal(walk(d->virt_base + d->mapped_bytes, WALK_READ), NEVER);
    assert_int_equal(walk(d->virt_base - PAGE_SIZE, WALK_READ), NEVER);
    assert_int_equal((d->virt_base + d->mapped_bytes) % 0x400000, 0);
    assert_true(d->virt_base + d->mapped_bytes - boot.rsp >= 0x80000);
}

/* Counts the tables of each level that are reached, and that each is one of those listed. */
static inline void count_tables(uint64_t table, unsigned level, uint32_t count[5])
{
    const struct xen_domain *d = &program.xen;
    const struct xen_tables *lists[] = {&d->kernel_tables, &d->p2m_tables};
    bool listed = false;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t from = lists[i]->first.v;
        for (unsigned l = 4; l > 0; l--) {
            const uint64_t to = from + lists[i]->count[l] * PAGE_SIZE;
            listed = listed || (l == level && table >= from && table < to);
            from = to;
        }
    }
    assert_true(listed);
    count[level]++;
    for (unsigned i = 0; i < 512 && level > 1; i++) {
        const uint64_t entry = get(ram + table + 8ull * i, 8);
        if (entry != 0) {
            assert_int_equal(entry & 0xfff, 0x27); /* P, W, U, A */
            count_tables(entry & ~0xfffull, level - 1, count);
        }
    }
}

static inline void check_tables(void)
{
    const struct xen_domain *d = &program.xen;
    uint32_t count[5] = {0};
    count_tables(boot.cr3, 4, count);
    assert_int_equal(boot.cr3, d->kernel_tables.first.v);
    for (unsigned level = 1; level <= 4; level++)
        assert_int_equal(count[level], d->kernel_tables.count[level] + d->p2m_tables.count[level]);
    assert_int_equal(d->kernel_tables.count[2], 1);
    assert_int_equal(info_at(88, 8), d->virt_base + boot.cr3);
    assert_int_equal(info_at(96, 8), xen_table_pages(&d->kernel_tables));
}

/* The list, through its own mapping: each frame is itself, and the rest of the last page is none.
 */
static inline void check_p2m(uint64_t frames)
{
    const uint64_t list = info_at(104, 8);
    for (uint64_t i = 0; i < (frames + 511) / 512 * 512; i++) {
        const uint64_t at = walk(list + i * 8, WALK_WRITE);
        assert_int_not_equal(at, NEVER);
        assert_int_equal(get(ram + at, 8), i < frames ? i : NEVER);
    }
}

static inline void check_shared_info(void)
{
    for (unsigned i = 0; i < sizeof(shared); i++)
        assert_int_equal(shared[i], i < 2048 && i % 64 == 1);
}

static inline void check_state(uint64_t entry)
{
    const struct xen_domain *d = &program.xen;
    assert_int_equal(boot.rip, entry);
    assert_int_equal(boot.rsi, d->virt_base + d->start_info.v);
    assert_int_equal(walk(boot.rsp - 8, WALK_WRITE), boot.rsp - 8 - d->virt_base);
    assert_int_equal(boot.rsp % PAGE_SIZE, 0);
    assert_int_equal(boot.cs.selector, 0xe033);
    assert_int_equal(boot.cs.access, 0xa0fb);
    assert_int_equal(boot.ss.selector, 0xe02b);
    assert_int_equal(boot.ss.access, 0xc0f3);
    assert_int_equal(boot.ds.selector | boot.es.selector | boot.fs.selector | boot.gs.selector, 0);
    assert_true(boot.ds.access & boot.es.access & boot.fs.access & boot.gs.access & 0x10000);
    assert_int_equal(boot.rflags, 0x202);
    assert_int_equal(boot.efer, 0xd01);
    assert_true(boot.rax == 0 && boot.rbx == 0 && boot.rcx == 0 && boot.rdx == 0 && boot.rdi == 0);
}

/* Order and places, in a page each: nothing overlaps, all is within RAM. */
static inline void check_places(void)
{
    const struct xen_domain *d = &program.xen;
    assert_int_equal(d->pages, program.memory_bytes / PAGE_SIZE);
    assert_int_equal(d->start_info.v % PAGE_SIZE, 0);
    assert_int_equal(d->store.v, d->start_info.v + PAGE_SIZE);
    assert_int_equal(d->console.v, d->store.v + PAGE_SIZE);
    assert_int_equal(d->kernel_tables.first.v, d->console.v + PAGE_SIZE);
    assert_int_equal(boot.rsp - PAGE_SIZE - d->virt_base,
                     d->kernel_tables.first.v + xen_table_pages(&d->kernel_tables) * PAGE_SIZE);
    assert_int_equal(d->shared_info.v, SHARED);
    assert_int_equal(d->grants.v, SHARED + PAGE_SIZE);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        assert_true(ram[d->store.v + i] == 0 && ram[d->console.v + i] == 0);
}

static inline void check_info(uint64_t frames)
{
    const struct xen_domain *d = &program.xen;
    assert_string_equal((const char *)info(), "xen-3.0-x86_64");
    assert_int_equal(info_at(32, 8), frames);
    assert_int_equal(info_at(40, 8), d->shared_info.v);
    assert_int_equal(info_at(56, 8), d->store.v / PAGE_SIZE);
    assert_int_equal(info_at(64, 4), 0); /* no store's port */
    assert_int_equal(info_at(72, 8), d->console.v / PAGE_SIZE);
    assert_int_equal(info_at(80, 4), 1);
    assert_string_equal((const char *)info() + 128, program.cmdline);
    for (unsigned i = 1168; i < PAGE_SIZE; i++)
        assert_int_equal(info()[i], 0);
}

static inline void check_domain(uint64_t entry)
{
    check_state(entry);
    check_places();
    check_mapping();
    check_tables();
    check_info(FRAMES);
    check_p2m(FRAMES);
    check_shared_info();
}
