/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports where nothing is, and string I/O in all its shapes. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"
#include "hostile.h"

#include <stddef.h>

#define SCRATCH     0x3ff /* the 16550's scratch register */
#define NOBODY      0x1234
#define HOLE        0xa00000ull /* the linear page that this test unmaps */
#define PAGE_2M     0x200000ull
#define PDE_PRESENT 1ull

extern uint64_t page_tables[];

static uint8_t buffer[3 * 4096] __attribute__((aligned(4096)));
static uint8_t *const middle = buffer + 4096;
static const struct probe nothing = {PROBE_NONE, 0};

/* REP INSB = f3 6c, REP OUTSB = f3 6e, and with 66 words; STD before, where wanted. */
static struct probe string_io(uint64_t at, uint64_t count, uint16_t port, uint8_t operation,
                              bool down, uint64_t *left)
{
    struct code code = {.rcx = count, .rdx = port, .rsi = at, .rdi = at, .length = 4};
    code.bytes[0] = down ? 0xfd : 0xfc;
    code.bytes[1] = 0xf3;
    code.bytes[2] = operation;
    code.bytes[3] = 0xfc;
    struct probe p = code_probe(&code);
    *left = code.rcx;
    return p;
}

static bool is_all(const uint8_t *p, uint8_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

static void check_unclaimed(void)
{
    static const uint16_t port[] = {NOBODY, 0xffff, 0xfffc, 0x5658};
    for (size_t i = 0; i < sizeof(port) / sizeof(port[0]); i++) {
        test_equal(port_in8(port[i]), 0xff, "IN of 1 byte", "unclaimed port");
        test_equal(port_in16(port[i]), 0xffff, "IN of 2 bytes", "unclaimed port");
        test_equal(port_in32(port[i]), 0xffffffff, "IN of 4 bytes", "unclaimed port");
        port_out8(port[i], 0);
        port_out16(port[i], 0);
        port_out32(port[i], 0);
        test_equal(port_in8(port[i]), 0xff, "IN after OUT", "writes are dropped");
    }
    port_out8(SCRATCH, 0x77);
    test_equal(port_in16(SCRATCH), 0xff77, "IN of 2 bytes, the second unclaimed",
               "a wide access is split");
}

static void check_strings(void)
{
    uint64_t left;
    port_out8(SCRATCH, 0x5a);
    memset(buffer, 0, sizeof(buffer));
    test_fault(string_io((uint64_t)middle - 100, 200, SCRATCH, 0x6c, false, &left), nothing,
               "REP INSB over a page's end", "INS");
    test_check(left == 0 && is_all(middle - 100, 0x5a, 200) && middle[-101] == 0 &&
                   middle[100] == 0,
               "it wrote 200 bytes there and no more", "INS");

    port_out8(SCRATCH, 0xa5);
    test_fault(string_io((uint64_t)middle + 99, 200, SCRATCH, 0x6c, true, &left), nothing,
               "REP INSB downwards", "DF = 1");
    test_check(left == 0 && is_all(middle - 100, 0xa5, 200) && middle[-101] == 0 &&
                   middle[100] == 0,
               "it wrote the same 200 bytes", "DF = 1");

    test_fault(string_io((uint64_t)buffer, sizeof(buffer), SCRATCH, 0x6c, false, &left), nothing,
               "REP INSB of three pages", "INS");
    test_check(is_all(buffer, 0xa5, sizeof(buffer)), "it filled them", "INS");

    for (unsigned i = 0; i < 256; i++)
        middle[i] = (uint8_t)i;
    test_fault(string_io((uint64_t)middle, 0x43, SCRATCH, 0x6e, false, &left), nothing, "REP OUTSB",
               "OUTS");
    test_equal(port_in8(SCRATCH), 0x42, "the last byte arrived last", "OUTS");
    test_fault(string_io((uint64_t)middle + 0x43, 4, SCRATCH, 0x6e, true, &left), nothing,
               "REP OUTSB downwards", "DF = 1");
    test_equal(port_in8(SCRATCH), 0x40, "the last byte arrived last", "DF = 1");

    test_fault(string_io(1ull << 40, 0, SCRATCH, 0x6c, false, &left), nothing,
               "REP INSB of nothing at a bad address", "RCX = 0 touches nothing");
    test_fault(string_io((uint64_t)buffer, 1024, NOBODY, 0x6d, false, &left), nothing,
               "REP INSD from an unclaimed port", "INS");
    test_check(is_all(buffer, 0xff, 4096), "it read all ones", "unclaimed port");
}

static void check_string_faults(void)
{
    uint64_t left;
    uint64_t *entry = &page_tables[2 * 512 + HOLE / PAGE_2M];
    uint64_t saved = *entry;

    string_io(1ull << 40, 1, SCRATCH, 0x6c, false, &left);
    test_equal(trap_last.vector, VECTOR_PF, "INSB to an unmapped address: #PF", "INS");
    test_equal(read_cr2(), 1ull << 40, "CR2 has the address", "INS");
    test_fault(string_io(1ull << 40, 1, SCRATCH, 0x6e, false, &left), (struct probe){VECTOR_PF, 0},
               "OUTSB from an unmapped address", "OUTS");
    test_fault(string_io(0x0000800000000000, 1, SCRATCH, 0x6c, false, &left),
               (struct probe){VECTOR_GP, 0}, "INSB to a non-canonical address", "INS");
    test_fault(string_io(0xffff7fffffffffff, 1, SCRATCH, 0x6e, false, &left),
               (struct probe){VECTOR_GP, 0}, "OUTSB from a non-canonical address", "OUTS");

    *entry &= ~PDE_PRESENT;
    write_cr3(read_cr3());
    port_out8(SCRATCH, 0x33);
    test_fault(string_io(HOLE - 16, 32, SCRATCH, 0x6c, false, &left), (struct probe){VECTOR_PF, 2},
               "REP INSB into an unmapped page", "INS");
    test_equal(read_cr2(), HOLE, "CR2 is its start", "faults come at the element");
    test_equal(trap_last.rcx, 16, "RCX counts what is left", "REP can be resumed");
    test_equal(trap_last.rdi, HOLE, "RDI has advanced", "REP can be resumed");
    test_check(is_all((uint8_t *)(HOLE - 16), 0x33, 16), "the first half is there",
               "REP can be resumed");
    *entry = saved;
    write_cr3(read_cr3());
}

void check_ports(void)
{
    check_unclaimed();
    check_strings();
    check_string_faults();
}
