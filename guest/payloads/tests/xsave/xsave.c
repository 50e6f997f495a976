/* SPDX-License-Identifier: BSD-2-Clause */
/* The enumeration of XSAVE, CPUID leaf 0DH: against itself, against the areas that the CPU writes,
 * and at CPL 3, where a kernel below another hypervisor asks. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define LEAF   "SDM, CPUID leaf 0DH"
#define XSAVE  0x0f, 0xae, 0x26 /* XSAVE [RSI] */
#define XSAVEC 0x0f, 0xc7, 0x26
#define XSAVES 0x0f, 0xc7, 0x2e
#define UNSET  0xa5 /* what is in the area before */

enum { X87 = 1, SSE = 2, PKRU = 9, COMPONENTS = 63, LEGACY = 512, HEADER = 64, AREA = 8192 };
enum { FORM_XSAVEC = 1 << 1, FORM_XGETBV_1 = 1 << 2, FORM_XSAVES = 1 << 3 }; /* 0DH.1:EAX */
enum { OF_XSS = 1, ALIGNED = 2 };                                            /* 0DH.i:ECX */
enum { MSR_XSS = 0xda0, CR4_PKE_BIT = 22 };

static const struct probe none = {PROBE_NONE, 0}, undefined = {VECTOR_UD, 0},
                          protection = {VECTOR_GP, 0};

static uint8_t area[AREA] __attribute__((aligned(64)));
static uint64_t all; /* the components that XCR0 may have */
static uint32_t forms;

static struct probe set_xcr0(uint64_t value)
{
    struct code code = {.rax = value, .rdx = value >> 32, .length = 3, .bytes = {0x0f, 0x01, 0xd1}};
    return code_probe(&code);
}

static struct cpuid user_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct code code = {.rax = leaf, .rcx = subleaf, .length = 2, .bytes = {0x0f, 0xa2}};
    user_probe(&code, 0);
    return (struct cpuid){(uint32_t)code.rax, (uint32_t)code.rbx, (uint32_t)code.rcx,
                          (uint32_t)code.rdx};
}

/* The place of a component in the area, and with `component` COMPONENTS the area's size. */
static uint32_t place(uint64_t components, unsigned component, bool compacted)
{
    uint32_t size = LEGACY + HEADER;
    for (unsigned i = 2; i < COMPONENTS; i++) {
        if ((components >> i & 1) == 0)
            continue;
        const struct cpuid c = cpuid(0xd, i);
        const uint32_t next = !compacted               ? c.ebx
                              : (c.ecx & ALIGNED) != 0 ? (size + 63) & ~63u
                                                       : size;
        if (i == component)
            return next;
        if (compacted || next + c.eax > size)
            size = next + c.eax;
    }
    return size;
}

/* Sub-leaves: each component has a size, and those outside XCR0 and IA32_XSS read as 0. */
static void check_subleaves(void)
{
    const struct cpuid one = cpuid(0xd, 1);
    const uint64_t supervisor = (uint64_t)one.edx << 32 | one.ecx;
    bool sized = true, apart = true, zero = true, clean = true;
    uint32_t end = LEGACY + HEADER;
    for (unsigned i = 2; i < COMPONENTS; i++) {
        const struct cpuid c = cpuid(0xd, i);
        const bool user = (all >> i & 1) != 0, kernel = (supervisor >> i & 1) != 0;
        if (!user && !kernel) {
            zero = zero && (c.eax | c.ebx | c.ecx | c.edx) == 0;
            continue;
        }
        sized = sized && c.eax != 0;
        clean = clean && ((c.ecx & OF_XSS) != 0) == kernel && c.edx == 0 &&
                (kernel ? c.ebx == 0 : c.ebx >= LEGACY + HEADER);
        for (unsigned k = 2; k < i && user; k++) {
            const struct cpuid o = cpuid(0xd, k);
            apart =
                apart && ((all >> k & 1) == 0 || c.ebx >= o.ebx + o.eax || o.ebx >= c.ebx + c.eax);
        }
        if (user && c.ebx + c.eax > end)
            end = c.ebx + c.eax;
    }
    const struct cpuid beyond = cpuid(0xd, 64);
    test_check(sized && apart, "each component has its place", LEAF);
    test_check(clean, "ECX and EDX of a component", LEAF);
    test_check(zero && (beyond.eax | beyond.ebx | beyond.ecx | beyond.edx) == 0,
               "what is no component reads as 0", LEAF);
    test_equal(cpuid(0xd, 0).ecx, end, "the size for all of XCR0", LEAF);
    test_equal(supervisor & all, 0, "a component is of XCR0 or of IA32_XSS", LEAF);
}

/* EBX of both sub-leaves for what XCR0 has just now, at both privilege levels. */
static void check_sizes(uint64_t xcr0)
{
    const uint32_t compacted =
        (forms & (FORM_XSAVEC | FORM_XSAVES)) != 0 ? place(xcr0, COMPONENTS, true) : 0;
    test_fault(set_xcr0(xcr0), none, "XSETBV", "SDM, XSETBV");
    const struct cpuid zero = cpuid(0xd, 0), one = cpuid(0xd, 1);
    test_equal(zero.ebx, place(xcr0, COMPONENTS, false), "0DH.0:EBX is the size for XCR0", LEAF);
    test_equal(one.ebx, compacted, "0DH.1:EBX is the compacted size for XCR0", LEAF);
    test_check(zero.eax == (uint32_t)all && zero.edx == all >> 32 && one.eax == forms,
               "the rest stays", LEAF);
    for (unsigned i = 0; i < 4; i++) {
        const struct cpuid here = cpuid(0xd, i), user = user_cpuid(0xd, i);
        test_check(memcmp(&here, &user, sizeof(here)) == 0, "CPL 3 reads the same", LEAF);
    }
}

/* Saves all of XCR0 in one of the forms, and looks at how much was written. PKRU, the last in both
 * forms, holds `keys`. */
static void check_area(const char *what, struct code code, bool compacted, uint32_t keys)
{
    const uint32_t size = cpuid(0xd, compacted ? 1 : 0).ebx;
    memset(area, UNSET, sizeof(area));
    memset(area + LEGACY, 0, HEADER); /* XSAVE keeps what it does not define of it */
    code.rax = all;
    code.rdx = all >> 32;
    code.rsi = (uint64_t)area;
    test_fault(code_probe(&code), none, what, "SDM, XSAVE");
    bool inside = true;
    for (unsigned i = size; i < AREA; i++)
        inside = inside && area[i] == UNSET;
    test_check(inside, "it writes no more than CPUID says", LEAF);
    uint64_t in_use, form;
    memcpy(&in_use, area + LEGACY, 8);
    memcpy(&form, area + LEGACY + 8, 8);
    test_check((in_use & ~all) == 0, "XSTATE_BV has components of XCR0", "SDM, XSAVE header");
    test_equal(form, compacted ? 1ull << 63 | all : 0, "XCOMP_BV", "SDM, XSAVE header");
    if ((all >> PKRU & 1) != 0) {
        uint32_t saved;
        memcpy(&saved, area + place(all, PKRU, compacted), 4);
        test_equal(saved, keys, "PKRU is where CPUID says", LEAF);
    }
}

static void check_areas(void)
{
    const uint32_t keys = 0x55555554;
    if ((all >> PKRU & 1) != 0) {
        struct code wrpkru = {.rax = keys, .length = 3, .bytes = {0x0f, 0x01, 0xef}};
        write_cr4(read_cr4() | 1ull << CR4_PKE_BIT);
        test_fault(code_probe(&wrpkru), none, "WRPKRU", "SDM, WRPKRU");
    }
    check_area("XSAVE", (struct code){.length = 3, .bytes = {XSAVE}}, false, keys);
    if ((forms & FORM_XSAVEC) != 0)
        check_area("XSAVEC", (struct code){.length = 3, .bytes = {XSAVEC}}, true, keys);
    if ((forms & FORM_XSAVES) != 0)
        check_area("XSAVES", (struct code){.length = 3, .bytes = {XSAVES}}, true, keys);
}

static struct probe write_xss(uint64_t value)
{
    struct code code = {
        .rax = value, .rcx = MSR_XSS, .rdx = value >> 32, .length = 2, .bytes = {0x0f, 0x30}};
    return code_probe(&code);
}

/* IA32_XSS takes what 0DH.1 says, which counts for its EBX; XSAVES goes without. */
static void check_xss(void)
{
    const struct cpuid one = cpuid(0xd, 1);
    const uint64_t supervisor = (uint64_t)one.edx << 32 | one.ecx;
    if ((forms & FORM_XSAVES) == 0) {
        test_equal(supervisor, 0, "no XSAVES, no component of IA32_XSS", LEAF);
        return;
    }
    test_equal(rdmsr(MSR_XSS), 0, "IA32_XSS after reset", "SDM, reset");
    test_fault(write_xss(supervisor), none, "IA32_XSS with all that CPUID shows", "SDM, XSAVES");
    test_equal(cpuid(0xd, 1).ebx, place(all | supervisor, COMPONENTS, true),
               "0DH.1:EBX is the size for XCR0 and IA32_XSS", LEAF);
    test_equal(cpuid(0xd, 0).ebx, place(all, COMPONENTS, false), "0DH.0:EBX is not", LEAF);
    test_fault(write_xss(supervisor | (~supervisor & -~supervisor)), protection,
               "and no more than that", "SDM, XSAVES");
    write_xss(0);
}

static void check_off(void)
{
    struct code save = {.rax = 3, .rsi = (uint64_t)area, .length = 3, .bytes = {XSAVE}};
    struct code get = {.length = 3, .bytes = {0x0f, 0x01, 0xd0}};
    const struct cpuid before = cpuid(0xd, 0);
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    test_check((cpuid(1, 0).ecx >> 27 & 1) == 0 && (user_cpuid(1, 0).ecx >> 27 & 1) == 0,
               "OSXSAVE is clear", "it follows CR4 at each privilege level");
    const struct cpuid after = cpuid(0xd, 0);
    test_check(memcmp(&before, &after, sizeof(before)) == 0, "leaf 0DH does not mind", LEAF);
    test_fault(code_probe(&save), undefined, "XSAVE", "SDM, #UD if CR4.OSXSAVE is 0");
    test_fault(code_probe(&get), undefined, "XGETBV", "SDM, #UD if CR4.OSXSAVE is 0");
    test_fault(set_xcr0(3), undefined, "XSETBV", "SDM, #UD if CR4.OSXSAVE is 0");
    write_cr4(read_cr4() | CR4_OSXSAVE);
    test_check((cpuid(1, 0).ecx >> 27 & 1) != 0 && (user_cpuid(1, 0).ecx >> 27 & 1) != 0,
               "OSXSAVE is set", "it follows CR4 at each privilege level");
}

int main(void)
{
    static const uint64_t values[] = {X87, X87 | SSE, 7, 0xe7, 0x203, UINT64_MAX};
    test_begin("xsave", "the enumeration of XSAVE");
    all = (uint64_t)cpuid(0xd, 0).edx << 32 | cpuid(0xd, 0).eax;
    if ((cpuid(1, 0).ecx >> 26 & 1) == 0) {
        test_equal(all, 0, "no XSAVE, no components", LEAF);
        return test_end();
    }
    user_init();
    write_cr4(read_cr4() | CR4_OSXSAVE);
    forms = cpuid(0xd, 1).eax;
    test_check((all & 3) == 3 && (forms & ~0xfu) == 0, "x87 and SSE, and forms that are known",
               LEAF);
    check_subleaves();
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const uint64_t value = values[i] & all;
        if (value == values[i] || values[i] == UINT64_MAX)
            check_sizes(value);
    }
    check_areas();
    check_xss();
    check_off();
    return test_end();
}
