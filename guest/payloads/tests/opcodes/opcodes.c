/* SPDX-License-Identifier: BSD-2-Clause */
/* Nearly every instruction with a memory operand, on memory where nothing is, which reads as ones,
 * and on a device's memory: some are emulated, some are left to the CPU. A line for each opcode
 * sums up what its forms and prefixes have made of registers and flags, or how they fault: the bare
 * machine prints the same.
 */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define HOLE           0xd0000800ull
#define DEVICE         0xff000000ull /* the test device's page */
#define PLACE          0x800         /* what is used of it */
#define WORDS          16
#define CR0_EM         (1ull << 2)
#define CR0_NE         (1ull << 5)
#define CR4_OSXMMEXCPT (1ull << 10)
#define ARITHMETIC     0x8d5u /* RFLAGS: OF SF ZF AF PF CF */

/* Opcodes with ModRM, in the map of one byte or of 0F. Left out: LEA, POP, what loads
 * descriptor tables or CR0 (0F 01); of FF all but INC and DEC, for what it does to RSP and RIP. */
static const struct range {
    uint8_t two_bytes, first, last;
    bool group; /* ModRM.reg chooses an operation, not a register */
} ranges[] = {
    {0, 0x00, 0x03, false}, {0, 0x08, 0x0b, false}, {0, 0x10, 0x13, false}, {0, 0x18, 0x1b, false},
    {0, 0x20, 0x23, false}, {0, 0x28, 0x2b, false}, {0, 0x30, 0x33, false}, {0, 0x38, 0x3b, false},
    {0, 0x63, 0x63, false}, {0, 0x69, 0x69, false}, {0, 0x6b, 0x6b, false}, {0, 0x80, 0x83, true},
    {0, 0x84, 0x8c, false}, {0, 0x8e, 0x8e, true},  {0, 0xc0, 0xc1, true},  {0, 0xc6, 0xc7, true},
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

/* One instruction and what it is done to. */
struct run {
    const struct range *range;
    unsigned opcode, prefix, reg;
    uint64_t address, rax;
};

/* The instruction with [RSI], NOPs as what may be its immediate, then MOVD ECX, XMM0 and the flags
 * into RBX. Mixes what has come of it into *sum. */
static void run(const struct run *r, uint64_t *sum)
{
    static const uint8_t tail[] = {0x90, 0x90, 0x90, 0x90, 0x66, 0x0f, 0x7e, 0xc1, 0x9c, 0x5b};
    struct code code = {
        .rax = r->rax, .rbx = 5, .rcx = 3, .rdx = 0x40, .rsi = r->address, .rdi = r->address};
    if (r->prefix != 0)
        code.bytes[code.length++] = (uint8_t)r->prefix;
    if (r->range->two_bytes)
        code.bytes[code.length++] = 0x0f;
    code.bytes[code.length++] = (uint8_t)r->opcode;
    code.bytes[code.length++] = (uint8_t)(6 | r->reg << 3);
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
    mix(sum, code.rsi - r->address);
    mix(sum, code.rdi - r->address);
}

static bool is_control(const struct run *r)
{
    return !r->range->two_bytes && r->opcode == 0xff;
}

/* The runs of an opcode, one after the other: begins with r->prefix and r->reg 0; false: no more.
 */
static bool next(struct run *r, unsigned *number)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0x48, 0xf0};
    unsigned n;
    do {
        n = (*number)++;
        if (n >= 8 * sizeof(prefixes))
            return false;
        r->prefix = prefixes[n / 8];
        r->reg = n % 8;
        /* RSP and RBP are taken, RSI and RDI an address. */
    } while (r->reg >= (r->range->group ? 8 : 4) || (is_control(r) && r->reg >= 2));
    return true;
}

static unsigned run_on_nothing(const struct range *range, unsigned opcode)
{
    struct run r = {.range = range, .opcode = opcode, .address = HOLE, .rax = 0x1122334455667788};
    uint64_t sum = 0xcbf29ce484222325;
    unsigned count = 0;
    for (unsigned number = 0; next(&r, &number); count++)
        run(&r, &sum);
    print("opcodes: %s%x: %lx\n", range->two_bytes ? "f " : "", opcode, sum);
    return count;
}

/* A page of the test device, whose bytes stay what was written, and RAM with the same in it. */
static unsigned differences(const struct range *range, unsigned opcode)
{
    static uint8_t ram[4096] __attribute__((aligned(4096)));
    volatile uint8_t *const page[2] = {ram, (volatile uint8_t *)DEVICE};
    struct run r = {.range = range, .opcode = opcode, .rax = 0x1f4};
    unsigned count = 0;
    for (unsigned number = 0; next(&r, &number);) {
        uint64_t sum[2] = {0, 0};
        for (unsigned i = 0; i < 2; i++) {
            volatile uint64_t *words = (volatile uint64_t *)(page[i] + PLACE);
            for (unsigned word = 0; word < WORDS; word++)
                words[word] = 0x0b30557a9fc4e90eull * (word + 1);
            r.address = (uint64_t)words;
            run(&r, &sum[i]);
            for (unsigned word = 0; word < WORDS; word++)
                mix(&sum[i], words[word]);
        }
        if (sum[0] == sum[1])
            continue;
        count++;
        print("  not as on RAM: prefix %x, %s%x /%x\n", r.prefix, range->two_bytes ? "f " : "",
              opcode, r.reg);
    }
    return count;
}

static unsigned for_each(unsigned (*function)(const struct range *range, unsigned opcode))
{
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        for (unsigned opcode = ranges[i].first; opcode <= ranges[i].last; opcode++)
            count += function(&ranges[i], opcode);
    return count;
}

void return_at_once(void);
__asm__("return_at_once: ret");

/* PUSH 5, CALL [RSI], RET, POP RAX with the stack there. */
static void check_stack(void)
{
    struct code code = {.rsi = DEVICE,
                        .rdi = DEVICE + 0x800,
                        .length = 11,
                        .bytes = {0x48, 0x87, 0xe7, 0x6a, 5, 0xff, 0x16, 0x58, 0x48, 0x87, 0xe7}};
    *(volatile uint64_t *)DEVICE = (uint64_t)return_at_once;
    test_fault(code_probe(&code), (struct probe){PROBE_NONE, 0}, "CALL, with its stack there",
               "as on RAM");
    test_equal(code.rax, 5, "PUSH and POP", "as on RAM");
    *(volatile uint64_t *)DEVICE = 0xc30000002ab8; /* MOV EAX, 42; RET */
    test_equal(((uint32_t(*)(void))DEVICE)(), 42, "code there", "as on RAM");
}

int main(void)
{
    test_begin("opcodes", "every memory operand where nothing is");
    write_cr0((read_cr0() | CR0_NE) & ~(CR0_EM | CR0_TS));
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    test_equal(for_each(run_on_nothing), 7356, "all were executed, or faulted",
               "as on the bare machine");
    if (test_only(TEST_VM)) {
        test_equal(for_each(differences), 0, "on a page of device memory", "as on RAM");
        check_stack();
    }
    test_both();
    return test_end();
}
