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
    uint8_t bytes[15];
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
    {"ADC m32; LAHF", 4, {0xf9, 0x11, 0x1e, 0x9f}},
    {"SBB m32; LAHF", 4, {0xf9, 0x19, 0x1e, 0x9f}},
    {"MOVD m32, xmm", 8, {0x66, 0x0f, 0x6e, 0xca, 0x66, 0x0f, 0x7e, 0x0f}},
    {"MOVSS m32, xmm", 8, {0x66, 0x0f, 0x6e, 0xca, 0xf3, 0x0f, 0x11, 0x0f}},
    {"MOVSS xmm, m32", 8, {0xf3, 0x0f, 0x10, 0x0e, 0x66, 0x0f, 0x7e, 0xc8}},
    {"MOVD xmm, m32", 8, {0x66, 0x0f, 0x6e, 0x0e, 0x66, 0x0f, 0x7e, 0xc8}},
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
    {{"PUSH m64; POP", 3, {0xff, 0x36, 0x58}}, ~0ull},
    {{"PUSH m16; POP AX", 5, {0x66, 0xff, 0x36, 0x66, 0x58}}, 0x112233445566ffff},
    {{"PUSH; POP m64", 3, {0x50, 0x8f, 0x06}}, 0x1122334455667788},
    {{"CMPXCHG8B, not equal", 3, {0x0f, 0xc7, 0x0e}}, 0xffffffff},
    {{"CMPXCHG16B, not equal", 4, {0x48, 0x0f, 0xc7, 0x0e}}, ~0ull},
    {{"REPNE SCASB; LAHF", 3, {0xf2, 0xae, 0x9f}}, 0x1122334455669388},
    /* What no driver uses on a device's memory. */
    {{"CMP AL, AL; CMOVZ EAX", 5, {0x38, 0xc0, 0x0f, 0x44, 0x06}}, 0xffffffff},
    {{"SETNZ m8", 3, {0x0f, 0x95, 0x06}}, 0x1122334455667788},
    {{"ROL m32, 3", 3, {0xc1, 0x06, 0x03}}, 0x1122334455667788},
    {{"SHLD m32, EAX, 4", 4, {0x0f, 0xa4, 0x06, 0x04}}, 0x1122334455667788},
    {{"MUL m32", 2, {0xf7, 0x26}}, 0xaa998878},
    {{"IMUL EAX, m32, 3", 3, {0x6b, 0x06, 0x03}}, 0xfffffffd},
    {{"DIV m8", 2, {0xf6, 0x36}}, 0x1122334455660078},
    {{"BSF EAX, m32", 3, {0x0f, 0xbc, 0x06}}, 0},
    {{"POPCNT EAX, m32", 4, {0xf3, 0x0f, 0xb8, 0x06}}, 32},
    {{"SMSW m16", 3, {0x0f, 0x01, 0x26}}, 0x1122334455667788},
    {{"SGDT", 3, {0x0f, 0x01, 0x06}}, 0x1122334455667788},
    {{"FLD m32; FSTP", 4, {0xd9, 0x06, 0xdd, 0xd8}}, 0x1122334455667788},
    {{"FXSAVE", 3, {0x0f, 0xae, 0x06}}, 0x1122334455667788},
    {{"PCMPEQB, PSUBB m128; MOVD EAX",
      12,
      {0x66, 0x0f, 0x74, 0xc0, 0x66, 0x0f, 0xf8, 0x06, 0x66, 0x0f, 0x7e, 0xc0}},
     0},
    {{"MOV ES, m16: #GP", 2, {0x8e, 0x06}}, 0xdead0000 | VECTOR_GP},
    {{"CALL m64: #PF at its target", 2, {0xff, 0x16}}, 0xdead0000 | VECTOR_PF},
    {{"PUSH; POP RAX on it as a stack", 9, {0x48, 0x87, 0xe7, 0x6a, 5, 0x58, 0x48, 0x87, 0xe7}},
     ~0ull},
    {{"CALL on it as a stack",
      13,
      {0x48, 0x87, 0xe7, 0xe8, 0, 0, 0, 0, 0x48, 0x87, 0xe7, 0x89, 0xc0}},
     0x55667788},
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

/* Loads of vector registers from where nobody answers, and from RAM full of ones: the same. First
 * the bytes that load register 1 from [RSI]; then, if AVX is there, with VEX. */
static const struct row vectors[] = {
    {"MOVUPS", 3, {0x0f, 0x10, 0x0e}},
    {"MOVUPD", 4, {0x66, 0x0f, 0x10, 0x0e}},
    {"MOVAPS", 3, {0x0f, 0x28, 0x0e}},
    {"MOVDQA", 4, {0x66, 0x0f, 0x6f, 0x0e}},
    {"MOVDQU", 4, {0xf3, 0x0f, 0x6f, 0x0e}},
    {"LDDQU", 4, {0xf2, 0x0f, 0xf0, 0x0e}},
    {"MOVNTDQA", 5, {0x66, 0x0f, 0x38, 0x2a, 0x0e}},
    {"MOVSS", 4, {0xf3, 0x0f, 0x10, 0x0e}},
    {"MOVSD", 4, {0xf2, 0x0f, 0x10, 0x0e}},
    {"MOVLPS", 3, {0x0f, 0x12, 0x0e}},
    {"MOVHPS", 3, {0x0f, 0x16, 0x0e}},
    {"MOVQ", 4, {0xf3, 0x0f, 0x7e, 0x0e}},
    {"MOVQ r64", 5, {0x66, 0x48, 0x0f, 0x6e, 0x0e}},
    {"VMOVUPS xmm", 4, {0xc5, 0xf8, 0x10, 0x0e}},
    {"VMOVUPS ymm", 4, {0xc5, 0xfc, 0x10, 0x0e}},
    {"VMOVAPS ymm", 4, {0xc5, 0xfc, 0x28, 0x0e}},
    {"VMOVDQA ymm", 4, {0xc5, 0xfd, 0x6f, 0x0e}},
    {"VMOVDQU xmm", 4, {0xc5, 0xfa, 0x6f, 0x0e}},
    {"VMOVDQU ymm", 4, {0xc5, 0xfe, 0x6f, 0x0e}},
    {"VMOVSS", 4, {0xc5, 0xfa, 0x10, 0x0e}},
    {"VMOVHPS of register 2", 4, {0xc5, 0xe8, 0x16, 0x0e}},
    {"VMOVLPS of register 2", 4, {0xc5, 0xe8, 0x12, 0x0e}},
    {"VMOVQ", 4, {0xc5, 0xfa, 0x7e, 0x0e}},
};

/* Stores of register 1 to [RDI]. */
static const struct row stores[] = {
    {"MOVUPS", 3, {0x0f, 0x11, 0x0f}},
    {"MOVAPS", 3, {0x0f, 0x29, 0x0f}},
    {"MOVNTPS", 3, {0x0f, 0x2b, 0x0f}},
    {"MOVNTDQ", 4, {0x66, 0x0f, 0xe7, 0x0f}},
    {"MOVDQU", 4, {0xf3, 0x0f, 0x7f, 0x0f}},
    {"MOVHPS", 3, {0x0f, 0x17, 0x0f}},
    {"MOVQ", 4, {0x66, 0x0f, 0xd6, 0x0f}},
    {"VMOVUPS ymm", 4, {0xc5, 0xfc, 0x11, 0x0f}},
    {"VMOVNTDQ ymm", 4, {0xc5, 0xfd, 0xe7, 0x0f}},
};

static struct probe run_at(const struct row *row, uint64_t rsi, uint64_t rdi)
{
    struct code code = {.rsi = rsi, .rdi = rdi, .length = row->length};
    memcpy(code.bytes, row->bytes, row->length);
    return code_probe(&code);
}

/* Register 1 (all of YMM1 with AVX) after a load from an address, having held a pattern. */
static struct probe load_from(const struct row *row, bool avx, uint64_t address, uint64_t value[4])
{
    static const uint64_t pattern[8] __attribute__((aligned(32))) = {
        0x0101010101010101, 0x0202020202020202, 0x0303030303030303, 0x0404040404040404,
        0x1111111111111111, 0x1212121212121212, 0x1313131313131313, 0x1414141414141414};
    static const struct row fill[2] = {
        {"", 7, {0x0f, 0x10, 0x0e, 0x0f, 0x10, 0x56, 0x20}},
        {"", 9, {0xc5, 0xfc, 0x10, 0x0e, 0xc5, 0xfc, 0x10, 0x56, 0x20}}};
    static const struct row save[2] = {{"", 3, {0x0f, 0x11, 0x0f}},
                                       {"", 4, {0xc5, 0xfc, 0x11, 0x0f}}};
    (void)run_at(&fill[avx], (uint64_t)pattern, 0);
    struct probe p = run_at(row, address, 0);
    (void)run_at(&save[avx], 0, (uint64_t)value);
    return p;
}

static void check_vectors(void)
{
    static uint64_t ram[4] __attribute__((aligned(32)));
    static const char RULE[] = "as from RAM";
    bool avx = (cpuid(1, 0).ecx >> 28 & 1) != 0;
    if (avx) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        __asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    }
    memset(ram, 0xff, sizeof(ram));
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct row *row = &vectors[i];
        uint64_t want[4] = {0, 0, 0, 0}, got[4] = {0, 0, 0, 0};
        if (row->bytes[0] == 0xc5 && !avx)
            continue;
        load_from(row, avx, (uint64_t)ram, want);
        struct probe p = load_from(row, avx, HOLE, got);
        test_check(p.vector == PROBE_NONE && memcmp(want, got, sizeof(got)) == 0, row->what, RULE);
        write_cr0(read_cr0() | CR0_TS);
        test_equal(run_at(row, HOLE, 0).vector, VECTOR_NM, row->what, "#NM with CR0.TS");
        write_cr0(read_cr0() & ~CR0_TS);
    }
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++)
        if (stores[i].bytes[0] != 0xc5 || avx)
            test_equal(run_at(&stores[i], 0, HOLE).vector, PROBE_NONE, stores[i].what,
                       "a store to nowhere");
    test_equal(run_at(&vectors[2], HOLE + 8, 0).vector, VECTOR_GP, "MOVAPS, not aligned",
               "#GP whatever is there");
    test_equal(run_at(&vectors[0], HOLE + 0xff8, 0).vector, PROBE_NONE, "MOVUPS across two pages",
               "unclaimed memory");
}

#define RFLAGS_TF 0x100ull
#define RFLAGS_RF 0x10000ull

static volatile unsigned steps, steps_inside;
static volatile uint64_t last_rip, last_rcx;
static volatile bool flags_right;

/* Behind the last iteration the trap comes after the instruction; before it, at it, with RF set. */
static void on_step(struct trap_frame *frame)
{
    steps++;
    flags_right = flags_right && frame->rcx + steps == last_rcx &&
                  ((frame->rflags & RFLAGS_RF) != 0) == (frame->rcx != 0);
    if (frame->rcx == 0) {
        frame->rflags &= ~RFLAGS_TF;
        return;
    }
    steps_inside += last_rip == 0 || frame->rip == last_rip;
    last_rip = frame->rip;
}

/* PUSHF; OR [RSP], TF; POPF; then the instruction. */
static void check_single_step(const char *what, uint8_t operation, uint64_t rsi, uint64_t rdi)
{
    struct code code = {.rcx = 5,
                        .rdx = 0x3ff,
                        .rsi = rsi,
                        .rdi = rdi,
                        .length = 11,
                        .bytes = {0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xf3, operation}};
    steps = steps_inside = 0;
    last_rip = 0;
    last_rcx = 5;
    flags_right = true;
    trap_set_handler(VECTOR_DB, on_step);
    code_probe(&code);
    trap_set_handler(VECTOR_DB, NULL);
    test_check(steps == 5 && steps_inside == 4 && flags_right, what, "a trap after each iteration");
}

/* ROL m32, 3 where nothing is: executed by the CPU itself. */
static void check_single_step_of_one(void)
{
    struct code code = {.rsi = HOLE,
                        .length = 12,
                        .bytes = {0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xc1, 0x06, 3}};
    steps = 0;
    last_rcx = 1;
    flags_right = true;
    trap_set_handler(VECTOR_DB, on_step);
    code_probe(&code);
    trap_set_handler(VECTOR_DB, NULL);
    test_check(steps == 1 && flags_right, "ROL of unclaimed memory", "a trap behind it");
}

static void check_single_steps(void)
{
    static uint8_t ram[8];
    check_single_step("REP MOVSB from device memory", 0xa4, HOLE, (uint64_t)ram);
    check_single_step("REP MOVSB to device memory", 0xa4, (uint64_t)ram, HOLE);
    check_single_step("REP STOSB to device memory", 0xaa, 0, HOLE);
    check_single_step("REP INSB", 0x6c, 0, (uint64_t)ram);
    check_single_step("REP OUTSB", 0x6e, (uint64_t)ram, 0);
    check_single_step_of_one();
}

int main(void)
{
    test_begin("mmio", "device memory by every kind of instruction");
    write_cr4(read_cr4() | CR4_OSFXSR);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
    for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++)
        test_equal(run(&narrow[i].row, HOLE).rax, narrow[i].rax, narrow[i].row.what,
                   "unclaimed memory is all ones");
    check_strings();
    check_vectors();
    check_single_steps();
    return test_end();
}
