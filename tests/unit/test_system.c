// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
// link: guest/cpu/event.c guest/cpu/control.c guest/cpu/guestwalk.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* System instructions one by one on the software CPU: what each does, and the fault of each check
 * of mode, privilege and operand; then what comes around every instruction: fetching, shadows,
 * traps, breakpoints, and the delivery of events. */
#include "tests/unit/interpret_test.h"

/* Where things are. */
enum { CODE = 0x4000, DATA = 0x5000, STACK = 0x7000, GDT = 0x8000, TSS = 0x9000, IDT = 0xa000 };
enum { CODE_0 = 0x08, DATA_0 = 0x10, CODE_3 = 0x1b, DATA_3 = 0x23, TR = 0x28, LDT = 0x38 };

enum mode { REAL, V86, PROTECTED_0, PROTECTED_3, LONG_0, LONG_3 };

static bool is_long(enum mode mode)
{
    return mode >= LONG_0;
}

static struct cpu_segment flat(uint16_t selector, uint32_t access)
{
    return (struct cpu_segment){selector, access, UINT32_MAX, 0};
}

static void set_descriptor(unsigned selector, uint32_t base, uint32_t limit, uint32_t access)
{
    uint8_t *at = ram + GDT + (selector & 0xfff8);
    put_le(at, 4, base << 16 | (limit & 0xffff));
    put_le(at + 4, 4,
           (base >> 16 & 0xff) | (access & 0xf0ff) << 8 | (limit & 0xf0000) | (base & 0xff000000));
}

static void start(enum mode mode)
{
    const unsigned cpl = mode == PROTECTED_3 || mode == LONG_3 || mode == V86 ? 3 : 0;
    const uint32_t dpl = cpl << ACCESS_DPL_SHIFT;
    struct cpu_state state = cpu_state_real_mode(0);
    state.rsp = STACK;
    if (mode == V86) {
        state.cr0 |= CR0_PE;
        state.rflags |= RFLAGS_VM;
        for (unsigned i = 0; i <= STATE_GS; i++)
            state.segment[i].access = SEGMENT_VM86;
    } else if (mode != REAL) {
        const uint32_t code = is_long(mode) ? SEGMENT_CODE64 : SEGMENT_CODE32;
        state.cr0 |= CR0_PE;
        for (unsigned i = 0; i <= STATE_GS; i++)
            state.segment[i] = flat(cpl ? DATA_3 : DATA_0, SEGMENT_DATA32 | dpl);
        state.cs = flat(cpl ? CODE_3 : CODE_0, code | dpl);
        state.efer = is_long(mode) ? EFER_LMA | EFER_LME | EFER_SCE : 0;
    }
    state.gdtr = (struct cpu_table_register){GDT, 0x7f};
    state.idtr = (struct cpu_table_register){mode == REAL ? 0 : IDT, 0x7ff};
    state.tr = (struct cpu_segment){TR, SEGMENT_TSS_BUSY, 0x67, TSS};
    state.ldtr.access = ACCESS_UNUSABLE;
    pc_start(state);
    if (is_long(mode)) { /* paging: 2 MiB as they are, for everybody */
        put_le(ram + 0x10000, 8, 0x11007);
        put_le(ram + 0x11000, 8, 0x12007);
        put_le(ram + 0x12000, 8, 0x87);
        s.cr0 |= CR0_PG;
        s.cr4 |= CR4_PAE;
        s.cr3 = 0x10000;
    }
    set_descriptor(CODE_0, 0, 0xfffff, s.cs.access & 0xff9f);
    set_descriptor(DATA_0, 0, 0xfffff, SEGMENT_DATA32);
    set_descriptor(CODE_3, 0, 0xfffff, s.cs.access | 0x60);
    set_descriptor(DATA_3, 0, 0xfffff, SEGMENT_DATA32 | 0x60);
    set_descriptor(TR, TSS, 0x67, SEGMENT_TSS);
    set_descriptor(LDT, 0x6000, 0xff, SEGMENT_LDT);
    put_le(ram + TSS + 0x66, 2, 0xffff); /* no I/O bit map */
    env.features = INTERPRET_RDTSCP | INTERPRET_RDPID | INTERPRET_INVPCID | INTERPRET_SMAP |
                   INTERPRET_SERIALIZE | INTERPRET_MONITOR;
}

static enum interpret_result run_code(const uint8_t *code, unsigned count)
{
    s.rip = CODE;
    memcpy(ram + CODE, code, count);
    pc.vector = NOTHING;
    pc.event.info = 0;
    const enum interpret_result result = interpret_one(&env);
    if (pc.vector == NOTHING && result == INTERPRET_DONE && s.rip == CODE)
        fail_msg("RIP stays at %02x %02x %02x", code[0], code[1], code[2]);
    return result;
}

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

/* Executes one instruction, to the end. */
#define run(...)                                                        \
    do {                                                                \
        assert_int_equal(run_code(BYTES(__VA_ARGS__)), INTERPRET_DONE); \
        assert_int_equal(pc.vector, NOTHING);                           \
    } while (0)

/* It faults so, and nothing has changed. */
#define run_fault(which, code, ...)                                     \
    do {                                                                \
        s.rip = CODE;                                                   \
        struct cpu_state before = s;                                    \
        assert_int_equal(run_code(BYTES(__VA_ARGS__)), INTERPRET_DONE); \
        assert_int_equal(pc.vector, which);                             \
        assert_int_equal(pc.error, code);                               \
        before.cr2 = s.cr2;                                             \
        assert_memory_equal(&before, &s, sizeof(s));                    \
    } while (0)

#define run_gp(...) run_fault(VECTOR_GENERAL_PROTECTION, 0, __VA_ARGS__)
#define run_ud(...) run_fault(VECTOR_INVALID_OPCODE, 0, __VA_ARGS__)

/* --- privilege and modes --- */

/* What each instruction gives at CPL 0 and 3 of protected mode and of 64-bit mode, in real mode and
 * in virtual-8086 mode: . it is done, G #GP(0), U #UD. Registers are zeros. */
static const struct {
    const char *name;
    uint8_t code[5];
    char expected[7]; /* in the order of enum mode */
} privileges[] = {
    {"HLT", {0xf4}, "hGhGhG"},
    {"CLTS", {0x0f, 0x06}, ".G.G.G"},
    {"LGDT", {0x0f, 0x01, 0x10}, ".G.G.G"},
    {"LIDT", {0x0f, 0x01, 0x18}, ".G.G.G"},
    {"SGDT", {0x0f, 0x01, 0x00}, "......"},
    {"LMSW", {0x0f, 0x01, 0xf0}, ".G.G.G"},
    {"SMSW", {0x0f, 0x01, 0xe0}, "......"},
    {"SLDT", {0x0f, 0x00, 0xc0}, "UU...."},
    {"STR", {0x0f, 0x00, 0xc8}, "UU...."},
    {"LLDT", {0x0f, 0x00, 0xd0}, "UU.G.G"},
    {"LTR", {0x0f, 0x00, 0xd8}, "UUGGGG"}, /* of a null selector */
    {"VERR", {0x0f, 0x00, 0xe0}, "UU...."},
    {"VERW", {0x0f, 0x00, 0xe8}, "UU...."},
    {"LAR", {0x0f, 0x02, 0xc0}, "UU...."},
    {"LSL", {0x0f, 0x03, 0xc0}, "UU...."},
    {"MOV from CR0", {0x0f, 0x20, 0xc0}, ".G.G.G"},
    {"MOV from CR2", {0x0f, 0x20, 0xd0}, ".G.G.G"},
    {"MOV to CR2", {0x0f, 0x22, 0xd0}, ".G.G.G"},
    {"MOV to CR1", {0x0f, 0x22, 0xc8}, "UUUUUU"},
    {"MOV from DR0", {0x0f, 0x21, 0xc0}, ".G.G.G"},
    {"MOV to DR7", {0x0f, 0x23, 0xf8}, ".G.G.G"},
    {"INVLPG", {0x0f, 0x01, 0x38}, ".G.G.G"},
    {"INVPCID", {0x66, 0x0f, 0x38, 0x82, 0x00}, ".G.G.G"},
    {"INVD", {0x0f, 0x08}, ".G.G.G"},
    {"WBINVD", {0x0f, 0x09}, ".G.G.G"},
    {"RDMSR", {0x0f, 0x32}, "GGGGGG"}, /* of one that there is not */
    {"WRMSR", {0x0f, 0x30}, "GGGGGG"},
    {"RDTSC", {0x0f, 0x31}, "......"},
    {"RDPMC", {0x0f, 0x33}, "GGGGGG"},
    {"RDTSCP", {0x0f, 0x01, 0xf9}, "......"},
    {"RDPID", {0xf3, 0x0f, 0xc7, 0xf8}, "......"},
    {"CPUID", {0x0f, 0xa2}, "......"},
    {"XGETBV", {0x0f, 0x01, 0xd0}, "UUUUUU"}, /* without CR4.OSXSAVE */
    {"XSETBV", {0x0f, 0x01, 0xd1}, "UUUUUU"},
    {"RDPKRU", {0x0f, 0x01, 0xee}, "UUUUUU"},
    {"SERIALIZE", {0x0f, 0x01, 0xe8}, "......"},
    {"SWAPGS", {0x0f, 0x01, 0xf8}, "UUUU.G"},
    {"RDFSBASE", {0xf3, 0x0f, 0xae, 0xc0}, "UUUUUU"}, /* without CR4.FSGSBASE */
    {"SYSCALL", {0x0f, 0x05}, "UUUU.."},
    {"SYSRET", {0x0f, 0x07}, "UUUU.G"},
    {"SYSENTER", {0x0f, 0x34}, "GGGGGG"}, /* with SYSENTER_CS 0 */
    {"SYSEXIT", {0x0f, 0x35}, "GGGGGG"},
    {"CLI", {0xfa}, ".G.G.G"},
    {"STI", {0xfb}, ".G.G.G"},
    {"CLAC", {0x0f, 0x01, 0xca}, ".U.U.U"},
    {"STAC", {0x0f, 0x01, 0xcb}, ".U.U.U"},
    {"MONITOR", {0x0f, 0x01, 0xc8}, ".U.U.U"},
    {"MWAIT", {0x0f, 0x01, 0xc9}, ".U.U.U"},
    {"IN", {0xec}, ".G.G.G"},
    {"OUT", {0xee}, ".G.G.G"},
    {"VMCALL", {0x0f, 0x01, 0xc1}, "......"},
    {"VMLAUNCH", {0x0f, 0x01, 0xc2}, "UUUUUU"},
    {"VMMCALL", {0x0f, 0x01, 0xd9}, "UUUUUU"},
    {"RSM", {0x0f, 0xaa}, "UUUUUU"},
    {"UD2", {0x0f, 0x0b}, "UUUUUU"},
    {"UD1", {0x0f, 0xb9, 0x00}, "UUUUUU"},
    {"PUSH ES", {0x06}, "....UU"},
    {"PUSH FS", {0x0f, 0xa0}, "......"},
    {"MOV from ES", {0x8c, 0xc0}, "......"},
    {"MOV to CS", {0x8e, 0xc8}, "UUUUUU"},
    {"MOV to 6", {0x8e, 0xf0}, "UUUUUU"},
    {"LOCK CLI", {0xf0, 0xfa}, "UUUUUU"},
    {"INTO", {0xce}, "....UU"},
    {"WAIT", {0x9b}, "cccccc"},
    {"VZEROUPPER", {0xc5, 0xf8, 0x77}, "UUUUUU"},
    {"XSAVES", {0x0f, 0xc7, 0x28}, "UUUUUU"},
};

static char outcome_of(enum interpret_result result)
{
    if (result != INTERPRET_DONE)
        return result == INTERPRET_HALT ? 'h' : result == INTERPRET_COMPUTE ? 'c' : '?';
    if (pc.vector == VECTOR_GENERAL_PROTECTION)
        return pc.error == 0 ? 'G' : 'g';
    return pc.vector == VECTOR_INVALID_OPCODE ? 'U' : pc.vector == NOTHING ? '.' : '?';
}

static void test_privileges(void **state)
{
    (void)state;
    static const enum mode modes[] = {REAL, V86, PROTECTED_0, PROTECTED_3, LONG_0, LONG_3};
    for (unsigned i = 0; i < sizeof(privileges) / sizeof(privileges[0]); i++) {
        for (unsigned m = 0; m < 6; m++) {
            start(modes[m]);
            s.rax = s.rcx = s.rdx = s.rbx = 0;
            s.rbp = s.rsi = s.rdi = DATA;
            const char outcome = outcome_of(run_code(privileges[i].code, 5));
            if (outcome != privileges[i].expected[m])
                fail_msg("%s in mode %u: %c (vector %u), not %c", privileges[i].name, m, outcome,
                         pc.vector, privileges[i].expected[m]);
        }
    }
}

/* CR4.UMIP hides tables and the machine status word from CPL 3. */
static void test_umip(void **state)
{
    (void)state;
    static const uint8_t codes[][3] = {{0x0f, 0x01, 0x06},
                                       {0x0f, 0x01, 0x0e},
                                       {0x0f, 0x01, 0xe0},
                                       {0x0f, 0x00, 0xc0},
                                       {0x0f, 0x00, 0xc8}};
    for (unsigned i = 0; i < 5; i++) {
        start(LONG_3);
        s.cr4 |= CR4_UMIP;
        s.rsi = DATA;
        run_gp(codes[i][0], codes[i][1], codes[i][2]);
        start(LONG_0);
        s.cr4 |= CR4_UMIP;
        s.rsi = DATA;
        run(codes[i][0], codes[i][1], codes[i][2]);
    }
}

/* --- ports --- */

static void test_ports(void **state)
{
    (void)state;
    start(REAL);
    s.rax = 0x1122334455667788;
    s.rdx = 0xabcd0123;
    pc.in = 0x99aabbcc;
    run(0xec); /* IN AL, DX */
    assert_int_equal(s.rax, 0x11223344556677cc);
    run(0xe5, 0x20); /* IN AX, 20h */
    assert_int_equal(s.rax, 0x112233445566bbcd);
    run(0x66, 0xed);
    assert_int_equal(s.rax, 0x99aabbce);
    run(0x66, 0xef);
    run(0xe6, 0x80);
    assert_int_equal(pc.outs, 2);
    assert_int_equal(pc.out[0].port, 0x123);
    assert_int_equal(pc.out[0].bytes, 4);
    assert_int_equal(pc.out[0].value, 0x99aabbce);
    assert_int_equal(pc.out[1].port, 0x80);
    assert_int_equal(pc.out[1].value, 0xce);

    start(PROTECTED_3); /* IOPL, then the bit map */
    s.rdx = 0x3fe;
    run_gp(0xec);
    s.rflags |= RFLAGS_IOPL;
    run(0xec);
    s.rflags &= ~RFLAGS_IOPL;
    put_le(ram + TSS + 0x66, 2, 0x68);
    s.tr.limit = 0x68 + 0x7f;
    run_gp(0xec); /* the second byte is beyond the limit */
    s.tr.limit++;
    run(0xec);
    run(0x66, 0xed);               /* 3FE and 3FF */
    ram[TSS + 0x68 + 0x80] = 0xff; /* as the last byte is to be */
    run_gp(0xed);
    ram[TSS + 0x68 + 0x7f] = 0x80;
    run_gp(0x66, 0xed);
    run(0xec);
    s.tr.access = SEGMENT_TSS_BUSY & ~ACCESS_TSS32;
    run_gp(0xec);

    start(V86); /* the bit map alone */
    s.rflags |= RFLAGS_IOPL;
    s.rdx = 0x10;
    run_gp(0xec);
    put_le(ram + TSS + 0x66, 2, 0x68);
    s.tr.limit = 0x200;
    run(0xec);
}

static void test_string_ports(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.rdi = DATA;
    s.rcx = 3;
    s.rdx = 0x1f0;
    pc.in = 0x1000;
    run(0x66, 0xf3, 0x6d); /* REP INSW */
    assert_int_equal(get_le32(ram + DATA), 0x10011000);
    assert_int_equal(get_le16(ram + DATA + 4), 0x1002);
    assert_int_equal(s.rdi, DATA + 6);
    assert_int_equal(s.rcx, 0);

    s.rsi = DATA + 4;
    s.rcx = 2;
    s.rflags |= RFLAGS_DF;
    run(0x66, 0xf3, 0x6f);
    assert_int_equal(pc.outs, 2);
    assert_int_equal(pc.out[0].value, 0x1002);
    assert_int_equal(pc.out[1].value, 0x1001);
    assert_int_equal(s.rsi, DATA);
    s.rcx = 0;
    run(0xf3, 0x6e);
    assert_int_equal(pc.outs, 2);

    s.rflags &= ~RFLAGS_DF; /* in portions, at whose ends RIP stays */
    s.rcx = EMULATE_MAX_REPEATS + 5;
    s.rip = CODE;
    memcpy(ram + CODE, "\xf3\x6e", 2);
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, CODE);
    assert_int_equal(s.rcx, 5);
    assert_int_equal(s.rflags & RFLAGS_RF, RFLAGS_RF);
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, CODE + 2);
    assert_int_equal(s.rflags & RFLAGS_RF, 0);

    s.rcx = 2; /* one by one with TF */
    s.rflags |= RFLAGS_TF;
    s.rip = CODE;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rcx, 1);
    assert_int_equal(s.pending_debug, PENDING_DEBUG_BS);
    s.rflags &= ~RFLAGS_TF;
    s.pending_debug = 0;

    s.es.limit = DATA + 3; /* what has been done before a fault remains */
    s.rdi = DATA;
    s.rcx = 5;
    s.rip = CODE;
    memcpy(ram + CODE, "\xf3\x6d", 2);
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(s.rcx, 4);
    assert_int_equal(s.rdi, DATA + 4);
    const uint32_t asked = pc.in; /* no port is read for what has no place */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.in, asked);
}

/* --- registers of the system --- */

static void test_tables(void **state)
{
    (void)state;
    start(REAL);
    put_le(ram + DATA, 8, 0x8765432112345678);
    s.rsi = DATA;
    run(0x0f, 0x01, 0x14); /* LGDT [SI]: 24 bits of the base */
    assert_int_equal(s.gdtr.limit, 0x5678);
    assert_int_equal(s.gdtr.base, 0x211234);
    run(0x66, 0x0f, 0x01, 0x1c);
    assert_int_equal(s.idtr.base, 0x43211234);
    run(0x0f, 0x01, 0x4c, 0x10); /* SIDT [SI+10h]: all of it, whatever the size */
    assert_int_equal(get_le16(ram + DATA + 0x10), 0x5678);
    assert_int_equal(get_le32(ram + DATA + 0x12), 0x43211234);
    assert_int_equal(get_le16(ram + DATA + 0x16), 0);

    start(LONG_0);
    s.rsi = DATA;
    put_le(ram + DATA, 2, 0xffff);
    put_le(ram + DATA + 2, 8, 0xffff800012345678);
    run(0x0f, 0x01, 0x16);
    assert_int_equal(s.gdtr.base, 0xffff800012345678);
    put_le(ram + DATA + 2, 8, 0x0000800012345678);
    run_gp(0x0f, 0x01, 0x1e);
    run(0x0f, 0x01, 0x46, 0x10);
    assert_int_equal(get_le64(ram + DATA + 0x12), 0xffff800012345678);
}

static void test_control_registers(void **state)
{
    (void)state;
    start(LONG_0);
    s.rax = 0x123456789abcdef0;
    run(0x0f, 0x22, 0xd0); /* MOV CR2, RAX */
    assert_int_equal(s.cr2, s.rax);
    run(0x0f, 0x20, 0xd1);
    assert_int_equal(s.rcx, s.rax);
    s.rax = 5;
    run(0x44, 0x0f, 0x22, 0xc0); /* MOV CR8, RAX */
    assert_int_equal(pc.cr8, 5);
    run(0x44, 0x0f, 0x20, 0xc3);
    assert_int_equal(s.rbx, 5);
    s.rax = s.cr0 | CR0_TS;
    run(0x0f, 0x22, 0xc0);
    assert_int_equal(s.cr0 & CR0_TS, CR0_TS);
    run(0x0f, 0x06); /* CLTS */
    assert_int_equal(s.cr0 & CR0_TS, 0);
    s.rax = CR0_PG;
    run_gp(0x0f, 0x22, 0xc0);
    s.rax = CR4_PAE | 1ull << 40;
    run_gp(0x0f, 0x22, 0xe0);

    start(PROTECTED_0);
    s.rax = 0xffffffffffff0004; /* LMSW: PE stays, EM is set */
    run(0x0f, 0x01, 0xf0);
    assert_int_equal(s.cr0, CR0_PE | CR0_ET | CR0_EM);
    s.rcx = UINT64_MAX;
    run(0x0f, 0x01, 0xe1); /* SMSW ECX */
    assert_int_equal(s.rcx, s.cr0);
    s.rcx = UINT64_MAX;
    run(0x66, 0x0f, 0x01, 0xe1);
    assert_int_equal(s.rcx, 0xffffffffffff0000 | (s.cr0 & 0xffff));
    s.rax = UINT64_MAX;
    s.cr3 = 0x5000;
    s.cr4 = CR4_PSE;
    run(0x0f, 0x20, 0xd8); /* MOV EAX, CR3 */
    assert_int_equal(s.rax, 0x5000);
    run(0x0f, 0x20, 0xe0); /* CR4 */
    assert_int_equal(s.rax, CR4_PSE);
    start(REAL);
    s.rax = 1;
    run(0x0f, 0x01, 0xf0); /* LMSW sets PE */
    assert_int_equal(s.cr0 & CR0_PE, CR0_PE);
}

static void test_debug_registers(void **state)
{
    (void)state;
    start(LONG_0);
    s.rax = 0xffff800000001234;
    run(0x0f, 0x23, 0xc8); /* MOV DR1, RAX */
    assert_int_equal(s.dr[1], s.rax);
    run_gp(0x0f, 0x23, 0xf0); /* bits 63:32 of DR6 and DR7 */
    run_gp(0x0f, 0x23, 0xf8);
    run_ud(0x44, 0x0f, 0x23, 0xc0); /* DR8 */
    s.rax = 0xffffffff & ~(1ull << 13);
    run(0x0f, 0x23, 0xe8); /* DR5 is DR7 */
    assert_int_equal(s.dr7, 0xffff07ff);
    s.dr7 = DR7_RESET;
    run(0x0f, 0x23, 0xe0); /* DR4 is DR6 */
    assert_int_equal(s.dr6, 0xffffcfff);
    s.dr[3] = 33;
    run(0x0f, 0x21, 0xd9); /* MOV RCX, DR3, then DR6 and DR7 */
    assert_int_equal(s.rcx, 33);
    run(0x0f, 0x21, 0xf1);
    assert_int_equal(s.rcx, s.dr6);
    run(0x0f, 0x21, 0xe9);
    assert_int_equal(s.rcx, s.dr7);
    s.cr4 |= CR4_DE;
    run_ud(0x0f, 0x23, 0xe8);
    run_ud(0x0f, 0x21, 0xe0);

    s.dr6 = DR6_RESET;
    s.dr7 |= DR7_GD; /* then they are guarded, against reads too */
    assert_int_equal(run_code(BYTES(0x0f, 0x21, 0xc0)), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_DEBUG);
    assert_int_equal(s.rip, CODE);
    assert_int_equal(s.dr6, DR6_RESET | DR6_BD);
    assert_int_equal(s.dr7 & DR7_GD, 0); /* so that the handler can use them */
    run(0x0f, 0x21, 0xc0);
}

/* MONITOR touches its address; it and MWAIT know few hints. */
static void test_monitor(void **state)
{
    (void)state;
    start(LONG_0);
    s.rax = 1ull << 40;
    s.rcx = 0;
    run_fault(VECTOR_PAGE_FAULT, 0, 0x0f, 0x01, 0xc8);
    s.rax = 1ull << 47;
    run_gp(0x0f, 0x01, 0xc8);
    run(0x0f, 0x01, 0xc9);
    s.rax = DATA;
    run(0x0f, 0x01, 0xc8);
    s.rcx = 1;
    run_gp(0x0f, 0x01, 0xc8);
    run(0x0f, 0x01, 0xc9);
    s.rcx = 2;
    run_gp(0x0f, 0x01, 0xc9);
}

static void test_invalidations(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.ds.base = 0xfffffff0;
    s.rsi = 0x5010;
    run(0x0f, 0x01, 0x3e); /* INVLPG [ESI] */
    assert_int_equal(pc.page, 0x5000);
    start(LONG_0);
    s.rsi = 0x800000000000;
    run(0x0f, 0x01, 0x3e); /* not canonical: nothing */
    assert_int_equal(pc.invalidated, 0);
    s.rsi = DATA;
    put_le(ram + DATA + 8, 8, 0xffff800000005000);
    run(0x66, 0x0f, 0x38, 0x82, 0x06); /* INVPCID RAX = 0: one address */
    assert_int_equal(pc.page, 0xffff800000005000);
    s.rax = 2;
    run(0x66, 0x0f, 0x38, 0x82, 0x06);
    assert_int_equal(pc.flushed, 1);
    s.rax = 3;
    run(0x66, 0x0f, 0x38, 0x82, 0x06);
    assert_int_equal(pc.flushed, 2);
    s.rax = 4;
    run_gp(0x66, 0x0f, 0x38, 0x82, 0x06);
    s.cr4 |= CR4_PCIDE;
    s.rax = 0;
    put_le(ram + DATA, 8, 5); /* an address of another context */
    run(0x66, 0x0f, 0x38, 0x82, 0x06);
    assert_int_equal(pc.flushed, 3);
    assert_int_equal(pc.invalidated, 1);
    s.cr4 &= ~CR4_PCIDE;
    s.rax = 0;
    put_le(ram + DATA, 8, 1); /* a PCID without CR4.PCIDE */
    run_gp(0x66, 0x0f, 0x38, 0x82, 0x06);
    s.rax = 1;
    run_gp(0x66, 0x0f, 0x38, 0x82, 0x06);
    put_le(ram + DATA, 8, 0x1000);
    s.rax = 2;
    run_gp(0x66, 0x0f, 0x38, 0x82, 0x06);
    put_le(ram + DATA, 8, 0);
    put_le(ram + DATA + 8, 8, 0x800000000000);
    s.rax = 0;
    run_gp(0x66, 0x0f, 0x38, 0x82, 0x06);
    env.features = 0;
    run_ud(0x66, 0x0f, 0x38, 0x82, 0x06);
}

static void test_msrs(void **state)
{
    (void)state;
    static const struct {
        uint32_t msr;
        uint64_t bad; /* 0: any value is good */
    } msrs[] = {
        {MSR_IA32_SYSENTER_ESP, 1ull << 47},
        {MSR_IA32_SYSENTER_EIP, 1ull << 47},
        {MSR_IA32_STAR, 0},
        {MSR_IA32_LSTAR, 1ull << 47},
        {MSR_IA32_CSTAR, 1ull << 47},
        {MSR_IA32_FMASK, 1ull << 32},
        {MSR_IA32_FS_BASE, 1ull << 47},
        {MSR_IA32_GS_BASE, 1ull << 47},
        {MSR_IA32_KERNEL_GS_BASE, 1ull << 47},
        {MSR_IA32_TSC_AUX, 1ull << 32},
    };
    start(LONG_0);
    for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        const uint64_t value = 0x12345600 + i;
        s.rcx = 0xffffffff00000000 | msrs[i].msr; /* ECX */
        s.rax = 0xffffffff00000000 | value;
        s.rdx = 0xffffffff00000000;
        run(0x0f, 0x30);
        s.rax = msrs[i].bad;
        s.rdx = msrs[i].bad >> 32;
        if (msrs[i].bad != 0)
            run_gp(0x0f, 0x30);
        s.rdx = 77;
        run(0x0f, 0x32);
        assert_int_equal(s.rax, value);
        assert_int_equal(s.rdx, 0);
    }
    assert_int_equal(env.extra.star, 0x12345602);
    assert_int_equal(s.gs.base, 0x12345607);
    run(0x0f, 0x01, 0xf8); /* SWAPGS */
    assert_int_equal(s.gs.base, 0x12345608);
    assert_int_equal(env.extra.kernel_gs_base, 0x12345607);
    run(0x0f, 0x01, 0xf9); /* RDTSCP */
    assert_int_equal(s.rcx, 0x12345609);
    assert_int_equal(s.rax, 0x3456789a);
    assert_int_equal(s.rdx, 0x12);
    run(0xf3, 0x0f, 0xc7, 0xfb); /* RDPID RBX */
    assert_int_equal(s.rbx, 0x12345609);
    s.rcx = MSR_IA32_TSC_AUX;
    env.features = 0;
    run_gp(0x0f, 0x32);
    run_ud(0x0f, 0x01, 0xf9);
    s.rcx = MSR_IA32_EFER; /* the engine's */
    run(0x0f, 0x32);
    assert_int_equal(s.rax, s.efer);
    start(LONG_3);
    s.cr4 |= CR4_TSD;
    run_gp(0x0f, 0x31);
}

static void test_bases_and_keys(void **state)
{
    (void)state;
    start(LONG_3);
    s.cr4 |= CR4_FSGSBASE | CR4_PKE | CR4_OSXSAVE;
    s.rax = 0xffff800000000123;
    run(0xf3, 0x48, 0x0f, 0xae, 0xd0); /* WRFSBASE RAX */
    assert_int_equal(s.fs.base, s.rax);
    run(0xf3, 0x0f, 0xae, 0xd8); /* WRGSBASE EAX */
    assert_int_equal(s.gs.base, 0x123);
    run(0xf3, 0x48, 0x0f, 0xae, 0xc1); /* RDFSBASE RCX */
    assert_int_equal(s.rcx, s.rax);
    s.rax = 1ull << 47;
    run_gp(0xf3, 0x48, 0x0f, 0xae, 0xd0);

    s.rcx = s.rdx = 0;
    s.rax = 0x55;
    run(0x0f, 0x01, 0xef); /* WRPKRU */
    assert_int_equal(env.extra.pkru, 0x55);
    s.rax = s.rdx = UINT64_MAX;
    run_gp(0x0f, 0x01, 0xef);
    run(0x0f, 0x01, 0xee);
    assert_int_equal(s.rax, 0x55);
    assert_int_equal(s.rdx, 0);
    run(0x0f, 0x01, 0xd0); /* XGETBV */
    assert_int_equal(s.rax, 1);
    s.rcx = 1;
    run_gp(0x0f, 0x01, 0xd0);
    run_gp(0x0f, 0x01, 0xee);
    run_gp(0x0f, 0x01, 0xd1); /* XSETBV: CPL */
    start(LONG_0);
    s.cr4 |= CR4_OSXSAVE;
    s.rcx = s.rdx = 0;
    s.rax = 7;
    run(0x0f, 0x01, 0xd1);
    assert_int_equal(env.extra.xcr0, 7);
    s.rax = 5;
    run_gp(0x0f, 0x01, 0xd1);
}

/* --- SYSENTER, SYSEXIT, SYSCALL, SYSRET --- */

static void test_fast_calls(void **state)
{
    (void)state;
    start(PROTECTED_3);
    s.sysenter_cs = 0xf00f;
    memcpy(ram + CODE, "\x0f\x34", 2);
    s.rip = CODE;
    const struct cpu_state before = s;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.cs.selector, 0xf00c);
    assert_int_equal(s.ss.selector, 0xf014);
    s = before;
    s.sysenter_cs = 0x1003;
    s.sysenter_esp = 0x1122334455667788;
    s.sysenter_eip = 0x4321;
    s.rflags |= RFLAGS_IF;
    run(0x0f, 0x34);
    assert_int_equal(s.cs.selector, 0x1000);
    assert_int_equal(s.cs.access, SEGMENT_CODE32);
    assert_int_equal(s.ss.selector, 0x1008);
    assert_int_equal(s.rsp, 0x55667788);
    assert_int_equal(s.rip, 0x4321);
    assert_int_equal(s.rflags & RFLAGS_IF, 0);
    s.rcx = 0x100002000;
    s.rdx = 0x100003000;
    run(0x0f, 0x35);
    assert_int_equal(s.cs.selector, 0x1013);
    assert_int_equal(s.ss.selector, 0x101b);
    assert_int_equal(segment_cpl(&s), 3);
    assert_int_equal(s.rsp, 0x2000);
    assert_int_equal(s.rip, 0x3000);

    start(LONG_3);
    s.sysenter_cs = 0x1000;
    s.sysenter_eip = 0xffff800000004321;
    run(0x0f, 0x34);
    assert_int_equal(s.rip, 0xffff800000004321);
    assert_int_equal(s.cs.access, SEGMENT_CODE64);
    s.rcx = 0x2000;
    s.rdx = 1ull << 47;
    run_gp(0x48, 0x0f, 0x35);
    s.rdx = 0x3000;
    run(0x48, 0x0f, 0x35);
    assert_int_equal(s.cs.selector, 0x1023);
    assert_int_equal(s.cs.access, SEGMENT_CODE64 | 0x60);

    start(LONG_3);
    env.extra.star = 0x0048003800000000;
    env.extra.lstar = 0xffff800000001000;
    env.extra.fmask = RFLAGS_IF | RFLAGS_DF;
    s.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF | RFLAGS_RF;
    run(0x0f, 0x05);
    assert_int_equal(s.rcx, CODE + 2);
    assert_int_equal(s.r11, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(s.rip, 0xffff800000001000);
    assert_int_equal(s.cs.selector, 0x38);
    assert_int_equal(s.ss.selector, 0x40);
    assert_int_equal(segment_cpl(&s), 0);
    s.rcx = 1ull << 47;
    run_gp(0x48, 0x0f, 0x07);
    s.rcx = 0x100002000;
    s.r11 = UINT64_MAX;
    run(0x0f, 0x07); /* to 32-bit code */
    assert_int_equal(s.rip, 0x2000);
    assert_int_equal(s.cs.selector, 0x4b);
    assert_int_equal(s.cs.access, SEGMENT_CODE32 | 0x60);
    assert_int_equal(s.ss.selector, 0x53);
    assert_int_equal(s.rflags, 0x3c7fd7);
    start(LONG_0);
    s.efer &= ~EFER_SCE;
    run_ud(0x0f, 0x05);
    run_ud(0x0f, 0x07);
}

static const struct interpret_registers amd_calls = {
    .star = 0x0048003800005678,
    .lstar = 0xffff800000001000,
    .cstar = 0xffff800000002000,
    .fmask = RFLAGS_IF | RFLAGS_DF,
};

/* AMD64 Architecture Programmer's Manual, volume 3: SYSCALL in any mode, no SYSENTER in long mode.
 */
static void test_fast_calls_of_amd(void **state)
{
    (void)state;
    start(LONG_3);
    s.cs.access = SEGMENT_CODE32 | 3 << ACCESS_DPL_SHIFT; /* compatibility mode */
    env.extra = amd_calls;
    run_ud(0x0f, 0x05); /* Intel */
    env.features |= INTERPRET_AMD;
    s.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF;
    run(0x0f, 0x05);
    assert_int_equal(s.rcx, CODE + 2);
    assert_int_equal(s.r11, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(s.rip, 0xffff800000002000);
    assert_int_equal(s.cs.selector, 0x38);
    assert_int_equal(s.cs.access, SEGMENT_CODE64);
    s.rcx = 1ull << 47; /* SYSRET goes there, and to CPL 3 */
    run(0x48, 0x0f, 0x07);
    assert_int_equal(s.rip, 1ull << 47);
    assert_int_equal(segment_cpl(&s), 3);
    start(LONG_3);
    env.features |= INTERPRET_AMD;
    s.sysenter_cs = 0x1000;
    run_ud(0x0f, 0x34);
    run_ud(0x0f, 0x35);
    const unsigned calls = pc.hypercalls;
    run_ud(0x0f, 0x01, 0xd9); /* VMMCALL, where nobody has asked for it */
    env.features |= INTERPRET_VMMCALL;
    run(0x0f, 0x01, 0xd9);
    assert_int_equal(pc.hypercalls, calls + 1);

    start(PROTECTED_3);
    env.extra = amd_calls;
    env.features |= INTERPRET_AMD;
    s.efer |= EFER_SCE;
    s.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF;
    s.r11 = 77;
    run(0x0f, 0x05);
    assert_int_equal(s.rcx, CODE + 2);
    assert_int_equal(s.r11, 77);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_DF | RFLAGS_CF);
    assert_int_equal(s.rip, 0x5678);
    assert_int_equal(s.cs.access, SEGMENT_CODE32);
    assert_int_equal(segment_cpl(&s), 0);
    s.rcx = 0x2345;
    run(0x0f, 0x07);
    assert_int_equal(s.rip, 0x2345);
    assert_int_equal(s.cs.selector, 0x4b);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_DF | RFLAGS_CF | RFLAGS_IF);
    s.sysenter_cs = 0x1000;
    run(0x0f, 0x34);
    assert_int_equal(s.cs.selector, 0x1000);
}

/* --- segments --- */

static void test_segment_moves(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.rax = UINT64_MAX;
    run(0x8c, 0xd8); /* MOV EAX, DS */
    assert_int_equal(s.rax, DATA_0);
    s.rax = UINT64_MAX;
    run(0x66, 0x8c, 0xd8);
    assert_int_equal(s.rax, 0xffffffffffff0000 | DATA_0);
    put_le(ram + DATA, 8, UINT64_MAX);
    s.rsi = DATA;
    run(0x8c, 0x1e); /* two bytes in memory */
    assert_int_equal(get_le32(ram + DATA), 0xffff0000 | DATA_0);
    s.rax = DATA_3;
    run(0x8e, 0xc0);
    assert_int_equal(s.es.selector, DATA_3);
    s.rax = 0x7f8;
    run_fault(VECTOR_GENERAL_PROTECTION, 0x7f8, 0x8e, 0xc0);

    ram[STACK - 2] = 0x77; /* PUSH of 4 bytes writes two */
    run(0x06);
    assert_int_equal(s.rsp, STACK - 4);
    assert_int_equal(get_le32(ram + STACK - 4), 0x770000 | DATA_3);
    run(0x0f, 0xa1); /* POP FS */
    assert_int_equal(s.rsp, STACK);
    assert_int_equal(s.fs.selector, DATA_3);
    put_le(ram + STACK, 4, 0x7f8);
    run_fault(VECTOR_GENERAL_PROTECTION, 0x7f8, 0x0f, 0xa1);

    put_le(ram + DATA, 8, (uint64_t)DATA_3 << 32 | 0x12345678);
    run(0x0f, 0xb5, 0x06); /* LGS EAX, [ESI] */
    assert_int_equal(s.gs.selector, DATA_3);
    assert_int_equal(s.rax, 0x12345678);
    run(0xc4, 0x0e); /* LES ECX, [ESI] */
    assert_int_equal(s.rcx, 0x12345678);
    s.ds.limit = DATA + 4; /* the selector is beyond the limit, then the offset */
    run_gp(0xc4, 0x0e);
    s.ds.limit = DATA + 2;
    run_gp(0xc4, 0x0e);
    start(LONG_0);
    s.rsi = DATA;
    put_le(ram + DATA, 8, 0xffff800012345678);
    put_le(ram + DATA + 8, 2, DATA_3);
    run(0x48, 0x0f, 0xb4, 0x06);
    assert_int_equal(s.rax, 0xffff800012345678);
    assert_int_equal(s.fs.selector, DATA_3);
    run(0x0f, 0xa0); /* PUSH FS */
    assert_int_equal(s.rsp, STACK - 8);
}

/* A table over the end of the 32-bit address space goes on at 0. */
static void test_table_wraps(void **state)
{
    (void)state;
    start(PROTECTED_0);
    memcpy(ram + 8, ram + GDT + DATA_0, 8);
    s.gdtr.base = 0xfffffff8;
    s.rax = DATA_0;
    run(0x8e, 0xd8);
    assert_int_equal(s.ds.access, SEGMENT_DATA32);
    start(REAL); /* and a 16-bit stack has SP */
    s.rsp = 0xabc0000;
    s.es.selector = 0x1234;
    run(0x06);
    assert_int_equal(s.rsp, 0xabcfffe);
    assert_int_equal(get_le16(ram + 0xfffe), 0x1234);
    run(0x1f);
    assert_int_equal(s.ds.selector, 0x1234);
    assert_int_equal(s.rsp, 0xabc0000);
}

static void test_queries(void **state)
{
    (void)state;
    start(PROTECTED_3);
    s.rax = DATA_3;
    s.rcx = UINT64_MAX;
    run(0x0f, 0x03, 0xc8); /* LSL ECX, EAX */
    assert_int_equal(s.rcx, UINT32_MAX);
    assert_true(s.rflags & RFLAGS_ZF);
    run(0x66, 0x0f, 0x02, 0xc8); /* LAR CX, AX */
    assert_int_equal(s.rcx, 0xfffff300);
    run(0x0f, 0x00, 0xe8); /* VERW */
    assert_true(s.rflags & RFLAGS_ZF);
    s.rax = DATA_0;
    run(0x0f, 0x00, 0xe0); /* VERR */
    assert_false(s.rflags & RFLAGS_ZF);
    s.rcx = 77;
    run(0x0f, 0x03, 0xc8); /* LSL says no, and nothing else */
    assert_false(s.rflags & RFLAGS_ZF);
    assert_int_equal(s.rcx, 77);
    s.rax = s.rcx = s.rdi = 0;
    s.rax = DATA_3;
    const struct cpu_state before = s;
    run(0x0f, 0x00, 0xe0);
    assert_memory_equal(before.gpr, s.gpr, sizeof(s.gpr));
    s.rax = 0x34;
    s.rcx = 0x13;
    run(0x63, 0xc8); /* ARPL AX, CX */
    assert_int_equal(s.rax, 0x37);
    assert_true(s.rflags & RFLAGS_ZF);
    run(0x63, 0xc8);
    assert_false(s.rflags & RFLAGS_ZF);
    put_le(ram + DATA, 8, 0x0000000afffffff6); /* BOUND: -10 to 10 */
    s.rsi = DATA;
    s.rcx = 10;
    run(0x62, 0x0e);
    s.rcx = (uint32_t)-10;
    run(0x62, 0x0e);
    s.rcx = 11;
    run_fault(VECTOR_BOUND_RANGE, 0, 0x62, 0x0e);
    s.rcx = (uint32_t)-11;
    run_fault(VECTOR_BOUND_RANGE, 0, 0x62, 0x0e);
    start(PROTECTED_0);
    s.rax = LDT;
    run(0x0f, 0x00, 0xd0);
    assert_int_equal(s.ldtr.base, 0x6000);
    s.rcx = UINT64_MAX;
    run(0x0f, 0x00, 0xc1); /* SLDT ECX */
    assert_int_equal(s.rcx, LDT);
    s.rax = TR;
    run(0x0f, 0x00, 0xd8); /* LTR */
    assert_int_equal(s.tr.selector, TR);
}

/* A far branch to a TSS, and an INT through a task gate, are the engine's to do. */
static void test_task_requests(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.interruptibility = BLOCKED_BY_STI;
    assert_int_equal(run_code(BYTES(0xea, 0, 0, 0, 0, TR, 0)), INTERPRET_TASK);
    assert_int_equal(s.interruptibility, 0);
    assert_int_equal(env.task.source, TASK_JMP);
    assert_int_equal(env.task.selector, TR);
    assert_int_equal(env.task.next_eip, CODE + 7);
    assert_int_equal(s.rip, CODE);
    put_gate(IDT + 0x40 * 8, 5, 0, TR, 0, 0);
    s.rflags |= RFLAGS_RF;
    assert_int_equal(run_code(BYTES(0xcd, 0x40)), INTERPRET_TASK);
    assert_int_equal(env.task.source, TASK_GATE);
    assert_int_equal(env.task.next_eip, CODE + 2);
    assert_int_equal(s.rip, CODE);
    const struct event interrupt = {EVENT_VALID | EVENT_INTERRUPT | 0x40, 0, 0};
    bool fault;
    assert_int_equal(interpret_deliver(&env, &interrupt, &fault), INTERPRET_TASK);
    assert_false(fault);
    assert_int_equal(env.task.next_eip, CODE);
}

static void test_software_interrupts(void **state)
{
    (void)state;
    start(PROTECTED_0);
    put_gate(IDT + 3 * 8, 14, 0, CODE_0, 0x3000, 0);
    put_gate(IDT + 4 * 8, 15, 0, CODE_0, 0x3100, 0);
    put_gate(IDT + 1 * 8, 15, 0, CODE_0, 0x3200, 0);
    s.rflags |= RFLAGS_RF | RFLAGS_IF;
    run(0xcc);
    assert_int_equal(s.rip, 0x3000);
    assert_int_equal(get_le32(ram + STACK - 12), CODE + 1);
    assert_int_equal(get_le32(ram + STACK - 4), RFLAGS_FIXED | RFLAGS_IF); /* without RF */
    assert_int_equal(s.rflags & RFLAGS_IF, 0);
    run(0xce); /* INTO without OF */
    assert_int_equal(s.rip, CODE + 1);
    s.rflags |= RFLAGS_OF;
    run(0xce);
    assert_int_equal(s.rip, 0x3100);
    run(0xf1);
    assert_int_equal(s.rip, 0x3200);
    run_fault(VECTOR_GENERAL_PROTECTION, 0x50 * 8 + 2, 0xcd, 0x50); /* not a gate */
    s.cs.selector = CODE_3;
    s.cs.access |= 0x60;
    s.ss.access |= 0x60;
    run_fault(VECTOR_GENERAL_PROTECTION, 3 * 8 + 2, 0xcc); /* the gate's DPL */
    s.idtr.limit = 0x17;
    run_fault(VECTOR_GENERAL_PROTECTION, 0x80 * 8 + 2, 0xcd, 0x80);
}

/* --- IF, VIF and the shadow of STI --- */

static void test_interrupt_flag(void **state)
{
    (void)state;
    start(PROTECTED_0);
    run(0xfb);
    assert_true(s.rflags & RFLAGS_IF);
    assert_int_equal(s.interruptibility, BLOCKED_BY_STI);
    run(0x90);
    assert_int_equal(s.interruptibility, 0);
    run(0xfb); /* IF was on */
    assert_int_equal(s.interruptibility, 0);
    run(0xfa);
    assert_false(s.rflags & RFLAGS_IF);

    start(PROTECTED_3); /* IOPL, then CR4.PVI */
    s.rflags |= RFLAGS_IOPL;
    run(0xfb);
    assert_true(s.rflags & RFLAGS_IF);
    s.rflags &= ~RFLAGS_IOPL;
    run_gp(0xfa);
    s.cr4 |= CR4_PVI;
    run(0xfb);
    assert_true(s.rflags & RFLAGS_VIF);
    assert_int_equal(s.interruptibility, 0);
    run(0xfa);
    assert_false(s.rflags & RFLAGS_VIF);
    assert_true(s.rflags & RFLAGS_IF);
    s.rflags |= RFLAGS_VIP;
    run_gp(0xfb);

    start(V86);
    s.cr4 |= CR4_PVI;
    run_gp(0xfb);
    s.cr4 = CR4_VME;
    run(0xfb);
    assert_true(s.rflags & RFLAGS_VIF);
    s.rflags |= RFLAGS_IOPL;
    run(0xfb);
    assert_true(s.rflags & RFLAGS_IF);
    start(LONG_0);
    run(0x0f, 0x01, 0xcb); /* STAC */
    assert_true(s.rflags & RFLAGS_AC);
    run(0x0f, 0x01, 0xca);
    assert_false(s.rflags & RFLAGS_AC);
}

/* --- single steps and breakpoints --- */

/* Whether #DB comes before the next instruction, with these bits in DR6. */
static bool trap_is(uint64_t causes)
{
    if (!interpret_has_debug_trap(&env))
        return causes == 0;
    const uint64_t rip = s.rip;
    s.dr6 = DR6_RESET;
    pc.vector = NOTHING;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_DEBUG);
    assert_int_equal(s.rip, rip);
    assert_int_equal(s.pending_debug, 0);
    return s.dr6 == (DR6_RESET | causes);
}

static void test_single_step(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.rflags |= RFLAGS_TF;
    run(0x90);
    assert_true(trap_is(PENDING_DEBUG_BS));
    s.rax = DATA_0;
    run(0x8e, 0xd0); /* MOV SS: no trap, nor before the next one's end */
    assert_int_equal(s.interruptibility, BLOCKED_BY_MOV_SS);
    assert_int_equal(s.pending_debug, 0);
    run(0x8e, 0xd0); /* a second one does not hold it back */
    assert_int_equal(s.interruptibility, 0);
    assert_true(trap_is(PENDING_DEBUG_BS));
    put_le(ram + STACK, 4, RFLAGS_FIXED);
    run(0x9d); /* POPF clears TF, and is trapped */
    assert_true(trap_is(PENDING_DEBUG_BS));
    s.rsp = STACK;
    put_le(ram + STACK, 4, RFLAGS_FIXED | RFLAGS_TF);
    run(0x9d); /* sets it: the next one is */
    assert_int_equal(s.pending_debug, 0);
    put_gate(IDT + 0x40 * 8, 15, 0, CODE_0, 0x3000, 0);
    run(0xcd, 0x40); /* INT n is not */
    assert_int_equal(s.pending_debug, 0);
    assert_true(get_le32(ram + s.rsp + 8) & RFLAGS_TF);
    s.rflags |= RFLAGS_TF;
    assert_int_equal(run_code(BYTES(0xf4)), INTERPRET_DONE); /* HLT is over at once */
    assert_true(trap_is(PENDING_DEBUG_BS));
    s.rax = CR0_PG;
    run_gp(0x0f, 0x22, 0xc0); /* what faults has none: MOV CR0 of a bad value */
    assert_int_equal(s.pending_debug, 0);

    s.debugctl = DEBUGCTL_BTF; /* branches alone */
    run(0x90);
    assert_int_equal(s.pending_debug, 0);
    run(0x74, 0x10); /* JZ, not taken */
    assert_int_equal(s.pending_debug, 0);
    run(0xeb, 0x10);
    assert_true(trap_is(PENDING_DEBUG_BS));
    assert_int_equal(s.debugctl, 0);

    s.rcx = 3; /* after each iteration */
    s.rdi = DATA;
    s.rip = CODE;
    memcpy(ram + CODE, "\xf3\xaa", 2);
    for (unsigned left = 3; left-- > 0;) {
        assert_int_equal(interpret_one(&env), INTERPRET_DONE);
        assert_int_equal(s.rcx, left);
        assert_int_equal(s.rip, left ? CODE : CODE + 2);
        assert_true(trap_is(PENDING_DEBUG_BS));
    }
    start(LONG_3); /* SYSCALL by the TF that it leaves, SYSRET by the one that it brings */
    s.rflags |= RFLAGS_TF;
    env.extra.fmask = RFLAGS_TF;
    run(0x0f, 0x05);
    assert_int_equal(s.pending_debug, 0);
    s.rcx = DATA;
    run(0x48, 0x0f, 0x07);
    assert_true(trap_is(PENDING_DEBUG_BS));
}

static void test_breakpoints(void **state)
{
    (void)state;
    start(PROTECTED_0);
    s.cs.base = 0x100;
    s.dr[1] = CODE + 0x100;
    s.dr7 = DR7_RESET | 1 << 3; /* G1: an instruction */
    memset(ram + CODE + 0x100, 0x90, 8);
    s.rip = CODE;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_DEBUG);
    assert_int_equal(s.rip, CODE);
    assert_int_equal(s.dr6, DR6_RESET | 2);
    s.rflags |= RFLAGS_RF;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, CODE + 1);
    assert_int_equal(s.rflags & RFLAGS_RF, 0);
    s.rip = CODE - 1;
    ram[CODE + 0x100 - 1] = 0x90;
    s.rflags |= RFLAGS_TF; /* with a single step's trap it comes at once */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    s.rflags &= ~RFLAGS_TF;
    assert_true(trap_is(PENDING_DEBUG_BS | 2));
    s.interruptibility = BLOCKED_BY_MOV_SS; /* as RF */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, CODE + 1);

    start(PROTECTED_0);
    s.dr[0] = DATA + 2;
    s.dr[2] = DATA + 4;
    s.dr7 = DR7_RESET | 0x11 | 1 << 16 | 1 << 18 | 3 << 24 | 3 << 26; /* writes of 2, any of 4 */
    s.rsi = DATA;
    run(0x8b, 0x06); /* MOV EAX, [ESI] */
    assert_true(trap_is(0));
    run(0x89, 0x06);
    assert_true(trap_is(1));
    s.dr[1] = CODE + 2; /* beside it, one that is off, and an instruction's */
    run(0x89, 0x06);
    assert_true(trap_is(3));
    s.dr[1] = 0;
    run(0x8b, 0x46, 0x01); /* 1 to 4 */
    assert_true(trap_is(4));
    run(0x00, 0x46, 0x03); /* ADD [ESI+3], AL */
    assert_true(trap_is(1));
    run(0x89, 0x46, 0x03);
    assert_true(trap_is(5));
    s.cr4 |= CR4_OSFXSR;
    assert_int_equal(run_code(BYTES(0x0f, 0x11, 0x06)), INTERPRET_COMPUTE); /* MOVUPS [ESI], XMM0 */
    interpret_computed(&env);
    assert_true(trap_is(5));
    assert_int_equal(run_code(BYTES(0x0f, 0x10, 0x06)), INTERPRET_COMPUTE);
    interpret_computed(&env);
    assert_true(trap_is(4));
    s.rsp = DATA + 8;
    run(0x1e); /* PUSH DS */
    assert_true(trap_is(4));
    s.gdtr.base = DATA + 4 - DATA_0; /* the GDT, too */
    memcpy(ram + DATA - 4, ram + GDT + CODE_0, 16);
    s.rax = DATA_0;
    run(0x8e, 0xc0);
    assert_true(trap_is(4));
    s.rsp = STACK;
    run(0x8e, 0xd0); /* of MOV SS it is held back */
    assert_int_equal(s.pending_debug, PENDING_DEBUG_ENABLED | 4);
    assert_false(interpret_has_debug_trap(&env));
    run(0x90);
    assert_true(trap_is(4));
    put_gate(IDT + VECTOR_DEBUG * 8, 15, 0, CODE_0, 0x3200, 0);
    run(0x8e, 0xd0);
    run(0xf1); /* INT1 is #DB already */
    assert_int_equal(s.pending_debug, 0);
    s.gdtr.base = GDT;
    s.dr7 = DR7_RESET;
    run(0x89, 0x06);
    assert_true(trap_is(0));

    s.dr[0] = DATA + 1; /* behind the iteration that hits */
    s.dr7 = DR7_RESET | 1 | 1 << 16;
    s.rdi = DATA;
    s.rcx = 3;
    memcpy(ram + CODE, "\xf3\xaa", 2);
    s.rip = CODE;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_true(trap_is(0));
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rcx, 1);
    assert_true(trap_is(1));

    s.cr4 = CR4_DE;
    s.dr[3] = 0x60;
    s.dr7 = DR7_RESET | 1 << 6 | 2u << 28; /* a port */
    run(0xe4, 0x61);
    assert_true(trap_is(0));
    run(0xe5, 0x5e);
    assert_true(trap_is(8));
    s.cr4 = 0;
    run(0xe4, 0x60);
    assert_true(trap_is(0));
}

/* --- LOCK --- */

static unsigned others; /* how often another CPU writes in between */
static unsigned exchanges;
static uint8_t other_value;

static void read_locked(struct interpret_env *e, const struct emulate_operand *o, void *to)
{
    e->calls->read(e, o, to);
}

static bool other_exchange(struct interpret_env *e, const struct emulate_operand *o,
                           const void *old, const void *new)
{
    exchanges++;
    if (others != 0) {
        others--;
        ram[o->at[0].v] = other_value++;
    }
    if (memcmp(ram + o->at[0].v, old, o->bytes) != 0)
        return false;
    pc_write(e, o, new);
    return true;
}

static void test_locks(void **state)
{
    (void)state;
    struct interpret_calls with = calls;
    start(PROTECTED_0);
    env.calls = &with;
    with.read_locked = read_locked;
    with.exchange = other_exchange;
    s.rsi = DATA;
    s.rax = 5;
    put_le(ram + DATA, 4, 100);
    others = 2;
    other_value = 40;
    run(0xf0, 0x0f, 0xc1, 0x06); /* LOCK XADD [ESI], EAX, of 41 in the end */
    assert_int_equal(s.rax, 41);
    assert_int_equal(get_le32(ram + DATA), 46);
    assert_int_equal(exchanges, 3);
    run(0x01, 0x06); /* without LOCK */
    assert_int_equal(exchanges, 3);
    run(0x87, 0x06); /* XCHG has one of its own */
    assert_int_equal(exchanges, 4);
    assert_int_equal(s.rax, 46 + 41);
    run(0x87, 0xc1); /* of registers there is none */
    assert_int_equal(exchanges, 4);
    others = 1000; /* it is tried so often, and again */
    s.rflags |= RFLAGS_TF;
    s.rax = 1;
    memcpy(ram + CODE, "\xf0\x29\x06", 3);
    s.rip = CODE;
    const struct cpu_state before = s;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_memory_equal(&before, &s, sizeof(s));
    others = 0;
    ram[DATA] = 9;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, CODE + 3);
    assert_int_equal(ram[DATA], 8);
    s.ds.access &= ~(uint32_t)ACCESS_WRITABLE;
    s.rflags &= ~RFLAGS_TF;
    s.pending_debug = 0;
    run_gp(0xf0, 0x29, 0x06);
    run(0x8b, 0x06); /* and what comes next reads as ever */
    assert_int_equal(s.rax, get_le32(ram + DATA));
}

/* A descriptor that is marked as accessed while another CPU changes the byte before. */
static void test_locks_of_descriptors(void **state)
{
    (void)state;
    struct interpret_calls with = calls;
    start(PROTECTED_0);
    env.calls = &with;
    with.read_locked = read_locked;
    with.exchange = other_exchange;
    set_descriptor(DATA_0, 0, 0xfffff, SEGMENT_DATA32 & ~(uint32_t)ACCESS_ACCESSED);
    s.rax = DATA_0;
    others = 1;
    other_value = 0x5a;
    exchanges = 0;
    run(0x8e, 0xc0);
    assert_int_equal(exchanges, 2);
    assert_int_equal(get_le32(ram + GDT + DATA_0 + 4), 0xcf935a);
    run(0x8e, 0xc0); /* it is marked */
    assert_int_equal(exchanges, 2);
}

/* --- fetching --- */

static void test_fetch(void **state)
{
    (void)state;
    start(LONG_0); /* pages of 4 KiB: 0x20000 is not present */
    put_le(ram + 0x12000, 8, 0x13007);
    for (unsigned i = 0; i < 256; i++)
        put_le(ram + 0x13000 + 8 * i, 8, i == 0x20 ? 0 : i << 12 | 7);
    memcpy(ram + 0x1fffe, "\x90\x90", 2);
    s.rip = 0x1ffff;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, 0x20000);
    assert_int_equal(pc.vector, NOTHING); /* what is not needed is not looked for */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_PAGE_FAULT);
    assert_int_equal(pc.error, 0);
    memcpy(ram + 0x1fffe, "\x0f\xa2", 2);
    s.rip = 0x1fffe;
    pc.vector = NOTHING;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, 0x20000);
    memcpy(ram + 0x1fffe, "\x48\x0f", 2);
    s.rip = 0x1fffe;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_PAGE_FAULT);
    assert_int_equal(s.cr2, 0x20000);
    assert_int_equal(s.rip, 0x1fffe);
    put_le(ram + 0x13000 + 8 * 0x20, 8, 0x40007); /* across, to a page elsewhere */
    ram[0x40000] = 0xa2;
    s.rax = 7;
    s.rcx = 1;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, 0x20001);
    assert_int_equal(s.rax, 7 + 16); /* CPUID */
    assert_int_equal(s.rdx, 7 + 16 + 768);

    put_le(ram + 0x10000 + 8 * 255, 8, 0x14007); /* the last page of the lower half */
    put_le(ram + 0x14000 + 8 * 511, 8, 0x15007);
    put_le(ram + 0x15000 + 8 * 511, 8, 0x16007);
    put_le(ram + 0x16000 + 8 * 511, 8, 0x17007);
    memcpy(ram + 0x17ffe, "\x90\x48", 2);
    s.rip = (1ull << 47) - 2;
    pc.vector = NOTHING;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, (1ull << 47) - 1);
    assert_int_equal(pc.vector, NOTHING);
    assert_int_equal(interpret_one(&env), INTERPRET_DONE); /* goes on beyond it */
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    s.rip = 1ull << 47;
    pc.vector = NOTHING;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    s.cr4 |= CR4_LA57; /* with five levels that is canonical, and nothing is there */
    s.rip = 1ull << 55;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_PAGE_FAULT);
    s.rip = 1ull << 56;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    s.cr4 &= ~CR4_LA57;
    static const uint8_t long_one[16] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                         0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90, 0x90};
    assert_int_equal(run_code(long_one, 16), INTERPRET_DONE);
    assert_int_equal(pc.vector, NOTHING);
    assert_int_equal(s.rip, CODE + 15);
    memset(ram + CODE, 0x66, 15);
    s.rip = CODE;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);

    start(REAL); /* the segment's limit */
    s.cs.limit = CODE + 1;
    run(0x31, 0xc0);
    run_gp(0x83, 0xc0, 0x01);
    s.rip = CODE + 2;
    pc.vector = NOTHING;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    run_gp(0xeb, 0x00); /* a branch to beyond it */
}

static void test_computing(void **state)
{
    (void)state;
    static const uint8_t x87[] = {0xd8, 0xc1}, mmx[] = {0x0f, 0xef, 0xc1}, wait[] = {0x9b},
                         sse[] = {0x0f, 0x58, 0x05, 4, 0, 0, 0}, avx[] = {0xc5, 0xf4, 0x58, 0xc1},
                         andn[] = {0xc4, 0xe2, 0x78, 0xf2, 0xc1},
                         avx512[] = {0x62, 0xf1, 0x74, 0x48, 0x58, 0xc1},
                         random[] = {0x0f, 0xc7, 0xf0}, xsave[] = {0x0f, 0xae, 0x26},
                         movups[] = {0x0f, 0x10, 0x06};
    /* What happens with CR0.TS, CR0.EM, without CR4.OSFXSR and without CR4.OSXSAVE: N #NM. */
    static const struct {
        const uint8_t *code;
        unsigned length;
        char expected[6];
    } rows[] = {
        {x87, sizeof(x87), "cNNcc"},       {mmx, sizeof(mmx), "cNUcc"},
        {wait, sizeof(wait), "cNccc"},     {sse, sizeof(sse), "cNUUc"},
        {movups, sizeof(movups), "cNUUc"}, {avx, sizeof(avx), "cNccU"},
        {andn, sizeof(andn), "ccccc"},     {avx512, sizeof(avx512), "cNccU"},
        {random, sizeof(random), "ccccc"}, {xsave, sizeof(xsave), "cNccU"},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned column = 0; column < 5; column++) {
            start(LONG_3);
            s.cr0 |= CR0_MP | (column == 1 ? CR0_TS : column == 2 ? CR0_EM : 0);
            s.cr4 |= (column == 3 ? 0 : CR4_OSFXSR) | (column == 4 ? 0 : CR4_OSXSAVE);
            env.extra.xcr0 = 0xe7;
            s.rflags |= RFLAGS_RF | RFLAGS_TF;
            const enum interpret_result result = run_code(rows[i].code, rows[i].length);
            const char outcome =
                pc.vector == VECTOR_DEVICE_NOT_AVAILABLE ? 'N' : outcome_of(result);
            if (outcome != rows[i].expected[column])
                fail_msg("row %u, column %u: %c", i, column, outcome);
            assert_int_equal(s.rip, CODE);
            if (outcome != 'c')
                continue;
            assert_int_equal(env.length, rows[i].length);
            assert_memory_equal(env.bytes, rows[i].code, env.length);
            interpret_computed(&env);
            assert_int_equal(s.rip, CODE + env.length);
            assert_int_equal(s.rflags & RFLAGS_RF, 0);
            assert_true(trap_is(PENDING_DEBUG_BS));
        }
    }
    start(LONG_3);
    s.cr0 |= CR0_TS; /* WAIT looks at it with CR0.MP */
    assert_int_equal(run_code(wait, 1), INTERPRET_COMPUTE);
    start(V86);
    s.cr4 = CR4_OSXSAVE;
    env.extra.xcr0 = 7;
    run_ud(0xc5, 0xf4, 0x58, 0xc1);
    run_ud(0xc4, 0xe2, 0x78, 0xf2, 0xc1);
    start(LONG_3);
    s.cr4 |= CR4_OSXSAVE;
    env.extra.xcr0 = 7;
    run_ud(0x62, 0xf1, 0x74, 0x48, 0x58, 0xc1);
    run_ud(0x66, 0xc5, 0xf4, 0x58, 0xc1);
}

/* --- events --- */

static void test_events(void **state)
{
    (void)state;
    bool fault;
    start(PROTECTED_0);
    put_gate(IDT + 2 * 8, 14, 0, CODE_0, 0x3000, 0);
    put_gate(IDT + 13 * 8, 14, 0, CODE_0, 0x3100, 0);
    s.rip = 0x1234;
    s.interruptibility = BLOCKED_BY_STI;
    const struct event nmi = {EVENT_VALID | EVENT_NMI | 2, 0, 0};
    assert_int_equal(interpret_deliver(&env, &nmi, &fault), INTERPRET_DONE);
    assert_false(fault);
    assert_int_equal(get_le32(ram + s.rsp + 8), RFLAGS_FIXED); /* RF is of faults */
    assert_int_equal(s.interruptibility, BLOCKED_BY_NMI);
    assert_int_equal(s.rip, 0x3000);
    const struct event gp = {EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 13, 0x77, 0};
    assert_int_equal(interpret_deliver(&env, &gp, &fault), INTERPRET_DONE);
    assert_int_equal(get_le32(ram + s.rsp), 0x77);
    assert_int_equal(get_le32(ram + s.rsp + 12), RFLAGS_FIXED | RFLAGS_RF);
    assert_int_equal(s.rflags, RFLAGS_FIXED);
    s.rsp += 4;
    run(0xcf); /* IRET brings RF, and NMIs */
    assert_int_equal(s.rip, 0x3000);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_RF);
    assert_int_equal(s.interruptibility, 0);
    s.rip = CODE;
    s.idtr.limit = 8; /* no gate: #GP, and the rules make a #DF of both */
    const struct cpu_state before = s;
    assert_int_equal(interpret_deliver(&env, &gp, &fault), INTERPRET_DONE);
    assert_true(fault);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(pc.error, 13 * 8 + 3);
    assert_memory_equal(&before, &s, sizeof(s));
    struct event second = pc.event;
    assert_true(event_combine(&gp, &second));
    assert_int_equal(second.info & 0xff, VECTOR_DOUBLE_FAULT);

    s.idtr.limit = 0x7ff;
    put_gate(IDT + VECTOR_DEBUG * 8, 14, 0, CODE_0, 0x3000, 0);
    put_gate(IDT + VECTOR_BREAKPOINT * 8, 14, 0, CODE_0, 0x3000, 0);
    s.rflags = RFLAGS_FIXED;
    const struct event db = {EVENT_VALID | EVENT_EXCEPTION | VECTOR_DEBUG, 0, 0};
    assert_int_equal(interpret_deliver(&env, &db, &fault), INTERPRET_DONE);
    assert_int_equal(get_le32(ram + s.rsp + 8), RFLAGS_FIXED);
    s.rip = CODE; /* one that an engine has taken out of the CPU's hands */
    const struct event bp = {EVENT_VALID | EVENT_SOFTWARE_EXCEPTION | VECTOR_BREAKPOINT, 0, 1};
    assert_int_equal(interpret_deliver(&env, &bp, &fault), INTERPRET_DONE);
    assert_int_equal(get_le32(ram + s.rsp), CODE + 1);
    s.dr[0] = s.rsp - 4; /* breakpoints are of instructions, not of deliveries */
    s.dr7 = DR7_RESET | 1 | 3 << 16 | 3 << 18;
    run(0x90);
    assert_int_equal(interpret_deliver(&env, &db, &fault), INTERPRET_DONE);
    run(0x90);
    assert_int_equal(s.pending_debug, 0);

    start(LONG_0); /* #PF of its own stack: not canonical, then not there */
    put_gate(IDT + 14 * 16, 14, 0, CODE_0, 0x3000, 0);
    s.rsp = (1ull << 47) + 0x100;
    const struct event pf = {EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 14, 2, 0};
    assert_int_equal(interpret_deliver(&env, &pf, &fault), INTERPRET_DONE);
    assert_true(fault);
    assert_int_equal(pc.vector, VECTOR_STACK_FAULT);
    s.rsp = 1ull << 40;
    assert_int_equal(interpret_deliver(&env, &pf, &fault), INTERPRET_DONE);
    assert_true(fault);
    assert_int_equal(pc.vector, VECTOR_PAGE_FAULT);
    s.idtr.base = 1ull << 47; /* no LIDT makes it so */
    assert_int_equal(interpret_deliver(&env, &pf, &fault), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    s.idtr.base = (1ull << 47) - 14 * 16 - 8; /* half of the gate is */
    pc.vector = NOTHING;
    assert_int_equal(interpret_deliver(&env, &pf, &fault), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(pc.error, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_umip),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_string_ports),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_control_registers),
        cmocka_unit_test(test_debug_registers),
        cmocka_unit_test(test_monitor),
        cmocka_unit_test(test_invalidations),
        cmocka_unit_test(test_msrs),
        cmocka_unit_test(test_bases_and_keys),
        cmocka_unit_test(test_fast_calls),
        cmocka_unit_test(test_fast_calls_of_amd),
        cmocka_unit_test(test_segment_moves),
        cmocka_unit_test(test_table_wraps),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_task_requests),
        cmocka_unit_test(test_software_interrupts),
        cmocka_unit_test(test_interrupt_flag),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_breakpoints),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_locks_of_descriptors),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_computing),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
