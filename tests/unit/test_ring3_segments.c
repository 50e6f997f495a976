// link: guest/ring3/segments.c guest/cpu/segment.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of a guest's descriptors and selectors the processor is given while its user code runs, and
 * which state can be run so at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/cpu.h"
#include "guest/bt/direct.h"
#include "mm/page_alloc.h"

#define CODE_64   0x00affb000000ffffull
#define CODE_32   0x00cffb000000ffffull
#define DATA      0x00cff3000000ffffull
#define KERNEL    0x00cf93000000ffffull
#define ACCESSED  (1ull << 40)
#define PRESENT   (1ull << 47)
#define GDT       0x5ffc0u /* across a page's end */
#define LDT       0x70000u
#define HELD_BY_3 (RING3_HELD_BY_CS | RING3_HELD_BY_SS)

enum { CS_64 = 0x33, CS_32 = 0x23, SS_3 = 0x2b, FREE = 0x3b, LOCAL = 0xf };

static struct cpu cpu;
static uint64_t real_gdt[DESC_GDT_ENTRIES], guest_gdt[16], guest_ldt[4];
static uint16_t registers[4];
static uint64_t fs_base, gs_base, ldt_bytes;
static unsigned loads, writes;
static bool unreadable;
static struct ring3_segments s;
static struct cpu_state state;

uint64_t physmap_base;

struct cpu *cpu_self(void)
{
    return &cpu;
}

enum status page_alloc(uint64_t pages, uint64_t align, hpa_t *out)
{
    (void)align;
    void *p = aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE);
    memset(p, 0, pages * PAGE_SIZE);
    *out = ptr_to_hpa(p);
    return OK;
}

void page_free(hpa_t base, uint64_t pages)
{
    (void)pages;
    free(hpa_to_ptr(base));
}

void desc_load_ldt(struct cpu *of, const uint64_t *table, uint32_t bytes)
{
    (void)of;
    (void)table;
    ldt_bytes = bytes;
}

/* As the CPU does: the selector is in a table, of a data segment that CPL 3 can have. */
static bool load(unsigned i, uint16_t selector)
{
    const uint64_t *table = (selector & 4) != 0 ? s.ldt : real_gdt;
    if (selector >> 2 != 0 && (table[selector >> 3] & PRESENT) == 0)
        return false;
    registers[i] = selector;
    loads++;
    return true;
}

bool ring3_load_ds(uint16_t selector)
{
    return load(0, selector);
}

bool ring3_load_es(uint16_t selector)
{
    return load(1, selector);
}

bool ring3_load_fs(uint16_t selector)
{
    fs_base = 0xdead;
    return load(2, selector);
}

bool ring3_load_gs(uint16_t selector)
{
    return load(3, selector);
}

void ring3_read_selectors(uint16_t out[4])
{
    memcpy(out, registers, sizeof(registers));
}

uint64_t cpu_rdmsr(uint32_t msr)
{
    return msr == MSR_IA32_FS_BASE ? fs_base : gs_base;
}

bool cpu_wrmsr_safe(uint32_t msr, uint64_t value)
{
    if ((uint64_t)((int64_t)(value << 16) >> 16) != value) /* not canonical */
        return false;
    *(msr == MSR_IA32_FS_BASE ? &fs_base : &gs_base) = value;
    writes++;
    return true;
}

static bool look(void *ctx, uint64_t linear, void *to, unsigned bytes)
{
    assert_ptr_equal(ctx, &state);
    assert_true(linear / PAGE_SIZE == (linear + bytes - 1) / PAGE_SIZE);
    if (linear >= LDT)
        memcpy(to, (uint8_t *)guest_ldt + (linear - LDT), bytes);
    else
        memcpy(to, (uint8_t *)guest_gdt + (linear - GDT), bytes);
    return !unreadable;
}

static struct cpu_segment segment(uint16_t selector, uint64_t raw, uint64_t base)
{
    const uint32_t limit = (uint32_t)(raw & 0xffff) | (raw >> 32 & 0xf0000);
    return (struct cpu_segment){.selector = selector,
                                .access = (uint32_t)(raw >> 40) & 0xf0ff,
                                .limit = (raw >> 55 & 1) != 0 ? limit << 12 | 0xfff : limit,
                                .base = base};
}

static const struct cpu_segment null = {.access = SEGMENT_UNUSABLE};

/* 64-bit user code, as Linux runs it. */
static int setup(void **unused)
{
    (void)unused;
    memset(real_gdt, 0, sizeof(real_gdt));
    memset(guest_gdt, 0, sizeof(guest_gdt));
    memset(registers, 0, sizeof(registers));
    desc_show_user(real_gdt, true);
    cpu.memory.gdt = real_gdt;
    loads = writes = 0;
    unreadable = false;
    guest_gdt[2] = KERNEL;
    guest_gdt[CS_32 >> 3] = CODE_32;
    guest_gdt[SS_3 >> 3] = DATA;
    guest_gdt[CS_64 >> 3] = CODE_64;
    guest_ldt[1] = DATA;
    state = cpu_state_long_mode(0x1000, 0);
    state.cs = segment(CS_64, CODE_64, 0);
    state.ss = segment(SS_3, DATA, 0);
    state.ds = state.es = state.fs = state.gs = null;
    state.fs.base = 0x7000;
    state.gdtr = (struct cpu_table_register){GDT, sizeof(guest_gdt) - 1};
    state.ldtr = null;
    state.rflags |= RFLAGS_IF;
    assert_int_equal(ring3_segments_create(&s), OK);
    ring3_segments_attach(&s);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    ring3_segments_detach(&s);
    desc_show_user(real_gdt, false); /* they are the host's */
    for (unsigned i = 0; i < DESC_GDT_ENTRIES; i++)
        assert_int_equal(real_gdt[i], 0);
    assert_int_equal(ldt_bytes, 0);
    assert_int_equal(registers[0] | registers[1] | registers[2] | registers[3], 0);
    ring3_segments_destroy(&s);
    return 0;
}

static bool prepare(void)
{
    return ring3_segments_prepare(&s, &state, look, &state);
}

static void test_descriptor(void **unused)
{
    (void)unused;
    assert_int_equal(ring3_descriptor(DATA, true, 0), DATA);
    assert_int_equal(ring3_descriptor(DATA & ~PRESENT, true, HELD_BY_3), 0);
    assert_int_equal(ring3_descriptor(KERNEL, true, HELD_BY_3), 0);
    assert_int_equal(ring3_descriptor(0x00008b000000ffffull, true, 0), 0); /* TSS */
    assert_int_equal(ring3_descriptor(0x0000ec0000100000ull, true, 0), 0); /* call gate, DPL 3 */
    assert_int_equal(ring3_descriptor(DATA & ~ACCESSED, true, 0), 0);
    assert_int_equal(ring3_descriptor(DATA & ~ACCESSED, true, RING3_HELD_BY_SS), DATA);
    assert_int_equal(ring3_descriptor(CODE_64, true, 0), 0);
    assert_int_equal(ring3_descriptor(CODE_64, true, RING3_HELD_BY_CS), CODE_64);
    assert_int_equal(ring3_descriptor(CODE_64 | 1ull << 54, true, RING3_HELD_BY_CS), 0);
    /* Of a kernel's own, but conforming. */
    assert_int_equal(ring3_descriptor(0x00cf9f000000ffffull, true, RING3_HELD_BY_CS),
                     0x00cf9f000000ffffull);
    /* L means nothing before long mode, where the processor would run 64-bit code. */
    assert_int_equal(ring3_descriptor(CODE_32 | 1ull << 53, false, RING3_HELD_BY_CS), CODE_32);
}

static void test_64_bit(void **unused)
{
    (void)unused;
    assert_true(prepare());
    assert_int_equal(real_gdt[CS_64 >> 3], CODE_64);
    assert_int_equal(real_gdt[SS_3 >> 3], DATA);
    assert_int_equal(real_gdt[CS_32 >> 3] | real_gdt[2], 0);
    assert_int_equal(real_gdt[DESC_USER_CODE64 >> 3], DESCRIPTOR_USER_CODE64);
    assert_int_equal(real_gdt[DESC_USER_DATA >> 3], DESCRIPTOR_USER_DATA);
    assert_true(ring3_segments_load(&s, &state));
    assert_int_equal(real_gdt[DESC_USER_CODE64 >> 3] | real_gdt[DESC_USER_DATA >> 3], 0);
    assert_int_equal(fs_base, 0x7000);
    const unsigned before = loads + writes;
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(loads + writes, before); /* all of it is there */
    state.fs.base = 0x8000;
    assert_true(ring3_segments_load_bases(&s, 0x9000, 0)); /* other code, in between */
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(fs_base, 0x8000);
    state.gs.base = 1ull << 60;
    assert_true(prepare() && !ring3_segments_load(&s, &state));
    state.gs.base = 0;
    /* What SYSRET leaves in DS has no meaning in 64-bit code; in CS and SS it has to be loaded. */
    state.ds = segment(0x10, KERNEL, 0);
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(registers[0], 0);
    ring3_segments_store(&s, &state, SS_3, false);
    assert_int_equal(state.ds.selector, 0x10);
    assert_int_equal(real_gdt[DESC_USER_CODE64 >> 3], DESCRIPTOR_USER_CODE64);
    assert_int_equal(real_gdt[DESC_USER_DATA >> 3], DESCRIPTOR_USER_DATA);
    /* What has been chosen before is chosen anew where the selector, or the table, is another. */
    state.ds = segment(SS_3, DATA, 0);
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(registers[0], SS_3);
    guest_gdt[SS_3 >> 3] = 0;
    assert_false(prepare());
    guest_gdt[SS_3 >> 3] = DATA & ~ACCESSED; /* which SYSRET does not look at */
    assert_true(prepare());
    assert_int_equal(real_gdt[SS_3 >> 3], DATA);
    guest_gdt[CS_64 >> 3] = CODE_32;
    assert_false(prepare());
    guest_gdt[CS_64 >> 3] = CODE_64;
    unreadable = true;
    assert_false(prepare());
}

/* Hidden parts count outside of 64-bit code, and what they say may be gone from the tables. */
static void test_compatibility(void **unused)
{
    (void)unused;
    state.cs = segment(CS_32, CODE_32, 0);
    state.ds = state.es = state.ss;
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(real_gdt[CS_32 >> 3], CODE_32);
    assert_int_equal(real_gdt[CS_64 >> 3], 0);
    assert_int_equal(registers[0], SS_3);
    state.ds.limit = 0xfff;
    assert_false(prepare());
    state.ds = state.es;
    state.ds.base = 16;
    assert_false(prepare());
    state.ds = null;
    assert_true(prepare());
    state.ds.access = SEGMENT_DATA32; /* usable, and null */
    assert_false(prepare());
    state.ds = state.es;
    state.ds.selector = FREE; /* gone from the table */
    assert_false(prepare());
    state.ds = state.es;
    state.gs = segment(FREE, DATA, 0x1234000); /* its base has been written since */
    guest_gdt[FREE >> 3] = DATA;
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(gs_base, 0x1234000);
    state.gdtr.limit = FREE - 4; /* a byte short */
    assert_false(prepare());
    state.gdtr.limit = sizeof(guest_gdt) - 1;
    assert_true(prepare());
    state.cs.selector = CS_32 & ~3; /* which no code at CPL 3 has */
    assert_false(prepare());
}

static void test_ldt(void **unused)
{
    (void)unused;
    state.ldtr = (struct cpu_segment){0x40, SEGMENT_LDT, 8 * 3 - 1, LDT};
    state.ds = segment(LOCAL, DATA, 0);
    assert_true(prepare() && ring3_segments_load(&s, &state));
    assert_int_equal(s.ldt[1], DATA);
    assert_int_equal(ldt_bytes, 24);
    assert_int_equal(registers[0], LOCAL);
    state.ldtr = null;
    state.ds = null;
    assert_true(prepare());
    assert_int_equal(ldt_bytes, 0);
    assert_int_equal(s.ldt[1], 0);
}

/* What user code has loaded by itself. */
static void test_store(void **unused)
{
    (void)unused;
    guest_gdt[FREE >> 3] = 0x0140f3234567089aull; /* base 0x1234567, limit 0x89a */
    assert_true(prepare() && ring3_segments_load(&s, &state));
    registers[0] = FREE;
    registers[2] = SS_3;
    fs_base = 0;
    ring3_segments_store(&s, &state, FREE, false);
    assert_int_equal(state.ds.selector, FREE);
    assert_int_equal(state.ds.limit, 0x089a);
    assert_int_equal(state.ds.access & 0xff, 0xf3);
    assert_int_equal(state.fs.selector, SS_3);
    assert_int_equal(state.fs.base, 0); /* the load's */
    assert_int_equal(state.ss.selector, FREE);
    assert_int_equal(state.es.access, SEGMENT_UNUSABLE);
    fs_base = 0x5000; /* WRFSBASE */
    gs_base = 0x6000;
    ring3_segments_store(&s, &state, FREE, true);
    assert_int_equal(state.fs.base, 0x5000);
    assert_int_equal(state.gs.base, 0x6000);
    registers[0] = 0;
    ring3_segments_store(&s, &state, FREE, false);
    assert_int_equal(state.ds.access, SEGMENT_UNUSABLE);
    /* Whatever could be loaded into SS, its DPL is the CPL. */
    ring3_segments_store(&s, &state, 0xfff3, false);
    assert_int_equal(segment_cpl(&state), 3);
}

/* The tables follow the guest's, its mode included. */
static void test_changes(void **unused)
{
    (void)unused;
    guest_gdt[FREE >> 3] = DATA;
    assert_true(prepare());
    assert_int_equal(real_gdt[FREE >> 3], DATA);
    guest_gdt[FREE >> 3] = DATA | 0x77;
    assert_true(prepare());
    assert_int_equal(real_gdt[FREE >> 3], DATA | 0x77);
    state.gdtr.limit = (CS_64 | 7); /* the last one goes */
    assert_true(prepare());
    assert_int_equal(real_gdt[FREE >> 3], 0);
    state.gdtr.limit = sizeof(guest_gdt) - 1;
    state.efer = 0;
    state.cs = segment(CS_32, CODE_32, 0);
    guest_gdt[CS_32 >> 3] = CODE_32 | 1ull << 53;
    assert_true(prepare());
    assert_int_equal(real_gdt[CS_32 >> 3], CODE_32);
}

static void test_fits(void **unused)
{
    (void)unused;
    assert_true(bt_direct_fits(&state));
    state.rflags |= 2 << 12; /* IOPL 2 */
    state.interruptibility = BLOCKED_BY_NMI;
    assert_true(bt_direct_fits(&state));
    static const struct {
        size_t at;
        uint64_t set, clear;
    } rows[] = {
        {offsetof(struct cpu_state, rflags), RFLAGS_IOPL, 0},
        {offsetof(struct cpu_state, rflags), RFLAGS_TF, 0},
        {offsetof(struct cpu_state, rflags), RFLAGS_VM, 0},
        {offsetof(struct cpu_state, rflags), 0, RFLAGS_IF},
        {offsetof(struct cpu_state, cr0), 0, CR0_PE},
        {offsetof(struct cpu_state, dr7), 2, 0},
        {offsetof(struct cpu_state, interruptibility), BLOCKED_BY_STI, 0},
        {offsetof(struct cpu_state, interruptibility), BLOCKED_BY_MOV_SS, 0},
        {offsetof(struct cpu_state, pending_debug), PENDING_DEBUG_BS, 0},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cpu_state other = state;
        uint64_t value;
        memcpy(&value, (uint8_t *)&other + rows[i].at, sizeof(value));
        value = (value | rows[i].set) & ~rows[i].clear;
        memcpy((uint8_t *)&other + rows[i].at, &value, sizeof(value));
        assert_false(bt_direct_fits(&other));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_descriptor), TEST(test_64_bit),  TEST(test_compatibility), TEST(test_ldt),
        TEST(test_store),      TEST(test_changes), TEST(test_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
