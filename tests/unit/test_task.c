// SPDX-License-Identifier: BSD-2-Clause
// link: guest/cpu/task.c
/* Hardware task switches: both formats of TSS, each way to switch, each check with its error code.
 */
#include "guest/cpu/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

enum { TS = 10, NP = 11, SS = 12, GP = 13 };
enum { GDT = 0x1000, LDT = 0x2000, OLD = 0x3000, NEW = 0x4000, STACK = 0x6000, SIZE = 0x8000 };
/* Selectors of the GDT below. */
enum { CODE = 0x08, DATA = 0x10, OLD_TSS = 0x18, NEW_TSS = 0x20, LDT_SEL = 0x28, CODE3 = 0x30 };
enum { DATA3 = 0x38, CONFORMING = 0x40, READ_ONLY = 0x48, ABSENT = 0x50, EXEC_ONLY = 0x58 };
enum { STACK16 = 0x60, GDT_LIMIT = 0x67, BEYOND = 0x68 };
enum { NT = 1 << 14, VM = 1 << 17 };

static uint8_t memory[SIZE];
static uint32_t hole = UINT32_MAX, read_only = UINT32_MAX; /* pages that fault */
static unsigned good_accesses = UINT32_MAX;                /* so many go well, then none */
static bool one_fails;                                     /* ... or then one does not */
static uint32_t cr3;
static bool cr3_bad, user_write;

static bool touches(uint32_t at, unsigned bytes, uint32_t page)
{
    return at / 4096 == page / 4096 || (at + bytes - 1) / 4096 == page / 4096;
}

static bool present(uint32_t at, unsigned bytes)
{
    assert_in_range(at, 0, SIZE - bytes);
    if (good_accesses == 0) {
        good_accesses = one_fails ? UINT32_MAX : 0;
        return false;
    }
    good_accesses--;
    return !touches(at, bytes, hole);
}

static bool read_memory(void *ctx, uint32_t at, void *to, unsigned bytes)
{
    (void)ctx;
    if (!present(at, bytes))
        return false;
    memcpy(to, memory + at, bytes);
    return true;
}

static bool probe_write(void *ctx, uint32_t at, unsigned bytes)
{
    (void)ctx;
    return present(at, bytes) && !touches(at, bytes, read_only);
}

static bool write_memory(void *ctx, uint32_t at, uint32_t value, unsigned bytes, bool user)
{
    (void)ctx;
    if (!present(at, bytes) || touches(at, bytes, read_only))
        return false;
    user_write = user_write || user;
    memcpy(memory + at, &value, bytes);
    return true;
}

static bool load_cr3(void *ctx, uint32_t value)
{
    (void)ctx;
    cr3 = value;
    return !cr3_bad;
}

static const struct task_env env = {NULL, read_memory, probe_write, write_memory, load_cr3};

static void descriptor(uint32_t table, unsigned selector, uint32_t base, uint32_t limit,
                       unsigned access, unsigned flags)
{
    uint64_t d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
                 (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
                 (uint64_t)(base >> 24) << 56;
    memcpy(memory + table + (selector & ~7u), &d, 8);
}

static void put(uint32_t at, uint32_t value)
{
    memcpy(memory + at, &value, 4);
}

static void put16(uint32_t at, uint16_t value)
{
    memcpy(memory + at, &value, 2);
}

static uint32_t get(uint32_t at)
{
    uint32_t value;
    memcpy(&value, memory + at, 4);
    return value;
}

static uint8_t type_of(unsigned selector)
{
    return memory[GDT + selector + 5];
}

static struct task_cpu cpu;
static struct task_request request;

/* Two tasks with 32-bit TSSes at CPL 0, by CALL: the tests change what they are about. */
static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    hole = read_only = good_accesses = UINT32_MAX;
    cr3 = 0;
    cr3_bad = user_write = one_fails = false;
    descriptor(GDT, CODE, 0, 0xfffff, 0x9a, 0xc);
    descriptor(GDT, DATA, 0, 0xfffff, 0x92, 0xc);
    descriptor(GDT, OLD_TSS, OLD, 0x67, 0x8b, 0);
    descriptor(GDT, NEW_TSS, NEW, 0x67, 0x89, 0);
    descriptor(GDT, LDT_SEL, LDT, 0xf, 0x82, 0);
    descriptor(GDT, CODE3, 0, 0xfffff, 0xfa, 0xc);
    descriptor(GDT, DATA3, 0, 0xfffff, 0xf2, 0xc);
    descriptor(GDT, CONFORMING, 0, 0xfffff, 0x9e, 0xc);
    descriptor(GDT, READ_ONLY, 0, 0xfffff, 0x91, 0xc);
    descriptor(GDT, ABSENT, 0, 0xfffff, 0x12, 0xc);
    descriptor(GDT, EXEC_ONLY, 0, 0xfffff, 0x99, 0xc);
    descriptor(GDT, STACK16, STACK, 0xfff, 0x92, 0);
    descriptor(GDT, BEYOND, 0, 0xfffff, 0x92, 0xc); /* nothing is wrong with it but its place */
    descriptor(LDT, 8, 0x1234, 0xff, 0x92, 4);

    cpu = (struct task_cpu){.eip = 0x100, .eflags = 0x246, .gdt_base = GDT, .gdt_limit = GDT_LIMIT};
    for (unsigned i = 0; i < 8; i++)
        cpu.gpr[i] = 0x11111111 * (i + 1);
    for (unsigned i = 0; i < TASK_SEGMENTS; i++)
        cpu.segment[i] = (struct task_segment){(uint16_t)(0x12a0 + 8 * i), 0xc093, ~0u, 0};
    cpu.segment[TASK_LDTR].access = 0x10000;
    cpu.segment[TASK_TR] = (struct task_segment){OLD_TSS, 0x8b, 0x67, OLD};

    put(NEW + 28, 0x12347000);
    put(NEW + 32, 0x5000);
    put(NEW + 36, 0x80000203); /* with a bit that does not exist, and without bit 1 */
    for (unsigned i = 0; i < 8; i++)
        put(NEW + 40 + 4 * i, 0xaa000000 + i);
    put(NEW + 56, STACK + 0x100);
    const uint16_t selectors[] = {DATA, CODE, DATA, DATA, 0, 0, 0};
    for (unsigned i = 0; i < 7; i++)
        put(NEW + 72 + 4 * i, selectors[i]);
    request = (struct task_request){TASK_CALL, NEW_TSS, 0x105, false, 0};
    return 0;
}

static struct task_result switch_now(void)
{
    return task_switch(&cpu, &env, &request);
}

static void expect_fault(enum task_outcome outcome, unsigned vector, unsigned error)
{
    struct task_result r = switch_now();
    assert_int_equal(r.outcome, outcome);
    assert_int_equal(r.vector, vector);
    assert_int_equal(r.error, error);
}

static void test_call32(void **state)
{
    (void)state;
    put(OLD + 72, 0xffff0000); /* the upper halves of selectors stay */
    struct task_result r = switch_now();
    assert_int_equal(r.outcome, TASK_SWITCHED);
    assert_false(r.trap);
    assert_int_equal(get(OLD + 32), 0x105);
    assert_int_equal(get(OLD + 36), 0x246);
    assert_int_equal(get(OLD + 40), 0x11111111);
    assert_int_equal(get(OLD + 68), 0x88888888);
    assert_int_equal(get(OLD + 72), 0xffff12a0);
    assert_int_equal(get(OLD + 92), 0x12c8);
    assert_int_equal(get(NEW), OLD_TSS);
    assert_int_equal(cpu.eip, 0x5000);
    assert_int_equal(cpu.eflags, 0x203 | NT);
    assert_int_equal(cpu.gpr[7], 0xaa000007);
    assert_int_equal(cpu.segment[TASK_TR].selector, NEW_TSS);
    assert_int_equal(cpu.segment[TASK_TR].access, 0x8b);
    assert_int_equal(cpu.segment[TASK_CS].access, 0xc09b);
    assert_int_equal(cpu.segment[TASK_SS].access, 0xc093);
    assert_int_equal(cpu.segment[TASK_SS].limit, ~0u);
    assert_int_equal(cpu.segment[TASK_FS].access >> 16, 1);
    assert_int_equal(cpu.segment[TASK_FS].limit | cpu.segment[TASK_FS].base, 0);
    assert_int_equal(cpu.segment[TASK_LDTR].access, 0x10000);
    assert_int_equal(memory[GDT + CODE + 6], 0xcf); /* no byte behind the type is written */
    assert_int_equal(memory[GDT + NEW_TSS + 6], 0);
    assert_false(user_write); /* tables are the system's, whatever the CPL */
    assert_int_equal(type_of(OLD_TSS), 0x8b);
    assert_int_equal(type_of(NEW_TSS), 0x8b);
    assert_int_equal(type_of(CODE), 0x9b); /* accessed */
    assert_int_equal(cr3, 0);              /* no paging */
}

/* SDM, table "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, TS Flag". */
static void test_sources(void **state)
{
    static const struct {
        enum task_source source;
        uint8_t new_before, old_after;
        bool linked, nt_saved, nt_new;
    } rows[] = {
        {TASK_CALL, 0x89, 0x8b, true, true, true},
        {TASK_GATE, 0x89, 0x8b, true, true, true},
        {TASK_JMP, 0x89, 0x89, false, true, false},
        {TASK_IRET, 0x8b, 0x89, false, false, false},
    };
    for (unsigned i = 0; i < 4; i++) {
        setup(state);
        request.source = rows[i].source;
        cpu.eflags |= NT;
        memory[GDT + NEW_TSS + 5] = rows[i].new_before;
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        assert_int_equal(type_of(OLD_TSS), rows[i].old_after);
        assert_int_equal(type_of(NEW_TSS), 0x8b);
        assert_int_equal(get(NEW), rows[i].linked ? OLD_TSS : 0);
        assert_int_equal((get(OLD + 36) & NT) != 0, rows[i].nt_saved);
        assert_int_equal((cpu.eflags & NT) != 0, rows[i].nt_new);
    }
}

static void test_tss16(void **state)
{
    (void)state;
    descriptor(GDT, NEW_TSS, NEW, 0x2b, 0x81, 0);
    for (unsigned i = 0; i < 22; i++)
        put16(NEW + 2 * i, (uint16_t)(0x100 + i));
    put16(NEW + 16, 0x0202);
    const uint16_t selectors[] = {DATA, CODE, DATA, DATA, LDT_SEL};
    for (unsigned i = 0; i < 5; i++)
        put16(NEW + 34 + 2 * i, selectors[i]);
    cpu.paging = true;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.eip, 0x107);
    assert_int_equal(cpu.eflags, 0x202 | NT);
    assert_int_equal(cpu.gpr[0], 0xffff0109);
    assert_int_equal(cpu.gpr[1], 0xffff010a);
    assert_int_equal(cpu.segment[TASK_GS].selector, 0);
    assert_int_equal(cpu.segment[TASK_LDTR].base, LDT);
    assert_int_equal(cpu.segment[TASK_TR].access, 0x83);
    assert_int_equal(cr3, 0); /* a 16-bit TSS has none */

    /* And back, by IRET: saved in 16-bit fields. */
    request = (struct task_request){TASK_IRET, OLD_TSS, 0x10e, false, 0};
    uint8_t behind[4] = {memory[NEW + 42], memory[NEW + 43], memory[NEW + 44], memory[NEW + 45]};
    put(OLD + 28, 0x7000);
    for (unsigned i = 0; i < 6; i++)
        put(OLD + 72 + 4 * i, selectors[i % 4]);
    put(OLD + 84, DATA);
    put(OLD + 88, DATA);
    put(OLD + 92, DATA);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(get(NEW + 14), 0x10e | 0x0202 << 16);
    assert_int_equal(get(NEW + 18) & 0xffff, 0x109);
    assert_memory_equal(behind, memory + NEW + 42, 4);
    assert_int_equal(cpu.gpr[0], 0x11111111);
    assert_int_equal(cr3, 0x7000);
}

/* Each check of the TSS comes before anything has changed. */
static void test_refusals(void **state)
{
    static const struct {
        enum task_source source;
        unsigned selector, access, limit, vector, error;
    } rows[] = {
        {TASK_CALL, NEW_TSS | 4, 0x89, 0x67, GP, NEW_TSS | 4},
        {TASK_IRET, NEW_TSS | 4, 0x8b, 0x67, TS, NEW_TSS | 4},
        {TASK_JMP, GDT_LIMIT + 1, 0x89, 0x67, GP, GDT_LIMIT + 1},
        {TASK_IRET, GDT_LIMIT + 1, 0x89, 0x67, TS, GDT_LIMIT + 1},
        {TASK_CALL, 0xfff8, 0x89, 0x67, GP, 0xfff8},
        {TASK_CALL, NEW_TSS | 3, 0x8b, 0x67, GP, NEW_TSS}, /* busy */
        {TASK_IRET, NEW_TSS, 0x89, 0x67, TS, NEW_TSS},     /* not busy */
        {TASK_GATE, NEW_TSS, 0x92, 0x67, GP, NEW_TSS},     /* data */
        {TASK_JMP, NEW_TSS, 0x82, 0x67, GP, NEW_TSS},      /* LDT */
        {TASK_JMP, NEW_TSS, 0x8c, 0x67, GP, NEW_TSS},      /* call gate */
        {TASK_JMP, NEW_TSS, 0x09, 0x67, NP, NEW_TSS},
        {TASK_CALL, NEW_TSS, 0x89, 0x66, TS, NEW_TSS},
        {TASK_CALL, NEW_TSS, 0x81, 0x2a, TS, NEW_TSS},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        descriptor(GDT, NEW_TSS, NEW, rows[i].limit, rows[i].access, 0);
        request.source = rows[i].source;
        request.selector = (uint16_t)rows[i].selector;
        uint8_t before[SIZE];
        struct task_cpu old = cpu;
        memcpy(before, memory, SIZE);
        expect_fault(TASK_REFUSED, rows[i].vector, rows[i].error);
        assert_memory_equal(before, memory, SIZE);
        assert_memory_equal(&old, &cpu, sizeof(cpu));
    }
    setup(state); /* the old TSS has to hold what is saved: up to GS, or to DS in 16 bits */
    cpu.segment[TASK_TR].limit = 0x5c;
    expect_fault(TASK_REFUSED, TS, OLD_TSS);
    cpu.segment[TASK_TR].limit = 0x5d;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    setup(state);
    cpu.segment[TASK_TR].access = 0x83;
    cpu.segment[TASK_TR].limit = 0x28;
    expect_fault(TASK_REFUSED, TS, OLD_TSS);
    cpu.segment[TASK_TR].limit = 0x29;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);

    setup(state); /* a good TSS, but in the LDT */
    cpu.segment[TASK_LDTR] = (struct task_segment){LDT_SEL, 0x82, 0xf, LDT};
    descriptor(LDT, 8, NEW, 0x67, 0x89, 0);
    request.selector = 0xc;
    expect_fault(TASK_REFUSED, GP, 0xc);
    setup(state); /* an RPL alone is no reason */
    request.selector = NEW_TSS | 3;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
}

static void test_page_faults_before(void **state)
{
    static const uint32_t holes[] = {GDT, OLD, NEW};
    for (unsigned i = 0; i < 3; i++) {
        setup(state);
        hole = holes[i];
        uint8_t before[SIZE];
        memcpy(before, memory, SIZE);
        expect_fault(TASK_REFUSED, TASK_FAULT_QUEUED, 0);
        assert_memory_equal(before, memory, SIZE);
    }
}

static void expect_switch_by(enum task_source source, bool switched)
{
    uint8_t before[SIZE];
    if (source == TASK_IRET)
        memory[cpu.gdt_base + NEW_TSS + 5] = 0x8b;
    memcpy(before, memory, SIZE);
    request.source = source;
    if (switched) {
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        return;
    }
    expect_fault(TASK_REFUSED, TASK_FAULT_QUEUED, 0);
    assert_memory_equal(before, memory, SIZE);
}

/* The GDT elsewhere, so that a page ends in it; what is in there is accessed already. The old
 * TSS's descriptor is at old_tss, another selector than OLD_TSS if need be. */
static void move_gdt(uint32_t base, unsigned old_tss)
{
    setup(NULL);
    descriptor(GDT, CODE, 0, 0xfffff, 0x9b, 0xc);
    descriptor(GDT, DATA, 0, 0xfffff, 0x93, 0xc);
    descriptor(GDT, old_tss, OLD, 0x67, 0x8b, 0);
    uint8_t table[GDT_LIMIT + 1];
    memcpy(table, memory + GDT, sizeof(table));
    memcpy(memory + base, table, sizeof(table));
    cpu.gdt_base = base;
    cpu.segment[TASK_TR].selector = (uint16_t)old_tss;
}

/* A page that cannot be written is in the way of those switches that write there, and no others:
 * CALL the link of the new TSS and its busy flag, JMP both busy flags, IRET the old one's. */
static void test_read_only_pages(void **state)
{
    static const struct {
        uint32_t page;
        enum task_source source;
        bool switched;
    } rows[] = {
        {OLD, TASK_CALL, false}, {OLD, TASK_JMP, false},  {NEW, TASK_CALL, false},
        {NEW, TASK_GATE, false}, {NEW, TASK_JMP, true},   {GDT, TASK_CALL, false},
        {GDT, TASK_GATE, false}, {GDT, TASK_JMP, false},  {OLD, TASK_IRET, false},
        {NEW, TASK_IRET, true},  {GDT, TASK_IRET, false},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        read_only = rows[i].page;
        expect_switch_by(rows[i].source, rows[i].switched);
    }
    /* The descriptors in two pages: the new task's begins the second one. */
    move_gdt(LDT - NEW_TSS, OLD_TSS);
    read_only = LDT;
    expect_switch_by(TASK_CALL, false);
    move_gdt(LDT - NEW_TSS, OLD_TSS);
    read_only = GDT;
    expect_switch_by(TASK_CALL, true); /* the old task stays busy */
    move_gdt(LDT - NEW_TSS, OLD_TSS);
    read_only = GDT;
    expect_switch_by(TASK_JMP, false);
    move_gdt(LDT - NEW_TSS, OLD_TSS);
    read_only = GDT;
    expect_switch_by(TASK_IRET, false);
    move_gdt(LDT - NEW_TSS, OLD_TSS);
    read_only = LDT;
    expect_switch_by(TASK_IRET, true); /* the new task stays busy */
    move_gdt(LDT - STACK16, STACK16);
    read_only = LDT;
    expect_switch_by(TASK_JMP, false);
    /* Their byte of the type ends the first one. */
    move_gdt(LDT - NEW_TSS - 6, OLD_TSS);
    read_only = LDT;
    expect_switch_by(TASK_CALL, true);
    move_gdt(LDT - STACK16 - 6, STACK16);
    read_only = LDT;
    expect_switch_by(TASK_JMP, true);
    /* The link, two bytes, at the end of a page and beyond it. */
    for (uint32_t base = NEW + 0xffe; base <= NEW + 0xfff; base++) {
        setup(state);
        memcpy(memory + base, memory + NEW, 0x68);
        descriptor(GDT, NEW_TSS, base, 0x67, 0x89, 0);
        read_only = 0x5000;
        expect_switch_by(TASK_CALL, base == NEW + 0xffe);
    }
}

/* Another CPU of the guest may change the page tables meanwhile: no fault is ever lost. */
static void test_page_faults_anywhere(void **state)
{
    static const enum task_source sources[] = {TASK_CALL, TASK_JMP, TASK_IRET, TASK_GATE};
    for (unsigned i = 0; i < 8; i++) {
        struct task_result r = {.outcome = TASK_REFUSED};
        for (unsigned good = 0; r.outcome != TASK_SWITCHED; good++) {
            assert_true(good < 100);
            setup(state);
            request.source = sources[i % 4];
            request.has_error = sources[i % 4] == TASK_GATE;
            if (sources[i % 4] == TASK_IRET)
                memory[GDT + NEW_TSS + 5] = 0x8b;
            good_accesses = good;
            one_fails = i >= 4;
            r = switch_now();
            if (r.outcome != TASK_SWITCHED)
                assert_int_equal(r.vector, TASK_FAULT_QUEUED);
        }
        assert_in_range(good_accesses, 0, 100); /* none has failed */
    }
}

/* A table may have changed since TR was loaded from it: what is not there is not marked. */
static void test_old_descriptor_is_gone(void **state)
{
    static const enum task_source sources[] = {TASK_CALL, TASK_JMP};
    for (unsigned i = 0; i < 2; i++) {
        setup(state);
        put(NEW, 0xffff0000);
        cpu.segment[TASK_TR].selector = 0x1238;
        request.source = sources[i];
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        assert_int_equal(get(NEW), sources[i] == TASK_CALL ? 0xffff1238 : 0xffff0000);
    }
}

/* Faults of the new task: selectors are loaded, and CS is one that the CPU can enter with. */
static void test_new_task_faults(void **state)
{
    static const struct {
        unsigned field, value, vector, error; /* the TSS's offset of a selector */
    } rows[] = {
        {96, BEYOND, TS, BEYOND},
        {96, 4, TS, 4},                     /* not null, and in an LDT */
        {96, LDT_SEL | 4, TS, LDT_SEL | 4}, /* in an LDT */
        {96, DATA, TS, DATA},
        {80, 0, TS, 0}, /* SS null */
        {80, 3, TS, 0}, /* null, too */
        {80, BEYOND, TS, BEYOND},
        {80, 0xfff8, TS, 0xfff8},
        {80, CODE, TS, CODE},
        {80, READ_ONLY, TS, READ_ONLY},
        {80, ABSENT, SS, ABSENT},
        {80, DATA3, TS, DATA3},   /* DPL is not CPL */
        {80, DATA | 3, TS, DATA}, /* DPL is not RPL */
        {80, 0xc, TS, 0xc},       /* in an LDT that is not there */
        {84, EXEC_ONLY, TS, EXEC_ONLY},
        {84, DATA | 1, TS, DATA},
        {72, ABSENT, NP, ABSENT},
        {88, OLD_TSS, TS, OLD_TSS},
        {92, BEYOND, TS, BEYOND},
        {92, 4, TS, 4}, /* not null: the first of an LDT that is not there */
        {76, 0, TS, 0}, /* CS null */
        {76, DATA, TS, DATA},
        {76, CODE3, TS, CODE3}, /* DPL above RPL */
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        put(NEW + rows[i].field, rows[i].value);
        expect_fault(TASK_FAULTED, rows[i].vector, rows[i].error);
        assert_int_equal(cpu.segment[TASK_TR].selector, NEW_TSS);
        assert_int_equal(cpu.eip, 0x5000);
        /* Flat, as VM entry has it; with no stack loaded of CPL 3, for the handler to get its own.
         */
        bool stack = rows[i].field != 96 && rows[i].field != 80;
        assert_int_equal(cpu.segment[TASK_CS].access, stack ? 0xc09b : 0xc0fb);
        assert_int_equal(cpu.segment[TASK_CS].limit, UINT32_MAX);
        assert_int_equal(cpu.segment[TASK_SS].access >> 5 & 3, stack ? 0 : 3);
    }
    setup(state); /* a descriptor ends with the last byte of the limit */
    put(NEW + 80, STACK16);
    cpu.gdt_limit = GDT_LIMIT - 1;
    expect_fault(TASK_FAULTED, TS, STACK16);
    setup(state);
    descriptor(GDT, CODE, 0, 0xfffff, 0x1a, 0xc);
    expect_fault(TASK_FAULTED, NP, CODE);
    setup(state);
    descriptor(GDT, CODE, 0, 0x4ff, 0x9a, 4);
    expect_fault(TASK_FAULTED, GP, 0); /* EIP beyond CS */
    setup(state);
    descriptor(GDT, CODE, 0, 0x5000, 0x9a, 4);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED); /* EIP at its last byte */
    setup(state);
    cpu.paging = cr3_bad = true;
    expect_fault(TASK_FAULTED, TS, 0);
    setup(state);
    hole = LDT;
    put(NEW + 96, LDT_SEL);
    put(NEW + 84, 0xc);
    expect_fault(TASK_FAULTED, TASK_FAULT_QUEUED, 0);
}

/* Whether a register can be loaded with a present descriptor, by the SDM's table "Exception
 * Conditions Checked During a Task Switch". */
static bool is_loadable(unsigned index, unsigned access, unsigned rpl, unsigned cpl)
{
    unsigned dpl = access >> 5 & 3;
    bool code = (access & 8) != 0, conforming = code && (access & 4) != 0;
    bool readable = !code || (access & 2) != 0, writable = !code && (access & 2) != 0;
    if ((access & 0x10) == 0)
        return false;
    if (index == TASK_SS)
        return writable && dpl == cpl && rpl == cpl;
    if (index == TASK_CS)
        return code && (conforming ? dpl <= cpl : dpl == cpl);
    return readable && (conforming || (dpl >= cpl && dpl >= rpl));
}

static void expect_load(unsigned index, unsigned access, unsigned rpl, unsigned cpl)
{
    setup(NULL);
    descriptor(GDT, CODE, 0, 0xfffff, 0x9a | cpl << 5, 0xc);
    descriptor(GDT, STACK16, 0, 0xfffff, 0x92 | cpl << 5, 0xc);
    put(NEW + 72, 0);
    put(NEW + 76, CODE | cpl);
    put(NEW + 80, STACK16 | cpl);
    put(NEW + 84, 0);
    descriptor(GDT, DATA, 0, 0xfffff, access, 0xc);
    put(NEW + 72 + 4 * index, DATA | rpl);
    struct task_result r = switch_now();
    bool loadable = is_loadable(index, access, rpl, cpl), present = (access & 0x80) != 0;
    if (loadable && present) {
        assert_int_equal(r.outcome, TASK_SWITCHED);
        assert_int_equal(cpu.segment[index].access, 0xc001 | access);
        return;
    }
    /* Where it is neither, the order of the checks is the CPU's own. */
    assert_int_equal(r.outcome, TASK_FAULTED);
    if (loadable || (!present && r.vector != TS))
        assert_int_equal(r.vector, index == TASK_SS ? SS : NP);
    else
        assert_int_equal(r.vector, TS);
    assert_int_equal(r.error, DATA);
}

/* Every type of segment and every privilege in every register. */
static void test_all_descriptors(void **state)
{
    (void)state;
    for (unsigned access = 0; access < 0x100; access++)
        for (unsigned rpl = 0; rpl < 4; rpl++) {
            expect_load(TASK_CS, access, rpl, rpl);
            for (unsigned cpl = 0; cpl < 4; cpl++) {
                expect_load(TASK_SS, access, rpl, cpl);
                expect_load(TASK_DS, access, rpl, cpl);
                expect_load(TASK_GS, access, rpl, cpl);
            }
        }
}

/* What a register holds of a descriptor: each bit of base and limit from its own place. */
static void test_descriptor_bits(void **state)
{
    static const struct {
        uint32_t base, limit;
        unsigned flags;
        uint32_t loaded;
    } rows[] = {
        {0x89abcdef, 0x54320, 0, 0x54320}, {0x76543210, 0xabcdf, 4, 0xabcdf},
        {0xffffffff, 0, 8, 0xfff},         {0, 0xfffff, 0xc, 0xffffffff},
        {0, 0x54320, 8, 0x54320fff},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        descriptor(GDT, STACK16, rows[i].base, rows[i].limit, 0x92, rows[i].flags);
        put(NEW + 84, STACK16);
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        const struct task_segment *ds = &cpu.segment[TASK_DS];
        assert_int_equal(ds->selector, STACK16);
        assert_int_equal(ds->base, rows[i].base);
        assert_int_equal(ds->limit, rows[i].loaded);
        assert_int_equal(ds->access, 0x93 | rows[i].flags << 12);
    }
    setup(state); /* all flags that exist; VM has a test of its own */
    put(NEW + 36, ~(uint32_t)VM);
    request.source = TASK_JMP;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.eflags, 0x3d7fd7);
}

/* A GDT of 64 KiB, of which the upper half is looked into. */
static void test_high_selectors(void **state)
{
    for (unsigned ldt = 0; ldt < 2; ldt++) {
        setup(state);
        cpu.gdt_base = GDT - 0x8000u;
        cpu.gdt_limit = 0xffff;
        request.selector = 0x8000 | NEW_TSS;
        for (unsigned i = 0; i < 4; i++)
            put(NEW + 72 + 4 * i, 0x8000 | (i == 1 ? CODE : DATA));
        /* 0x8000 is not null. */
        descriptor(GDT, 0, LDT, 0xf, ldt ? 0x82 : 0x92, 0);
        put(NEW + (ldt ? 96 : 88), 0x8000);
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        assert_int_equal(cpu.segment[TASK_TR].base, NEW);
        assert_int_equal(cpu.segment[ldt ? TASK_LDTR : TASK_FS].base, LDT);
    }
}

static void test_ldt_types(void **state)
{
    for (unsigned access = 0; access < 0x100; access++) {
        setup(state);
        descriptor(GDT, LDT_SEL, LDT, 0xf, access, 0);
        put(NEW + 96, LDT_SEL | 3);
        if ((access & 0x9f) == 0x82) { /* a system segment of type 2 that is present */
            assert_int_equal(switch_now().outcome, TASK_SWITCHED);
            assert_int_equal(cpu.segment[TASK_LDTR].base, LDT);
        } else {
            expect_fault(TASK_FAULTED, TS, LDT_SEL);
        }
    }
    for (unsigned null = 0; null < 4; null++) {
        setup(state);
        put(NEW + 96, null);
        put(NEW + 88, null);
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        assert_int_equal(cpu.segment[TASK_FS].selector, null);
        assert_int_equal(cpu.segment[TASK_LDTR].access, 0x10000);
    }
}

/* The LDT's first entry, which no null selector hides, and its last, which ends a page. */
static void test_ldt_entries(void **state)
{
    setup(state);
    descriptor(GDT, LDT_SEL, 0x4ff0, 0xf, 0x82, 0);
    descriptor(0x4ff0, 0, 0x1111, 0xff, 0x93, 0);
    descriptor(0x4ff0, 8, 0x2222, 0xff, 0x93, 0);
    put(NEW + 96, LDT_SEL);
    put(NEW + 88, 4);
    put(NEW + 92, 0xc);
    hole = 0x5000;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.segment[TASK_FS].base, 0x1111);
    assert_int_equal(cpu.segment[TASK_GS].base, 0x2222);

    setup(state); /* the accessed bit of what is loaded cannot be set */
    put(NEW + 96, LDT_SEL);
    put(NEW + 88, 0xc);
    read_only = LDT;
    expect_fault(TASK_FAULTED, TASK_FAULT_QUEUED, 0);
    assert_int_equal(cpu.segment[TASK_FS].access >> 16, 1);
}

static void test_ldt_and_rings(void **state)
{
    (void)state;
    put(NEW + 96, LDT_SEL);
    put(NEW + 76, CODE3 | 3);
    put(NEW + 80, DATA3 | 3);
    put(NEW + 72, DATA3);
    put(NEW + 84, CONFORMING | 3); /* readable conforming code of any DPL may be data */
    put(NEW + 88, 0);
    put(NEW + 92, 0);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.segment[TASK_SS].access >> 5 & 3, 3);
    assert_int_equal(cpu.segment[TASK_LDTR].access, 0x82);

    setup(state);
    put(NEW + 96, LDT_SEL);
    put(NEW + 88, 0xc);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.segment[TASK_FS].base, 0x1234);
    assert_int_equal(memory[LDT + 8 + 5], 0x93);

    setup(state);
    put(NEW + 84, DATA);
    put(NEW + 76, CODE3 | 3);
    put(NEW + 80, DATA3 | 3);
    expect_fault(TASK_FAULTED, TS, DATA); /* DS of DPL 0 at CPL 3 */
}

static void assert_vm86(void)
{
    for (unsigned i = TASK_ES; i <= TASK_GS; i++) {
        const struct task_segment *s = &cpu.segment[i];
        assert_int_equal(s->access, 0xf3);
        assert_int_equal(s->limit, 0xffff);
        assert_int_equal(s->base, s->selector * 16);
    }
}

static void test_vm86(void **state)
{
    (void)state;
    put(NEW + 36, VM | 0x202);
    put(NEW + 76, 0x1234);
    put(NEW + 80, 0x0600);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_vm86();
    setup(state);
    put(NEW + 36, VM | 0x202);
    cpu.paging = cr3_bad = true;
    expect_fault(TASK_FAULTED, TS, 0);
    assert_vm86(); /* the CPU demands it for the delivery of the fault */
}

static void test_error_code(void **state)
{
    request.source = TASK_GATE;
    request.has_error = true;
    request.error = 0x12345678;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.gpr[4], STACK + 0xfc);
    assert_int_equal(get(STACK + 0xfc), 0x12345678);
    assert_false(user_write);

    /* A 16-bit TSS pushes a word. */
    setup(state);
    descriptor(GDT, NEW_TSS, NEW, 0x2b, 0x81, 0);
    memset(memory + NEW, 0, 0x2c);
    put16(NEW + 26, 0x200);
    put16(NEW + 36, CODE);
    put16(NEW + 38, STACK16);
    memset(memory + STACK, 0xee, 0x400);
    request.source = TASK_GATE;
    request.has_error = true;
    request.error = 0xabcd;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.gpr[4], 0xffff01fe);
    assert_int_equal(get(STACK + 0x1fc), 0xabcdeeee);
    assert_int_equal(get(STACK + 0x200), 0xeeeeeeee);

    /* A 16-bit stack wraps within 64 KiB. */
    setup(state);
    request.source = TASK_GATE;
    request.has_error = true;
    request.error = 0xabcd;
    put(NEW + 80, STACK16);
    put(NEW + 56, 0xffff0200);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.gpr[4], 0xffff01fc);
    assert_int_equal(get(STACK + 0x1fc), 0xabcd);

    setup(state);
    request.source = TASK_GATE;
    request.has_error = true;
    put(NEW + 80, STACK16);
    put(NEW + 56, 0x2000);
    expect_fault(TASK_FAULTED, SS, 0);

    setup(state);
    request.source = TASK_GATE;
    request.has_error = true;
    put(NEW + 76, CODE3 | 3);
    put(NEW + 80, DATA3 | 3);
    put(NEW + 72, 0);
    put(NEW + 84, 0);
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_true(user_write);
}

/* Where an error code may go: SDM, "Limit Checking". */
static void test_stack_limits(void **state)
{
    enum { UP = 0x92, DOWN = 0x96, BIG = 4, PAGES = 8 };
    static const struct {
        unsigned access, flags;
        uint32_t limit, esp, pushed; /* 0: it does not fit */
    } rows[] = {
        {UP, BIG, 0xfff, 0x1000, 0xffc},
        {UP, BIG, 0xfff, 0x1001, 0},
        {UP, BIG, 0xffe, 0x1000, 0},
        {UP, BIG | PAGES, 0x20, 0x21000, 0x20ffc},
        {UP, BIG | PAGES, 0xfffff, 2, 0}, /* around the end of the address space */
        {UP, 0, 0xffff, 0xabcd8001, 0xabcd7ffd},
        {UP, 0, 0xffff, 0x12340000, 0x1234fffc},
        {UP, 0, 0xffff, 3, 0},
        {DOWN, BIG, 0xfff, 0x1004, 0x1000},
        {DOWN, BIG, 0xfff, 0x1003, 0},
        {DOWN, BIG, 0xfff, 0x21004, 0x21000}, /* above 64 KiB */
        {DOWN, BIG, 0xfff, 2, 0},
        {DOWN, 0, 0xfff, 0x1004, 0x1000},
        {DOWN, 0, 0xfff, 0x1003, 0},
        {DOWN, 0, 0xfff, 0, 0xfffc},
        {DOWN, 0, 0xfff, 1, 0}, /* beyond 64 KiB */
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        uint32_t offset = rows[i].flags & BIG ? rows[i].pushed : rows[i].pushed & 0xffff;
        uint32_t base = STACK + 0xff0 - offset;
        descriptor(GDT, STACK16, base, rows[i].limit, rows[i].access, rows[i].flags);
        put(NEW + 80, STACK16);
        put(NEW + 56, rows[i].esp);
        request.source = TASK_GATE;
        request.has_error = true;
        request.error = 0x87654321;
        if (rows[i].pushed == 0) {
            expect_fault(TASK_FAULTED, SS, 0);
            continue;
        }
        assert_int_equal(switch_now().outcome, TASK_SWITCHED);
        assert_int_equal(cpu.gpr[4], rows[i].pushed);
        assert_int_equal(get(STACK + 0xff0), 0x87654321);
        assert_int_equal(get(STACK + 0xfec) | get(STACK + 0xff4), 0);
    }
}

static void test_trap_and_cr3(void **state)
{
    (void)state;
    put(NEW + 100, 1);
    cpu.paging = true;
    struct task_result r = switch_now();
    assert_int_equal(r.outcome, TASK_SWITCHED);
    assert_true(r.trap);
    assert_int_equal(cr3, 0x12347000);
}

/* IRET to itself: what has just been saved is what is loaded. */
static void test_same_task(void **state)
{
    (void)state;
    request = (struct task_request){TASK_IRET, OLD_TSS, 0x105, false, 0};
    for (unsigned i = 0; i < TASK_LDTR; i++)
        cpu.segment[i].selector = i == TASK_CS ? CODE : DATA;
    assert_int_equal(switch_now().outcome, TASK_SWITCHED);
    assert_int_equal(cpu.eip, 0x105);
    assert_int_equal(cpu.gpr[0], 0x11111111);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_call32, setup),
        cmocka_unit_test_setup(test_sources, setup),
        cmocka_unit_test_setup(test_tss16, setup),
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_page_faults_before, setup),
        cmocka_unit_test_setup(test_read_only_pages, setup),
        cmocka_unit_test_setup(test_page_faults_anywhere, setup),
        cmocka_unit_test_setup(test_old_descriptor_is_gone, setup),
        cmocka_unit_test_setup(test_new_task_faults, setup),
        cmocka_unit_test_setup(test_all_descriptors, setup),
        cmocka_unit_test_setup(test_descriptor_bits, setup),
        cmocka_unit_test_setup(test_high_selectors, setup),
        cmocka_unit_test_setup(test_ldt_types, setup),
        cmocka_unit_test_setup(test_ldt_entries, setup),
        cmocka_unit_test_setup(test_ldt_and_rings, setup),
        cmocka_unit_test_setup(test_vm86, setup),
        cmocka_unit_test_setup(test_error_code, setup),
        cmocka_unit_test_setup(test_stack_limits, setup),
        cmocka_unit_test_setup(test_trap_and_cr3, setup),
        cmocka_unit_test_setup(test_same_task, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
