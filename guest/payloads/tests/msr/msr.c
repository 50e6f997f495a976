/* SPDX-License-Identifier: BSD-2-Clause */
/* Model-specific registers: what may be written comes back, what may not faults, and they agree
 * with CPUID and with each other. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define NONCANONICAL 0x0100000000000000ull /* with 48 bits and with 57 */
#define HIGH         0xffff900000001000ull /* canonical */
#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))

enum { TSC_AUX = 0xc0000103, PAT = 0x277, MTRR_CAP = 0xfe, MTRR_DEF = 0x2ff };
enum { MTRR_BASE0 = 0x200, MTRR_MASK0 = 0x201, MTRR_FIX64K = 0x250, MTRR_FIX4K_LAST = 0x26f };
enum { EFER = 0xc0000080, EFER_NXE = 1 << 11 };
#define MISC_FEW_LEAVES (1ull << 22)
#define MISC_NO_XD      (1ull << 34)
/* Fast strings, thermal control, SpeedStep, MONITOR, fewer leaves, xTPR, no XD. */
static const uint8_t misc_bits[] = {0, 3, 16, 18, 22, 23, 34};
enum { MISC_ENABLE = 0x1a0, MCG_CAP = 0x179, MCG_STATUS = 0x17a, MCG_CTL = 0x17b };
enum { MC0_STATUS = 0x401, MICROCODE = 0x8b, PLATFORM_INFO = 0xce, XSS = 0xda0 };
enum { SPEC_CTRL = 0x48, OFTEN = 100, NO_EXIT = 50 };
enum { GS_BASE = 0xc0000101, KERNEL_GS_BASE = 0xc0000102 };

static struct probe read_safely(uint32_t msr, uint64_t *value)
{
    struct code code = {.rcx = msr, .length = 2, .bytes = {0x0f, 0x32}};
    struct probe p = code_probe(&code);
    *value = code.rdx << 32 | (uint32_t)code.rax;
    return p;
}

static struct probe write_safely(uint32_t msr, uint64_t value)
{
    struct code code = {
        .rax = (uint32_t)value, .rcx = msr, .rdx = value >> 32, .length = 2, .bytes = {0x0f, 0x30}};
    return code_probe(&code);
}

static void refused(uint32_t msr, uint64_t value, const char *what, const char *rule)
{
    uint64_t old, now;
    read_safely(msr, &old);
    test_fault(write_safely(msr, value), (struct probe){VECTOR_GP, 0}, what, rule);
    read_safely(msr, &now);
    if (now != old)
        test_equal(now, old, what, "a fault changes nothing");
}

/* Writes, reads back, and restores. */
static void kept(uint32_t msr, uint64_t value, const char *what, const char *rule)
{
    uint64_t old, now = 0;
    read_safely(msr, &old);
    bool ok = write_safely(msr, value).vector == PROBE_NONE &&
              read_safely(msr, &now).vector == PROBE_NONE;
    write_safely(msr, old);
    test_check(ok && now == value, what, rule);
    if (ok && now != value)
        print("  %lx was written, %lx read\n", value, now);
}

static void check_addresses(void)
{
    static const struct {
        uint32_t msr;
        const char *name;
    } rows[] = {{0xc0000082, "IA32_LSTAR"},
                {0xc0000083, "IA32_CSTAR"},
                {0xc0000100, "IA32_FS_BASE"},
                {GS_BASE, "IA32_GS_BASE"},
                {KERNEL_GS_BASE, "IA32_KERNEL_GS_BASE"},
                {0x175, "IA32_SYSENTER_ESP"},
                {0x176, "IA32_SYSENTER_EIP"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        kept(rows[i].msr, HIGH, rows[i].name, "holds a canonical address");
        refused(rows[i].msr, NONCANONICAL, rows[i].name, "faults for another");
    }
    kept(0x174, 0x1234, "IA32_SYSENTER_CS", "SDM, SYSENTER");
    kept(0xc0000081, 0x0023001000000000, "IA32_STAR", "SDM, SYSCALL");
    kept(0xc0000084, 0x47700, "IA32_FMASK", "SDM, SYSCALL");

    wrmsr(GS_BASE, HIGH);
    wrmsr(KERNEL_GS_BASE, 0x1234000);
    __asm__ volatile("swapgs");
    test_check(rdmsr(GS_BASE) == 0x1234000 && rdmsr(KERNEL_GS_BASE) == HIGH,
               "SWAPGS exchanges both", "SDM, SWAPGS");
    wrmsr(GS_BASE, 0);
    wrmsr(KERNEL_GS_BASE, 0);
}

static void check_tsc_written(void)
{
    const uint64_t hour = 1ull << 40;
    uint64_t before = rdtsc();
    wrmsr(MSR_TSC, before + hour);
    uint64_t after = rdtsc();
    test_check(after - before >= hour && after - before < hour + hour / 16, "IA32_TSC is written",
               "SDM, Time-Stamp Counter");
}

/* Not every CPU has it: AMD's have none, but a VM may be shown one on any. */
static void check_tsc_adjust(void)
{
    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).ebx >> 1 & 1) == 0)
        return;
    const uint64_t hour = 1ull << 40;
    uint64_t before = rdtsc(), adjust = rdmsr(MSR_TSC_ADJUST);
    wrmsr(MSR_TSC, before + hour);
    uint64_t moved = rdmsr(MSR_TSC_ADJUST) - adjust;
    test_check(moved + hour / 16 > hour && moved < hour + hour / 16,
               "IA32_TSC_ADJUST moves as much", "SDM, Time-Stamp Counter Adjustment");
    before = rdtsc();
    wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) + hour);
    uint64_t after = rdtsc();
    test_check(after - before >= hour && after - before < hour + hour / 16,
               "a write of IA32_TSC_ADJUST moves the TSC", "SDM, Time-Stamp Counter Adjustment");
    wrmsr(MSR_TSC_ADJUST, adjust);
    test_equal(rdmsr(MSR_TSC_ADJUST), adjust, "and comes back",
               "SDM, Time-Stamp Counter Adjustment");
}

static void check_tsc_aux(void)
{
    uint64_t value;
    bool has = (cpuid(0x80000001, 0).edx >> 27 & 1) != 0;
    struct probe want = {has ? PROBE_NONE : VECTOR_GP, 0};
    test_fault(read_safely(TSC_AUX, &value), want, "IA32_TSC_AUX is there if RDTSCP is",
               "SDM, RDTSCP");
    test_fault(write_safely(TSC_AUX, 7), want, "and written as well", "SDM, RDTSCP");
    struct code rdtscp = {.length = 3, .bytes = {0x0f, 0x01, 0xf9}};
    struct probe p = code_probe(&rdtscp);
    test_check(has ? p.vector == PROBE_NONE && rdtscp.rcx == 7 : p.vector == VECTOR_UD,
               "RDTSCP reads it, or is undefined", "SDM, RDTSCP");
}

static void check_pat(void)
{
    static const uint8_t types[] = {0, 1, 4, 5, 6, 7};
    uint64_t all = 0x0007040600070406;
    for (size_t i = 0; i < COUNT(types); i++)
        kept(PAT, (all & ~0xffull << 56) | (uint64_t)types[i] << 56, "IA32_PAT holds each type",
             "SDM, Page Attribute Table");
    for (uint64_t type = 2; type < 256; type = type == 2 ? 3 : type == 3 ? 8 : type * 2)
        refused(PAT, (all & ~0xff00ull) | type << 8, "IA32_PAT refuses others",
                "SDM, Page Attribute Table");
}

static void check_mtrrs(void)
{
    const char *rule = "SDM, Memory Type Range Registers";
    uint64_t cap = rdmsr(MTRR_CAP), def = rdmsr(MTRR_DEF), value;
    uint64_t width = cpuid(0x80000008, 0).eax & 0xff, limit = 1ull << width;
    unsigned count = cap & 0xff;
    test_check((cpuid(1, 0).edx >> 12 & 1) == 1 && count >= 2 && (cap >> 8 & 1) == 1,
               "CPUID.MTRR, variable ranges and fixed ones", rule);
    refused(MTRR_CAP, cap, "IA32_MTRRCAP", "read-only");
    refused(MTRR_DEF, def | 1 << 12, "IA32_MTRR_DEF_TYPE bit 12", "reserved");
    refused(MTRR_DEF, (def & ~0xffull) | 2, "IA32_MTRR_DEF_TYPE of type 2", "reserved");
    kept(MTRR_DEF, (def & ~0xffull) | 4, "IA32_MTRR_DEF_TYPE of type 4", rule);
    refused(MTRR_BASE0, 3, "a base of type 3", "reserved");
    refused(MTRR_BASE0, 1 << 8, "a base with bit 8", "reserved");
    refused(MTRR_BASE0, limit | 6, "a base beyond the physical width", "reserved");
    refused(MTRR_MASK0, limit, "a mask beyond the physical width", "reserved");
    refused(MTRR_MASK0, 1 << 10, "a mask with bit 10", "reserved");
    unsigned last = MTRR_BASE0 + 2 * (count - 1);
    kept(last, limit / 2 | 0x12345001, "the last base", rule);
    kept(last + 1, (limit - 4096) | 1 << 11, "the last mask", rule);
    test_fault(read_safely(last + 2, &value), (struct probe){VECTOR_GP, 0}, "there is none behind",
               "IA32_MTRRCAP.VCNT");
    kept(MTRR_FIX64K, 0x0605040100060504, "a fixed range's types", rule);
    refused(MTRR_FIX64K, 0x0606060206060606, "a fixed range of type 2", "reserved");
    refused(MTRR_FIX4K_LAST, 0x0706060606060606, "a fixed range of type 7", "reserved");
}

static void check_misc_enable(void)
{
    const char *rule = "SDM, IA32_MISC_ENABLE";
    const bool xd = (cpuid(0x80000001, 0).edx >> 20 & 1) != 0;
    const uint32_t leaves = cpuid(0, 0).eax;
    uint64_t value = 0;
    read_safely(MISC_ENABLE, &value);
    for (unsigned i = 0; i < sizeof(misc_bits); i++)
        kept(MISC_ENABLE, value ^ 1ull << misc_bits[i], "a bit that can be written", rule);
    write_safely(MISC_ENABLE, value | MISC_FEW_LEAVES | MISC_NO_XD);
    test_equal(cpuid(0, 0).eax, 2, "limit CPUID maxval: up to leaf 2", rule);
    test_equal(cpuid(0x80000001, 0).edx >> 20 & 1, 0, "XD bit disable: CPUID hides it", rule);
    refused(EFER, rdmsr(EFER) | EFER_NXE, "and EFER.NXE is reserved then", rule);
    write_safely(MISC_ENABLE, value);
    test_check(cpuid(0, 0).eax == leaves && (cpuid(0x80000001, 0).edx >> 20 & 1) == xd,
               "both as before afterwards", rule);
    refused(MISC_ENABLE, value ^ 1ull << 11, "BTS unavailable", "read-only");
    refused(MISC_ENABLE, value ^ 2, "IA32_MISC_ENABLE bit 1", "reserved");
}

/* What the emulated bare machine lacks, or has of its own. */
static void check_vm_only(void)
{
    uint64_t value;
    const struct probe none = {PROBE_NONE, 0}, fault = {VECTOR_GP, 0};
    if (test_only(TEST_VM)) {
        bool mca = (cpuid(1, 0).edx >> 14 & 1) != 0;
        test_fault(read_safely(MCG_CAP, &value), mca ? none : fault,
                   "IA32_MCG_CAP is there if CPUID.MCA is", "SDM, Machine-Check Architecture");
        bool control = (value >> 8 & 1) != 0;
        test_fault(read_safely(MCG_CTL, &value), control ? none : fault,
                   "IA32_MCG_CTL, if it says so", "SDM, Machine-Check Architecture");
        read_safely(MCG_CAP, &value);
        test_fault(read_safely(MC0_STATUS, &value), (value & 0xff) != 0 ? none : fault,
                   "the first bank, if it has one", "SDM, Machine-Check Architecture");
        test_fault(write_safely(MCG_STATUS, 0), none, "IA32_MCG_STATUS is cleared",
                   "SDM, Machine-Check Architecture");
        refused(MCG_STATUS, 1, "IA32_MCG_STATUS is not set", "SDM, Machine-Check Architecture");
        check_misc_enable();
        test_fault(write_safely(MICROCODE, 0), none, "microcode revision: write 0",
                   "SDM, Determining the Signature");
        cpuid(1, 0);
        test_fault(read_safely(MICROCODE, &value), none, "CPUID, read",
                   "SDM, Determining the Signature");
        test_fault(read_safely(PLATFORM_INFO, &value), none, "MSR_PLATFORM_INFO",
                   "asked for by "
                   "kernels");
        refused(PLATFORM_INFO, 0, "MSR_PLATFORM_INFO", "read-only");
    }
    test_both();
    bool xsaves = (cpuid(0xd, 1).eax >> 3 & 1) != 0;
    test_fault(read_safely(XSS, &value), xsaves ? none : fault, "IA32_XSS is there if XSAVES is",
               "SDM, XSAVES");
    refused(XSS, 1, "IA32_XSS bit 0", "reserved");
}

/* As a kernel does that writes it at each of its entries. VM exits come in between, and their own
 * value of it does not show; in the end no exit is for it. */
static void check_spec_control(void)
{
    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).edx >> 26 & 1) == 0)
        return;
    bool same = true;
    for (unsigned i = 0; i < OFTEN; i++) {
        wrmsr(SPEC_CTRL, i & 1);
        cpuid(0, 0);
        same = same && rdmsr(SPEC_CTRL) == (i & 1);
    }
    test_check(same, "IA32_SPEC_CTRL keeps what is written, CPUID between", "100 times");
    uint64_t least = UINT64_MAX; /* another VM may have had its turn in between */
    for (unsigned times = 0; times < 5; times++) {
        const uint64_t start = rdtsc();
        for (unsigned i = 0; i < OFTEN; i++)
            wrmsr(SPEC_CTRL, i & 1);
        const uint64_t ticks = rdtsc() - start;
        least = ticks < least ? ticks : least;
    }
    test_check(least < (uint64_t)OFTEN * NO_EXIT, "IA32_SPEC_CTRL is written at once",
               "no VM exit for whom writes it often");
    wrmsr(SPEC_CTRL, 0);
}

int main(void)
{
    test_begin("msr", "model-specific registers");
    check_addresses();
    check_tsc_written();
    check_tsc_adjust();
    check_tsc_aux();
    check_pat();
    check_mtrrs();
    check_vm_only();
    check_spec_control();
    return test_end();
}
