/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/ring3.efi: instructions that only compute, executed singly for a guest whose memory is
 * an array. test_ring3_compute compares thousands of them with the CPU, on the development machine;
 * this is about the way there and back, on the host's own page tables and CPU. */
#include "guest/ring3/compute.h"

#include "arch/bytes.h"
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/string.h"
#include "tests/ring3/ring3.h"

enum { AX, CX, DX, BX, SP, BP, SI, DI, R11 = 11 };

#define GUEST_BASE 0x4000ull /* linear, of the array */
#define ROUNDS     10u
#define PER_ROUND  100u

static struct ring3_window window;
static uint8_t memory[8192] __attribute__((aligned(64)));
static uint64_t gpr[16], flags;
static unsigned raised;

static bool translate(void *ctx, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out)
{
    (void)ctx;
    (void)write;
    if (linear.v < GUEST_BASE || linear.v + bytes > GUEST_BASE + sizeof(memory)) {
        raised = VECTOR_PAGE_FAULT;
        return false;
    }
    *out = (struct emulate_operand){{gpa(linear.v - GUEST_BASE)}, bytes, bytes};
    return true;
}

static void read_memory(void *ctx, const struct emulate_operand *operand, void *to)
{
    (void)ctx;
    memcpy(to, memory + operand->at[0].v, operand->bytes);
}

static void write_memory(void *ctx, const struct emulate_operand *operand, const void *from)
{
    (void)ctx;
    memcpy(memory + operand->at[0].v, from, operand->bytes);
}

static void get_segment(void *ctx, enum insn_segment number, struct emulate_segment *out)
{
    (void)ctx;
    (void)number;
    *out = (struct emulate_segment){0, UINT32_MAX, SEGMENT_DATA32};
}

static void raise_vector(void *ctx, unsigned vector)
{
    (void)ctx;
    raised = vector;
}

static bool x87_pending(void *ctx)
{
    (void)ctx;
    return (cpu_fnstsw() & 0x80) != 0;
}

static struct emulate_env env = {
    .gpr = gpr,
    .rflags = &flags,
    .cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_MP,
    .cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PAE,
    .mode = INSN_64,
    .translate = translate,
    .read = read_memory,
    .write = write_memory,
    .segment = get_segment,
    .raise = raise_vector,
    .x87_pending = x87_pending,
};

/* Whether the instruction comes to its end. */
static bool run_bytes(const uint8_t *bytes)
{
    struct compute what;
    raised = 99;
    if (compute_decode(&what, bytes, INSN_MAX_BYTES, env.mode) != INSN_OK)
        return false;
    return ring3_compute(&window, &env, &what, bytes) == RING3_DONE;
}
#define run(...) run_bytes((const uint8_t[INSN_MAX_BYTES]){__VA_ARGS__})

static void clear_all(void)
{
    memset(memory, 0, sizeof(memory));
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = i;
    gpr[DI] = gpr[BX] = GUEST_BASE + 64;
    put_le(memory + 64, 4, 7);
    flags = RFLAGS_FIXED;
}

/* 7 + 7 by SSE2 and by x87, in the code of each mode: [DI], or [BX]. */
static void check_modes(void)
{
    for (enum insn_mode mode = INSN_16; mode <= INSN_64; mode++) {
        clear_all();
        env.mode = mode;
        check(run(0xf2, 0x0f, 0x2a, 0x07)); /* CVTSI2SD XMM0, [DI] */
        check(run(0xf2, 0x0f, 0x58, 0xc0)); /* ADDSD XMM0, XMM0 */
        check(run(0xf2, 0x0f, 0x2c, 0xc8)); /* CVTTSD2SI ECX, XMM0 */
        check(gpr[CX] == 14);
        check(run(0xf2, 0x0f, 0x2c, 0xe0) && gpr[SP] == 14); /* ESP */
        check(run(0xdb, 0x07));                              /* FILD [DI] */
        check(run(0xd8, 0xc0));                              /* FADD ST0, ST0 */
        check(run(0xdb, 0x5f, 4));                           /* FISTP [DI + 4] */
        check(get_le32(memory + 68) == 14);
    }
    check(run(0xf2, 0x4c, 0x0f, 0x2c, 0xd8) && gpr[R11] == 14); /* CVTTSD2SI R11, XMM0 */
    check(gpr[AX] == 0 && gpr[DX] == 2);
}

static void check_flags_and_faults(void)
{
    clear_all();
    check(run(0x66, 0x0f, 0x2e, 0xc0)); /* UCOMISD XMM0, XMM0: equal */
    check((flags & (RFLAGS_ZF | RFLAGS_CF)) == RFLAGS_ZF);
    check(run(0xf2, 0x0f, 0x38, 0xf0, 0xc1)); /* CRC32 EAX, CL */
    const uint64_t before = gpr[AX];
    env.cr0 |= CR0_TS;
    check(!run(0xf2, 0x0f, 0x2c, 0xc0) && raised == VECTOR_DEVICE_NOT_AVAILABLE);
    env.cr0 &= ~CR0_TS;
    check(!run(0xf2, 0x0f, 0x04, 0xc0) && !run(0x66, 0x0f, 0x38, 0xff, 0xc0));
    gpr[DI] = GUEST_BASE - 64;
    check(!run(0xf2, 0x0f, 0x2a, 0x07) && raised == VECTOR_PAGE_FAULT);
    check(gpr[AX] == before);
    gpr[DI] = GUEST_BASE + 4090; /* into the next page */
    put_le(memory + 4090, 8, 0x3ff8000000000000);
    check(run(0xf2, 0x0f, 0x5a, 0x07) && run(0xf3, 0x0f, 0x2d, 0xc0)); /* CVTSD2SS, CVTSS2SI */
    check(gpr[AX] == 2);
    /* What is no exception of the guest's is still none of the host's. */
    check(!run(0xff, 0xff) && run(0xd9, 0xe8) && run(0xdd, 0xd8)); /* FLD1, FSTP ST0 */
}

static void check_memory_forms(void)
{
    clear_all();
    check(run(0x0f, 0xae, 0x5f, 4)); /* STMXCSR [RDI + 4] */
    check((get_le32(memory + 68) & ~0x3fu) == 0x1f80);
    gpr[DI] = GUEST_BASE + 64;
    check(run(0x0f, 0xae, 0x07) && (get_le32(memory + 88) & ~0x3fu) == 0x1f80); /* FXSAVE */
    check(run(0x0f, 0xae, 0x0f));                                               /* FXRSTOR */
    memset(memory + 512, 0x80, 16);
    memset(memory + 1024, 0x55, 16);
    gpr[SI] = GUEST_BASE + 512;
    gpr[DI] = GUEST_BASE + 1024;
    memory[515] = 0;
    check(run(0x66, 0x0f, 0xfc, 0x0e)); /* PADDB XMM1, [RSI]: from what it was */
    check(run(0x66, 0x0f, 0xef, 0xc9) && run(0x66, 0x0f, 0xeb, 0x0e)); /* PXOR, POR XMM1 */
}

/* Whom the x87 unit tells of: the guest's own addresses. */
static void check_x87_pointers(void)
{
    clear_all();
    env.rip = 0x123456789a;
    check(run(0xd9, 0xe8));    /* FLD1 */
    check(run(0xd8, 0x47, 4)); /* FADD [RDI + 4] */
    env.rip = 0x55;
    check(run(0x9b) && run(0xd9, 0x77, 64)); /* FNSTENV [RDI + 64] */
    const uint8_t *image = memory + 128;
    if ((get_le32(image + 16) & 0xffff) == DESC_CODE) /* QEMU 7.2 counts the host's FNSTSW */
        return;
    check(get_le32(image + 12) == 0x3456789a && get_le32(image + 20) == GUEST_BASE + 68);
    check((get_le32(image + 16) >> 16 & 0x7ff) == 0x047);
    gpr[DI] = GUEST_BASE + 256;
    check(run(0x48, 0x0f, 0xae, 0x07)); /* FXSAVE64 [RDI] */
    check(get_le64(memory + 264) == 0x123456789a && get_le64(memory + 272) == GUEST_BASE + 68);
    env.cr0 &= ~CR0_PE;
    env.mode = INSN_16;
    gpr[BX] = gpr[DI];
    check(run(0xd9, 0x37) && get_le16(memory + 262) == 0x789a); /* FNSTENV [BX]; 14 bytes */
    check(get_le16(memory + 264) == (0x6000 | 0x047));
    env.cr0 |= CR0_PE;
    env.mode = INSN_64;
    check(run(0xdb, 0xe3) && run(0xd9, 0x77, 64)); /* FNINIT, FNSTENV */
    check(get_le32(memory + 320 + 12) == 0);
    env.rip = 0;
}

static void check_avx(void)
{
    if ((cpu_cpuid(1, 0).ecx & CPUID_1_ECX_AVX) == 0)
        return;
    clear_all();
    cpu_xsetbv(0, XCR0_X87 | XCR0_SSE | XCR0_AVX);
    check(!run(0xc5, 0xfd, 0x58, 0xc0) && raised == VECTOR_INVALID_OPCODE); /* env has no XCR0 */
    env.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    for (unsigned i = 0; i < 4; i++)
        put_le(memory + 128 + 8 * i, 8, 0x3ff0000000000000); /* 1.0 */
    gpr[SI] = GUEST_BASE + 128;
    check(run(0xc4, 0xe2, 0x7d, 0x19, 0x06));        /* VBROADCASTSD YMM0, [RSI] */
    check(run(0xc5, 0xfd, 0x58, 0x06));              /* VADDPD YMM0, YMM0, [RSI] */
    check(run(0xc4, 0xe3, 0x7d, 0x19, 0x46, 32, 1)); /* VEXTRACTF128 [RSI + 32], YMM0, 1 */
    check(get_le64(memory + 160) == 0x4000000000000000 &&
          get_le64(memory + 168) == 0x4000000000000000);
    cpu_xsetbv(0, XCR0_X87);
    env.xcr0 = 0;
}

/* What one costs, for the log: the least of some rounds, since others may want the machine. */
static uint64_t measure(uint8_t modrm)
{
    uint64_t least = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t begin = cpu_rdtsc();
        for (unsigned i = 0; i < PER_ROUND; i++)
            check(run(0xf2, 0x0f, 0x58, modrm)); /* ADDSD XMM0 */
        const uint64_t ticks = (cpu_rdtsc() - begin) / PER_ROUND;
        least = ticks < least ? ticks : least;
    }
    return least;
}

void check_compute(hpa_t root)
{
    check(ring3_window_create(&window, root, 1) == OK);
    __asm__ volatile("fninit");
    check_modes();
    check_flags_and_faults();
    check_memory_forms();
    check_x87_pointers();
    check_avx();
    clear_all();
    const uint64_t in_register = measure(0xc0);
    log_line("ring3: an instruction takes %lu ticks, with an operand in memory %lu", in_register,
             measure(0x07));
    ring3_window_destroy(&window);
}
