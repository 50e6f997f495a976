/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that fault, by themselves or for their operands. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"
#include "hostile.h"

#include <stddef.h>

#define NONCANONICAL 0x0100000000000000ull /* with 48 bits and with 57 */

/* The instructions whose operands are at fault. */
#define WRMSR      \
    2,             \
    {              \
        0x0f, 0x30 \
    }
#define RDMSR      \
    2,             \
    {              \
        0x0f, 0x32 \
    }
#define XSETBV           \
    3,                   \
    {                    \
        0x0f, 0x01, 0xd1 \
    }

struct row {
    const char *what, *rule;
    uint32_t vector;
    uint32_t ecx;
    uint64_t value; /* RAX, and EDX its upper half */
    uint8_t length;
    uint8_t bytes[6];
};

static const char VMX_RULE[] = "not in VMX operation, CR4.VMXE = 0";
static const char HIDDEN[] = "CPUID hides it";
static const char DENY[] = "MSRs are closed by default";
static const char CANONICAL[] = "a linear address has to be canonical";

static const struct row plain[] = {
    {"VMXON", VMX_RULE, VECTOR_UD, 0, 0, 4, {0xf3, 0x0f, 0xc7, 0x36}},
    {"VMXOFF", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xc4}},
    {"VMLAUNCH", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xc2}},
    {"VMRESUME", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xc3}},
    {"VMREAD", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0x78, 0xc8}},
    {"VMWRITE", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0x79, 0xc8}},
    {"VMPTRLD", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0xc7, 0x36}},
    {"VMPTRST", VMX_RULE, VECTOR_UD, 0, 0, 3, {0x0f, 0xc7, 0x3e}},
    {"VMCLEAR", VMX_RULE, VECTOR_UD, 0, 0, 4, {0x66, 0x0f, 0xc7, 0x36}},
    {"INVEPT", VMX_RULE, VECTOR_UD, 0, 1, 5, {0x66, 0x0f, 0x38, 0x80, 0x06}},
    {"INVVPID", VMX_RULE, VECTOR_UD, 0, 2, 5, {0x66, 0x0f, 0x38, 0x81, 0x06}},
    {"VMFUNC", "VM functions are off", VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xd4}},
    {"GETSEC", "CR4.SMXE = 0", VECTOR_UD, 0, 0, 2, {0x0f, 0x37}},
    {"ENCLS", HIDDEN, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xcf}},
    {"RSM", "not in SMM", VECTOR_UD, 0, 0, 2, {0x0f, 0xaa}},
    {"RDPMC 0x12345", "there is no such counter", VECTOR_GP, 0x12345, 0, 2, {0x0f, 0x33}},
    {"INVD", "allowed at CPL 0", PROBE_NONE, 0, 0, 2, {0x0f, 0x08}},
    {"WBINVD", "allowed at CPL 0", PROBE_NONE, 0, 0, 2, {0x0f, 0x09}},
    {"PAUSE", "always allowed", PROBE_NONE, 0, 0, 2, {0xf3, 0x90}},
};

static const struct row hidden[] = {
    {"RDPMC 0", "there are no counters", VECTOR_GP, 0, 0, 2, {0x0f, 0x33}},
    {"RDMSR IA32_VMX_BASIC", "CPUID hides VMX", VECTOR_GP, 0x480, 0, RDMSR},
    {"MONITOR", HIDDEN, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xc8}},
    {"MWAIT", HIDDEN, VECTOR_UD, 0, 0, 3, {0x0f, 0x01, 0xc9}},
};

static const struct row msrs[] = {
    {"RDMSR 0x12345678", DENY, VECTOR_GP, 0x12345678, 0, RDMSR},
    {"WRMSR 0x12345678", DENY, VECTOR_GP, 0x12345678, 0, WRMSR},
    {"RDMSR 0x1fff", DENY, VECTOR_GP, 0x1fff, 0, RDMSR},
    {"RDMSR 0x2000", DENY, VECTOR_GP, 0x2000, 0, RDMSR},
    {"WRMSR 0x1ffe", DENY, VECTOR_GP, 0x1ffe, 0, WRMSR},
    {"RDMSR 0xc0001fff", DENY, VECTOR_GP, 0xc0001fff, 0, RDMSR},
    {"RDMSR 0xc0002000", DENY, VECTOR_GP, 0xc0002000, 0, RDMSR},
    {"WRMSR 0xc0001ffe", DENY, VECTOR_GP, 0xc0001ffe, 0, WRMSR},
    {"RDMSR 0xffffffff", DENY, VECTOR_GP, 0xffffffff, 0, RDMSR},
    {"WRMSR 0xffffffff", DENY, VECTOR_GP, 0xffffffff, 0, WRMSR},
    {"WRMSR IA32_VMX_BASIC", "it is read-only", VECTOR_GP, 0x480, 0, WRMSR},
    {"IA32_EFER without LME", "not while paging", VECTOR_GP, MSR_EFER, 0x400, WRMSR},
    {"IA32_EFER bit 1", "reserved", VECTOR_GP, MSR_EFER, 0x502, WRMSR},
    {"IA32_EFER bit 12 (SVME)", "reserved", VECTOR_GP, MSR_EFER, 0x1500, WRMSR},
    {"IA32_EFER bit 63", "reserved", VECTOR_GP, MSR_EFER, 1ull << 63 | 0x500, WRMSR},
    {"IA32_APIC_BASE bit 0", "reserved", VECTOR_GP, MSR_APIC_BASE, 0xfee00901, WRMSR},
    {"IA32_APIC_BASE bit 63", "reserved", VECTOR_GP, MSR_APIC_BASE, 1ull << 63 | 0xfee00900, WRMSR},
    {"IA32_APIC_BASE EXTD, not EN", "invalid state", VECTOR_GP, MSR_APIC_BASE, 0xfee00500, WRMSR},
    {"IA32_PAT type 2", "reserved memory type", VECTOR_GP, 0x277, 0x0007040600070402, WRMSR},
    {"IA32_FS_BASE", CANONICAL, VECTOR_GP, 0xc0000100, NONCANONICAL, WRMSR},
    {"IA32_KERNEL_GS_BASE", CANONICAL, VECTOR_GP, 0xc0000102, NONCANONICAL, WRMSR},
    {"IA32_LSTAR", CANONICAL, VECTOR_GP, 0xc0000082, NONCANONICAL, WRMSR},
    {"IA32_SYSENTER_EIP", CANONICAL, VECTOR_GP, 0x176, NONCANONICAL, WRMSR},
    {"RDMSR x2APIC ID in xAPIC mode", "not in this mode", VECTOR_GP, 0x802, 0, RDMSR},
    {"WRMSR x2APIC EOI in xAPIC mode", "not in this mode", VECTOR_GP, 0x80b, 0, WRMSR},
};

static const struct row x2apic[] = {
    {"x2APIC to xAPIC mode", "only by way of off", VECTOR_GP, MSR_APIC_BASE, 0xfee00900, WRMSR},
    {"RDMSR 0x804", "no such x2APIC register", VECTOR_GP, 0x804, 0, RDMSR},
    {"RDMSR 0x8ff", "no such x2APIC register", VECTOR_GP, 0x8ff, 0, RDMSR},
    {"RDMSR x2APIC EOI", "write-only", VECTOR_GP, 0x80b, 0, RDMSR},
    {"RDMSR x2APIC self-IPI", "write-only", VECTOR_GP, 0x83f, 0, RDMSR},
    {"WRMSR x2APIC ID", "read-only", VECTOR_GP, 0x802, 0, WRMSR},
    {"WRMSR x2APIC EOI 1", "only 0 is allowed", VECTOR_GP, 0x80b, 1, WRMSR},
    {"WRMSR x2APIC TPR 0x100", "reserved bits", VECTOR_GP, 0x808, 0x100, WRMSR},
};

static const struct row xsetbv[] = {
    {"XSETBV 0", "x87 state cannot be off", VECTOR_GP, 0, 0, XSETBV},
    {"XSETBV AVX without SSE", "AVX needs SSE", VECTOR_GP, 0, 5, XSETBV},
    {"XSETBV bit 63", "reserved", VECTOR_GP, 0, 1ull << 63 | 1, XSETBV},
    {"XSETBV of XCR1", "there is no XCR1", VECTOR_GP, 1, 1, XSETBV},
    {"XSETBV 3", "x87 and SSE", PROBE_NONE, 0, 3, XSETBV},
    {"XSETBV 1", "x87 only", PROBE_NONE, 0, 1, XSETBV},
};

static uint64_t scratch[2];

static struct probe want(uint32_t vector)
{
    return (struct probe){vector, 0};
}

static void check_row(const struct row *row)
{
    struct code code = {.rax = row->value,
                        .rcx = row->ecx,
                        .rdx = row->value >> 32,
                        .rsi = (uint64_t)scratch,
                        .length = row->length};
    for (unsigned i = 0; i < row->length; i++)
        code.bytes[i] = row->bytes[i];
    test_fault(code_probe(&code), want(row->vector), row->what, row->rule);
}

/* value goes to a control register and, if it did go there, is taken back. */
static void check_cr(const char *what, const char *rule, const uint8_t *mov, uint8_t length,
                     uint64_t value, uint64_t old)
{
    struct code code = {.rax = value, .rbx = old, .length = (uint8_t)(length * 2)};
    for (unsigned i = 0; i < length; i++) {
        code.bytes[i] = mov[i];
        code.bytes[length + i] = mov[i];
    }
    code.bytes[2 * length - 1] |= 3; /* from RBX */
    test_fault(code_probe(&code), want(VECTOR_GP), what, rule);
}

static void check_control_registers(void)
{
    static const uint8_t cr0[] = {0x0f, 0x22, 0xc0}, cr3[] = {0x0f, 0x22, 0xd8},
                         cr4[] = {0x0f, 0x22, 0xe0}, cr8[] = {0x44, 0x0f, 0x22, 0xc0};
    uint64_t c0 = read_cr0(), c3 = read_cr3(), c4 = read_cr4();

    check_cr("CR0.PG without PE", "paging needs protection", cr0, 3, c0 & ~CR0_PE, c0);
    check_cr("CR0.NW without CD", "invalid combination", cr0, 3, (c0 & ~CR0_CD) | CR0_NW, c0);
    check_cr("CR0 bit 32", "reserved", cr0, 3, c0 | 1ull << 32, c0);
    check_cr("CR0.PG off in 64-bit code", "CS.L = 1", cr0, 3, c0 & ~CR0_PG, c0);
    check_cr("CR3 bit 52", "beyond the physical width", cr3, 3, c3 | 1ull << 52, c3);
    check_cr("CR4.SMXE", "CPUID hides SMX", cr4, 3, c4 | CR4_SMXE, c4);
    check_cr("CR4 bit 31", "reserved", cr4, 3, c4 | 1ull << 31, c4);
    check_cr("CR4 bit 63", "reserved", cr4, 3, c4 | 1ull << 63, c4);
    check_cr("CR4.LA57 in long mode", "not while in it", cr4, 3, c4 | 1ull << 12, c4);
    check_cr("CR4.PAE off in long mode", "not while in it", cr4, 3, c4 & ~CR4_PAE, c4);
    check_cr("CR8 = 16", "four bits", cr8, 4, 16, 0);
    test_equal(read_cr0(), c0, "CR0 is as before", "a fault changes nothing");
    test_equal(read_cr4(), c4, "CR4 is as before", "a fault changes nothing");
    test_check((rdmsr(MSR_EFER) & 0xffff) == 0x500, "IA32_EFER is LME, LMA", "nothing was let in");
}

void check_hidden(void)
{
    static const uint8_t cr4[] = {0x0f, 0x22, 0xe0};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        check_row(&hidden[i]);
    check_cr("CR4.VMXE", "CPUID hides VMX", cr4, 3, read_cr4() | CR4_VMXE, read_cr4());
}

static void check_xsetbv(void)
{
    static const struct row off = {"XSETBV", "CR4.OSXSAVE = 0", VECTOR_UD, 0, 1, XSETBV};
    check_row(&off);
    if ((cpuid(1, 0).ecx >> 26 & 1) == 0)
        return;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    test_check((cpuid(1, 0).ecx >> 27 & 1) != 0, "CPUID.1:ECX.OSXSAVE follows CR4", "CPUID");
    for (size_t i = 0; i < sizeof(xsetbv) / sizeof(xsetbv[0]); i++)
        check_row(&xsetbv[i]);
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    test_check((cpuid(1, 0).ecx >> 27 & 1) == 0, "and back", "CPUID");
}

void check_instructions(void)
{
    apic_enable(false);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        check_row(&plain[i]);
    for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
        check_row(&msrs[i]);
    check_control_registers();
    check_xsetbv();
    if (apic_has_x2()) {
        apic_enable(true);
        for (size_t i = 0; i < sizeof(x2apic) / sizeof(x2apic[0]); i++)
            check_row(&x2apic[i]);
        apic_enable(false);
    }
}
