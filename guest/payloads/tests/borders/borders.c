/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands in two pages, of which one is RAM and the other a device, nothing, or not present: each
 * part goes where it belongs. What the CPU itself does on two pages of RAM is the expected answer.
 */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define PAGE     4096u
#define WINDOW   0x8000000000u /* two pages, mapped as is needed */
#define BORDER   (WINDOW + PAGE)
#define NOWHERE  0xd0000000ull
#define WRITABLE 3ull
#define READABLE 1ull

extern uint64_t page_tables[];
static uint64_t tables[3][512] __attribute__((aligned(PAGE)));
static uint8_t ram[3][PAGE] __attribute__((aligned(PAGE)));

static void map(unsigned page, uint64_t address, uint64_t flags)
{
    tables[2][page] = flags != 0 ? address | flags : 0;
    __asm__ volatile("invlpg (%0)" : : "r"(WINDOW + page * PAGE) : "memory");
}

static void map_pair(uint64_t first, uint64_t second)
{
    map(0, first, WRITABLE);
    map(1, second, WRITABLE);
}

struct row {
    const char *what;
    uint8_t before; /* bytes of the operand in the first page; four are in the second */
    uint8_t length;
    uint8_t bytes[15];
};

/* RSI = RDI = the operand, RAX = 0x1122334400000008, RBX = where 32 bytes can be left. */
static const struct row rows[] = {
    {"MOV r64", 4, 3, {0x48, 0x8b, 0x06}},
    {"MOV r64, displacement", 4, 8, {0x48, 0x83, 0xc6, 0x10, 0x48, 0x8b, 0x46, 0xf0}},
    {"MOV m64", 4, 3, {0x48, 0x89, 0x06}},
    {"MOV m64, imm", 4, 7, {0x48, 0xc7, 0x06, 1, 0, 0, 0}},
    {"MOVNTI m64", 4, 4, {0x48, 0x0f, 0xc3, 0x06}},
    {"MOVBE r64", 4, 5, {0x48, 0x0f, 0x38, 0xf0, 0x06}},
    {"ADD r64", 4, 3, {0x48, 0x03, 0x06}},
    {"OR m64", 4, 3, {0x48, 0x09, 0x06}},
    {"LOCK XADD m64", 4, 5, {0xf0, 0x48, 0x0f, 0xc1, 0x06}},
    {"XCHG m64", 4, 3, {0x48, 0x87, 0x06}},
    {"BTS m64", 4, 5, {0x48, 0x0f, 0xba, 0x2e, 35}},
    {"LODSQ", 4, 2, {0x48, 0xad}},
    {"STOSQ", 4, 2, {0x48, 0xab}},
    {"MOVUPS, and out", 12, 6, {0x0f, 0x10, 0x0e, 0x0f, 0x11, 0x0b}},
    {"MOVUPS m128", 12, 7, {0x66, 0x0f, 0x6e, 0xc8, 0x0f, 0x11, 0x0f}},
    {"MOVHPS, and out", 4, 6, {0x0f, 0x16, 0x0e, 0x0f, 0x17, 0x0b}},
};

static struct code run(const struct row *row, uint8_t left[32])
{
    const uint64_t at = BORDER - row->before;
    struct code code = {.rax = 0x1122334400000008,
                        .rbx = (uint64_t)left,
                        .rsi = at,
                        .rdi = at,
                        .length = row->length};
    memcpy(code.bytes, row->bytes, row->length);
    memset(left, 0, 32);
    memset(ram[0] + PAGE - 16, 0x55, 16);
    const struct probe p = code_probe(&code);
    if (p.vector != PROBE_NONE)
        code.rax = 0xdead0000 | p.vector;
    return code;
}

/* The IO-APIC's index register is the second page's beginning; eight bits of it count. */
static void check_row(const struct row *row)
{
    static uint8_t want_left[32], got_left[32], want_first[16];
    volatile uint32_t *device = (volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS;
    uint32_t want_second = 0x21;

    map_pair((uint64_t)ram[0], (uint64_t)ram[1]);
    memcpy(ram[1], &want_second, 4);
    const struct code want = run(row, want_left);
    memcpy(want_first, ram[0] + PAGE - 16, 16);
    memcpy(&want_second, ram[1], 4);
    map_pair((uint64_t)ram[0], IOAPIC_ADDRESS);
    *device = 0x21;
    const struct code got = run(row, got_left);
    const bool same = got.rax == want.rax && got.rsi == want.rsi && got.rdi == want.rdi;
    if (!test_check(same && memcmp(want_left, got_left, sizeof(got_left)) == 0 &&
                        memcmp(want_first, ram[0] + PAGE - 16, 16) == 0 &&
                        (*device & 0xff) == (want_second & 0xff),
                    row->what, "from RAM into a device"))
        print("  rax %lx, not %lx; in RAM %x, the device has %x, not %x\n", got.rax, want.rax,
              *(uint32_t *)(ram[0] + PAGE - 4), *device, want_second);
}

static uint64_t load(uint64_t at)
{
    struct code code = {.rsi = at, .length = 3, .bytes = {0x48, 0x8b, 0x06}};
    const struct probe p = code_probe(&code);
    return p.vector == PROBE_NONE ? code.rax : 0xdead0000 | p.vector;
}

static struct probe store(uint64_t at, uint64_t value)
{
    struct code code = {.rax = value, .rsi = at, .length = 3, .bytes = {0x48, 0x89, 0x06}};
    return code_probe(&code);
}

/* Pairs that are there in the virtual PC only, or that a real one does not like. */
static void check_others(void)
{
    const uint32_t pattern = 0x88776655;
    memcpy(ram[0] + PAGE - 4, &pattern, 4);
    memcpy(ram[1], &pattern, 4);
    map_pair((uint64_t)ram[0], NOWHERE);
    test_equal(load(BORDER - 4), 0xffffffff88776655, "RAM, then nothing: a load", "two pages");
    map_pair(NOWHERE, (uint64_t)ram[1]);
    test_equal(load(BORDER - 4), 0x88776655ffffffff, "nothing, then RAM: a load", "two pages");
    map_pair((uint64_t)ram[0], APIC_BASE_ADDRESS);
    test_equal((uint32_t)load(BORDER - 4), pattern, "RAM, then the APIC: RAM's part", "two pages");
    map_pair(APIC_BASE_ADDRESS - PAGE, APIC_BASE_ADDRESS);
    test_equal((uint32_t)load(BORDER - 4), 0xffffffff, "nothing, then the APIC", "two pages");
    map_pair(IOAPIC_ADDRESS - PAGE, IOAPIC_ADDRESS);
    *(volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS = 1;
    test_equal(load(BORDER - 4), 0x1ffffffff, "nothing, then the IO-APIC", "two pages");
    test_equal(store(BORDER - 4, 0x2ull << 32).vector, PROBE_NONE, "a store there", "two pages");
    test_equal(*(volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS, 2, "it has arrived", "two pages");
    map_pair(NOWHERE, IOAPIC_ADDRESS);
    test_equal(load(BORDER - 6) >> 48, 2, "nothing, then two bytes of the IO-APIC", "two pages");
}

/* The fault comes before any byte of either page is touched. */
static void check_faults(void)
{
    static const char RULE[] = "#PF, and nothing written";
    volatile uint32_t *device = (volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS;
    *device = 5;
    map(0, 0, 0);
    map(1, IOAPIC_ADDRESS, WRITABLE);
    test_equal(store(BORDER - 4, 0).vector, VECTOR_PF, "no first page", RULE);
    test_equal(read_cr2(), BORDER - 4, "CR2 is the operand's first byte", "#PF");
    test_equal(*device, 5, "the device has what it had", RULE);
    map(0, IOAPIC_ADDRESS, WRITABLE);
    map(1, 0, 0);
    test_equal(store(BORDER - 4, 0).vector, VECTOR_PF, "a device, and no second page", RULE);
    test_equal(read_cr2(), BORDER, "CR2 is the second page's first byte", "#PF");
    write_cr0(read_cr0() | 1u << 16); /* WP */
    map(0, (uint64_t)ram[0], READABLE);
    map(1, IOAPIC_ADDRESS, WRITABLE);
    memset(ram[0] + PAGE - 4, 0x5a, 4);
    const struct probe p = store(BORDER - 4, 0);
    test_fault(p, (struct probe){VECTOR_PF, 3}, "a read-only page, then a device", RULE);
    test_check(ram[0][PAGE - 1] == 0x5a && *device == 5, "both have what they had", RULE);
}

/* Code that is never right to be reached. RBX, as an address relative to RIP would not be canonical
 * either, points to what it changes. */
static void __attribute__((naked, used)) trap(void)
{
    __asm__ volatile("incl (%rbx); ud2");
}

/* The borders of the addresses there are: a walk of the page tables would find trap() there. */
static void check_beyond(void)
{
    static const struct {
        const char *what;
        uint8_t bytes[3], length;
    } way[] = {{"JMP", {0xff, 0xe0}, 2}, {"CALL", {0xff, 0xd0}, 2}, {"RET", {0x50, 0xc3}, 2}};
    for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        uint32_t reached = 0;
        struct code code = {.rax = (uint64_t)(uintptr_t)trap | 1ull << 50,
                            .rbx = (uint64_t)(uintptr_t)&reached,
                            .length = way[i].length};
        memcpy(code.bytes, way[i].bytes, way[i].length);
        test_equal(code_probe(&code).vector, VECTOR_GP, way[i].what,
                   "#GP where the target is not canonical");
        test_equal(reached, 0, way[i].what, "nothing is executed there");
    }
}

int main(void)
{
    test_begin("borders", "operands in two pages");
    apic_enable(false);
    write_cr4(read_cr4() | CR4_OSFXSR);
    page_tables[1] = (uint64_t)tables[0] | WRITABLE;
    tables[0][0] = (uint64_t)tables[1] | WRITABLE;
    tables[1][0] = (uint64_t)tables[2] | WRITABLE;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
    check_faults();
    check_beyond();
    if (test_only(TEST_VM))
        check_others();
    test_both();
    return test_end();
}
