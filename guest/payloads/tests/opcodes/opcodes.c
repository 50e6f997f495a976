/* SPDX-License-Identifier: BSD-2-Clause */
/* Nearly every instruction with a memory operand, on memory where nothing is, which reads as ones:
 * some are emulated, some are left to the CPU. A line for each opcode sums up what its forms and
 * prefixes have made of registers and flags, or how they fault: the bare machine prints the same.
 */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define HOLE           0xd0000800ull
#define CR0_EM         (1ull << 2)
#define CR0_NE         (1ull << 5)
#define CR4_OSXMMEXCPT (1ull << 10)
#define ARITHMETIC     0x8d5u /* RFLAGS: OF SF ZF AF PF CF */

/* Opcodes with ModRM, in the map of one byte or of 0F. Left out: what loads descriptor tables, or
 * CR0 (0F 01). */
static const struct range {
    uint8_t two_bytes, first, last;
    bool group; /* ModRM.reg chooses an operation, not a register */
} ranges[] = {
    {0, 0x00, 0x03, false}, {0, 0x08, 0x0b, false}, {0, 0x10, 0x13, false}, {0, 0x18, 0x1b, false},
    {0, 0x20, 0x23, false}, {0, 0x28, 0x2b, false}, {0, 0x30, 0x33, false}, {0, 0x38, 0x3b, false},
    {0, 0x63, 0x63, false}, {0, 0x69, 0x69, false}, {0, 0x6b, 0x6b, false}, {0, 0x80, 0x83, true},
    {0, 0x84, 0x8d, false}, {0, 0x8e, 0x8f, true},  {0, 0xc0, 0xc1, true},  {0, 0xc6, 0xc7, true},
    {0, 0xd0, 0xd3, true},  {0, 0xd8, 0xdf, true},  {0, 0xf6, 0xf7, true},  {0, 0xfe, 0xff, true},
    {1, 0x00, 0x00, true},  {1, 0x02, 0x03, false}, {1, 0x0d, 0x0d, true},  {1, 0x10, 0x17, false},
    {1, 0x18, 0x1f, true},  {1, 0x28, 0x2f, false}, {1, 0x40, 0x76, false}, {1, 0x78, 0x7f, false},
    {1, 0x90, 0x9f, true},  {1, 0xa3, 0xa5, false}, {1, 0xab, 0xad, false}, {1, 0xae, 0xae, true},
    {1, 0xaf, 0xb8, false}, {1, 0xba, 0xba, true},  {1, 0xbb, 0xc6, false}, {1, 0xc7, 0xc7, true},
    {1, 0xd0, 0xfe, false},
};

static void mix(uint64_t *sum, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        *sum = (*sum ^ (value >> 8 * i & 0xff)) * 0x100000001b3; /* FNV-1a */
}

/* The instruction with [RSI], NOPs as what may be its immediate, then MOVD ECX, XMM0 and the flags
 * into RBX. */
static void run(const struct range *range, unsigned opcode, unsigned prefix, unsigned reg,
                uint64_t *sum)
{
    static const uint8_t tail[] = {0x90, 0x90, 0x90, 0x90, 0x66, 0x0f, 0x7e, 0xc1, 0x9c, 0x5b};
    struct code code = {
        .rax = 0x1122334455667788, .rbx = 5, .rcx = 3, .rdx = 0x40, .rsi = HOLE, .rdi = HOLE};
    if (prefix != 0)
        code.bytes[code.length++] = (uint8_t)prefix;
    if (range->two_bytes)
        code.bytes[code.length++] = 0x0f;
    code.bytes[code.length++] = (uint8_t)opcode;
    code.bytes[code.length++] = (uint8_t)(6 | reg << 3);
    memcpy(code.bytes + code.length, tail, sizeof(tail));
    code.length = (uint8_t)(code.length + sizeof(tail));
    __asm__ volatile("fninit; xorps %xmm0, %xmm0; xorps %xmm1, %xmm1");
    struct probe p = code_probe(&code);
    mix(sum, p.vector);
    mix(sum, p.error);
    mix(sum, code.rax);
    mix(sum, p.vector == PROBE_NONE ? code.rbx & ARITHMETIC : 0);
    mix(sum, code.rcx);
    mix(sum, code.rdx);
    mix(sum, code.rsi);
    mix(sum, code.rdi);
}

static unsigned run_opcode(const struct range *range, unsigned opcode)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0x48, 0xf0};
    uint64_t sum = 0xcbf29ce484222325;
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(prefixes); i++) {
        for (unsigned reg = 0; reg < 8; reg++) {
            if (!range->group && (reg == 4 || reg == 5)) /* RSP and RBP are taken */
                continue;
            run(range, opcode, prefixes[i], reg, &sum);
            count++;
        }
    }
    print("opcodes: %s%x: %lx\n", range->two_bytes ? "f " : "", opcode, sum);
    return count;
}

int main(void)
{
    test_begin("opcodes", "every memory operand where nothing is");
    write_cr0((read_cr0() | CR0_NE) & ~(CR0_EM | CR0_TS));
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        for (unsigned opcode = ranges[i].first; opcode <= ranges[i].last; opcode++)
            count += run_opcode(&ranges[i], opcode);
    test_equal(count, 9876, "all were executed, or faulted", "as on the bare machine");
    return test_end();
}
