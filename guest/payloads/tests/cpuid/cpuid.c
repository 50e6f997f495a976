/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID: its leaves agree with each other and with what the CPU does. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool bit(uint32_t value, unsigned number)
{
    return (value >> number & 1) != 0;
}

static bool same(struct cpuid a, struct cpuid b)
{
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

/* "GenuineIntel" */
static bool is_intel(void)
{
    const struct cpuid c = cpuid(0, 0);
    return c.ebx == 0x756e6547 && c.edx == 0x49656e69 && c.ecx == 0x6c65746e;
}

/* "AuthenticAMD" */
static bool is_amd(void)
{
    const struct cpuid c = cpuid(0, 0);
    return c.ebx == 0x68747541 && c.edx == 0x69746e65 && c.ecx == 0x444d4163;
}

static void check_ranges(void)
{
    const char *rule = "SDM, CPUID";
    uint32_t max = cpuid(0, 0).eax, extended = cpuid(0x80000000, 0).eax;
    test_check(is_intel() || is_amd(), "the vendor is GenuineIntel or AuthenticAMD", rule);
    test_check(max >= 0xb && max < 0x100, "the highest basic leaf", rule);
    test_check(extended >= 0x80000008 && extended < 0x80000100, "the highest extended leaf", rule);
    test_check(same(cpuid(max + 1, 0), cpuid(max, 0)) && same(cpuid(0x3fffffff, 0), cpuid(max, 0)),
               "a leaf beyond it reads as the highest basic one", rule);
    test_check(same(cpuid(extended + 1, 0), cpuid(max, 0)),
               "one beyond the highest extended leaf likewise", rule);
    char brand[49];
    for (uint32_t i = 0; i < 3; i++) {
        struct cpuid part = cpuid(0x80000002 + i, 0);
        memcpy(brand + 16 * i, &part, 16);
    }
    brand[48] = 0;
    bool printable = true;
    for (const char *c = brand; *c != 0; c++)
        printable = printable && *c >= ' ' && *c < 127;
    test_check(printable && brand[0] != 0, "the brand string is text", rule);
    uint64_t rax = ~0ull << 32, rbx = ~0ull, rcx = ~0ull << 32, rdx = ~0ull;
    __asm__ volatile("cpuid" : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx));
    test_check(rax >> 32 == 0 && rbx >> 32 == 0 && rcx >> 32 == 0 && rdx >> 32 == 0,
               "the upper halves of the registers are cleared", rule);
}

static void check_topology(void)
{
    const char *rule = "SDM, CPUID leaf 0BH";
    uint32_t id = cpuid(1, 0).ebx >> 24;
    apic_enable(false);
    test_equal(id, apic_read(0x20) >> 24, "leaf 1 has the APIC ID", "SDM, CPUID leaf 1");
    struct cpuid thread = cpuid(0xb, 0), core = cpuid(0xb, 1), end = cpuid(0xb, 2);
    test_equal(thread.edx, id, "leaf 0BH has the x2APIC ID", rule);
    test_check((thread.ecx >> 8 & 0xff) == 1 && (core.ecx >> 8 & 0xff) == 2,
               "its levels are thread and core", rule);
    test_check((thread.ecx & 0xff) == 0 && (core.ecx & 0xff) == 1 && (end.ecx & 0xff) == 2,
               "ECX echoes the subleaf", rule);
    test_check((end.ecx >> 8 & 0xff) == 0 && end.eax == 0 && end.ebx == 0, "and then none", rule);
    test_check(thread.ebx != 0 && core.ebx >= thread.ebx, "with CPUs in each", rule);
    static const uint32_t invalid[] = {2, 3, 5, 0x55, 0xff, 0x100, 0x1fe, 0x10001, 0xffffffff};
    bool echoed = true, none = true, told = true;
    for (size_t i = 0; i < COUNT(invalid); i++) {
        struct cpuid c = cpuid(0xb, invalid[i]);
        echoed = echoed && (c.ecx & 0xff) == (invalid[i] & 0xff);
        none = none && c.eax == 0 && c.ebx == 0 && c.ecx >> 8 == 0;
        told = told && c.edx == id;
    }
    test_check(echoed, "ECX echoes every invalid subleaf's low byte", rule);
    test_check(none, "which has neither type, nor shift, nor CPUs", rule);
    test_check(told, "but the x2APIC ID", rule);
}

/* AMD's CPUs tell of their caches elsewhere. */
static void check_caches(void)
{
    static const struct cpuid zero = {0, 0, 0, 0};
    unsigned caches = 0;
    if (!is_intel()) {
        test_check(same(cpuid(4, 0), zero), "leaf 4 is Intel's", "AMD APM, CPUID Fn0000_0004");
        return;
    }
    while (caches < 16 && (cpuid(4, caches).eax & 0x1f) != 0)
        caches++;
    test_check(caches > 0 && caches < 16, "leaf 4 lists caches and ends", "SDM, CPUID leaf 4");
    test_equal(cpuid(4, 0).eax >> 5 & 7, 1, "the first is of level 1", "SDM, CPUID leaf 4");
}

/* Leaves that have subleaves: those that are not there read as 0. */
static void check_subleaves(void)
{
    const char *rule = "SDM, CPUID: an invalid subleaf returns 0";
    static const uint32_t leaves[] = {4, 7, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1a, 0x1d};
    static const uint32_t invalid[] = {62, 63, 64, 0xff, 0x107, 0x10000, 0x80000000, 0xffffffff};
    static const struct cpuid zero = {0, 0, 0, 0};
    uint32_t max = cpuid(0, 0).eax;
    for (size_t i = 0; i < COUNT(leaves); i++) {
        bool ok = true;
        for (size_t j = 0; j < COUNT(invalid); j++)
            ok = ok && same(cpuid(leaves[i], invalid[j]),
                            leaves[i] <= max ? zero : cpuid(max, invalid[j]));
        test_check(ok, "a leaf's subleaves end", rule);
    }
    test_check(same(cpuid(7, cpuid(7, 0).eax + 1), zero), "those of leaf 7 where EAX says", rule);
    /* What is no subleaf's does not look at ECX. */
    static const uint32_t single[] = {0, 1, 6, 0x80000000, 0x80000001, 0x80000008};
    for (size_t i = 0; i < COUNT(single); i++)
        test_check(same(cpuid(single[i], 0), cpuid(single[i], 0x55)), "a leaf without subleaves",
                   "SDM, CPUID: ECX is ignored");
    test_check(
        same(cpuid(0x4fffffff, 0), cpuid(max, 0)) && same(cpuid(0x8fffffff, 0), cpuid(max, 0)) &&
            same(cpuid(0xc0000000, 0), cpuid(max, 0)) && same(cpuid(0xffffffff, 0), cpuid(max, 0)),
        "leaves of no range read as the highest basic one", "SDM, CPUID");
}

/* An instruction and the bit that says whether it is there. Operands: RSI memory, ECX 0. */
static const struct {
    const char *name;
    uint32_t leaf;
    uint8_t reg, bit, length;
    uint8_t bytes[9];
} instructions[] = {
    {"MONITOR", 1, 2, 3, 3, {0x0f, 0x01, 0xc8}},
    {"POPCNT", 1, 2, 23, 5, {0xf3, 0x48, 0x0f, 0xb8, 0xc1}},
    {"MOVBE", 1, 2, 22, 4, {0x0f, 0x38, 0xf0, 0x06}},
    {"RDRAND", 1, 2, 30, 3, {0x0f, 0xc7, 0xf0}},
    {"CMPXCHG16B", 1, 2, 13, 4, {0x48, 0x0f, 0xc7, 0x0e}},
    {"RDSEED", 7, 1, 18, 3, {0x0f, 0xc7, 0xf8}},
    {"ADCX", 7, 1, 19, 5, {0x66, 0x0f, 0x38, 0xf6, 0xc1}},
    {"CLAC", 7, 1, 20, 3, {0x0f, 0x01, 0xca}},
    {"CLFLUSHOPT", 7, 1, 23, 4, {0x66, 0x0f, 0xae, 0x3e}},
    {"CLWB", 7, 1, 24, 4, {0x66, 0x0f, 0xae, 0x36}},
    {"INVPCID", 7, 1, 10, 5, {0x66, 0x0f, 0x38, 0x82, 0x0e}},
    {"XBEGIN and XEND", 7, 1, 11, 9, {0xc7, 0xf8, 0, 0, 0, 0, 0x0f, 0x01, 0xd5}},
    {"RDPID", 7, 2, 22, 4, {0xf3, 0x0f, 0xc7, 0xf8}},
    {"RDTSCP", 0x80000001, 3, 27, 3, {0x0f, 0x01, 0xf9}},
};

static uint64_t scratch[8] __attribute__((aligned(64)));

static void check_instructions(void)
{
    for (size_t i = 0; i < COUNT(instructions); i++) {
        struct cpuid c = cpuid(instructions[i].leaf, 0);
        uint32_t reg[] = {c.eax, c.ebx, c.ecx, c.edx};
        bool has = bit(reg[instructions[i].reg], instructions[i].bit);
        struct code code = {.rsi = (uint64_t)scratch, .length = instructions[i].length};
        memcpy(code.bytes, instructions[i].bytes, sizeof(instructions[i].bytes));
        bool undefined = code_probe(&code).vector == VECTOR_UD;
        /* Not the other way round: older CPUs take some of these for another instruction. */
        test_check(!has || !undefined, instructions[i].name, "what CPUID shows is there");
    }
    static const struct {
        const char *name;
        uint8_t index, length;
        uint8_t bytes[5];
    } hidden[] = {
        {"MONITOR", 0, 3, {0x0f, 0x01, 0xc8}},
        {"RDRAND", 3, 3, {0x0f, 0xc7, 0xf0}},
        {"RDSEED", 5, 3, {0x0f, 0xc7, 0xf8}},
        {"INVPCID", 10, 5, {0x66, 0x0f, 0x38, 0x82, 0x0e}},
        {"RDPID", 12, 4, {0xf3, 0x0f, 0xc7, 0xf8}},
        {"RDTSCP", 13, 3, {0x0f, 0x01, 0xf9}},
    };
    for (size_t i = 0; i < COUNT(hidden); i++) {
        struct cpuid c = cpuid(instructions[hidden[i].index].leaf, 0);
        uint32_t reg[] = {c.eax, c.ebx, c.ecx, c.edx};
        bool has = bit(reg[instructions[hidden[i].index].reg], instructions[hidden[i].index].bit);
        struct code code = {.rsi = (uint64_t)scratch, .length = hidden[i].length};
        memcpy(code.bytes, hidden[i].bytes, sizeof(hidden[i].bytes));
        test_check(has || code_probe(&code).vector == VECTOR_UD, hidden[i].name,
                   "what CPUID hides is undefined");
    }
}

static void check_xsave(void)
{
    const char *rule = "SDM, CPUID leaf 0DH";
    if (!bit(cpuid(1, 0).ecx, 26)) {
        test_check(cpuid(0xd, 0).eax == 0, "no XSAVE, no components", rule);
        return;
    }
    uint32_t components = cpuid(0xd, 0).eax, size = 576;
    test_equal(components & 3, 3, "x87 and SSE are components", rule);
    test_check(bit(components, 2) == bit(cpuid(1, 0).ecx, 28), "AVX, if there is AVX", rule);
    test_check((components >> 5 & 7) == (bit(cpuid(7, 0).ebx, 16) ? 7u : 0u),
               "the three of AVX-512, if there is AVX-512", rule);
    test_check(bit(components, 9) == bit(cpuid(7, 0).ecx, 3), "PKRU, if there are keys", rule);
    for (uint32_t i = 2; i < 32; i++) {
        struct cpuid c = cpuid(0xd, i);
        if (!bit(components, i))
            continue;
        test_check(c.eax != 0 && c.ebx >= 576, "a component has a size and a place", rule);
        if (c.ebx + c.eax > size)
            size = c.ebx + c.eax;
    }
    test_equal(cpuid(0xd, 0).ecx, size, "ECX is the end of the last", rule);
    test_check(!bit(cpuid(1, 0).ecx, 27), "OSXSAVE is clear", "it follows CR4");
    write_cr4(read_cr4() | CR4_OSXSAVE);
    test_check(bit(cpuid(1, 0).ecx, 27), "OSXSAVE is set", "it follows CR4");
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
}

static void check_promises(void)
{
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0);
    test_check(bit(one.edx, 0) && bit(one.edx, 3) && bit(one.edx, 4) && bit(one.edx, 5) &&
                   bit(one.edx, 6) && bit(one.edx, 8) && bit(one.edx, 9) && bit(one.edx, 13) &&
                   bit(one.edx, 15) && bit(one.edx, 24) && bit(one.edx, 25) && bit(one.edx, 26),
               "FPU, PSE, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, FXSR, SSE, SSE2",
               "every 64-bit CPU has them");
    test_check(bit(cpuid(0x80000001, 0).edx, 29) && bit(cpuid(0x80000001, 0).edx, 20),
               "64-bit mode and NX", "every 64-bit CPU has them");
    test_check(!bit(one.ecx, 28) || bit(one.ecx, 26), "AVX needs XSAVE", "SDM, CPUID");
    test_check(!bit(seven.ebx, 5) || bit(one.ecx, 28), "AVX2 needs AVX", "SDM, CPUID");
    test_check(!bit(seven.ebx, 30) || bit(seven.ebx, 16), "AVX-512BW needs AVX-512F", "SDM, CPUID");
    unsigned width = cpuid(0x80000008, 0).eax & 0xff, linear = cpuid(0x80000008, 0).eax >> 8 & 0xff;
    test_check(width >= 36 && width <= 52, "36 to 52 bits of physical address", "SDM, CPUID");
    test_equal(linear, bit(seven.ecx, 16) ? 57 : 48, "48 or 57 bits of linear address",
               "SDM, CPUID");
}

int main(void)
{
    test_begin("cpuid", "CPUID against itself and the CPU");
    check_ranges();
    check_topology();
    check_caches();
    check_subleaves();
    check_instructions();
    check_xsave();
    check_promises();
    return test_end();
}
