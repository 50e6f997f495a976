/* SPDX-License-Identifier: BSD-2-Clause */
/* 4-level paging: rights, reserved bits, accessed and dirty flags, for accesses that the CPU makes
 * itself, and for the second operand of one to device memory, which a hypervisor has to translate:
 * both have to be the same. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#include <stddef.h>

#define AREA     0x40000000ull /* linear addresses of the test: 1 GiB, its own tables */
#define DEVICE   0xfec00000ull
#define NOTHING  0xfd000000ull
#define CR4_PKE  (1ull << 22)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define EFER_NXE (1ull << 11)

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX (1ull << 63)

extern uint64_t page_tables[];
static uint64_t table[512] __attribute__((aligned(4096)));
static uint64_t directory[512] __attribute__((aligned(4096)));
static uint8_t target[2 * 4096] __attribute__((aligned(4096)));

static uint64_t *top, *pointer; /* the entries above the directory */

static void reload(void)
{
    write_cr3(read_cr3());
}

/* One page of RAM at AREA, one of the device behind it. */
static void setup(void)
{
    top = &page_tables[0];
    pointer = &page_tables[512 + (AREA >> 30)];
    memset(table, 0, sizeof(table));
    memset(directory, 0, sizeof(directory));
    *pointer = (uint64_t)directory | P | W | U;
    directory[0] = (uint64_t)table | P | W | U;
    table[0] = (uint64_t)target | P | W | U;
    table[1] = DEVICE | P | W | U;
    reload();
}

/* MOVSD from device memory to AREA: the destination is what is tested. */
static struct code from_device(void)
{
    return (struct code){.rsi = AREA + 4096, .rdi = AREA, .length = 1, .bytes = {0xa5}};
}

/* MOVSD from AREA to device memory. */
static struct code to_device(void)
{
    return (struct code){.rsi = AREA, .rdi = AREA + 4096, .length = 1, .bytes = {0xa5}};
}

static struct code load(void)
{
    return (struct code){.rsi = AREA, .length = 2, .bytes = {0x8b, 0x06}};
}

static struct code store(void)
{
    return (struct code){.rsi = AREA, .length = 2, .bytes = {0x89, 0x06}};
}

static struct probe run(struct code code, bool user)
{
    reload();
    return user ? user_probe(&code, 0) : code_probe(&code);
}

static void expect(struct probe got, unsigned error, const char *what, const char *rule)
{
    struct probe want = {error == 0xff ? PROBE_NONE : VECTOR_PF, error == 0xff ? 0 : error};
    test_fault(got, want, what, rule);
    if (error != 0xff)
        test_equal(read_cr2(), AREA, what, "CR2");
}

#define ALLOWED 0xffu

/* Reads and writes, by the CPU and beside a device. */
static void check_both(unsigned read_error, unsigned write_error, bool user, const char *what)
{
    expect(run(load(), user), read_error, what, "a load");
    expect(run(to_device(), user), read_error, what, "a string move from it to a device");
    expect(run(store(), user), write_error, what, "a store");
    expect(run(from_device(), user), write_error, what, "a string move to it from a device");
}

static void check_rights(void)
{
    uint64_t cr0 = read_cr0();
    setup();
    check_both(ALLOWED, ALLOWED, false, "a writable page at CPL 0");
    check_both(ALLOWED, ALLOWED, true, "a writable user page at CPL 3");
    table[0] &= ~(uint64_t)P;
    check_both(0, 2, false, "an absent page at CPL 0");
    check_both(4, 6, true, "an absent page at CPL 3");
    setup();
    table[0] &= ~(uint64_t)W;
    check_both(ALLOWED, 3, false, "a read-only page at CPL 0 with WP");
    check_both(ALLOWED, 7, true, "a read-only page at CPL 3");
    write_cr0(cr0 & ~CR0_WP);
    check_both(ALLOWED, ALLOWED, false, "a read-only page at CPL 0 without WP");
    check_both(ALLOWED, 7, true, "a read-only page at CPL 3 without WP");
    write_cr0(cr0);
    setup();
    table[0] &= ~(uint64_t)U;
    check_both(ALLOWED, ALLOWED, false, "a supervisor page at CPL 0");
    check_both(5, 7, true, "a supervisor page at CPL 3");
}

static void check_reserved(void)
{
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    setup();
    table[0] |= 1ull << width;
    if (width < 52)
        check_both(9, 11, false, "an address beyond the physical width");
    setup();
    table[0] |= NX;
    check_both(9, 11, false, "bit 63 without EFER.NXE");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    check_both(ALLOWED, ALLOWED, false, "bit 63 with EFER.NXE, for data");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
}

static void write_pkru(uint32_t value)
{
    __asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void check_keys(void)
{
    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).ecx >> 3 & 1) == 0)
        return;
    setup();
    table[0] |= 5ull << 59;
    write_cr4(read_cr4() | CR4_PKE);
    write_pkru(0);
    check_both(ALLOWED, ALLOWED, true, "a page with a key, no rights withheld");
    write_pkru(2u << 10);
    check_both(ALLOWED, 0x27, true, "a page whose key is not to be written, at CPL 3");
    check_both(ALLOWED, 0x23, false, "likewise at CPL 0");
    write_pkru(1u << 10);
    check_both(0x25, 0x27, true, "a page whose key is not to be read, at CPL 3");
    write_pkru(0);
    write_cr4(read_cr4() & ~CR4_PKE);
}

/* SDM, "Determination of Access Rights": what CPL 0 may do with user pages. */
static void check_supervisor(void)
{
    const uint64_t cr4 = read_cr4();
    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).ebx >> 20 & 1) == 0)
        return;
    setup();
    table[1] &= ~(uint64_t)U;
    page_tables[512] &= ~(uint64_t)U; /* the kernel itself is no user's */
    reload();
    write_cr4(cr4 | CR4_SMAP);
    check_both(1, 3, false, "a user page at CPL 0 with SMAP");
    __asm__ volatile("stac" : : : "cc");
    check_both(ALLOWED, ALLOWED, false, "the same with RFLAGS.AC");
    __asm__ volatile("clac" : : : "cc");
    table[0] &= ~(uint64_t)U;
    check_both(ALLOWED, ALLOWED, false, "a supervisor page at CPL 0 with SMAP");
    setup();
    write_cr4(cr4 & ~CR4_SMAP);
    check_both(ALLOWED, ALLOWED, false, "a user page at CPL 0 without SMAP");

    struct code jump = {.rsi = AREA, .length = 2, .bytes = {0xff, 0xd6}}; /* CALL RSI */
    memset(target, 0xc3, 1);                                              /* RET */
    expect(run(jump, false), ALLOWED, "code of a user page at CPL 0", "without SMEP");
    write_cr4(cr4 | CR4_SMEP);
    expect(run(jump, false), 0x11, "code of a user page at CPL 0", "with SMEP");
    write_cr4(cr4);
    page_tables[512] |= U;
}

static void check_flags(void)
{
    const char *rule = "SDM, Accessed and Dirty Flags";
    setup();
    run(to_device(), false);
    test_equal(table[0] & (A | D), A, "a read sets the accessed flag", rule);
    test_check((directory[0] & A) != 0 && (*pointer & A) != 0 && (*top & A) != 0, "in each level",
               rule);
    run(from_device(), false);
    test_equal(table[0] & (A | D), A | D, "a write sets the dirty flag", rule);
    test_equal(table[1] & A, A, "and the device's page is accessed", rule);
    setup();
    table[0] &= ~(uint64_t)W;
    run(from_device(), false);
    test_equal(table[0] & D, 0, "a write that faults does not", rule);
}

static void check_large(void)
{
    setup();
    directory[0] = DEVICE | P | W | PS; /* 2 MiB: 0xfec00000 is aligned to it */
    directory[1] = P | W | PS;          /* RAM from 0 on */
    reload();
    struct code code = {
        .rsi = AREA, .rdi = AREA + 0x200000 + (uint64_t)target, .length = 1, .bytes = {0xa5}};
    test_fault(code_probe(&code), (struct probe){PROBE_NONE, 0}, "large pages",
               "SDM, 4-Level Paging");
    test_equal(directory[1] & (A | D), A | D, "have accessed and dirty flags",
               "SDM, Accessed and Dirty Flags");
    directory[1] |= 1 << 13;
    reload();
    code.rsi = AREA;
    code.rdi = AREA + 0x200000 + (uint64_t)target;
    test_fault(code_probe(&code), (struct probe){VECTOR_PF, 11}, "bit 13 of a large page",
               "reserved");
}

/* A string move that crosses into an absent page stops there and can go on. */
static void check_crossing(void)
{
    setup();
    table[2] = (uint64_t)target | P | W | U;
    table[3] = 0;
    reload();
    struct code code = {.rsi = AREA + 4096, .rdi = AREA + 0x3000 - 1, .length = 1, .bytes = {0xa5}};
    memset(target, 0x5a, 4096);
    test_fault(code_probe(&code), (struct probe){VECTOR_PF, 2},
               "a store into two pages, one absent", "SDM, Page-Fault Exceptions");
    code.rdi = AREA + 0x3000 - 2;
    test_fault(code_probe(&code), (struct probe){VECTOR_PF, 2}, "another",
               "SDM, Page-Fault Exceptions");
    test_equal(read_cr2(), AREA + 0x3000, "CR2 is in the second", "SDM, Page-Fault Exceptions");
    test_equal(target[4095], 0x5a, "and the first is as it was", "a fault changes nothing");
}

/* Nothing is mapped at the last two pages; beyond them addresses begin again at 0. */
static void check_top(void)
{
    static const char RULE[] = "SDM, Canonical Addressing";
    static uint64_t last[3][512] __attribute__((aligned(4096)));
    const uint64_t end = 0xfffffffffffff000;
    page_tables[511] = (uint64_t)last[0] | P | W;
    last[0][511] = (uint64_t)last[1] | P | W;
    last[1][511] = (uint64_t)last[2] | P | W;
    last[2][510] = last[2][511] = NOTHING | P | W;
    reload();
    struct code across = {.rsi = end - 1, .length = 3, .bytes = {0x0f, 0xb7, 0x06}};
    struct code shift = {.rsi = end - 1, .length = 3, .bytes = {0x66, 0xd1, 0x2e}};
    struct code around = {.rsi = end + 0xffe, .length = 2, .bytes = {0x8b, 0x06}};
    test_fault(code_probe(&across), (struct probe){PROBE_NONE, 0}, "MOVZX across the last pages",
               RULE);
    test_equal(across.rax, 0xffff, "reads ones", "unclaimed memory");
    test_fault(code_probe(&shift), (struct probe){PROBE_NONE, 0}, "SHR across them", RULE);
    test_fault(code_probe(&around), (struct probe){PROBE_NONE, 0}, "MOV across the end", RULE);
    struct code start = {.length = 2, .bytes = {0x8b, 0x06}}; /* MOV EAX, [RSI] */
    code_probe(&start);
    test_equal(around.rax, (start.rax & 0xffff) << 16 | 0xffff, "goes on at 0", RULE);
    page_tables[511] = 0;
    reload();
}

int main(void)
{
    test_begin("paging", "4-level paging, through devices too");
    apic_enable(false);
    user_init();
    check_rights();
    check_reserved();
    check_keys();
    check_supervisor();
    check_flags();
    check_large();
    check_crossing();
    check_top();
    return test_end();
}
