/* SPDX-License-Identifier: BSD-2-Clause */
/* Device memory by every kind of instruction: an IO-APIC's index register serves as the memory.
 * Each row runs the same bytes on RAM first: what the CPU itself does there is the expected answer.
 */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define START 0x1f3u /* what is in the register before each row; eight bits of it count */
#define HOLE  0xd0000000ull

struct row {
    const char *what;
    uint8_t length;
    uint8_t bytes[12];
};

/* RSI = RDI = the address, RAX = 0x1122334455667788, RCX = 1, RBX = 0x10, RDX = 0x40. */
static const struct row rows[] = {
    {"MOV r32", 2, {0x8b, 0x06}},
    {"MOV m32", 2, {0x89, 0x06}},
    {"MOV m32, imm", 6, {0xc7, 0x06, 0x5a, 0, 0, 0}},
    {"MOV r32, SIB", 3, {0x8b, 0x04, 0x26}},
    {"MOV r9d", 3, {0x44, 0x8b, 0x0e}},
    {"ADD m32, r32", 2, {0x01, 0x16}},
    {"ADD r32, m32", 2, {0x03, 0x06}},
    {"OR m32, imm8", 3, {0x83, 0x0e, 0x0c}},
    {"AND m32, imm32", 6, {0x81, 0x26, 0x0f, 0, 0, 0}},
    {"SUB m32, r32", 2, {0x29, 0x1e}},
    {"XOR m32, r32", 2, {0x31, 0x1e}},
    {"INC m32", 2, {0xff, 0x06}},
    {"DEC m32", 2, {0xff, 0x0e}},
    {"NOT, AND m32", 8, {0xf7, 0x16, 0x81, 0x26, 0xff, 0, 0, 0}},
    {"LOCK OR m32, r32", 3, {0xf0, 0x09, 0x16}},
    {"LOCK INC m32", 3, {0xf0, 0xff, 0x06}},
    {"XCHG m32", 2, {0x87, 0x1e}},
    {"BTS m32, imm", 4, {0x0f, 0xba, 0x2e, 3}},
    {"BTR m32, imm", 4, {0x0f, 0xba, 0x36, 4}},
    {"XADD m32", 3, {0x0f, 0xc1, 0x16}},
    {"CMPXCHG m32, not equal", 3, {0x0f, 0xb1, 0x16}},
    {"MOVSXD r64", 3, {0x48, 0x63, 0x06}},
    {"STOSD", 1, {0xab}},
    {"LODSD", 1, {0xad}},
    {"REP STOSD of 1", 2, {0xf3, 0xab}},
    {"CMP m32, imm32; LAHF", 7, {0x81, 0x3e, 0xf3, 0, 0, 0, 0x9f}},
    {"CMP r32; SBB", 4, {0x3b, 0x06, 0x19, 0xc0}},
    {"TEST m32; SBB", 8, {0xf7, 0x06, 0x80, 0, 0, 0, 0x19, 0xc0}},
    {"ADD m32; LAHF", 3, {0x01, 0x1e, 0x9f}},
    {"CMP m32, imm8; LAHF", 4, {0x83, 0x3e, 0x73, 0x9f}},
};

static struct code run(const struct row *row, uint64_t address)
{
    struct code code = {.rax = 0x1122334455667788,
                        .rbx = 0x10,
                        .rcx = 1,
                        .rdx = 0x40,
                        .rsi = address,
                        .rdi = address,
                        .length = row->length};
    memcpy(code.bytes, row->bytes, row->length);
    struct probe p = code_probe(&code);
    if (p.vector != PROBE_NONE)
        code.rax = 0xdead0000 | p.vector;
    code.rsi -= address;
    code.rdi -= address;
    return code;
}

static void check_row(const struct row *row)
{
    static uint32_t ram;
    volatile uint32_t *device = (volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS;

    ram = START & 0xff;
    struct code want = run(row, (uint64_t)&ram);
    *device = START & 0xff;
    struct code got = run(row, IOAPIC_ADDRESS);
    bool same = got.rax == want.rax && got.rbx == want.rbx && got.rdx == want.rdx &&
                got.rsi == want.rsi && got.rdi == want.rdi && got.rcx == want.rcx;
    uint32_t left = *device & 0xff;
    if (!test_check(same && left == (ram & 0xff), row->what, "as on RAM"))
        print("  rax %lx rbx %lx rdx %lx memory %x, not %lx %lx %lx %x\n", got.rax, got.rbx,
              got.rdx, left, want.rax, want.rbx, want.rdx, ram & 0xff);
}

/* Narrow reads of unclaimed memory: what extends, what leaves the rest alone. */
static const struct {
    struct row row;
    uint64_t rax;
} narrow[] = {
    {{"MOV AL", 2, {0x8a, 0x06}}, 0x11223344556677ff},
    {{"MOV AH", 2, {0x8a, 0x26}}, 0x112233445566ff88},
    {{"MOV AX", 3, {0x66, 0x8b, 0x06}}, 0x112233445566ffff},
    {{"MOV EAX", 2, {0x8b, 0x06}}, 0xffffffff},
    {{"MOV RAX", 3, {0x48, 0x8b, 0x06}}, ~0ull},
    {{"MOVZX EAX, m8", 3, {0x0f, 0xb6, 0x06}}, 0xff},
    {{"MOVZX EAX, m16", 3, {0x0f, 0xb7, 0x06}}, 0xffff},
    {{"MOVSX EAX, m8", 3, {0x0f, 0xbe, 0x06}}, 0xffffffff},
    {{"MOVSX RAX, m8", 4, {0x48, 0x0f, 0xbe, 0x06}}, ~0ull},
    {{"MOVSX AX, m8", 4, {0x66, 0x0f, 0xbe, 0x06}}, 0x112233445566ffff},
    {{"MOVSX RAX, m16", 4, {0x48, 0x0f, 0xbf, 0x06}}, ~0ull},
    {{"AND AL", 2, {0x22, 0x06}}, 0x1122334455667788},
    {{"OR EAX, EAX; NOT", 4, {0x0b, 0x06, 0xf7, 0xd0}}, 0},
    {{"moffs AL", 9, {0xa0, 0, 0, 0, 0xd0, 0, 0, 0, 0}}, 0x11223344556677ff},
    {{"32-bit address", 3, {0x67, 0x8b, 0x06}}, 0xffffffff},
    {{"LODSQ", 2, {0x48, 0xad}}, ~0ull},
    {{"displacement", 3, {0x8a, 0x46, 0x7f}}, 0x11223344556677ff},
    {{"scaled index", 4, {0x8a, 0x44, 0x8e, 0x10}}, 0x11223344556677ff},
};

static void check_strings(void)
{
    static uint8_t buffer[8192];
    struct code in = {
        .rsi = HOLE, .rdi = (uint64_t)buffer, .rcx = 5000, .length = 2, .bytes = {0xf3, 0xa4}};
    struct code out = {
        .rsi = (uint64_t)buffer, .rdi = HOLE, .rcx = 5000, .length = 2, .bytes = {0xf3, 0xa4}};
    test_equal(code_probe(&in).vector, PROBE_NONE, "REP MOVSB of 5000 bytes from nowhere", "MOVS");
    bool ones = true;
    for (unsigned i = 0; i < 5000; i++)
        ones = ones && buffer[i] == 0xff;
    test_check(ones && buffer[5000] == 0, "all ones, and no more", "unclaimed memory");
    test_check(in.rcx == 0 && in.rsi == HOLE + 5000, "its registers are at the end", "REP");
    test_equal(code_probe(&out).vector, PROBE_NONE, "REP MOVSB to nowhere", "MOVS");
    test_check(out.rcx == 0 && out.rdi == HOLE + 5000, "its registers are at the end", "REP");

    struct code self = {
        .rsi = HOLE, .rdi = HOLE + 0x10000, .rcx = 40, .length = 3, .bytes = {0xf3, 0x48, 0xa5}};
    test_equal(code_probe(&self).vector, PROBE_NONE, "REP MOVSQ from nowhere to nowhere", "MOVS");
    test_equal(self.rcx, 0, "it ends", "REP");
}

int main(void)
{
    test_begin("mmio", "device memory by every kind of instruction");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
    for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++)
        test_equal(run(&narrow[i].row, HOLE).rax, narrow[i].rax, narrow[i].row.what,
                   "unclaimed memory is all ones");
    check_strings();
    return test_end();
}
