// link: guest/ring3/compute.c guest/ring3/operand.c guest/ring3/operand_area.c guest/ring3/encode.c guest/ring3/single.c guest/ring3/x87.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operands.c guest/cpu/operand_table.c guest/cpu/emulate.c guest/cpu/alu.c guest/cpu/integer.c
// libs: -lZydis
/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that only compute: as ring3_compute() has them executed, and as the CPU that runs
 * the test executes the very bytes, in 64-bit, 32-bit and 16-bit code: random ones of x87, MMX,
 * SSE, AVX, AVX-512 and what is between them, on random registers and memory. Compared are all
 * registers, memory, flags and exceptions. Which of them the CPU knows is its own matter: where it
 * knows none, both are undefined. Where the machine executes 64-bit code alone, of the other modes
 * it is only seen that what is refused changes nothing.
 */
#include "tests/unit/ring3_native.h"

#include <Zydis/Zydis.h>

#include "guest/ring3/compute.h"
#include "guest/vm/vector.h"

enum { SAMPLES = 120000, MIN_EXECUTED = 20000, MAX_SHOWN = 12 };
enum { CX = 1, BX = 3, SP = 4, DI = 7 };

#define AREA_BYTES 32768u
#define CODE_BYTES 4096u
#define STATUS     0x8d5ull

static uint8_t *area, *code_page;
static struct ring3_window window;
static struct native live; /* the guest's registers as they are in the CPU */
static unsigned raised, executed, shown;
static uint32_t segment_base;

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* --- what ring3_compute() stands on --- */

uint64_t physmap_base;

/* SYSCALL would be the kernel's: UD2 takes its place for a moment. */
unsigned ring3_enter(struct ring3_frame *frame)
{
    static const uint8_t store_r11[] = {0x4c, 0x89, 0x1d};
    uint8_t *at = (uint8_t *)(uintptr_t)frame->rip;
    while (memcmp(at, store_r11, 3) != 0 || at[7] != 0x0f || at[8] != 0x05)
        at++;
    at[8] = 0x0b;
    memcpy(native_state.gpr, frame->gpr, sizeof(frame->gpr));
    native_state.rip = frame->rip;
    native_state.rflags = frame->rflags | RFLAGS_IF;
    memcpy(native_state.xsave, live.xsave, XSAVE_BYTES);
    native_run(INSN_64, 0);
    at[8] = 0x05;
    memcpy(live.xsave, native_state.xsave, XSAVE_BYTES);
    memcpy(frame->gpr, native_state.gpr, sizeof(frame->gpr));
    frame->rip = native_state.rip;
    frame->rflags = native_state.rflags;
    if (native_vector == VECTOR_INVALID_OPCODE && frame->rip == (uint64_t)(uintptr_t)(at + 7)) {
        frame->gpr[CX] = frame->rip + 2;
        frame->gpr[11] = frame->rflags;
        return RING3_SYSCALL;
    }
    return native_vector;
}

uint16_t ring3_x87_status(void)
{
    return get_le16(live.xsave + 2);
}

uint16_t ring3_x87_control(void)
{
    return get_le16(live.xsave);
}

static unsigned component(unsigned i)
{
    return cpu_cpuid(0xd, i).ebx;
}

/* Of the registers in live. */
void vector_move(void *memory, unsigned which)
{
    const unsigned kind = which / 16, reg = which % 16;
    uint64_t *out = memory;
    memset(out, 0, 8);
    switch (kind) {
    case MMX_READ: /* they are the registers themselves, and not as they stand on the stack */
        memcpy(out, live.xsave + 32 + 16 * ((reg - (live.xsave[3] >> 3)) & 7), 8);
        return;
    case XMM_READ: memcpy(out, live.xsave + 160 + 16 * reg, 16); return;
    case YMM_READ:
        memcpy(out, live.xsave + 160 + 16 * reg, 16);
        memcpy(out + 2, live.xsave + component(2) + 16 * reg, 16);
        return;
    case MASK16_READ: memcpy(out, live.xsave + component(5) + 8 * reg, 2); return;
    case MASK64_READ: memcpy(out, live.xsave + component(5) + 8 * reg, 8); return;
    default: fail();
    }
}

static void vector_read(void *ctx, const struct insn *in, unsigned reg, uint64_t value[4])
{
    (void)ctx;
    vector_move(value, (in->vex ? YMM_READ : in->reg_bytes == 8 ? MMX_READ : XMM_READ) * 16 + reg);
}

static void zmm_read(void *ctx, unsigned reg, uint64_t value[8])
{
    (void)ctx;
    if (reg >= 16) {
        memcpy(value, live.xsave + component(7) + 64 * (reg - 16), 64);
        return;
    }
    vector_move(value, YMM_READ * 16 + reg);
    memcpy(value + 4, live.xsave + component(6) + 32 * reg, 32);
}

static bool x87_pending(void *ctx)
{
    (void)ctx;
    return (live.xsave[2] & 0x80) != 0;
}

static bool translate(void *ctx, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out)
{
    (void)ctx;
    (void)write;
    const uint64_t offset = linear.v - (uint64_t)(uintptr_t)code_page;
    assert_true(bytes >= 1 && bytes <= 32);
    if (offset > CODE_BYTES + AREA_BYTES - bytes) {
        raised = VECTOR_PAGE_FAULT;
        return false;
    }
    *out = (struct emulate_operand){.at = {gpa(linear.v)}, .first = bytes, .bytes = bytes};
    return true;
}

static void read_area(void *ctx, const struct emulate_operand *operand, void *to)
{
    (void)ctx;
    memcpy(to, (const void *)(uintptr_t)operand->at[0].v, operand->bytes);
}

static void write_area(void *ctx, const struct emulate_operand *operand, const void *from)
{
    (void)ctx;
    memcpy((void *)(uintptr_t)operand->at[0].v, from, operand->bytes);
}

static void segment(void *ctx, enum insn_segment number, struct emulate_segment *out)
{
    (void)ctx;
    const bool cs = number == SEG_CS, half = segment_base != 0;
    *out = (struct emulate_segment){half && cs ? (uint32_t)(uintptr_t)code_page : segment_base,
                                    half ? UINT16_MAX : UINT32_MAX,
                                    (cs ? SEGMENT_CODE32 : SEGMENT_DATA32) | 3 << ACCESS_DPL_SHIFT};
}

static void raise_vector(void *ctx, unsigned vector)
{
    (void)ctx;
    raised = vector;
}

static struct emulate_env env = {
    .gpr = live.gpr,
    .rflags = &live.rflags,
    .cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_MP,
    .cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PAE,
    .cpl = 0, /* of the guest: its alignment is not checked */
    .translate = translate,
    .read = read_area,
    .write = write_area,
    .segment = segment,
    .raise = raise_vector,
    .vector_read = vector_read,
    .zmm_read = zmm_read,
    .x87_pending = x87_pending,
};

static int setup(void **s)
{
    (void)s;
    uint8_t *pages =
        mmap(NULL, RING3_PAGES * PAGE_SIZE + CODE_BYTES + AREA_BYTES,
             PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (pages == MAP_FAILED)
        return -1;
    window.code = pages;
    window.data = pages + RING3_CODE_PAGES * PAGE_SIZE;
    window.own = calloc(1, sizeof(*window.own));
    window.code_at = (uint64_t)(uintptr_t)window.code;
    window.data_at = (uint64_t)(uintptr_t)window.data;
    code_page = pages + RING3_PAGES * PAGE_SIZE;
    area = code_page + CODE_BYTES;
    native_init();
    env.xcr0 = native_components;
    if (!native_has_32())
        return 0;
    return native_segment(0, (uint32_t)(uintptr_t)code_page, true) &&
                   native_segment(1, (uint32_t)(uintptr_t)area, false)
               ? 0
               : -1;
}

/* --- an instruction --- */

struct sample {
    uint8_t bytes[32];
    unsigned count;
    enum insn_mode mode;
    struct compute what;
    bool known; /* to Zydis */
};

static void put_byte(struct sample *s, uint64_t byte)
{
    s->bytes[s->count++] = (uint8_t)byte;
}

/* With [RDI + displacement], or [BX + displacement], if memory is an operand. */
static void put_modrm(struct sample *s)
{
    const uint64_t r = random64();
    put_byte(s, r & 1 ? (r >> 8 & 0x38) | 0x47 : 0xc0 | (r >> 8 & 0x3f));
    put_byte(s, r >> 16);
    put_byte(s, r >> 24);
}

static void make(struct sample *s)
{
    static const uint8_t prefix[] = {0, 0, 0, 0x66, 0xf2, 0xf3, 0x66, 0x2e};
    const uint64_t r = random64();
    const bool in_64 = s->mode == INSN_64;
    *s = (struct sample){.mode = s->mode};
    switch (r & 7) {
    case 0: put_byte(s, 0xd8 | (r >> 8 & 7)); break;
    case 1:
        put_byte(s, 0xc5);
        put_byte(s, r >> 8 | (in_64 ? 0 : 0xc0));
        put_byte(s, r >> 16);
        break;
    case 2:
        put_byte(s, 0xc4);
        put_byte(s, (r >> 8 & 3) | 0xc0 | (r >> 8 & (in_64 ? 0xe0 : 0x20)));
        put_byte(s, r >> 16);
        put_byte(s, r >> 24);
        break;
    case 3:
        put_byte(s, 0x62);
        put_byte(s, (r >> 8 & 0x33) | 0xc0 | (in_64 ? r >> 8 & 0x40 : 0));
        put_byte(s, (r >> 16 & 0xfb) | 4);
        put_byte(s, (r >> 24 & 0xf7) | (in_64 && r >> 40 & 1 ? 0 : 8));
        put_byte(s, r >> 32);
        break;
    default:
        if (prefix[r >> 16 & 7] != 0)
            put_byte(s, prefix[r >> 16 & 7]);
        if (in_64 && (r >> 24 & 1) != 0)
            put_byte(s, 0x40 | (r >> 25 & 0xd));
        put_byte(s, 0x0f);
        if ((r >> 32 & 3) == 0)
            put_byte(s, r >> 34 & 1 ? 0x38 : 0x3a);
        put_byte(s, r >> 40);
    }
    put_modrm(s);
}

static void randomize(enum insn_mode mode)
{
    static const uint32_t edges[] = {0,          0x3f800000, 0xbf800000, 0x7f800000,
                                     0x7fc00000, 1,          0x7f7fffff};
    for (unsigned i = 0; i < AREA_BYTES; i += 4) {
        const uint32_t value = random64() % 4 == 0 ? edges[random64() % 7] : (uint32_t)random64();
        memcpy(area + i, &value, 4);
    }
    for (unsigned i = 0; i < XSAVE_BYTES; i += 4) {
        const uint32_t value = random64() % 4 == 0 ? edges[random64() % 7] : (uint32_t)random64();
        memcpy(live.xsave + i, &value, 4);
    }
    memset(live.xsave, 0, 32);
    memset(live.xsave + 464, 0, 112);
    put_le(live.xsave, 2, 0x37f);
    live.xsave[4] = (uint8_t)random64(); /* which are in use */
    put_le(live.xsave + 24, 4, 0x1f80);
    put_le(live.xsave + 28, 4, 0xffff);
    put_le(live.xsave + 512, 8, native_components);
    for (unsigned i = 0; i < 8; i++) /* numbers, for most */
        put_le(live.xsave + 40 + 16 * i, 2, random64() % 4 ? 0x3fff + random64() % 40 : random64());
    const uint64_t mask = mode == INSN_64 ? UINT64_MAX : UINT32_MAX;
    for (unsigned i = 0; i < 16; i++)
        live.gpr[i] = random64() & mask;
    live.rflags = RFLAGS_FIXED | (random64() & STATUS);
}

/* Registers that address memory, whatever the last instruction has made of them. */
static void point(enum insn_mode mode)
{
    const uint64_t offset = 12288 + (random64() % 2 ? random64() % 64 : 0);
    live.gpr[DI] = live.gpr[15] = (uint64_t)(uintptr_t)area + offset;
    if (mode == INSN_16)
        live.gpr[BX] = live.gpr[DI] = offset;
    live.gpr[SP] &= UINT64_MAX >> 17; /* canonical: see native_run() */
}

/* --- both ways --- */

static void show(const char *what, const struct sample *s)
{
    fprintf(stderr, "%s, mode %d:", what, (int)s->mode);
    for (unsigned i = 0; i < s->what.length; i++)
        fprintf(stderr, " %02x", s->bytes[i]);
    fprintf(stderr, "; the CPU: vector %u; here: %u\n", native_vector, raised);
    if (++shown == MAX_SHOWN)
        fail();
}

/* What is no result: the last instruction of x87, and what is left to software. */
static void blank(uint8_t *xsave)
{
    memset(xsave + 6, 0, 18);
    memset(xsave + 416, 0, 96);
}

/* What CPUs differ in: a field that is not in use is all ones but for the top bit, which does not
 * count here elsewhere (see test_ring3_encode.c); VPINSRQ and VPEXTRQ, which are VPINSRD and
 * VPEXTRD here on Intel's; MASKMOVQ in a segment that cannot be written, with nothing to write. */
static bool is_doubtful(const struct sample *s)
{
    const uint8_t *b = s->bytes;
    if (s->mode != INSN_64 && (b[0] == 0xc4 || b[0] == 0x62) &&
        ((b[2] & 0x78) == 0x38 || b[3] == 0x22 || b[3] == 0x16))
        return true;
    return b[s->what.length - 2] == 0xf7;
}

/* XSAVE of 16- and 32-bit code leaves alone the half of the area that 64-bit code alone uses; here
 * it does not. And a CPU that is not AMD's tells where the last x87 instruction was, with its
 * selectors, whether there was an error or not. The machine may have components beyond those that
 * are looked at here, as PKRU. */
static bool stores_otherwise(const struct sample *s)
{
    const bool is_amd = cpu_cpuid(0, 0).ebx == 0x68747541; /* "Auth" */
    if (s->what.class == COMPUTE_XSAVE)
        return s->mode != INSN_64 || !is_amd || native_has_more;
    return !is_amd && (s->what.class == COMPUTE_X87 || s->what.class == COMPUTE_FXSAVE) &&
           ((s->bytes[s->what.length - 2] & 0x38) == 0x30 || s->what.class == COMPUTE_FXSAVE);
}

/* How the CPU has left it, when it executed the bytes. */
static struct {
    struct native state;
    uint8_t area[AREA_BYTES];
    bool done;
    unsigned vector;
} cpu;

/* Executes the bytes, which stand at an address with UD2 behind them, by the CPU; then `live` and
 * the area are as before. */
static void execute_by_cpu(const struct sample *s, const uint8_t *at)
{
    static uint8_t before[AREA_BYTES];
    memcpy(before, area, AREA_BYTES);
    native_state = live;
    native_state.rip = (uint64_t)(uintptr_t)at;
    native_state.rflags |= RFLAGS_IF;
    native_run(s->mode, s->mode == INSN_16 ? (uint32_t)(uintptr_t)code_page : 0);
    cpu.state = native_state;
    cpu.vector = native_vector;
    cpu.done = native_vector == VECTOR_INVALID_OPCODE &&
               native_state.rip == (uint64_t)(uintptr_t)at + s->what.length;
    memcpy(cpu.area, area, AREA_BYTES);
    memcpy(area, before, AREA_BYTES);
}

/* What has been executed here, against the CPU's registers and memory. */
static void compare_results(const struct sample *s)
{
    struct native *const native = &cpu.state;
    native_normalize(native->xsave);
    native_normalize(live.xsave);
    blank(native->xsave);
    blank(live.xsave);
    const uint64_t mask = s->mode == INSN_64 ? UINT64_MAX : UINT32_MAX;
    if (((native->rflags ^ live.rflags) & STATUS) != 0)
        show("flags differ", s);
    for (unsigned i = 0; i < (s->mode == INSN_64 ? 16 : 8); i++)
        if (((native->gpr[i] ^ live.gpr[i]) & mask) != 0) {
            show("general registers differ", s);
            return;
        }
    if (memcmp(native->xsave, live.xsave, native_xsave_bytes) != 0)
        show("vectors differ", s);
    else if (memcmp(area, cpu.area, AREA_BYTES) != 0 && !stores_otherwise(s))
        show("memory differs", s);
}

static void compare(struct sample *s)
{
    static uint8_t before[AREA_BYTES];
    static struct native start;
    const bool has_cpu = native_has(s->mode);
    uint8_t *at = code_page + 64;
    start = live;
    memcpy(before, area, AREA_BYTES);
    memcpy(at, s->bytes, s->what.length);
    at[s->what.length] = 0x0f;
    at[s->what.length + 1] = 0x0b;
    if (has_cpu)
        execute_by_cpu(s, at);

    raised = 99;
    env.mode = s->mode;
    env.rip = (uint64_t)(uintptr_t)at;
    segment_base = s->mode == INSN_16 ? (uint32_t)(uintptr_t)area : 0;
    const enum ring3_result result = ring3_compute(&window, &env, &s->what, s->bytes);
    const bool done = result == RING3_DONE;
    if (result == RING3_X87_ERROR)
        raised = VECTOR_X87_ERROR;
    if (!has_cpu) {
        cpu.done = done;
        cpu.vector = raised;
        cpu.state = live; /* for the errors of MXCSR */
    }
    native_vector = cpu.vector;
    if (cpu.done != done) {
        /* Registers other than those of point() lead beyond the area, but to what the process has.
         */
        if (cpu.done ? raised != VECTOR_PAGE_FAULT : !is_doubtful(s))
            show(cpu.done ? "not done" : "not refused", s);
        return;
    }
    if (done) {
        executed++;
        if (!has_cpu)
            return;
    } else { /* nothing has changed; of a page that is not there, the CPU may look at other things
                first */
        if (s->known && raised != cpu.vector && raised != VECTOR_PAGE_FAULT &&
            raised != VECTOR_STACK_FAULT)
            show("refused otherwise", s);
        const uint32_t mxcsr = get_le32(cpu.state.xsave + 24);
        cpu.state = start;
        if (cpu.vector == VECTOR_SIMD_ERROR) /* but which errors there were */
            put_le(cpu.state.xsave + 24, 4, mxcsr);
        memcpy(cpu.area, before, AREA_BYTES);
    }
    compare_results(s);
}

static ZydisDecoder decoders[3];

/* Whether this machine has AVX-512: all of its registers are then in XSAVE's area. */
static bool has_512(void)
{
    return (native_components & XCR0_AVX512) == XCR0_AVX512;
}

/* What this CPU does not have is #UD there before the operand is looked at, and behind it here. */
static bool is_missing(const ZydisDecodedInstruction *z)
{
    const uint32_t has = cpu_cpuid(7, 0).ecx;
    return (z->mnemonic == ZYDIS_MNEMONIC_MOVDIRI && (has >> 27 & 1) == 0) ||
           (z->mnemonic == ZYDIS_MNEMONIC_MOVDIR64B && (has >> 28 & 1) == 0) ||
           (z->meta.isa_set == ZYDIS_ISA_SET_GFNI && (has >> 8 & 1) == 0) ||
           (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && !has_512());
}

/* Whether both ways can be the same: no random numbers, no foreign lengths. */
static bool is_comparable(struct sample *s)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    if (ZYAN_FAILED(
            ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, sizeof(s->bytes), &z, operand)))
        return random64() % 8 == 0;
    s->known = true;
    if (is_missing(&z))
        return false;
    for (unsigned i = 0; i < z.operand_count; i++) /* SS is not the one of the LDT, as here */
        if (s->mode == INSN_16 && operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            operand[i].mem.segment == ZYDIS_REGISTER_SS)
            return false;
    if (z.mnemonic == ZYDIS_MNEMONIC_MOVNTSS || z.mnemonic == ZYDIS_MNEMONIC_MOVNTSD)
        return false; /* AMD's */
    if ((z.mnemonic == ZYDIS_MNEMONIC_XSAVES || z.mnemonic == ZYDIS_MNEMONIC_XRSTORS) ||
        z.mnemonic == ZYDIS_MNEMONIC_WRSSD || z.mnemonic == ZYDIS_MNEMONIC_WRSSQ ||
        z.mnemonic == ZYDIS_MNEMONIC_XSAVES64 || z.mnemonic == ZYDIS_MNEMONIC_XRSTORS64)
        return false; /* no guest has them */
    return z.length == s->what.length && z.mnemonic != ZYDIS_MNEMONIC_RDRAND &&
           z.mnemonic != ZYDIS_MNEMONIC_RDSEED;
}

static void run_samples(enum insn_mode mode)
{
    native_init(); /* cmocka has taken the signals */
    executed = shown = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct sample s = {.mode = mode};
        struct insn other;
        make(&s);
        if (insn_decode(&other, s.bytes, INSN_MAX_BYTES, mode) != INSN_UNKNOWN ||
            system_decode(&other, s.bytes, INSN_MAX_BYTES, mode) != INSN_UNKNOWN ||
            compute_decode(&s.what, s.bytes, INSN_MAX_BYTES, mode) != INSN_OK || !is_comparable(&s))
            continue;
        if (i % 16 == 0)
            randomize(mode);
        point(mode);
        compare(&s);
    }
    printf("%u executed\n", executed);
    assert_true(executed > MIN_EXECUTED);
    assert_int_equal(shown, 0);
}

/* Small numbers in all vector registers: indices, whose signs are a mask as well. */
static void fill_indices(unsigned bytes)
{
    const unsigned start[] = {160, component(2), component(6), component(7)};
    const unsigned size[] = {256, 256, 512, 1024};
    for (unsigned part = 0; part < (has_512() ? 4 : 2); part++)
        for (unsigned i = 0; i < size[part]; i += bytes)
            put_le(live.xsave + start[part] + i, bytes, random64() % 1000 - 500);
}

/* Gathers and scatters, on indices that stay within the area. */
static void test_gathers(void **state)
{
    (void)state;
    native_init();
    executed = shown = 0;
    for (unsigned i = 0; i < SAMPLES / 16; i++) {
        const uint64_t r = random64();
        struct sample s = {.mode = r & 1 ? INSN_64 : INSN_32, .known = true};
        const bool in_64 = s.mode == INSN_64, evex = (r >> 1 & 1) && has_512(),
                   scatter = evex && (r >> 2 & 1);
        const unsigned op = (scatter ? 0xa0 : 0x90) | (r >> 3 & 3);
        put_byte(&s, evex ? 0x62 : 0xc4);
        put_byte(&s, 0xc2 | (in_64 ? r >> 8 & 0xd0 : evex ? 0x10 : 0) | 0x20);
        if (evex) {
            put_byte(&s, (r >> 16 & 0x80) | 0x7d);
            put_byte(&s, (r >> 24 & 7) | (in_64 ? r >> 24 & 8 : 8) | (r >> 32) % 3 << 5);
        } else {
            put_byte(&s, (r >> 16 & 0x84) | 0x41 | (r >> 24 & (in_64 ? 0x78 : 0x38)));
        }
        put_byte(&s, op);
        put_byte(&s, 0x44 | (r >> 40 & 0x38));
        put_byte(&s, (r >> 48 & 0xf8) | DI);
        put_byte(&s, r >> 56);
        if (compute_decode(&s.what, s.bytes, INSN_MAX_BYTES, s.mode) != INSN_OK)
            continue;
        randomize(s.mode);
        fill_indices(op & 1 ? 8 : 4);
        point(s.mode);
        compare(&s);
    }
    printf("%u executed\n", executed);
    assert_true(executed > SAMPLES / 64);
    assert_int_equal(shown, 0);
}

static void expect(enum insn_mode mode, const uint8_t *bytes, unsigned vector)
{
    struct compute what;
    static struct native start;
    env.mode = mode;
    segment_base = 0;
    assert_int_equal(compute_decode(&what, bytes, INSN_MAX_BYTES, mode), INSN_OK);
    randomize(mode);
    point(mode);
    start = live;
    raised = 99;
    const enum ring3_result result = ring3_compute(&window, &env, &what, bytes);
    assert_int_equal(result, vector == 99 ? RING3_DONE : RING3_RAISED);
    assert_int_equal(raised, vector);
    if (vector != 99)
        assert_memory_equal(&live, &start, sizeof(live));
}

/* What the guest has switched off, though the CPU has it on: for each class. */
static void test_missing(void **state)
{
    static const uint8_t fld[15] = {0xd9, 0xe8}, wait[15] = {0x9b}, paddb[15] = {0x0f, 0xfc, 0xc1};
    static const uint8_t addps[15] = {0x0f, 0x58, 0xc1}, vaddps[15] = {0xc5, 0xf8, 0x58, 0xc1};
    static const uint8_t vaddpsz[15] = {0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1};
    static const uint8_t andn[15] = {0xc4, 0xe2, 0x78, 0xf2, 0xc1},
                         crc[15] = {0xf2, 0x0f, 0x38, 0xf0, 0xc1};
    static const uint8_t fxsave[15] = {0x0f, 0xae, 0x47, 0}, xsave[15] = {0x0f, 0xae, 0x67, 0};
    enum { ON = 99, UD = VECTOR_INVALID_OPCODE, NM = VECTOR_DEVICE_NOT_AVAILABLE };
    static const struct {
        const uint8_t *bytes;
        unsigned ts, em, no_sse, no_xsave, no_avx, real;
    } row[] = {
        {fld, NM, NM, ON, ON, ON, ON},    {wait, NM, ON, ON, ON, ON, ON},
        {paddb, NM, UD, ON, ON, ON, ON},  {addps, NM, UD, UD, ON, ON, ON},
        {vaddps, NM, ON, ON, UD, UD, UD}, {vaddpsz, NM, ON, ON, UD, UD, UD},
        {andn, ON, ON, ON, ON, ON, UD},   {crc, ON, ON, ON, ON, ON, ON},
    };
    const struct emulate_env usual = env;
    (void)state;
    native_init();
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        if (row[i].bytes == vaddpsz && !has_512())
            continue;
        expect(INSN_64, row[i].bytes, ON);
        env.cr0 = usual.cr0 | CR0_TS;
        expect(INSN_64, row[i].bytes, row[i].ts);
        env.cr0 = (usual.cr0 | CR0_EM) & ~CR0_MP;
        expect(INSN_64, row[i].bytes, row[i].em);
        env = usual;
        env.cr4 &= ~CR4_OSFXSR;
        expect(INSN_64, row[i].bytes, row[i].no_sse);
        env = usual;
        env.cr4 &= ~CR4_OSXSAVE;
        expect(INSN_64, row[i].bytes, row[i].no_xsave);
        env = usual;
        env.xcr0 = XCR0_X87 | XCR0_SSE;
        expect(INSN_64, row[i].bytes, row[i].no_avx);
        env = usual;
        env.cr0 &= ~CR0_PE;
        expect(INSN_32, row[i].bytes, row[i].real);
        env = usual;
    }
    env.cr0 = (usual.cr0 | CR0_TS) & ~CR0_MP;
    expect(INSN_64, wait, ON);
    expect(INSN_64, fxsave, NM);
    expect(INSN_64, xsave, NM);
    env = usual;
    env.cr4 &= ~CR4_OSXSAVE;
    expect(INSN_64, xsave, UD);
    env = usual;
}

/* An address that is checked, though nothing is read there: CLFLUSH, CLFLUSHOPT, CLWB. Hints have
 * no such address, whatever it is. */
static void test_flushes(void **state)
{
    static const uint8_t lines[][15] = {
        {0x0f, 0xae, 0x3f}, {0x66, 0x0f, 0xae, 0x3f}, {0x66, 0x0f, 0xae, 0x37}};
    static const uint8_t hint[15] = {0x0f, 0x18, 0x0f};
    (void)state;
    native_init();
    env.mode = INSN_64;
    segment_base = 0;
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *bytes = i < 3 ? lines[i] : hint;
        const struct compute what = {i % 3 == 0 ? 3 : 4, COMPUTE_GENERAL, true};
        randomize(INSN_64);
        live.gpr[DI] = (uint64_t)(uintptr_t)area;
        raised = 99;
        if (i == 0) /* the others are not on every CPU */
            assert_int_equal(ring3_compute(&window, &env, &what, bytes), RING3_DONE);
        live.gpr[DI] = 0x123;
        assert_int_equal(ring3_compute(&window, &env, &what, bytes),
                         i < 3 ? RING3_RAISED : RING3_DONE);
        assert_int_equal(raised, i < 3 ? VECTOR_PAGE_FAULT : 99);
        live.gpr[DI] = 1ull << 62;
        raised = 99;
        assert_int_equal(ring3_compute(&window, &env, &what, bytes),
                         i < 3 ? RING3_RAISED : RING3_DONE);
        assert_int_equal(raised, i < 3 ? VECTOR_GENERAL_PROTECTION : 99);
    }
}

/* Errors of x87 and SSE that are unmasked. */
static void test_errors(void **state)
{
    static const uint8_t divps[] = {0x0f, 0x5e, 0x07}, wait[] = {0x9b}, fadd[] = {0xd8, 0x07};
    const struct compute of_divps = {3, COMPUTE_SSE, true}, of_wait = {1, COMPUTE_WAIT, false};
    const struct compute of_fadd = {2, COMPUTE_X87, true};
    (void)state;
    native_init();
    for (unsigned i = 0; i < 2; i++) {
        randomize(INSN_64);
        live.gpr[DI] = (uint64_t)(uintptr_t)area;
        memset(area, 0, 16);
        put_le(live.xsave + 24, 4, 0x1f80 & ~0x280u);
        put_le(live.xsave + 160, 4, 0x3f800000);
        env.mode = INSN_64;
        env.cr4 = i == 0 ? env.cr4 | CR4_OSXMMEXCPT : env.cr4 & ~CR4_OSXMMEXCPT;
        assert_int_equal(ring3_compute(&window, &env, &of_divps, divps), RING3_RAISED);
        assert_int_equal(raised, i == 0 ? VECTOR_SIMD_ERROR : VECTOR_INVALID_OPCODE);
    }
    env.cr4 |= CR4_OSXMMEXCPT;
    put_le(live.xsave, 4, 0x80810340); /* invalid operation, unmasked */
    assert_int_equal(ring3_compute(&window, &env, &of_wait, wait), RING3_X87_ERROR);
    live.gpr[DI] = 0; /* before its operand is looked at */
    raised = 99;
    assert_int_equal(ring3_compute(&window, &env, &of_fadd, fadd), RING3_X87_ERROR);
    assert_int_equal(raised, 99);
}

static void test_64(void **s)
{
    (void)s;
    run_samples(INSN_64);
}

static void test_32(void **s)
{
    (void)s;
    run_samples(INSN_32);
}

static void test_16(void **s)
{
    (void)s;
    run_samples(INSN_16);
}

int main(void)
{
    static const ZydisMachineMode modes[] = {
        ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                             ZYDIS_STACK_WIDTH_64};
    for (unsigned i = 0; i < 3; i++)
        ZydisDecoderInit(&decoders[i], modes[i], widths[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_64),      cmocka_unit_test(test_32),
        cmocka_unit_test(test_16),      cmocka_unit_test(test_gathers),
        cmocka_unit_test(test_missing), cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
