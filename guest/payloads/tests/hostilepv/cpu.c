/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that are not for CPL 3, and debug registers. */
#include "hostilepv.h"

#define EITHER 99 /* whatever comes */

static page user_stack;

static int64_t user_code(void)
{
    const struct iret_frame f = {.rip = (uint64_t)code_page,
                                 .cs = XEN_FLAT_CODE,
                                 .rflags = 0x202,
                                 .rsp = (uint64_t)user_stack + PAGE - 64,
                                 .ss = XEN_FLAT_DATA};
    return probe_iret(&f);
}

/* --- one by one --- */

struct instruction {
    const char *bytes;
    uint8_t length;
    int8_t kernel; /* the vector that it ends in */
    int8_t user;
};

static const struct instruction instructions[] = {
    {"\xf4", 1, GP, GP},                         /* HLT */
    {"\xfa", 1, NO_TRAP, GP},                    /* CLI */
    {"\xfb", 1, NO_TRAP, GP},                    /* STI */
    {"\x0f\x06", 2, NO_TRAP, GP},                /* CLTS */
    {"\x0f\x08", 2, NO_TRAP, GP},                /* INVD */
    {"\x0f\x09", 2, NO_TRAP, GP},                /* WBINVD */
    {"\x0f\x01\x17", 3, GP, GP},                 /* LGDT [RDI] */
    {"\x0f\x01\x1f", 3, GP, GP},                 /* LIDT */
    {"\x0f\x00\xd0", 3, GP, GP},                 /* LLDT AX */
    {"\x0f\x00\xd8", 3, GP, GP},                 /* LTR AX */
    {"\x0f\x01\xf0", 3, GP, GP},                 /* LMSW AX */
    {"\x0f\x01\x3f", 3, GP, GP},                 /* INVLPG [RDI] */
    {"\x0f\x01\xf8", 3, GP, GP},                 /* SWAPGS */
    {"\x0f\x07", 2, GP, GP},                     /* SYSRET */
    {"\x48\x0f\x07", 3, GP, GP},                 /* SYSRETQ */
    {"\x0f\x35", 2, EITHER, EITHER},             /* SYSEXIT */
    {"\x0f\x34", 2, EITHER, EITHER},             /* SYSENTER */
    {"\x0f\x01\xc1", 3, UD, UD},                 /* VMCALL */
    {"\x0f\x01\xc2", 3, UD, EITHER},             /* VMLAUNCH */
    {"\xf3\x0f\xc7\x37", 4, EITHER, EITHER},     /* VMXON [RDI] */
    {"\x0f\x01\xd8", 3, EITHER, EITHER},         /* VMRUN */
    {"\x0f\x01\xd9", 3, EITHER, EITHER},         /* VMMCALL */
    {"\x0f\x01\xdc", 3, EITHER, EITHER},         /* STGI */
    {"\x0f\x01\xdf", 3, EITHER, EITHER},         /* INVLPGA */
    {"\x0f\x01\xca", 3, EITHER, EITHER},         /* CLAC */
    {"\x0f\x01\xcb", 3, EITHER, EITHER},         /* STAC */
    {"\x0f\x01\xc8", 3, UD, UD},                 /* MONITOR */
    {"\x0f\x01\xc9", 3, UD, UD},                 /* MWAIT */
    {"\x0f\xaa", 2, UD, UD},                     /* RSM */
    {"\x0f\x33", 2, EITHER, EITHER},             /* RDPMC */
    {"\x0f\x01\xd1", 3, GP, GP},                 /* XSETBV */
    {"\x66\x0f\x38\x82\x07", 5, EITHER, EITHER}, /* INVPCID */
    {"\xf3\x48\x0f\xae\xd8", 5, UD, UD},         /* WRGSBASE RAX */
    {"\xf3\x48\x0f\xae\xd0", 5, UD, UD},         /* WRFSBASE RAX */
    {"\x0f\x01\xcf", 3, EITHER, EITHER},         /* ENCLS */
    {"\x48\x0f\xc7\x1f", 4, EITHER, EITHER},     /* XRSTORS [RDI] */
    {"\x48\x0f\xc7\x2f", 4, EITHER, EITHER},     /* XSAVES [RDI] */
    {"\xf3\x0f\x01\xe8", 4, EITHER, EITHER},     /* SETSSBSY */
    {"\x6c", 1, GP, GP},                         /* INSB */
    {"\x6f", 1, GP, GP},                         /* OUTSD */
    {"\xec", 1, NO_TRAP, GP},                    /* IN AL, DX */
    {"\xef", 1, NO_TRAP, GP},                    /* OUT DX, EAX */
    {"\xe6\xed", 2, NO_TRAP, GP},                /* OUT 0xed, AL */
    {"\xe7\xcf", 2, NO_TRAP, GP},                /* OUT 0xcf, EAX */
    {"\xf1", 1, EITHER, EITHER},                 /* INT1 */
    {"\xcd\x02", 2, GP, GP},                     /* INT 2 */
    {"\xcd\x03", 2, BP, BP},                     /* INT 3 */
    {"\xcd\x0e", 2, GP, GP},                     /* INT 14 */
    {"\xcd\x80", 2, GP, GP},                     /* INT 0x80 */
    {"\xcd\xf0", 2, GP, GP},
    {"\xcc", 1, BP, BP},
    {"\xce", 1, UD, UD},                     /* INTO */
    {"\x0f\x22\xc0", 3, EITHER, GP},         /* MOV CR0, RAX */
    {"\x0f\x22\xd8", 3, GP, GP},             /* MOV CR3, RAX */
    {"\x0f\x20\xc8", 3, EITHER, EITHER},     /* MOV RAX, CR1 */
    {"\x44\x0f\x22\xc0", 4, GP, GP},         /* MOV CR8, RAX */
    {"\x44\x0f\x22\xf8", 4, EITHER, EITHER}, /* MOV CR15, RAX */
    {"\x44\x0f\x23\xc0", 4, EITHER, EITHER}, /* MOV DR8, RAX */
    {"\xf0\x0f\x20\xc0", 4, EITHER, EITHER}, /* LOCK MOV RAX, CR0 */
    {"\xff\x1f", 2, EITHER, EITHER},         /* CALL far [RDI] */
    {"\xff\x2f", 2, EITHER, EITHER},         /* JMP far [RDI] */
    {"\xcf", 1, EITHER, EITHER},             /* IRET */
    {"\x0f\x0b\x78\x65\x6e", 5, UD, UD},     /* Xen's prefix, and no CPUID */
    {"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4", 15, GP, GP},
    {"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4", 16, GP, GP},
};

static const uint64_t values[] = {0, 1, 0x80000000, 0xffffffff, 1ull << 47, HOLE, ~0ull};

static void one_by_one(void)
{
    for (unsigned i = 0; i < ARRAY(instructions); i++) {
        const struct instruction *in = &instructions[i];
        for (unsigned k = 0; k < ARRAY(values); k++) {
            uint64_t registers[6] = {values[k], values[k], values[k],
                                     values[k], values[k], values[k]};
            put_code(in->bytes, in->length);
            const int64_t got = probe_code(registers);
            if (in->kernel != EITHER)
                expect(got, in->kernel, "an instruction, in the kernel", i << 8 | k);
            memcpy(code_page + in->length, "\x0f\x0b", 2);
            const int64_t by_user = user_code();
            if (in->user != EITHER)
                expect(by_user, in->user, "an instruction, by user code", i << 8 | k);
            (void)xen_call(XEN_FPU_TASKSWITCH, 0, 0, 0, 0);
            (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);
        }
    }
}

/* --- model-specific and control registers, ports --- */

static void registers_of_all_numbers(void)
{
    static const uint32_t first[] = {0,          0x400,      0x800,      0xd00,      0xc0000080,
                                     0xc0000100, 0xc0010000, 0x40000000, 0x4b564d00, 0xffffff00};
    for (unsigned i = 0; i < ARRAY(first); i++)
        for (unsigned k = 0; k < 0x100; k++)
            for (unsigned v = 0; v < 3; v++) {
                const uint64_t value = v == 1 ? ~0ull : (v == 2 ? 1ull << 47 : 0);
                uint64_t registers[6] = {value, first[i] + k, value >> 32, 0, 0, 0};
                const bool is_base = first[i] + k >= 0xc0000100 && first[i] + k <= 0xc0000102;
                put_code(v == 0 ? "\x0f\x32" : "\x0f\x30", 2);
                const int64_t got = probe_code(registers);
                check(got == NO_TRAP || got == GP, "an MSR", first[i] + k, (uint64_t)got);
                check(!(got == NO_TRAP && v == 2 && is_base), "a base that is no address",
                      first[i] + k, 0);
            }
    for (unsigned n = 0; n < 16; n++)
        for (unsigned k = 0; k < ARRAY(values); k++) {
            const uint8_t code[4] = {n >= 8 ? 0x44 : 0x40, 0x0f, k % 2 != 0 ? 0x23 : 0x22,
                                     (uint8_t)(0xc0 | (n & 7) << 3)};
            uint64_t registers[6] = {values[k]};
            put_code(code, 4);
            const int64_t got = probe_code(registers);
            check(got == NO_TRAP || got == GP || got == UD, "MOV to CR, DR", n << 8 | k,
                  (uint64_t)got);
            (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);
        }
    (void)xen_call(XEN_FPU_TASKSWITCH, 0, 0, 0, 0);
    for (uint64_t port = 0; port < 0x10000; port += 1 + (wild() & 63)) {
        uint64_t registers[6] = {0, 0, port};
        if (port == 0xe9 || port == 0xf4 || port == 0x604 || port == 0x8900)
            continue; /* these write text, or end the domain */
        put_code("\xed", 1);
        expect(probe_code(registers), NO_TRAP, "IN", port);
        put_code("\xee", 1);
        expect(probe_code(registers), NO_TRAP, "OUT", port);
    }
}

/* Bytes of no meaning, as user code, which can do no harm to this kernel: it has other pages only
 * to read, if its registers are wild. */
static void rubbish(void)
{
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t code[16];
        for (unsigned k = 0; k < 12; k++)
            code[k] = (uint8_t)wild();
        if (i % 2 != 0)
            code[0] = 0x0f;
        if (i % 8 == 3)
            code[1] = (uint8_t)(wild() & 1);
        memset(code_page, 0xcc, 64);
        memcpy(code_page, code, 12);
        const struct iret_frame f = {.rip = (uint64_t)code_page,
                                     .cs = XEN_FLAT_CODE,
                                     .rflags = 0x202,
                                     .rax = wild(),
                                     .rsp = (uint64_t)user_stack + PAGE - 64,
                                     .ss = XEN_FLAT_DATA};
        end_user_code_after(20000);
        (void)probe_iret(&f);
    }
    make_traps();
}

/* --- breakpoints --- */

/* One that is due behind a load of SS comes in the hypervisor, if SYSCALL is what follows. */
static void behind_mov_ss(void)
{
    static const struct instruction next[] = {
        {"\x0f\x05", 2, EITHER, EITHER}, {"\xcc", 1, BP, EITHER},
        {"\xcd\x80", 2, EITHER, EITHER}, {"\xf1", 1, EITHER, EITHER},
        {"\x0f\x0b", 2, UD, EITHER},     {"\x0f\x34", 2, EITHER, EITHER},
        {"\xf4", 1, EITHER, EITHER},     {"\x0f\x01\xc1", 3, UD, EITHER},
        {"\xfa", 1, EITHER, EITHER},     {"\x0f\xa2", 2, DB, EITHER}};
    area[0][0] = XEN_FLAT_DATA;
    expect(xen_call(XEN_SET_DEBUGREG, 0, (uint64_t)area[0], 0, 0), 0, "DR0", 0);
    for (unsigned i = 0; i < ARRAY(next); i++)
        for (unsigned user = 0; user < 2; user++) {
            uint8_t code[16] = {0x8e, 0x14, 0x25}; /* MOV SS, [area] */
            const uint32_t at = (uint32_t)(uint64_t)area[0];
            memcpy(code + 3, &at, 4);
            memcpy(code + 7, next[i].bytes, next[i].length);
            put_code(code, 7 + next[i].length);
            uint64_t registers[6] = {XEN_VERSION};
            expect(xen_call(XEN_SET_DEBUGREG, 7, 0x30001, 0, 0), 0, "DR7", 0);
            if (user != 0) {
                memcpy(code_page + 7 + next[i].length, "\x0f\x0b", 2);
                const int64_t got = user_code();
                check(got != NO_TRAP, "a breakpoint behind MOV SS, user", i, (uint64_t)got);
            } else {
                const int64_t got = probe_code(registers);
                check(got == NO_TRAP || (got >= 0 && got < 32), "a breakpoint behind MOV SS", i,
                      (uint64_t)got);
            }
            (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);
        }
}

static void breakpoints(void)
{
    for (uint64_t at = HOLE; at < HOLE_END; at += (1ull << 40) - 8)
        for (unsigned n = 0; n < 4; n++)
            expect(xen_call(XEN_SET_DEBUGREG, n, at, 0, 0), EPERM, "a breakpoint in the hole", at);
    expect(xen_call(XEN_SET_DEBUGREG, 0, HOLE_END - 1, 0, 0), EPERM, "its end", 0);
    expect(xen_call(XEN_SET_DEBUGREG, 0, 1ull << 47, 0, 0), EPERM, "no address", 0);
    expect(xen_call(XEN_SET_DEBUGREG, 7, 0x2401, 0, 0), EPERM, "DR7.GD", 0);
    expect(xen_call(XEN_SET_DEBUGREG, 7, 0x20001, 0, 0), EPERM, "I/O", 0);
    expect(xen_call(XEN_SET_DEBUGREG, 7, ~0ull, 0, 0), EPERM, "all of DR7", 0);
    for (unsigned i = 0; i < 500; i++) {
        (void)xen_call(XEN_SET_DEBUGREG, 4 + (wild() & 3), wild() >> (wild() & 63), 0, 0);
        (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);
    }
    put_code("\x90", 1);
    uint64_t registers[6] = {0};
    expect(xen_call(XEN_SET_DEBUGREG, 3, (uint64_t)code_page, 0, 0), 0, "DR3", 0);
    expect(xen_call(XEN_SET_DEBUGREG, 7, 0x40, 0, 0), 0, "DR7", 0);
    expect(probe_code(registers), DB, "a breakpoint on an instruction", 0);
    expect(user_code(), DB, "a breakpoint on user code", 0);
    behind_mov_ss();
    (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);
}

void attack_cpu(void)
{
    one_by_one();
    registers_of_all_numbers();
    rubbish();
    breakpoints();
    check(true, "instructions", 0, 0);
}
