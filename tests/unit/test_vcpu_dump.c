// link: guest/vm/vcpu_dump.c guest/cpu/delivery.c guest/cpu/guestwalk.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What a user is told of a vCPU: registers, code, stack, callers, and why an event was not
 * delivered. */
#include "arch/log.h"
#include "guest/cpu/delivery.h"
#include "guest/vm/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEM_BYTES 0x40000
#define GDT       0x1000
#define IDT       0x2000
#define TSS       0x3000
#define HANDLER   0x8000
#define CODE      0x9000
#define STACK     0xa000
#define PML4      0x10000 /* one page each, down to the table of 4 KiB pages */

static uint8_t *ram;
static struct vm vm;
static struct vcpu vcpu;
static struct cpu_state state, initial;
static char logged[8192];

static void log_text(const char *format, va_list args)
{
    const size_t length = strlen(logged);
    vsnprintf(logged + length, sizeof(logged) - length, format, args);
    strncat(logged, "\n", sizeof(logged) - strlen(logged) - 1);
}

void sched_look(void)
{
}

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_text(format, args);
    va_end(args);
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    va_list args;
    va_start(args, format);
    log_text(format, args);
    va_end(args);
}

static void put64(unsigned at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

/* Present, 64-bit: type is of a gate, with its DPL and P bits. */
static void set_gate(unsigned vector, uint16_t selector, unsigned type, unsigned ist)
{
    put64(IDT + vector * 16, (HANDLER & 0xffffull) | (uint64_t)selector << 16 |
                                 (uint64_t)ist << 32 | (uint64_t)type << 40);
    put64(IDT + vector * 16 + 8, 0);
}

static void map(uint64_t page, uint64_t flags)
{
    put64(PML4 + 0x3000 + (unsigned)(page / PAGE_SIZE) * 8, page | flags);
}

/* A kernel in 64-bit mode that has done everything right. */
static int set_up(void **unused)
{
    (void)unused;
    ram = aligned_alloc(PAGE_SIZE, MEM_BYTES);
    memset(ram, 0, MEM_BYTES);
    vm = (struct vm){.name = "test"};
    static uint32_t apic_page[1024];
    memset(apic_page, 0, sizeof(apic_page));
    vcpu = (struct vcpu){.vm = &vm, .phys_bits = 36, .initial = &initial, .apic.page = apic_page};
    if (guestmem_add(&vm.mem, gpa(0), MEM_BYTES, ram) != OK)
        return -1;
    for (unsigned level = 0; level < 3; level++)
        put64(PML4 + level * 0x1000, (PML4 + (level + 1) * 0x1000) | PTE_P | PTE_W);
    for (unsigned page = 0; page < MEM_BYTES; page += PAGE_SIZE)
        map(page, PTE_P | PTE_W);
    put64(GDT + 8, 0x00af9b000000ffff);  /* 64-bit code, ring 0 */
    put64(GDT + 16, 0x00cf93000000ffff); /* data */
    put64(GDT + 24, 0x00cf9b000000ffff); /* 32-bit code */
    for (unsigned i = 0; i < 32; i++)
        set_gate(i, 8, 0x8e, 0);
    initial = (struct cpu_state){.idtr.limit = 0xffff};
    state = (struct cpu_state){.rip = CODE,
                               .rsp = STACK,
                               .rflags = 2,
                               .cr0 = CR0_PE | CR0_PG,
                               .cr3 = PML4,
                               .cr4 = CR4_PAE,
                               .efer = EFER_LMA | EFER_LME,
                               .cs = {8, SEGMENT_CODE64, UINT32_MAX, 0},
                               .ss = {16, SEGMENT_DATA32, UINT32_MAX, 0},
                               .ldtr = {.access = ACCESS_UNUSABLE},
                               .tr = {.base = TSS, .limit = 0x67, .access = 0x8b},
                               .gdtr = {GDT, 31},
                               .idtr = {IDT, 32 * 16 - 1}};
    logged[0] = 0;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(ram);
    return 0;
}

/* What is said of an event; "" where nothing is wrong. Looking changes nothing in memory. */
static const char *explain(uint32_t type, unsigned vector)
{
    static char text[200];
    static uint8_t before[MEM_BYTES];
    const struct event event = {.info = EVENT_VALID | type | vector};
    memcpy(before, ram, MEM_BYTES);
    const bool fails =
        delivery_explain(&vm.mem, &state, 36, &initial.idtr, &event, text, sizeof(text));
    assert_int_equal(fails, text[0] != 0);
    assert_memory_equal(before, ram, MEM_BYTES);
    return text;
}

#define ASSERT_WHY(vector, part)                                \
    do {                                                        \
        const char *said = explain(EVENT_EXCEPTION, vector);    \
        if (strstr(said, part) == NULL)                         \
            fail_msg("\"%s\" does not say \"%s\"", said, part); \
    } while (0)

static void what_is_right_is_not_blamed(void **unused)
{
    (void)unused;
    assert_string_equal(explain(EVENT_EXCEPTION, 14), "");
    state.cs.access |= 3 << 5; /* from ring 3: the TSS has the stack */
    state.ss.access |= 3 << 5;
    put64(TSS + 4, STACK);
    assert_string_equal(explain(EVENT_EXCEPTION, 14), "");
    state.cr0 = 0; /* real mode */
    state.idtr.limit = 0x3ff;
    assert_string_equal(explain(EVENT_EXCEPTION, 255), "");
}

static void gates(void **unused)
{
    (void)unused;
    set_gate(14, 8, 0x0e, 0);
    ASSERT_WHY(14, "gate in the IDT at 0x2000 is not present");
    set_gate(14, 8, 0x8c, 0); /* a call gate */
    ASSERT_WHY(14, "is no gate (type 0xc)");
    set_gate(14, 8, 0x85, 0); /* a task gate: not in long mode */
    ASSERT_WHY(14, "is no gate (type 0x5)");
    ASSERT_WHY(32, "IDT at 0x2000 (limit 0x1ff) has no entry for it");
    assert_null(strstr(explain(EVENT_EXCEPTION, 32), "LIDT"));
    map(IDT, 0);
    ASSERT_WHY(6, "the IDT at 0x2000 is not mapped");
    map(MEM_BYTES, PTE_P); /* to a device, say */
    state.idtr.base = MEM_BYTES;
    ASSERT_WHY(6, "the IDT at 0x40000 is not in memory");
    state.idtr.base = 0x100000000 - 0x1000; /* nor mapped */
    ASSERT_WHY(6, "the IDT at 0xfffff000 is not mapped");
    state.idtr = initial.idtr;
    memset(ram, 0, 0x1000);
    ASSERT_WHY(6, "no gate (type 0x0): LIDT was never executed");
    state.cr0 = 0;
    state.idtr.limit = 0x17;
    ASSERT_WHY(6, "IDT (limit 0x17) has no entry");
}

static void code_segments(void **unused)
{
    (void)unused;
    set_gate(14, 0, 0x8e, 0);
    ASSERT_WHY(14, "null selector");
    set_gate(14, 0x20, 0x8e, 0);
    ASSERT_WHY(14, "selector 0x20, and the GDT ends at 0x1f");
    set_gate(14, 16, 0x8e, 0);
    ASSERT_WHY(14, "selector 0x10, which is no present code segment");
    set_gate(14, 24, 0x8e, 0);
    ASSERT_WHY(14, "selector 0x18, which is no 64-bit code segment");
    set_gate(14, 8 | 4, 0x8e, 0);
    ASSERT_WHY(14, "the LDT ends at 0x0");
    set_gate(14, 8, 0x8e, 0);
    map(GDT, 0);
    ASSERT_WHY(14, "the GDT at 0x1000 is not mapped");
    map(MEM_BYTES, PTE_P);
    state.gdtr.base = MEM_BYTES;
    ASSERT_WHY(14, "the GDT at 0x40000 is not in memory");
}

static void handlers_and_stacks(void **unused)
{
    (void)unused;
    map(HANDLER, 0);
    ASSERT_WHY(14, "handler at 0x8000 is not memory that can be executed");
    map(HANDLER, PTE_P | PTE_NX);
    state.efer |= EFER_NXE;
    ASSERT_WHY(14, "handler at 0x8000 is not memory that can be executed");
    map(HANDLER, PTE_P);
    assert_string_equal(explain(EVENT_EXCEPTION, 14), "");

    state.rsp = 0;
    ASSERT_WHY(14, "its stack (top at 0x0) is not memory");
    state.rsp = MEM_BYTES + 0x1000;
    ASSERT_WHY(14, "its stack (top at 0x41000) is not memory");
    state.rsp = 0x800000000000; /* not canonical */
    ASSERT_WHY(14, "its stack (top at 0x800000000000)");
    set_gate(14, 8, 0x8e, 1);
    put64(TSS + 0x24, 0);
    ASSERT_WHY(14, "the stack of its IST (top at 0x0)");
    put64(TSS + 0x24, STACK);
    assert_string_equal(explain(EVENT_EXCEPTION, 14), "");
    state.tr.limit = 0x20;
    ASSERT_WHY(14, "the stack of its IST is in no TSS: TR has base 0x3000 and limit 0x20");
}

/* Which selector of the GDT it is that a gate names in vain. */
static void bad_selectors(void **unused)
{
    const struct event event = {.info = EVENT_VALID | EVENT_EXCEPTION | 14};
    static const struct {
        uint16_t selector, bad;
    } rows[] = {{8, 0}, {11, 0}, {16, 16}, {19, 16}, {0x40, 0x40}, {12, 0}};
    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_gate(14, rows[i].selector, 0x8e, 0);
        assert_int_equal(delivery_bad_selector(&vm.mem, &state, 36, &event), rows[i].bad);
    }
    set_gate(14, 16, 0x0e, 0); /* not present: nobody looks at its selector */
    assert_int_equal(delivery_bad_selector(&vm.mem, &state, 36, &event), 0);
    state.idtr.limit = 14 * 16;
    assert_int_equal(delivery_bad_selector(&vm.mem, &state, 36, &event), 0);
}

static void a_32_bit_kernel(void **unused)
{
    (void)unused;
    state.efer = state.cr4 = 0;
    state.cr0 = CR0_PE;
    state.cs = (struct cpu_segment){24, SEGMENT_CODE32, UINT32_MAX, 0};
    state.idtr.limit = 32 * 8 - 1;
    memset(ram + IDT, 0, 0x1000);
    ASSERT_WHY(8, "no gate (type 0x0)");
    put64(IDT + 8 * 8, HANDLER | 24ull << 16 | 0x8eull << 40);
    assert_string_equal(explain(EVENT_INTERRUPT, 8), "");
    put64(IDT + 9 * 8, 0x8500ull << 32); /* a task gate */
    assert_string_equal(explain(EVENT_INTERRUPT, 9), "");
    state.cs.access |= 3 << 5;
    state.ss.access |= 3 << 5;
    state.tr = (struct cpu_segment){.limit = 0};
    ASSERT_WHY(8, "the stack of ring 0 is in no TSS");
}

static void assert_logged(const char *part)
{
    if (strstr(logged, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, logged);
}

static void print_first(const struct undelivered *first)
{
    vcpu.first = *first;
    vcpu_print_undelivered(&vcpu, &state);
}

static void what_came_first(void **unused)
{
    (void)unused;
    const struct undelivered fault = {
        .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 14, .error = PF_WRITE},
        .address = 0xb8000};
    map(HANDLER, 0);
    print_first(&fault);
    assert_logged("test: first came #PF at 0xb8000 (write, not present), which was not delivered: "
                  "its handler at 0x8000");
    logged[0] = 0;
    print_first(&(struct undelivered){0});
    assert_string_equal(logged, "");
    const struct undelivered gp = {
        .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 13, .error = 0x18}};
    print_first(&gp);
    assert_logged("first came #GP(0x18), which");
    assert_logged(
        "test: #GP(0x18) is about selector 0x18, entry 3 of the GDT: a present 32-bit code "
        "segment with DPL 0\n");
    const struct undelivered irq = {.event = {.info = EVENT_VALID | EVENT_INTERRUPT | 32}};
    print_first(&irq);
    assert_logged("first came interrupt vector 32, which was not delivered: the IDT");
}

/* What an error code says of itself, in words. */
static void error_codes(void **unused)
{
    static const struct {
        unsigned vector;
        uint32_t error;
        const char *words;
    } rows[] = {
        {13, 0x54, "#GP(0x54) is about selector 0x54, entry 10 of the LDT: there is no LDT"},
        {13, 0x50, "selector 0x50, entry 10 of the GDT, which ends at 0x1f"},
        {10, 0x20, "#TS(0x20) is about selector 0x20, entry 4 of the GDT, which ends at 0x1f"},
        {11, 0x10,
         "#NP(0x10) is about selector 0x10, entry 2 of the GDT: a present data segment with DPL 0"},
        {13, 0x72, "#GP(0x72) is about entry 14 of the IDT: a present interrupt gate with DPL 0"},
        {13, 0x402, "#GP(0x402) is about entry 128 of the IDT, which ends at 0x1ff"},
        {12, 0x09,
         "#SS(0x9) is about selector 0x8, entry 1 of the GDT: a present 64-bit code segment with "
         "DPL 0; it came while another event was delivered"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct undelivered fault = {
            .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | rows[i].vector,
                      .error = rows[i].error}};
        logged[0] = 0;
        print_first(&fault);
        assert_logged(rows[i].words);
    }
    state.ldtr = (struct cpu_segment){0x20, 0x82, 31, GDT};
    put64(GDT + 24, 0);
    const struct undelivered local = {
        .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 13, .error = 0x1c}};
    print_first(&local);
    assert_logged("selector 0x1c, entry 3 of the LDT: an empty descriptor");
    put64(GDT + 24, 0x00008b0000000067);
    logged[0] = 0;
    print_first(&local);
    assert_logged("entry 3 of the LDT: a present busy TSS with DPL 0");
    put64(GDT + 24, 0x0040f20000000067);
    logged[0] = 0;
    print_first(&local);
    assert_logged("entry 3 of the LDT: a present data segment with DPL 3");
    map(GDT, 0);
    logged[0] = 0;
    print_first(&local);
    assert_logged("entry 3 of the LDT, whose memory at 0x1018 is not mapped");
    const struct undelivered none = {
        .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 13}};
    logged[0] = 0;
    print_first(&none);
    assert_null(strstr(logged, "is about"));
    const struct undelivered page = {
        .event = {.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 14, .error = 0x18}};
    print_first(&page);
    assert_null(strstr(logged, "is about"));
}

static void registers_code_and_callers(void **unused)
{
    (void)unused;
    memcpy(ram + CODE, "\x0f\x0b\xf4", 3);
    state.rbp = STACK - 0x40;
    put64(STACK - 0x40, STACK - 0x20);
    put64(STACK - 0x38, 0x9111);
    put64(STACK - 0x20, 0);
    put64(STACK - 0x18, 0x9222);
    vcpu_print(&vcpu, &state);
    assert_logged(
        "test: RIP 0000000000009000  RFLAGS 00000002  64-bit mode, CPL 0, interrupts off");
    assert_logged("CS  0008 base 0 limit ffffffff access a09b");
    assert_logged("LDT 0000 not usable");
    assert_logged("code at RIP: 0f 0b f4 00");
    assert_logged("called from (by RBP): 9111 9222\n");
    assert_null(strstr(logged, "no memory below RSP"));
    assert_null(strstr(logged, "local APIC"));

    logged[0] = 0;
    state.rip = 0x50000000;
    state.rsp = 0;
    state.rbp = 0x123; /* leads nowhere */
    state.rflags = RFLAGS_IF | 2;
    vcpu.apic.page[APIC_ISR / 4] = 0;
    vcpu.apic.page[(APIC_ISR + 0x10) / 4] = 1 << 1; /* 33 */
    vcpu.apic.page[(APIC_IRR + 0x10) / 4] = 1 << 2; /* 34 */
    vcpu_print(&vcpu, &state);
    assert_logged("code at RIP: none");
    assert_logged("no memory below RSP");
    assert_null(strstr(logged, "called from"));
    assert_logged("vector 33 is in service at the local APIC, with no EOI yet");
    assert_logged("vector 34 waits at the local APIC: for that EOI");
}

static void modes(void **unused)
{
    (void)unused;
    state.cs.access = SEGMENT_CODE32;
    vcpu_print(&vcpu, &state);
    assert_logged("32-bit compatibility mode");
    state.efer = 0;
    state.cr0 = CR0_PE;
    vcpu_print(&vcpu, &state);
    assert_logged("32-bit protected mode");
    state.cs.access = SEGMENT_CODE16;
    vcpu_print(&vcpu, &state);
    assert_logged("16-bit protected mode");
    state.rflags |= RFLAGS_VM;
    vcpu_print(&vcpu, &state);
    assert_logged("virtual-8086 mode");
    state = (struct cpu_state){.cs = {.base = CODE, .access = SEGMENT_CODE16}, .rip = 2};
    memcpy(ram + CODE, "\x90\x90\xeb\xfe", 4);
    logged[0] = 0;
    vcpu_print(&vcpu, &state);
    assert_logged("real mode");
    assert_logged("code at RIP: eb fe");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_right_is_not_blamed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(code_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(handlers_and_stacks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_32_bit_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_selectors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_came_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(error_codes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registers_code_and_callers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
