/* SPDX-License-Identifier: BSD-2-Clause */
/* Control registers: every reserved bit and illegal combination faults, what is legal is kept, and
 * CPUID says which bits of CR4 there are. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define CR0_EM    (1ull << 2)
#define CR0_ET    (1ull << 4)
#define CR0_NE    (1ull << 5)
#define CR0_AM    (1ull << 18)
#define CR4_MCE   (1ull << 6)
#define CR4_LA57  (1ull << 12)
#define CR4_PCIDE (1ull << 17)
#define EFER_SCE  1ull
#define EFER_LME  (1ull << 8)
#define EFER_NXE  (1ull << 11)

static const struct probe fault = {VECTOR_GP, 0}, none = {PROBE_NONE, 0};

/* MOV CRn, RAX, and MOV CRn, RBX behind it, which takes it back. */
static struct probe try(unsigned cr, uint64_t value, uint64_t old)
{
    struct code code = {
        .rax = value,
        .rbx = old,
        .length = 6,
        .bytes = {0x0f, 0x22, (uint8_t)(0xc0 | cr << 3), 0x0f, 0x22, (uint8_t)(0xc3 | cr << 3)}};
    if (cr == 8)
        code = (struct code){.rax = value,
                             .rbx = old,
                             .length = 8,
                             .bytes = {0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x22, 0xc3}};
    return code_probe(&code);
}

static void check_cr0_faults(void)
{
    const char *rule = "SDM, MOV to control registers";
    uint64_t old = read_cr0();
    test_fault(try(0, old & ~CR0_PE, old), fault, "CR0.PG without PE", rule);
    test_fault(try(0, (old & ~CR0_CD) | CR0_NW, old), fault, "CR0.NW without CD", rule);
    test_fault(try(0, old & ~CR0_PG, old), fault, "CR0.PG off in 64-bit code", rule);
    for (unsigned bit = 32; bit < 64; bit += 31)
        test_fault(try(0, old | 1ull << bit, old), fault, "an upper bit of CR0", rule);
    test_equal(read_cr0(), old, "CR0 is as before", "a fault changes nothing");
}

static void check_cr0_kept(void)
{
    static const struct {
        uint64_t bits;
        const char *name;
    } rows[] = {{CR0_MP, "MP"}, {CR0_EM, "EM"}, {CR0_TS, "TS"}, {CR0_NE, "NE"},
                {CR0_WP, "WP"}, {CR0_AM, "AM"}, {CR0_CD, "CD"}, {CR0_CD | CR0_NW, "CD and NW"}};
    uint64_t old = read_cr0();
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t off = old & ~rows[i].bits & ~CR0_NW;
        write_cr0(off);
        uint64_t seen_off = read_cr0();
        write_cr0(off | rows[i].bits);
        uint64_t seen_on = read_cr0();
        write_cr0(old);
        test_check(seen_off == off && seen_on == (off | rows[i].bits), rows[i].name,
                   "a bit of CR0 that is kept, set or clear");
    }
    write_cr0((old & ~CR0_ET) | 1 << 6 | 1 << 28);
    test_equal(read_cr0(), old, "CR0.ET is always set, reserved bits never",
               "SDM, Control Registers");
    write_cr0(old);
}

static void check_lmsw(void)
{
    const char *rule = "SDM, LMSW";
    uint64_t old = read_cr0(), status;
    __asm__ volatile("lmsw %w0" : : "r"(0xfff0));
    test_equal(read_cr0(), (old & ~0xeull) | CR0_PE, "LMSW clears MP, EM, TS and not PE", rule);
    __asm__ volatile("lmsw %w0" : : "r"(0xe));
    test_equal(read_cr0(), old | 0xe, "LMSW sets them", rule);
    uint16_t word = 2;
    __asm__ volatile("lmsw %0" : : "m"(word));
    test_equal(read_cr0() & 0xf, 3, "LMSW from memory", rule);
    write_cr0(old | CR0_TS);
    __asm__ volatile("smsw %0" : "=r"(status));
    test_equal(status & 0xffff, (old | CR0_TS) & 0xffff, "SMSW reads the low word", "SDM, SMSW");
    struct code fninit = {.length = 2, .bytes = {0xdb, 0xe3}};
    test_fault(code_probe(&fninit), (struct probe){VECTOR_NM, 0}, "FNINIT with CR0.TS", "#NM");
    __asm__ volatile("clts");
    test_equal(read_cr0() & CR0_TS, 0, "CLTS", "SDM, CLTS");
    test_fault(code_probe(&fninit), none, "FNINIT without", "no #NM");
    write_cr0(old | CR0_EM);
    test_fault(code_probe(&fninit), (struct probe){VECTOR_NM, 0}, "FNINIT with CR0.EM", "#NM");
    write_cr0(old);
}

/* CR4 bits and where CPUID tells of them: leaf, register (0 EAX to 3 EDX), bit. */
static const struct {
    uint8_t cr4, leaf, reg, bit;
    const char *name;
} features[] = {
    {0, 1, 3, 1, "CR4.VME and CPUID"},          {1, 1, 3, 1, "CR4.PVI and CPUID"},
    {2, 1, 3, 4, "CR4.TSD and CPUID"},          {3, 1, 3, 2, "CR4.DE and CPUID"},
    {4, 1, 3, 3, "CR4.PSE and CPUID"},          {6, 1, 3, 7, "CR4.MCE and CPUID"},
    {7, 1, 3, 13, "CR4.PGE and CPUID"},         {9, 1, 3, 24, "CR4.OSFXSR and CPUID"},
    {10, 1, 3, 25, "CR4.OSXMMEXCPT and CPUID"}, {11, 7, 2, 2, "CR4.UMIP and CPUID"},
    {13, 1, 2, 5, "CR4.VMXE and CPUID"},        {14, 1, 2, 6, "CR4.SMXE and CPUID"},
    {16, 7, 1, 0, "CR4.FSGSBASE and CPUID"},    {17, 1, 2, 17, "CR4.PCIDE and CPUID"},
    {18, 1, 2, 26, "CR4.OSXSAVE and CPUID"},    {20, 7, 1, 7, "CR4.SMEP and CPUID"},
    {21, 7, 1, 20, "CR4.SMAP and CPUID"},       {22, 7, 2, 3, "CR4.PKE and CPUID"},
};

static void check_cr4(void)
{
    uint64_t old = read_cr4();
    bool has_leaf_7 = cpuid(0, 0).eax >= 7;
    for (size_t i = 0; i < COUNT(features); i++) {
        struct cpuid c = cpuid(features[i].leaf, 0);
        uint32_t reg[] = {c.eax, c.ebx, c.ecx, c.edx};
        bool has = (features[i].leaf == 1 || has_leaf_7) &&
                   (reg[features[i].reg] >> features[i].bit & 1) != 0;
        test_fault(try(4, old | 1ull << features[i].cr4, old), has ? none : fault, features[i].name,
                   "a bit can be set if the feature is there");
        test_equal(read_cr4(), old, features[i].name, "and is clear again");
    }
    static const uint8_t reserved[] = {15, 19, 26, 31, 32, 63};
    for (size_t i = 0; i < COUNT(reserved); i++)
        test_fault(try(4, old | 1ull << reserved[i], old), fault, "a reserved bit of CR4",
                   "SDM, Control Registers");
    const char *rule = "SDM, MOV to control registers";
    test_fault(try(4, old & ~CR4_PAE, old), fault, "CR4.PAE off in long mode", rule);
    test_fault(try(4, old ^ CR4_LA57, old), fault, "CR4.LA57 changed in long mode", rule);
    write_cr4(old | CR4_MCE);
    test_equal(read_cr4(), old | CR4_MCE, "CR4.MCE set", "it is the guest's to see");
    write_cr4(old & ~CR4_MCE);
    test_equal(read_cr4(), old & ~CR4_MCE, "CR4.MCE clear", "it is the guest's to see");
    write_cr4(old);
}

static void check_cr3(void)
{
    const char *rule = "SDM, MOV to control registers";
    uint64_t cr3 = read_cr3(), cr4 = read_cr4();
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    test_fault(try(3, cr3 | 1ull << 62, cr3), fault, "CR3 bit 62", rule);
    test_fault(try(3, cr3 | 1ull << width, cr3), fault, "CR3 beyond the physical width", rule);
    test_fault(try(3, cr3 | 0x18, cr3), none, "CR3 with PCD and PWT", rule);
    if ((cpuid(1, 0).ecx >> 17 & 1) == 0)
        return;
    test_fault(try(3, cr3 | 1ull << 63, cr3), fault, "CR3 bit 63 without PCIDs", rule);
    write_cr3(cr3 | 8);
    test_fault(try(4, cr4 | CR4_PCIDE, cr4), fault, "CR4.PCIDE with CR3[11:0] not 0", rule);
    write_cr3(cr3);
    write_cr4(cr4 | CR4_PCIDE);
    test_fault(try(3, cr3 | 0xfff, cr3), none, "CR3 with a PCID", rule);
    test_fault(try(3, cr3 | 1ull << 63 | 5, cr3), none, "CR3 with a PCID and bit 63", rule);
    write_cr3(cr3 | 5 | 1ull << 63);
    test_equal(read_cr3(), cr3 | 5, "bit 63 is not kept", rule);
    write_cr3(cr3);
    uint64_t cr0 = read_cr0();
    test_fault(try(0, cr0 & ~CR0_PG, cr0), fault, "CR0.PG off with CR4.PCIDE", rule);
    write_cr4(cr4);
}

static void check_others(void)
{
    test_fault(try(8, 15, 0), none, "CR8 = 15", "SDM, Task Priority in IA-32e Mode");
    test_fault(try(8, 16, 0), fault, "CR8 = 16", "SDM, Task Priority in IA-32e Mode");
    test_fault(try(8, 1ull << 63, 0), fault, "CR8 bit 63", "SDM, Task Priority in IA-32e Mode");
    static const uint8_t absent[] = {1, 5, 6, 7};
    for (size_t i = 0; i < COUNT(absent); i++)
        test_fault(try(absent[i], 0, 0), (struct probe){VECTOR_UD, 0}, "CR1, 5, 6, 7 are undefined",
                   "SDM, MOV to control registers");
    __asm__ volatile("mov %0, %%cr2" : : "r"(0x123456789abcdefull));
    test_equal(read_cr2(), 0x123456789abcdef, "CR2 holds anything", "SDM, Control Registers");
}

static struct probe write_efer(uint64_t value)
{
    struct code code = {.rax = (uint32_t)value,
                        .rcx = MSR_EFER,
                        .rdx = value >> 32,
                        .length = 2,
                        .bytes = {0x0f, 0x30}};
    return code_probe(&code);
}

static void check_efer(void)
{
    const char *rule = "SDM, IA32_EFER MSR";
    uint64_t old = rdmsr(MSR_EFER);
    test_fault(write_efer(old & ~EFER_LME), fault, "EFER.LME off while paging", rule);
    static const uint8_t reserved[] = {1, 7, 9, 12, 16, 32, 63};
    for (size_t i = 0; i < COUNT(reserved); i++)
        test_fault(write_efer(old | 1ull << reserved[i]), fault, "a reserved bit of EFER", rule);
    test_fault(write_efer(old | EFER_SCE), none, "EFER.SCE", rule);
    test_fault(write_efer(old | EFER_SCE | EFER_NXE), none, "EFER.NXE", rule);
    test_equal(rdmsr(MSR_EFER), old | EFER_SCE | EFER_NXE, "both are kept", rule);
    write_efer(old);
    test_equal(rdmsr(MSR_EFER), old, "and gone again", rule);
}

static struct probe xsetbv(uint32_t xcr, uint64_t value)
{
    struct code code = {.rax = (uint32_t)value,
                        .rcx = xcr,
                        .rdx = value >> 32,
                        .length = 3,
                        .bytes = {0x0f, 0x01, 0xd1}};
    return code_probe(&code);
}

static uint64_t xgetbv(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void check_xcr0(void)
{
    const char *rule = "SDM, XSETBV";
    test_fault(xsetbv(0, 1), (struct probe){VECTOR_UD, 0}, "XSETBV without CR4.OSXSAVE", rule);
    if ((cpuid(1, 0).ecx >> 26 & 1) == 0)
        return;
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 | CR4_OSXSAVE);
    uint64_t all = (uint64_t)cpuid(0xd, 0).edx << 32 | cpuid(0xd, 0).eax;
    test_fault(xsetbv(0, all), none, "XCR0 with all that CPUID shows", rule);
    test_equal(xgetbv(), all, "XGETBV reads it", "SDM, XGETBV");
    bool grew = cpuid(0xd, 0).ebx == cpuid(0xd, 0).ecx;
    test_check(grew, "CPUID.0DH:EBX is the size for it", "SDM, CPUID");
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((all >> bit & 1) == 0 && xsetbv(0, all | 1ull << bit).vector != VECTOR_GP)
            test_check(false, "a bit that CPUID does not show", rule);
    }
    test_fault(xsetbv(0, all & ~1ull), fault, "XCR0 without x87", rule);
    test_fault(xsetbv(0, 5), fault, "XCR0: AVX without SSE", rule);
    test_fault(xsetbv(0, 0x27), fault, "XCR0: a part of AVX-512", rule);
    test_fault(xsetbv(0, 0xe3), fault, "XCR0: AVX-512 without AVX", rule);
    test_fault(xsetbv(1, 1), fault, "XCR1", rule);
    test_equal(xgetbv(), all, "XCR0 is as before", "a fault changes nothing");
    xsetbv(0, 1);
    test_equal(cpuid(0xd, 0).ebx, 576, "CPUID.0DH:EBX with x87 alone", "SDM, CPUID");
    write_cr4(cr4);
}

int main(void)
{
    test_begin("cr", "control registers");
    check_cr0_faults();
    check_cr0_kept();
    check_lmsw();
    check_cr4();
    check_cr3();
    check_others();
    check_efer();
    check_xcr0();
    return test_end();
}
