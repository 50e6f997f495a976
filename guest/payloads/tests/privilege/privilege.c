/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that a program at CPL 3 may not execute: each faults as the manual says, whether a
 * hypervisor below intercepts it or not, and leaves nothing changed. */
#include "ports.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define CR4_OSXSAVE (1ull << 18)
#define NOWHERE     0x9000 /* what RSI points to: memory that holds no descriptor and no region */

static const struct probe none = {PROBE_NONE, 0}, undefined = {VECTOR_UD, 0},
                          protection = {VECTOR_GP, 0};

struct row {
    const char *what;
    uint64_t rax, rcx, rdx;
    uint8_t length, bytes[6];
};

/* SDM, "Protected Mode Exceptions" of each: #GP(0) where the CPL is not 0. */
static const struct row privileged[] = {
    {"HLT", 0, 0, 0, 1, {0xf4}},
    {"INVD", 0, 0, 0, 2, {0x0f, 0x08}},
    {"WBINVD", 0, 0, 0, 2, {0x0f, 0x09}},
    {"RDMSR of one that is intercepted", 0, 0x1b, 0, 2, {0x0f, 0x32}},
    {"RDMSR of one that is not", 0, 0x277, 0, 2, {0x0f, 0x32}},
    {"RDMSR of none", 0, 0x12345, 0, 2, {0x0f, 0x32}},
    {"WRMSR of one that is intercepted", 0, 0x6e0, 0, 2, {0x0f, 0x30}},
    {"WRMSR of one that is not", 0, 0x174, 0, 2, {0x0f, 0x30}},
    {"RDPMC without CR4.PCE", 0, 0, 0, 2, {0x0f, 0x33}},
    {"MOV to CR0 of what it holds", 0x80000033, 0, 0, 3, {0x0f, 0x22, 0xc0}},
    {"MOV to CR0 of what may not be", 0x20000000, 0, 0, 3, {0x0f, 0x22, 0xc0}},
    {"MOV to CR3", 0, 0, 0, 3, {0x0f, 0x22, 0xd8}},
    {"MOV to CR4", 0x20, 0, 0, 3, {0x0f, 0x22, 0xe0}},
    {"MOV to CR4 with VMXE", 0x2020, 0, 0, 3, {0x0f, 0x22, 0xe0}},
    {"MOV to CR8", 0, 0, 0, 4, {0x44, 0x0f, 0x22, 0xc0}},
    {"MOV from CR0", 0, 0, 0, 3, {0x0f, 0x20, 0xc0}},
    {"MOV from CR3", 0, 0, 0, 3, {0x0f, 0x20, 0xd8}},
    {"MOV from CR4", 0, 0, 0, 3, {0x0f, 0x20, 0xe0}},
    {"MOV to DR7", 0, 0, 0, 3, {0x0f, 0x23, 0xf8}},
    {"MOV from DR6", 0, 0, 0, 3, {0x0f, 0x21, 0xf0}},
    {"LMSW", 0xf, 0, 0, 3, {0x0f, 0x01, 0xf0}},
    {"CLTS", 0, 0, 0, 2, {0x0f, 0x06}},
    {"INVLPG", 0, 0, 0, 3, {0x0f, 0x01, 0x3e}},
    {"LGDT", 0, 0, 0, 3, {0x0f, 0x01, 0x16}},
    {"LIDT", 0, 0, 0, 3, {0x0f, 0x01, 0x1e}},
    {"LLDT", 0, 0, 0, 3, {0x0f, 0x00, 0xd0}},
    {"LTR", 0, 0, 0, 3, {0x0f, 0x00, 0xd8}},
    {"SWAPGS", 0, 0, 0, 3, {0x0f, 0x01, 0xf8}},
    {"CLI with IOPL 0", 0, 0, 0, 1, {0xfa}},
    {"STI with IOPL 0", 0, 0, 0, 1, {0xfb}},
    {"OUT to port 0x80", 0, 0, 0x80, 1, {0xee}},
    {"OUT of four bytes to the exit device", 9, 0, 0xf4, 1, {0xef}},
    {"IN of two bytes, of which the second is denied", 0, 0, 0x61, 2, {0x66, 0xed}},
    {"OUTSB", 0, 1, 0x80, 2, {0xf3, 0x6e}},
};

/* The same, where the CPU has XSAVE; else there is none of them. */
static const struct row privileged_xsave[] = {
    {"XSETBV of XCR0", 7, 0, 0, 3, {0x0f, 0x01, 0xd1}},
    {"XSETBV of XCR0 as it is", 1, 0, 0, 3, {0x0f, 0x01, 0xd1}},
    {"XSETBV of what is none", 1, 1, 0, 3, {0x0f, 0x01, 0xd1}},
};

/* No such instruction at this CPL, or on this CPU as it is set up. */
static const struct row absent[] = {
    {"VMLAUNCH", 0, 0, 0, 3, {0x0f, 0x01, 0xc2}},
    {"VMRESUME", 0, 0, 0, 3, {0x0f, 0x01, 0xc3}},
    {"VMXOFF", 0, 0, 0, 3, {0x0f, 0x01, 0xc4}},
    {"VMXON", 0, 0, 0, 4, {0xf3, 0x0f, 0xc7, 0x36}},
    {"VMPTRLD", 0, 0, 0, 3, {0x0f, 0xc7, 0x36}},
    {"VMPTRST", 0, 0, 0, 3, {0x0f, 0xc7, 0x3e}},
    {"VMCLEAR", 0, 0, 0, 4, {0x66, 0x0f, 0xc7, 0x36}},
    {"VMREAD", 0, 0, 0, 3, {0x0f, 0x78, 0xc1}},
    {"VMWRITE", 0, 0, 0, 3, {0x0f, 0x79, 0xc1}},
    {"VMFUNC", 0, 0, 0, 3, {0x0f, 0x01, 0xd4}},
    {"INVEPT", 0, 0, 0, 5, {0x66, 0x0f, 0x38, 0x80, 0x06}},
    {"INVVPID", 0, 0, 0, 5, {0x66, 0x0f, 0x38, 0x81, 0x06}},
    {"GETSEC", 0, 0, 0, 2, {0x0f, 0x37}},
    {"RSM", 0, 0, 0, 2, {0x0f, 0xaa}},
    {"MONITOR", 0, 0, 0, 3, {0x0f, 0x01, 0xc8}},
    {"MWAIT", 0, 0, 0, 3, {0x0f, 0x01, 0xc9}},
    {"CLAC", 0, 0, 0, 3, {0x0f, 0x01, 0xca}},
    {"STAC", 0, 0, 0, 3, {0x0f, 0x01, 0xcb}},
    {"ENCLS", 0, 0, 0, 3, {0x0f, 0x01, 0xcf}},
    {"PCONFIG", 0, 0, 0, 3, {0x0f, 0x01, 0xc5}},
    {"LOCK CPUID", 0, 0, 0, 3, {0xf0, 0x0f, 0xa2}},
    {"LOCK HLT", 0, 0, 0, 2, {0xf0, 0xf4}},
    {"LOCK XSETBV", 1, 0, 0, 4, {0xf0, 0x0f, 0x01, 0xd1}},
};

static struct code code_of(const struct row *row)
{
    struct code code = {
        .rax = row->rax, .rcx = row->rcx, .rdx = row->rdx, .rsi = NOWHERE, .length = row->length};
    memcpy(code.bytes, row->bytes, row->length);
    return code;
}

static bool has_xsave(void)
{
    return (cpuid(1, 0).ecx & 1u << 26) != 0;
}

/* XCR0; 0 where there is none. */
static uint64_t xgetbv(void)
{
    uint32_t low, high;
    if (!has_xsave())
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void check_rows(const struct row *rows, size_t count, struct probe want, const char *rule)
{
    for (size_t i = 0; i < count; i++) {
        struct code code = code_of(&rows[i]);
        test_fault(user_probe(&code, 0), want, rows[i].what, rule);
    }
}

static void check_xsetbv(void)
{
    struct code xsetbv = {.rax = 1, .length = 3, .bytes = {0x0f, 0x01, 0xd1}};
    const char *rule = "SDM, XSETBV: #UD if CR4.OSXSAVE is 0";
    if (has_xsave())
        write_cr4(read_cr4() & ~CR4_OSXSAVE);
    test_fault(code_probe(&xsetbv), undefined, "XSETBV without CR4.OSXSAVE", rule);
    test_fault(user_probe(&xsetbv, 0), undefined, "and at CPL 3, whatever the CPL", rule);
    if (!has_xsave())
        return;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    test_fault(code_probe(&xsetbv), none, "XSETBV at CPL 0", "SDM, XSETBV");
}

/* What any program may do goes on at CPL 3. */
static void check_allowed(void)
{
    static const struct row rows[] = {
        {"CPUID", 0, 0, 0, 2, {0x0f, 0xa2}},
        {"PAUSE", 0, 0, 0, 2, {0xf3, 0x90}},
        {"RDTSC", 0, 0, 0, 2, {0x0f, 0x31}},
        {"SMSW", 0, 0, 0, 3, {0x0f, 0x01, 0xe0}},
        {"IN that the TSS permits", 0, 0, 0x61, 1, {0xec}},
    };
    static const struct row xgetbv_row = {"XGETBV", 0, 0, 0, 3, {0x0f, 0x01, 0xd0}};
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), none, "at any CPL");
    check_rows(&xgetbv_row, 1, has_xsave() ? none : undefined, "at any CPL, with XSAVE");
    struct code vmcall = {.length = 3, .bytes = {0x0f, 0x01, 0xc1}};
    if (test_only(TEST_VM)) {
        test_fault(user_probe(&vmcall, 0), none, "VMCALL", "a hypercall: refused by its result");
        test_equal(vmcall.rax, UINT64_MAX, "is not permitted at CPL 3", "guest/hypercall.h");
    }
    test_both();
}

int main(void)
{
    test_begin("privilege", "what CPL 3 may not execute");
    user_init();
    check_xsetbv();
    const uint64_t cr0 = read_cr0(), cr4 = read_cr4(), xcr0 = xgetbv();
    check_rows(privileged, sizeof(privileged) / sizeof(privileged[0]), protection,
               "#GP(0) if the CPL is not 0");
    check_rows(privileged_xsave, sizeof(privileged_xsave) / sizeof(privileged_xsave[0]),
               has_xsave() ? protection : undefined, "#GP(0) if the CPL is not 0");
    check_rows(absent, sizeof(absent) / sizeof(absent[0]), undefined, "#UD");
    check_allowed();
    check_ports();
    test_equal(read_cr0(), cr0, "CR0 is as before", "nothing of it was executed");
    test_equal(read_cr4(), cr4, "and CR4", "nothing of it was executed");
    test_equal(xgetbv(), xcr0, "and XCR0", "nothing of it was executed");
    return test_end();
}
