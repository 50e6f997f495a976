// link: mm/shadow.c mm/shadow_verify.c mm/shadow_pool.c mm/shadow_code.c mm/shadow_stale.c mm/shadow_check.c mm/page_alloc.c mm/guestmem.c guest/cpu/guestwalk.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow page tables: random guests against the rules of TLBs, and each rule by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/log.h"
#include "arch/panic.h"
#include "tests/unit/shadow_model.h"

void panic(const char *format, ...)
{
    fail_msg("panic: %s", format);
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

static void run_random(unsigned mode, uint64_t seed, uint64_t limit, unsigned steps)
{
    m.random = seed * 0x9e3779b97f4a7c15ull + 1;
    m.data = NULL;
    model_begin(mode, limit);
    for (unsigned i = 0; i < 400; i++)
        write_entry(true);
    record_all();
    for (unsigned i = 0; i < steps; i++) {
        step();
        if (i % 16 == 0)
            check_structure();
    }
    model_end();
}

/* --- each rule by itself: one address space of 4 levels, tables 0, 2, 5 and 8 in a row --- */

#define LINEAR(slot, l3, l2, l1) \
    ((uint64_t)(slot) << 39 | (uint64_t)(l3) << 30 | (uint64_t)(l2) << 21 | (uint64_t)(l1) << 12)
#define ALL  (PTE_P | PTE_W | PTE_U)
#define RAM1 0x40000ull
#define RAM2 0x41000ull

static struct model_vcpu *const cpu0 = &m.vcpu[0], *const cpu1 = &m.vcpu[1];

static uint64_t *entry_at(unsigned table, unsigned index)
{
    return (uint64_t *)ram(table_gpa(table)) + index;
}

static void begin_simple(uint64_t limit)
{
    m.random = 1;
    m.data = NULL;
    model_begin(MODE_LONG, limit);
    cpu_leave(cpu0);
    cpu_leave(cpu1);
    *entry_at(0, 0) = table_gpa(2) | ALL;
    *entry_at(2, 0) = table_gpa(5) | ALL;
    *entry_at(5, 0) = table_gpa(8) | ALL;
    *entry_at(8, 0) = RAM1 | ALL;
}

/* As an engine does it; the walk has to succeed. */
static enum shadow_result fill(struct model_vcpu *v, unsigned root, uint64_t linear, bool write)
{
    struct guest_translation t;
    uint32_t error;
    const uint64_t version = shadow_version(&v->cpu);
    cpu_leave(v);
    v->paging.cpl = root == SHADOW_USER ? 3 : 0;
    assert_true(guestwalk_examine(&m.mem, &v->paging, gva(linear), write ? WALK_WRITE : WALK_READ,
                                  &t, &error));
    return shadow_fill(&v->cpu, (enum shadow_root)root, gva(linear), write, &t, version);
}

static uint64_t seen(const struct model_vcpu *v, unsigned root, uint64_t linear)
{
    uint64_t table;
    bool large;
    return walk_shadow(v, root, linear, &large, &table);
}

static bool is_large(const struct model_vcpu *v, unsigned root, uint64_t linear)
{
    uint64_t table;
    bool large;
    (void)walk_shadow(v, root, linear, &large, &table);
    return large;
}

static uint64_t frame_of(uint64_t at)
{
    hpa_t frame;
    assert_true(shadow_frame(&m.mem, gpa(at), false, &frame));
    return frame.v;
}

static void test_rights(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t user = LINEAR(0, 0, 0, 0), kernel = LINEAR(0, 0, 0, 1);
    const uint64_t ro = LINEAR(0, 0, 0, 2), rom = LINEAR(0, 0, 0, 3), device = LINEAR(0, 0, 0, 4);
    *entry_at(8, 1) = RAM2 | PTE_P | PTE_W | PTE_NX;
    *entry_at(8, 2) = RAM2 | PTE_P | PTE_U;
    *entry_at(8, 3) = ROM_GPA | ALL;
    *entry_at(8, 4) = 0xa0000 | ALL;
    assert_int_equal(fill(cpu0, SHADOW_USER, user, false), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_USER, user), frame_of(RAM1) | LEAF_FLAGS);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, user), 0); /* each root by its own faults */
    assert_int_equal(fill(cpu0, SHADOW_USER, user, true), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_USER, user), frame_of(RAM1) | LEAF_FLAGS | LEAF_WRITE);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, user, true), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, user),
                     frame_of(RAM1) | LEAF_FLAGS | LEAF_WRITE | PTE_NX);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, kernel, true), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, rom, false), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, rom, true), SHADOW_EMULATE);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, rom), frame_of(ROM_GPA) | LEAF_FLAGS | PTE_NX);
    assert_int_equal(fill(cpu0, SHADOW_USER, device, false), SHADOW_EMULATE);
    /* What a walk would not have allowed is not mapped all the same. */
    struct guest_translation t;
    const uint64_t version = shadow_version(&cpu0->cpu);
    assert_true(guestwalk_look(&m.mem, &cpu0->paging, gva(kernel), &t));
    assert_int_equal(shadow_fill(&cpu0->cpu, SHADOW_USER, gva(kernel), false, &t, version),
                     SHADOW_EMULATE);
    assert_true(guestwalk_look(&m.mem, &cpu0->paging, gva(ro), &t));
    assert_int_equal(shadow_fill(&cpu0->cpu, SHADOW_KERNEL, gva(ro), true, &t, version),
                     SHADOW_EMULATE);
    assert_int_equal(shadow_fill(&cpu0->cpu, SHADOW_USER, gva(ro), true, &t, version),
                     SHADOW_EMULATE);
    cpu0->paging.cr0 &= ~CR0_WP;
    do_switch(cpu0, SHADOW_FLUSH_NONE);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, ro, true), SHADOW_DONE);
    assert_true(seen(cpu0, SHADOW_KERNEL, ro) & PTE_W);
    assert_int_equal(fill(cpu1, SHADOW_KERNEL, ro, false), SHADOW_DONE); /* with WP */
    assert_false(seen(cpu1, SHADOW_KERNEL, ro) & PTE_W);
    /* The user root is the same whatever WP is. */
    assert_true(seen(cpu0, SHADOW_USER, user) & PTE_W);
    check_structure();
    model_end();
}

static void test_the_hole(void **s)
{
    (void)s;
    begin_simple(0);
    *entry_at(0, 256) = *entry_at(0, 271) = *entry_at(0, 255) = *entry_at(0, 272) = *entry_at(0, 0);
    const uint64_t high = 0xffffull << 48;
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(255, 0, 0, 0), false), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, high | LINEAR(256, 0, 0, 0), false), SHADOW_EMULATE);
    assert_int_equal(fill(cpu0, SHADOW_USER, high | LINEAR(271, 0, 0, 0), false), SHADOW_EMULATE);
    assert_int_equal(fill(cpu0, SHADOW_USER, high | LINEAR(272, 0, 0, 0), false), SHADOW_DONE);
    shadow_invalidate(&cpu0->cpu, gva(high | LINEAR(256, 0, 0, 0)));
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    check_structure();
    model_end();
}

/* The hypervisor's entries are in both roots, as they were given, but for the window. */
static void test_host_entries(void **s)
{
    (void)s;
    begin_simple(0);
    struct shadow_cpu cpu;
    hpa_t host;
    assert_int_equal(page_alloc(1, 1, &host), OK);
    uint64_t *table = hpa_to_ptr(host);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++)
        table[i] = i * PAGE_SIZE | PTE_P | PTE_W | (i == 268 ? PTE_U : 0);
    assert_int_equal(shadow_cpu_create(&cpu, m.shadow, 2, host, 268, &cpu0->cpu.guest), OK);
    for (unsigned root = 0; root < SHADOW_ROOTS; root++)
        for (unsigned i = 1; i < TABLE_ENTRIES; i++)
            assert_int_equal(((uint64_t *)hpa_to_ptr(cpu.root[root]))[i],
                             i < 256 || i > 271 || (i == 268 && root == SHADOW_USER) ? 0
                                                                                     : table[i]);
    check_structure();
    uint64_t *window = (uint64_t *)hpa_to_ptr(cpu.root[SHADOW_USER]) + 268;
    *window = table[268]; /* user code is not to reach it */
    assert_non_null(shadow_check(m.shadow, NULL));
    *window = 0;
    check_structure();
    cpu.window = 0;
    assert_non_null(shadow_check(m.shadow, NULL)); /* nobody said that CPL 3 may reach 268 */
    shadow_cpu_destroy(&cpu, 2);
    page_free(host, 1);
    model_end();
}

static void test_large_page_with_code(void **s)
{
    (void)s;
    begin_simple(0);
    *entry_at(5, 1) = 4 * MIB | ALL | PTE_PS | PTE_NX;
    const uint64_t base = LINEAR(0, 0, 1, 0), other = LINEAR(0, 0, 1, 77);
    assert_int_equal(fill(cpu0, SHADOW_USER, other, false), SHADOW_DONE);
    assert_true(is_large(cpu0, SHADOW_USER, base));
    assert_int_equal(seen(cpu0, SHADOW_USER, base), frame_of(4 * MIB) | LEAF_FLAGS | PTE_NX);
    assert_int_equal(fill(cpu0, SHADOW_USER, other, true), SHADOW_DONE);
    assert_true(is_large(cpu0, SHADOW_USER, base));
    assert_true(seen(cpu0, SHADOW_USER, base) & PTE_W);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(*shadow_code_byte(m.shadow, gpa(4 * MIB + i * PAGE_SIZE)),
                         SHADOW_MAY_BE_WRITABLE);
    assert_int_equal(shadow_code_add(m.shadow, gpa(4 * MIB + 5 * PAGE_SIZE)), SHADOW_DONE);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(*shadow_code_byte(m.shadow, gpa(4 * MIB + i * PAGE_SIZE)),
                         i == 5 ? SHADOW_HAS_CODE : 0);
    assert_int_equal(seen(cpu0, SHADOW_USER, base), frame_of(4 * MIB) | LEAF_FLAGS | PTE_NX);
    assert_true(is_large(cpu0, SHADOW_USER, base));
    check_structure();
    /* Beside the code the large page gives way to small ones. */
    assert_int_equal(fill(cpu0, SHADOW_USER, other, true), SHADOW_DONE);
    assert_false(is_large(cpu0, SHADOW_USER, other));
    assert_int_equal(seen(cpu0, SHADOW_USER, other),
                     frame_of(4 * MIB + 77 * PAGE_SIZE) | LEAF_FLAGS | LEAF_WRITE | PTE_NX);
    assert_int_equal(seen(cpu0, SHADOW_USER, base), 0);
    const uint64_t code = LINEAR(0, 0, 1, 5);
    assert_int_equal(fill(cpu0, SHADOW_USER, code, true), SHADOW_CODE);
    assert_int_equal(fill(cpu0, SHADOW_USER, code, false), SHADOW_DONE);
    assert_false(seen(cpu0, SHADOW_USER, code) & PTE_W);
    shadow_code_remove(m.shadow, gpa(4 * MIB + 5 * PAGE_SIZE));
    assert_int_equal(fill(cpu0, SHADOW_USER, code, true), SHADOW_DONE);
    assert_true(seen(cpu0, SHADOW_USER, code) & PTE_W);
    /* One INVLPG is for all pieces of the guest's page. */
    shadow_invalidate(&cpu0->cpu, gva(base));
    assert_int_equal(seen(cpu0, SHADOW_USER, code), 0);
    assert_int_equal(seen(cpu0, SHADOW_USER, other), 0);
    check_structure();
    model_end();
}

/* With A20 off, a large page of the guest's is not one piece of its memory. */
static void test_a20(void **s)
{
    (void)s;
    begin_simple(0);
    *entry_at(5, 1) = 4 * MIB | ALL | PTE_PS;
    m.mem.absent = 1 << 20;
    const uint64_t above = LINEAR(0, 0, 1, 256 + 3);
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 1, 4), true), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_USER, above), 0);
    assert_int_equal(fill(cpu0, SHADOW_USER, above, true), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_USER, above),
                     frame_of(4 * MIB + 3 * PAGE_SIZE) | LEAF_FLAGS | LEAF_WRITE);
    assert_int_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 1, 3)), 0);
    check_structure();
    model_end();
}

static unsigned leaves(unsigned root)
{
    unsigned n = 0;
    for (unsigned l3 = 0; l3 < 2; l3++)
        for (unsigned l2 = 0; l2 < 512; l2++)
            for (unsigned l1 = 0; l1 < 512 && seen(cpu0, root, LINEAR(0, l3, l2, l1)) != 0; l1++)
                n++;
    return n;
}

/* Many tables: chunks are added, and a sweep takes several portions. */
static void test_sweep_in_portions(void **s)
{
    (void)s;
    begin_simple(1200);
    *entry_at(2, 1) = table_gpa(5) | ALL;
    *entry_at(8, 1) = RAM2 | ALL;
    for (unsigned i = 0; i < 512; i++)
        *entry_at(5, i) = table_gpa(8) | ALL;
    for (unsigned i = 0; i < 700; i++)
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, i / 512, i % 512, 0), true),
                         SHADOW_DONE);
    assert_true(m.shadow->taken > 700);
    check_structure();
    cpu_enter(cpu1);
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM1)), SHADOW_AGAIN);
    check_structure();
    /* Meanwhile reads are as ever, and writes have to wait, but do their part. */
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 1), false), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 1), true), SHADOW_AGAIN);
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 0), true), SHADOW_CODE);
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM2)), SHADOW_AGAIN);
    assert_int_equal(m.shadow->stats.sweeps, 1);
    unsigned portions = 3;
    while (shadow_code_add(m.shadow, gpa(RAM1)) == SHADOW_AGAIN)
        portions++;
    assert_in_range(portions, 5, 8);
    for (unsigned i = 0; i < 700; i++)
        assert_false(seen(cpu0, SHADOW_USER, LINEAR(0, i / 512, i % 512, 0)) & LEAF_WRITE);
    assert_int_equal(*shadow_code_byte(m.shadow, gpa(RAM1)), SHADOW_HAS_CODE);
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM2)), SHADOW_WAIT);
    assert_false(shadow_is_settled(m.shadow));
    kick_others(cpu0);
    assert_true(shadow_is_settled(m.shadow));
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM2)), SHADOW_DONE);
    assert_int_equal(m.shadow->stats.sweeps, 1);
    /* What has been swept is not looked at again. */
    shadow_code_remove(m.shadow, gpa(RAM2));
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 1), true), SHADOW_DONE);
    enum shadow_result result = shadow_code_add(m.shadow, gpa(RAM2));
    assert_int_equal(result, SHADOW_WAIT); /* and not SHADOW_AGAIN */
    check_structure();
    model_end();
}

/* The map of a large memory is cleared in portions, too. */
static void test_sweep_of_a_large_map(void **s)
{
    (void)s;
    begin_simple(0);
    struct guestmem large = {0};
    struct shadow *shadow;
    const gpa_t first = gpa(0), last = gpa((4ull << 30) - PAGE_SIZE); /* no byte of it is touched */
    assert_int_equal(guestmem_add(&large, gpa(0), 4ull << 30, hpa_to_ptr(hpa(RAM_HPA))), OK);
    assert_int_equal(shadow_create(&large, 0, &shadow), OK);
    assert_int_equal(shadow->limit, (64 + 2) * MIB / PAGE_SIZE);
    assert_null(shadow_code_byte(shadow, gpa(4ull << 30)));
    assert_int_equal(shadow_code_add(shadow, gpa(4ull << 30)), SHADOW_EMULATE);
    for (unsigned round = 0; round < 2; round++) {
        shadow_becomes_writable(shadow, first, PAGE_SIZE);
        shadow_becomes_writable(shadow, last, PAGE_SIZE);
        unsigned portions = 1;
        while (shadow_code_add(shadow, first) == SHADOW_AGAIN) {
            assert_int_equal(*shadow_code_byte(shadow, last), SHADOW_MAY_BE_WRITABLE);
            portions++;
        }
        assert_int_equal(portions, 3); /* 131072 words, and a chunk's tables before them */
        assert_int_equal(*shadow_code_byte(shadow, first), SHADOW_HAS_CODE);
        assert_int_equal(*shadow_code_byte(shadow, last), 0);
        shadow_code_remove(shadow, first);
    }
    assert_int_equal(shadow->stats.sweeps, 2);
    shadow_destroy(shadow);
    model_end();
}

/* Pages that have been taken away come back when no CPU can walk them any more, and not before. */
static void test_pages_come_back(void **s)
{
    (void)s;
    begin_simple(1); /* which is raised to what a guest cannot do without */
    assert_int_equal(m.shadow->limit, 32);
    for (unsigned i = 0; i < 512; i++)
        *entry_at(5, i) = table_gpa(8) | ALL | PTE_A;
    for (unsigned i = 500; i < 504; i++) { /* each has a table here, which one INVLPG drops */
        *entry_at(5, i) = 8 * MIB | ALL | PTE_PS;
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, i, 0), true), SHADOW_DONE);
    }
    unsigned next = 0;
    while (fill(cpu0, SHADOW_USER, LINEAR(0, 0, next, 0), true) == SHADOW_DONE &&
           m.shadow->taken < m.shadow->limit)
        next++;
    assert_int_equal(m.shadow->stats.dropped_all, 0);
    cpu_enter(cpu1);
    for (unsigned i = 500; i < 504; i++) { /* it has to wait, and more goes away meanwhile */
        shadow_invalidate(&cpu0->cpu, gva(LINEAR(0, 0, i, 0)));
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 400, 0), true), SHADOW_WAIT);
        check_structure();
    }
    cpu_leave(cpu1);
    for (unsigned i = 400; i < 402; i++)
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, i, 0), true), SHADOW_DONE);
    assert_int_equal(m.shadow->stats.dropped_all, 0); /* four pages are enough */
    check_structure();
    model_end();
}

/* The guest takes a page away and flushes it nowhere yet: the vCPU that had it may go by it still;
 * one that comes to that part of the tables only then may not. */
static void test_taken_up_from_another(void **s)
{
    (void)s;
    for (unsigned global = 0; global < 2; global++) {
        begin_simple(0);
        *entry_at(5, 0) = table_gpa(8) | ALL;
        *entry_at(8, 0) = RAM1 | ALL | (global ? PTE_G : 0);
        *entry_at(8, 1) = RAM2 | ALL;
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 0), false), SHADOW_DONE);
        *entry_at(8, 0) = 0;
        assert_int_not_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 0)), 0);
        assert_int_equal(fill(cpu1, SHADOW_USER, LINEAR(0, 0, 0, 1), false), SHADOW_DONE);
        assert_int_equal(seen(cpu1, SHADOW_USER, LINEAR(0, 0, 0, 0)), 0);
        assert_int_not_equal(seen(cpu1, SHADOW_USER, LINEAR(0, 0, 0, 1)), 0);
        check_structure();
        model_end();
    }
}

/* A process with very many pages comes back: part of them stays. */
static void test_budget(void **s)
{
    (void)s;
    begin_simple(0);
    for (unsigned i = 0; i < 512; i++)
        *entry_at(8, i) = (i % 2 ? RAM1 : RAM2) | ALL;
    for (unsigned i = 0; i < 20; i++)
        *entry_at(5, i) = table_gpa(8) | ALL;
    for (unsigned i = 0; i < 20 * 512; i++)
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, i / 512, i % 512), false),
                         SHADOW_DONE);
    assert_int_equal(leaves(SHADOW_USER), 20 * 512);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_in_range(m.shadow->stats.verified, 900, 1024);
    assert_int_equal(leaves(SHADOW_USER), 0); /* taken up by the next fault */
    assert_int_equal(fill(cpu0, SHADOW_USER, 0, false), SHADOW_DONE);
    assert_in_range(m.shadow->stats.verified, 8000, 1024 + 8192);
    assert_in_range(leaves(SHADOW_USER), 7000, 8192);
    /* A second one goes by none of it unseen: test_taken_up_from_another. */
    uint64_t verified = m.shadow->stats.verified;
    assert_int_equal(fill(cpu1, SHADOW_USER, 0, false), SHADOW_DONE);
    assert_in_range(m.shadow->stats.verified - verified, 7000, 8192);
    check_structure();
    verified = m.shadow->stats.verified;
    /* A few are looked at at once. */
    shadow_drop_all(m.shadow);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, i), false), SHADOW_DONE);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(m.shadow->stats.verified, verified + 100);
    model_end();
}

/* What stays over a MOV to CR3: the frame is the same, no right less, A set, and D if it is
 * writable. */
static void test_what_stays(void **s)
{
    (void)s;
    static const struct {
        uint64_t before;
        bool write;
        uint64_t after;
        bool stays;
    } page[] = {
        {ALL, false, RAM1 | ALL | PTE_A, true},
        {ALL, true, RAM1 | ALL | PTE_A | PTE_D, true},
        {ALL, true, RAM1 | ALL | PTE_A, false},
        {ALL, false, RAM1 | ALL, false},
        {ALL, false, 0, false},
        {ALL, false, RAM2 | ALL | PTE_A, false},
        {ALL, false, 0xa0000 | ALL | PTE_A, false},
        {ALL, false, RAM1 | PTE_P | PTE_U | PTE_A, true},
        {ALL, true, RAM1 | PTE_P | PTE_U | PTE_A | PTE_D, false},
        {ALL, false, RAM1 | PTE_P | PTE_W | PTE_A, false},
        {ALL, false, RAM1 | ALL | PTE_A | PTE_NX, false},
        {ALL | PTE_NX, false, RAM1 | ALL | PTE_A | PTE_NX, true},
        {ALL | PTE_NX, false, RAM1 | ALL | PTE_A, true},
        {ALL | PTE_G, true, RAM1 | ALL | PTE_G, true},
        {ALL | PTE_G, true, 0, true},
        {ALL, false, RAM1 | ALL | PTE_A | PTE_G, true},
    };
    enum { COUNT = sizeof(page) / sizeof(page[0]) };
    uint64_t leaf[COUNT];
    begin_simple(0);
    for (unsigned i = 0; i < COUNT; i++) {
        *entry_at(8, i) = RAM1 | page[i].before;
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, i), page[i].write), SHADOW_DONE);
        leaf[i] = seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, i));
    }
    for (unsigned i = 0; i < COUNT; i++)
        *entry_at(8, i) = page[i].after;
    do_switch(cpu0, SHADOW_FLUSH_NONE);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, i)), leaf[i]);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, i)), page[i].stays ? leaf[i] : 0);
    do_switch(cpu0, SHADOW_FLUSH_ALL);
    assert_int_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 13)), 0);
    assert_int_equal(seen(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 14)), 0);
    check_structure();
    *entry_at(5, 0) &= ~PTE_A; /* of the way there, too */
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(leaves(SHADOW_USER), 0);
    model_end();
}

/* Pages of a kernel, global and the same in two address spaces: nothing is walked again. */
static void test_kernel_half_is_kept(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t kernel = 0xffffull << 48 | LINEAR(511, 0, 0, 0), user = LINEAR(0, 0, 0, 0);
    *entry_at(0, 511) = *entry_at(1, 511) = table_gpa(3) | ALL | PTE_A;
    *entry_at(1, 0) = *entry_at(0, 0) |= PTE_A;
    *entry_at(3, 0) = table_gpa(6) | ALL;
    *entry_at(6, 0) = table_gpa(9) | ALL;
    *entry_at(9, 0) = RAM2 | PTE_P | PTE_W | PTE_G;
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, kernel, true), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, user, true), SHADOW_DONE);
    const struct shadow_stats before = m.shadow->stats;
    cpu0->paging.cr3 = table_gpa(1);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_true(seen(cpu0, SHADOW_KERNEL, kernel) & PTE_W);
    assert_int_equal(m.shadow->stats.verified, before.verified + 1); /* user's */
    /* An INVLPG elsewhere in between, of a subtree that was not there: then it is. */
    *entry_at(0, 511) = table_gpa(4) | ALL;
    *entry_at(4, 0) = table_gpa(6) | ALL;
    cpu0->paging.cr3 = table_gpa(0);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, kernel), 0);
    *entry_at(9, 0) = RAM1 | PTE_P | PTE_W | PTE_G;
    shadow_invalidate(&cpu0->cpu, gva(kernel));
    cpu0->paging.cr3 = table_gpa(1);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, kernel, false), SHADOW_DONE);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, kernel) & PTE_ADDRESS, frame_of(RAM1));
    model_end();
}

/* Whether the CPU would drop its translations if the vCPU ran now. */
static bool has_to_flush(struct model_vcpu *v)
{
    const bool flush = shadow_enter(&v->cpu);
    shadow_leave(&v->cpu);
    return flush;
}

/* A MOV to CR3 on the vCPU, without the entry behind it. */
static void switch_only(struct model_vcpu *v, unsigned table)
{
    v->paging.cr3 = table_gpa(table);
    shadow_switch(&v->cpu, v->paging.cr0, v->paging.cr4, v->paging.efer, SHADOW_FLUSH_LOCAL);
}

/* What the CPU has of pages that leave a root goes one by one, as long as nothing else has. */
static void test_few_pages_are_stale(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t page = LINEAR(0, 0, 0, 0);
    *entry_at(1, 511) = *entry_at(0, 511) = table_gpa(3) | ALL | PTE_A;
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, page, true), SHADOW_DONE);
    do_switch(cpu0, SHADOW_FLUSH_ALL);
    cpu_leave(cpu0);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, page, true), SHADOW_DONE);
    switch_only(cpu0, 1);
    assert_false(has_to_flush(cpu0));
    assert_int_equal(cpu0->cpu.stales, 2);
    assert_int_equal(cpu0->cpu.stale[1], page);
    assert_int_equal(seen(cpu0, SHADOW_KERNEL, page), 0);
    cpu_enter(cpu0);
    cpu_leave(cpu0);
    switch_only(cpu0, 0); /* nothing is there, so nothing is stale */
    assert_false(has_to_flush(cpu0));
    assert_int_equal(cpu0->cpu.stales, 0);
    for (unsigned i = 0; i < SHADOW_STALE; i++) {
        *entry_at(8, i) = RAM1 | ALL;
        assert_int_equal(fill(cpu0, SHADOW_KERNEL, LINEAR(0, 0, 0, i), true), SHADOW_DONE);
    }
    switch_only(cpu0, 1);
    assert_true(has_to_flush(cpu0)); /* too many */
    switch_only(cpu0, 0);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, page, true), SHADOW_DONE);
    switch_only(cpu0, 1);
    assert_int_not_equal(cpu0->cpu.stales, 0);
    assert_true(shadow_stale_is_all(&cpu0->cpu));
    *entry_at(8, 1) = RAM2 | ALL;
    assert_int_equal(fill(cpu1, SHADOW_KERNEL, LINEAR(0, 0, 0, 1), true), SHADOW_DONE);
    assert_false(shadow_stale_is_all(&cpu0->cpu)); /* it may have got that, too */
    model_end();
}

/* Whoever has changed what a vCPU's CPU may have in its TLB: its next MOV to CR3 drops all,
 * whatever INVLPGs of its own come in between. */
static void test_changes_of_others(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t page = LINEAR(0, 0, 0, 0), other = LINEAR(0, 0, 0, 1);
    *entry_at(8, 1) = RAM1 | ALL;
    for (unsigned way = 0; way < 3; way++) {
        assert_int_equal(fill(cpu0, SHADOW_USER, page, true), SHADOW_DONE);
        assert_int_equal(fill(cpu0, SHADOW_USER, other, true), SHADOW_DONE);
        switch_only(cpu0, 0);
        (void)has_to_flush(cpu0);
        switch_only(cpu0, 0);
        assert_false(has_to_flush(cpu0));
        if (way == 0) { /* the same page, again, from what the guest has changed */
            *entry_at(8, 0) = RAM2 | ALL;
            assert_int_equal(fill(cpu1, SHADOW_USER, page, true), SHADOW_DONE);
        } else if (way == 1) {
            shadow_invalidate(&cpu1->cpu, gva(page));
            shadow_invalidate(&cpu0->cpu, gva(other));
        } else {
            *entry_at(8, 0) = 0;
            switch_only(cpu1, 0);
        }
        switch_only(cpu0, 0);
        assert_true(has_to_flush(cpu0));
        *entry_at(8, 0) = RAM1 | ALL;
    }
    model_end();
}

/* The guest changes an entry of its PML4 and flushes nothing: what is made of the new one is not
 * seen by who has the old one still. */
static void test_top_entry_changes(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t first = LINEAR(0, 0, 0, 0), second = LINEAR(0, 0, 0, 1);
    *entry_at(1, 0) = *entry_at(0, 0);
    *entry_at(8, 1) = RAM1 | ALL;
    cpu1->paging.cr3 = table_gpa(1);
    do_switch(cpu1, SHADOW_FLUSH_LOCAL);
    assert_int_equal(fill(cpu0, SHADOW_USER, first, true), SHADOW_DONE);
    assert_int_equal(fill(cpu1, SHADOW_USER, first, true), SHADOW_DONE); /* the same subtree */
    assert_int_equal(m.shadow->stats.kept, 1);
    *entry_at(3, 0) = *entry_at(2, 0);
    *entry_at(0, 0) = table_gpa(3) | ALL;
    (void)has_to_flush(cpu0);
    assert_false(has_to_flush(cpu0));
    assert_int_equal(fill(cpu0, SHADOW_USER, second, true), SHADOW_DONE);
    assert_true(has_to_flush(cpu0));
    assert_int_equal(seen(cpu1, SHADOW_USER, second), 0);
    assert_true(seen(cpu1, SHADOW_USER, first) != 0);
    check_structure();
    model_end();
}

/* A of a top-level entry is set after each MOV to CR3, though its subtree may be there. */
static void test_top_entry_is_accessed(void **s)
{
    (void)s;
    begin_simple(0);
    assert_int_equal(fill(cpu0, SHADOW_USER, 0, true), SHADOW_DONE);
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_true(seen(cpu0, SHADOW_USER, 0) != 0);
    *entry_at(0, 0) &= ~PTE_A;
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(seen(cpu0, SHADOW_USER, 0), 0);
    assert_int_equal(fill(cpu0, SHADOW_USER, 0, true), SHADOW_DONE);
    assert_true(*entry_at(0, 0) & PTE_A);
    model_end();
}

/* X and Y are subtrees of one slot. Y has an INVLPG that X misses; another one, of X itself, does
 * not make up for that. */
static void test_missed_invlpg(void **s)
{
    (void)s;
    begin_simple(0);
    const uint64_t first = LINEAR(0, 0, 0, 0), second = LINEAR(0, 0, 0, 1);
    *entry_at(8, 0) = RAM1 | ALL | PTE_G;
    *entry_at(3, 0) = *entry_at(2, 0);
    *entry_at(1, 0) = table_gpa(3) | ALL;
    cpu1->paging.cr3 = table_gpa(1);
    do_switch(cpu1, SHADOW_FLUSH_LOCAL);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, first, true), SHADOW_DONE);
    assert_int_equal(fill(cpu1, SHADOW_KERNEL, first, true), SHADOW_DONE);
    *entry_at(8, 0) = RAM2 | ALL | PTE_G;
    invalidate(cpu1, 0);
    shadow_invalidate(&cpu0->cpu, gva(second));
    cpu1->paging.cr3 = table_gpa(0);
    do_switch(cpu1, SHADOW_FLUSH_LOCAL);
    *entry_at(8, 1) = RAM1 | ALL;
    assert_int_equal(fill(cpu1, SHADOW_KERNEL, second, true), SHADOW_DONE); /* takes X up */
    assert_int_equal(seen(cpu1, SHADOW_KERNEL, first), 0);
    model_end();
}

/* A page of 4 MiB is flushed by vCPU A, then by B: B's CPU has two entries of it, where the shadow
 * has none any more. So it has after the guest has made small pages of one half and flushed that
 * alone. */
static void test_pieces_in_two_cpus(void **s)
{
    (void)s;
    m.random = 1;
    m.data = NULL;
    model_begin(MODE_32, 0);
    uint32_t *pd = ram(table_gpa(0)), *pt = ram(table_gpa(8));
    for (unsigned round = 0; round < 3; round++) {
        pd[1] = 4 * MIB | (uint32_t)(ALL | PTE_PS);
        assert_int_equal(fill(cpu0, SHADOW_USER, 4 * MIB, false), SHADOW_DONE);
        assert_int_equal(fill(cpu0, SHADOW_USER, 4 * MIB + PAGE_SIZE, false), SHADOW_DONE);
        assert_true(is_large(cpu0, SHADOW_USER, 4 * MIB));
        assert_int_equal(fill(cpu1, SHADOW_USER, 4 * MIB, false), SHADOW_DONE);
        (void)has_to_flush(cpu1);
        if (round > 0) {
            pd[1] = (uint32_t)(table_gpa(8) | ALL);
            pt[0] = pt[512] = (uint32_t)(RAM1 | ALL);
            assert_int_equal(fill(cpu0, SHADOW_USER, 4 * MIB, true), SHADOW_DONE);
            assert_false(is_large(cpu0, SHADOW_USER, 4 * MIB));
        }
        if (round > 1) { /* which the guest forgets to do here */
            pd[1] = 4 * MIB | (uint32_t)(ALL | PTE_PS);
            pt[0] = 0;
        }
        assert_false(has_to_flush(cpu1));
        shadow_invalidate(&cpu0->cpu, gva(4 * MIB));
        assert_true(has_to_flush(cpu1));
        assert_int_equal(seen(cpu0, SHADOW_USER, 4 * MIB), 0);
        assert_int_equal(seen(cpu0, SHADOW_USER, 6 * MIB), 0);
        check_structure();
    }
    model_end();
}

/* Large for the guest no more, but in the same place. */
static void test_large_page_is_split(void **s)
{
    (void)s;
    begin_simple(0);
    *entry_at(5, 1) = 4 * MIB | ALL | PTE_PS;
    const uint64_t base = LINEAR(0, 0, 1, 0);
    assert_int_equal(fill(cpu0, SHADOW_USER, base, false), SHADOW_DONE);
    *entry_at(9, 0) = 4 * MIB | ALL | PTE_A;
    *entry_at(5, 1) = table_gpa(9) | ALL | PTE_A;
    do_switch(cpu0, SHADOW_FLUSH_LOCAL);
    assert_int_equal(seen(cpu0, SHADOW_USER, base), 0);
    model_end();
}

/* More address spaces than subtrees, and more slots in use than these. */
static void test_subtrees_run_out(void **s)
{
    (void)s;
    begin_simple(4000);
    (void)has_to_flush(cpu1);
    for (unsigned i = 0; i < 512; i++) {
        if (i >= 256 && i < 272)
            continue;
        *entry_at(0, i) = *entry_at(0, 0);
        const uint64_t linear = (i < 256 ? 0 : 0xffffull << 48) | LINEAR(i, 0, 0, 0);
        for (unsigned root = 0; root < SHADOW_ROOTS; root++)
            assert_int_equal(fill(cpu0, root, linear, true), SHADOW_DONE);
    }
    assert_int_equal(m.shadow->stats.dropped_all, 1);
    assert_true(has_to_flush(cpu1)); /* whatever its CPU has */
    check_structure();
    for (unsigned i = 0; i < 1000; i++) { /* a PML4 in each page of RAM */
        uint64_t *table = ram(2 * MIB + i * PAGE_SIZE);
        memset(table, 0, PAGE_SIZE);
        table[0] = table_gpa(2) | PTE_P | PTE_U | (i % 2 ? PTE_W : 0);
        table[1] = (2 * MIB + i * PAGE_SIZE) | ALL; /* itself: each has an own entry */
        cpu0->paging.cr3 = 2 * MIB + i * PAGE_SIZE;
        do_switch(cpu0, SHADOW_FLUSH_LOCAL);
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 0), false), SHADOW_DONE);
        *entry_at(5, 3) = RAM2 | ALL;
        assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(1, 0, 0, 3), false), SHADOW_DONE);
        if (i % 100 == 0)
            check_structure();
    }
    assert_true(m.shadow->stats.kept > 900);
    model_end();
}

/* All memory but so many pages is taken by others. */
static void test_no_memory(void **s)
{
    (void)s;
    const unsigned struct_pages = (sizeof(struct shadow) + PAGE_SIZE - 1) / PAGE_SIZE;
    begin_simple(0);
    const uint64_t used = page_alloc_used_by_hypervisor();
    const unsigned left[] = {0, struct_pages - 1, struct_pages, struct_pages + 3,
                             struct_pages + 100};
    for (unsigned i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        static hpa_t taken[(POOL_END - POOL_BASE) / PAGE_SIZE];
        const struct shadow_guest guest = cpu0->cpu.guest;
        struct shadow *other;
        struct shadow_cpu cpu;
        unsigned n = 0;
        while (page_alloc(1, 1, &taken[n]) == OK)
            n++;
        for (unsigned k = 0; k < 3; k++)
            page_free(taken[--n], 1);
        assert_int_equal(shadow_cpu_create(&cpu, m.shadow, 2, cpu0->cpu.root[0], 0, &guest),
                         ERR_NO_MEMORY);
        assert_int_equal(page_alloc_free_bytes(), 3 * PAGE_SIZE);
        while (page_alloc_free_bytes() < left[i] * PAGE_SIZE)
            page_free(taken[--n], 1);
        assert_int_equal(shadow_create(&m.mem, 0, &other), ERR_NO_MEMORY);
        while (n > 0)
            page_free(taken[--n], 1);
        assert_int_equal(page_alloc_used_by_hypervisor(), used);
    }
    check_structure();
    model_end();
}

/* The checker finds what is to be found. */
static void test_checker(void **s)
{
    (void)s;
    begin_simple(0);
    *entry_at(5, 1) = 4 * MIB | ALL | PTE_PS;
    *entry_at(8, 1) = RAM2 | PTE_P | PTE_U | PTE_G;
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, LINEAR(0, 0, 0, 0), true), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 0, 1), false), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, LINEAR(0, 0, 1, 0), true), SHADOW_DONE);
    assert_null(shadow_check(m.shadow, NULL));
    static const struct {
        unsigned root, level, l2, l1;
        uint64_t flip;
    } bad[] = {
        {SHADOW_KERNEL, 1, 0, 0, PTE_NX},     {SHADOW_KERNEL, 1, 0, 0, PTE_D},
        {SHADOW_KERNEL, 1, 0, 0, PTE_A},      {SHADOW_KERNEL, 1, 0, 0, PTE_U},
        {SHADOW_KERNEL, 1, 0, 0, 1ull << 30}, {SHADOW_KERNEL, 2, 0, 0, PTE_U},
        {SHADOW_KERNEL, 3, 0, 0, PTE_PS},     {SHADOW_USER, 1, 0, 1, PTE_W | PTE_D},
        {SHADOW_USER, 2, 1, 0, PTE_PS},       {SHADOW_KERNEL, 4, 0, 0, PTE_NX},
        {SHADOW_USER, 4, 0, 0, 1ull << 12},   {SHADOW_USER, 2, 1, 0, 1ull << 31},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t *table = hpa_to_ptr(cpu0->cpu.root[bad[i].root]);
        const unsigned index[] = {0, bad[i].l1, bad[i].l2, 0, 0};
        for (unsigned level = 4; level > bad[i].level; level--)
            table = table_of(table[index[level]]);
        table[index[bad[i].level]] ^= bad[i].flip;
        assert_non_null(shadow_check(m.shadow, NULL));
        table[index[bad[i].level]] ^= bad[i].flip;
    }
    assert_null(shadow_check(m.shadow, NULL));
    *shadow_code_byte(m.shadow, gpa(RAM1)) |= SHADOW_HAS_CODE;
    assert_non_null(shadow_check(m.shadow, NULL));
    *shadow_code_byte(m.shadow, gpa(RAM1)) = 0;
    assert_non_null(shadow_check(m.shadow, NULL));
    *shadow_code_byte(m.shadow, gpa(RAM1)) = SHADOW_MAY_BE_WRITABLE;
    guestmem_replace(&m.mem, gpa(2 * MIB), hpa_to_ptr(hpa(HIGH_HPA)), true);
    assert_non_null(shadow_check(m.shadow, NULL));
    guestmem_replace(&m.mem, gpa(2 * MIB), hpa_to_ptr(hpa(HIGH_HPA)), false);
    m.shadow->taken++;
    assert_non_null(shadow_check(m.shadow, NULL));
    m.shadow->taken--;
    struct shadow_subtree *sub = &m.shadow->subtree[cpu0->cpu.attached[SHADOW_USER][0] - 1];
    sub->users++;
    assert_non_null(shadow_check(m.shadow, NULL));
    sub->users--;
    page_of(sub->table.v)->flags ^= PAGE_HAS_LOCAL;
    assert_non_null(shadow_check(m.shadow, NULL));
    page_of(sub->table.v)->flags ^= PAGE_HAS_LOCAL;
    model_end();
}

/* What shadow_check_exit() finds of that vCPU's, once; then an entry is put right again. */
static void finds(struct model_vcpu *v, const char *what, unsigned root, uint64_t linear,
                  uint64_t entry)
{
    struct shadow_place where;
    assert_string_equal(shadow_check_exit(&v->cpu, &where), what);
    assert_int_equal(where.root, root);
    assert_int_equal(where.linear, linear);
    assert_int_equal(where.entry, entry);
}

static uint64_t *leaf_at(unsigned root, uint64_t linear)
{
    uint64_t *table = hpa_to_ptr(cpu0->cpu.root[root]);
    for (unsigned level = 4; level > 1; level--)
        table = table_of(*table_entry(table, linear, level));
    return table_entry(table, linear, 1);
}

/* After each exit: what has been put there since the last one. */
static void test_exits_are_checked(void **s)
{
    (void)s;
    const uint64_t first = LINEAR(0, 0, 0, 0), second = LINEAR(0, 0, 0, 1);
    begin_simple(0);
    *entry_at(8, 1) = RAM2 | ALL;
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, first, true), SHADOW_DONE);
    assert_int_equal(fill(cpu0, SHADOW_USER, first, false), SHADOW_DONE);
    assert_null(shadow_check_exit(&cpu0->cpu, NULL));
    const struct {
        uint64_t flip;
        unsigned root;
        const char *what;
    } bad[] = {
        {PTE_NX, SHADOW_KERNEL, "an executable kernel leaf"},
        {1ull << 30, SHADOW_KERNEL, "a leaf to what is not guest memory"},
        {1ull << 30, SHADOW_USER, "a leaf to what is not guest memory"},
        {PTE_A, SHADOW_USER, "a leaf's flags"},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t *leaf = leaf_at(bad[i].root, first);
        assert_int_equal(fill(cpu0, bad[i].root, first, bad[i].root == SHADOW_KERNEL), SHADOW_DONE);
        *leaf ^= bad[i].flip;
        finds(i % 2 != 0 ? cpu1 : cpu0, bad[i].what, bad[i].root, first, *leaf);
        assert_null(shadow_check_exit(&cpu0->cpu, NULL)); /* it is no news any more */
        *leaf ^= bad[i].flip;
    }
    /* A leaf to what has code; then a page that has got code, while a leaf to it is writable. */
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, first, true), SHADOW_DONE);
    *shadow_code_byte(m.shadow, gpa(RAM1)) |= SHADOW_HAS_CODE;
    finds(cpu0, "translated code is writable", SHADOW_KERNEL, first,
          *leaf_at(SHADOW_KERNEL, first));
    *shadow_code_byte(m.shadow, gpa(RAM1)) &= (uint8_t)~SHADOW_HAS_CODE;
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, second, true), SHADOW_DONE);
    assert_null(shadow_check_exit(&cpu0->cpu, NULL));
    *shadow_code_byte(m.shadow, gpa(RAM2)) = 0; /* so nobody makes it read-only */
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM2)), SHADOW_DONE);
    finds(cpu1, "translated code is writable", SHADOW_KERNEL, second,
          *leaf_at(SHADOW_KERNEL, second));
    assert_int_equal(shadow_code_add(m.shadow, gpa(RAM2)), SHADOW_DONE);
    shadow_code_remove(m.shadow, gpa(RAM2)); /* it has lost it again */
    assert_null(shadow_check_exit(&cpu0->cpu, NULL));
    *shadow_code_byte(m.shadow, gpa(RAM2)) = SHADOW_MAY_BE_WRITABLE;
    /* The hypervisor's entries of its own roots. */
    uint64_t *host = (uint64_t *)hpa_to_ptr(cpu0->cpu.root[SHADOW_USER]) + HOST_FIRST;
    const uint64_t before = *host;
    *host = PTE_P | PTE_W | PTE_U;
    assert_null(shadow_check_exit(&cpu1->cpu, NULL));
    finds(cpu0, "the hypervisor is within CPL 3's reach", SHADOW_USER, 0xffff800000000000,
          PTE_P | PTE_W | PTE_U);
    *host = before;
    model_end();
}

/* What is no news is found, too: by and by, or where more has come than is noted. */
static void test_all_is_checked_at_times(void **s)
{
    (void)s;
    const uint64_t linear = LINEAR(0, 0, 0, 0);
    begin_simple(0);
    assert_int_equal(fill(cpu0, SHADOW_KERNEL, linear, true), SHADOW_DONE);
    assert_null(shadow_check_exit(&cpu0->cpu, NULL));
    uint64_t *leaf = leaf_at(SHADOW_KERNEL, linear);
    *leaf ^= PTE_NX;
    unsigned exits = 1;
    while (shadow_check_exit(&cpu0->cpu, NULL) == NULL)
        exits++;
    assert_int_equal(exits, SHADOW_CHECK_ALL - 1);
    for (unsigned i = 0; i <= SHADOW_NOTED; i++)
        assert_int_equal(fill(cpu0, SHADOW_USER, linear, false), SHADOW_DONE);
    finds(cpu1, "an executable kernel leaf", SHADOW_KERNEL, linear, *leaf);
    *leaf ^= PTE_NX;
    struct shadow_cpu *const cpu = &cpu0->cpu; /* its root's entry for that */
    uint64_t *top = hpa_to_ptr(cpu->root[SHADOW_KERNEL]);
    *top ^= PTE_NX;
    m.shadow->news.exits = SHADOW_CHECK_ALL - 1;
    finds(cpu0, "an entry of a root", SHADOW_KERNEL, 0, *top);
    *top ^= PTE_NX;
    model_end();
}

static void test_random(void **s)
{
    (void)s;
    static const unsigned modes[] = {MODE_LONG, MODE_PAE, MODE_32};
    for (unsigned seed = 1; seed <= 15; seed++) {
        m.runs_kernel = seed > 12;
        run_random(m.runs_kernel ? MODE_LONG : modes[seed % 3], seed, seed % 2 ? 0 : 32, 3000);
    }
    m.runs_kernel = false;
    /* All that may come of an access has come of many. */
    assert_true(m.touched > 20000 && m.faulted > 3000 && m.emulated > 2000);
    assert_true(m.stopped_by_code > 300 && m.waited > 20 && m.walked_again > 100);
    assert_true(m.tlb_hits > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_the_hole),
        cmocka_unit_test(test_host_entries),
        cmocka_unit_test(test_large_page_with_code),
        cmocka_unit_test(test_a20),
        cmocka_unit_test(test_sweep_in_portions),
        cmocka_unit_test(test_sweep_of_a_large_map),
        cmocka_unit_test(test_pages_come_back),
        cmocka_unit_test(test_taken_up_from_another),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_kernel_half_is_kept),
        cmocka_unit_test(test_few_pages_are_stale),
        cmocka_unit_test(test_changes_of_others),
        cmocka_unit_test(test_top_entry_changes),
        cmocka_unit_test(test_top_entry_is_accessed),
        cmocka_unit_test(test_missed_invlpg),
        cmocka_unit_test(test_pieces_in_two_cpus),
        cmocka_unit_test(test_large_page_is_split),
        cmocka_unit_test(test_subtrees_run_out),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_checker),
        cmocka_unit_test(test_exits_are_checked),
        cmocka_unit_test(test_all_is_checked_at_times),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
