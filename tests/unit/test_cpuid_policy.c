// link: guest/pc/cpuid_policy.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's CPUID table, made from hosts that have everything, little, and what they should not.
 */
#include "guest/pc/cpuid_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A host with every bit set, and plausible values where the policy reads numbers. */
static struct cpuid_regs full_host(uint32_t leaf, uint32_t subleaf)
{
    static const struct cpuid_regs sizes[] = {
        [2] = {256, 576, 0, 0},  [3] = {64, 960, 0, 0},     [4] = {64, 1024, 0, 0},
        [5] = {64, 1088, 4, 0},  [6] = {512, 1152, 0, 0},   [7] = {1024, 1664, 0, 0},
        [8] = {128, 0, 1, 0},    [9] = {8, 2688, 0, 0},     [10] = {8, 0, 1, 0},
        [17] = {64, 2752, 2, 0}, [18] = {8192, 2816, 6, 0},
    };
    if (leaf == 0)
        return (struct cpuid_regs){0x20, 0x756e6547, 0x6c65746e, 0x49656e69};
    if (leaf == 4)
        return subleaf < 4 ? (struct cpuid_regs){0xfc1fc121, 0x01c0003f, 0x3f, ~0u}
                           : (struct cpuid_regs){0};
    if (leaf == 7 && subleaf == 0)
        return (struct cpuid_regs){2, ~0u, ~0u, ~0u};
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid_regs){0x600e7 | 0x218, 11008, 11008, 0};
    if (leaf == 0xd && subleaf > 1)
        return subleaf <= 18 ? sizes[subleaf] : (struct cpuid_regs){0};
    if (leaf == 0x80000000u)
        return (struct cpuid_regs){0x80000008u, 0, 0, 0};
    if (leaf == 0x80000008u)
        return (struct cpuid_regs){0x3934, ~0u, 0, 0};
    return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
}

/* As a first-generation CPU: no XSAVE, no leaf 7, junk beyond its highest leaf. */
static struct cpuid_regs old_host(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    if (leaf == 0)
        return (struct cpuid_regs){5, 1, 2, 3};
    if (leaf == 1)
        return (struct cpuid_regs){0x20652, 0, ~(1u << 26), ~0u};
    if (leaf == 4)
        return (struct cpuid_regs){0};
    if (leaf == 0x80000000u)
        return (struct cpuid_regs){0x80000001u, 0, 0, 0};
    return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
}

/* Every leaf is there, and empty; of leaf 7 as many sub-leaves as a test wants, each full. */
static uint32_t last_subleaf_7;

static struct cpuid_regs empty_host(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 7 && last_subleaf_7 != 0)
        return subleaf == 0 ? (struct cpuid_regs){last_subleaf_7, 0, 0, 0}
                            : (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
    return (struct cpuid_regs){leaf == 0 ? 0x20 : leaf == 0x80000000u ? 0x80000008u : 0, 0, 0, 0};
}

static const struct cpuid_facts all = {.vcpus = 1,
                                       .tsc_hz = 3000000000u,
                                       .rdtscp = true,
                                       .invpcid = true,
                                       .xsaves = true,
                                       .spec_control = true,
                                       .tsx = true,
                                       .atomics = true,
                                       .cr4_allowed = UINT64_MAX};
static struct cpuid_table t;

static const struct cpuid_entry *find(uint32_t leaf, uint32_t subleaf)
{
    return cpuid_table_find(&t, leaf, subleaf);
}

static void build(cpuid_fn *host, const struct cpuid_facts *facts)
{
    assert_int_equal(cpuid_policy_build(&t, host, facts), OK);
    for (uint32_t i = 2; i < t.count; i++) { /* sorted, no entry twice */
        const struct cpuid_entry *a = &t.entry[i - 1], *b = &t.entry[i];
        assert_true(a->leaf < b->leaf || (a->leaf == b->leaf && a->subleaf < b->subleaf));
    }
}

/* KVM's leaves stand beside our own where they are asked for, and nothing does where they are not.
 */
static void test_kvm(void **state)
{
    static const uint32_t beyond[] = {0x40000011, 0x400000ff, 0x40000102, 0x40000200, 0x40000110,
                                      0x00000100, 0x80000100, 0xc0000100, 0x3fffffff};
    struct cpuid_facts facts = all;
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        facts.kvm_features = i == 0 ? 0 : 0x01002aab;
        build(full_host, &facts);
        for (size_t n = 0; n < sizeof(beyond) / sizeof(beyond[0]); n++)
            assert_ptr_equal(find(beyond[n], 0), find(0x16, 0));
        assert_int_equal(find(0x40000000, 0)->eax, 0x40000010);
        assert_int_equal(find(0x40000000, 0)->ebx, 0x6964614e);
        if (i == 0) {
            assert_ptr_equal(find(0x40000100, 0), find(0x16, 0));
            assert_ptr_equal(find(0x40000101, 0), find(0x16, 0));
        }
    }
    const struct cpuid_entry *e = find(0x40000100, 7);
    assert_int_equal(e->eax, 0x40000101);
    assert_memory_equal(&e->ebx, "KVMKVMKVM\0\0\0", 12);
    e = find(0x40000101, 0);
    assert_int_equal(e->eax, 0x01002aab);
    assert_int_equal(e->ebx | e->ecx | e->edx, 0);
    build(full_host, &all);
}

static void test_hidden_and_shown(void **state)
{
    (void)state;
    build(full_host, &all);
    const struct cpuid_entry *e = find(1, 0);
    /* DTES64 MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID SDBG xTPR PDCM DCA OSXSAVE */
    assert_int_equal(e->ecx & 0x0804cdfc, 0);
    assert_int_equal(e->ecx & 0xf7fa3203, 0xf7fa3203); /* all else but bit 16, reserved */
    assert_int_equal(e->edx & (1u << 18 | 1u << 21 | 1u << 22 | 1u << 28 | 7u << 29 | 1u << 30), 0);
    assert_int_equal(e->edx & 0x000152a0, 0x000152a0);
    assert_int_equal(e->ebx, 0x0001ff00);
    assert_int_equal(e->dynamic, CPUID_APIC_ID_1 | CPUID_OSXSAVE | CPUID_APIC);

    e = find(7, 0);
    assert_int_equal(e->eax, 1);
    assert_int_equal(e->ebx & (1u << 2 | 1u << 12 | 1u << 14 | 1u << 15 | 1u << 22 | 1u << 25), 0);
    assert_int_equal(e->ebx & (1u << 1 | 1u << 7 | 1u << 20), 1u << 1 | 1u << 7 | 1u << 20);
    assert_int_equal(e->ecx & (1u << 4 | 1u << 5 | 1u << 7 | 1u << 13 | 1u << 23 | 1u << 24 |
                               1u << 29 | 1u << 30 | 1u << 31),
                     0);
    /* no UINTR, TSX aborts, PCONFIG, LBR, IBT, AMX, L1D_FLUSH */
    assert_int_equal(e->edx, 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 10 | 1u << 14 |
                                 1u << 16 | 1u << 23 | 1u << 26 | 1u << 27 | 1u << 29 | 1u << 31);
    /* IBRS, STIBP, ARCH_CAPABILITIES and SSBD want an engine that switches IA32_SPEC_CTRL. */
    struct cpuid_facts without = all;
    without.spec_control = false;
    build(full_host, &without);
    assert_int_equal(find(7, 0)->edx & 0xfc000000, 0);
    build(full_host, &all);
    assert_int_equal(find(7, 1)->eax & 1u << 26, 0);
    assert_int_equal(find(7, 1)->ebx, 0);
    assert_int_equal(find(7, 2)->eax | find(7, 2)->edx, 0);
    static const uint32_t empty[] = {3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14};
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        e = find(empty[i], 0);
        assert_int_equal(e->eax | e->ebx | e->ecx | e->edx, 0);
    }
    assert_int_equal(find(6, 0)->eax, 4);
    assert_int_equal(find(6, 0)->ecx, 0);
}

#define BIT(n) (1u << (n))

/* What a guest sees of a host that has all: features by their names in the SDM's CPUID tables. */
static void test_features(void **state)
{
    (void)state;
    build(full_host, &all);
    const struct cpuid_entry *e = find(1, 0);
    assert_int_equal(e->eax, 0x0fff3fff); /* family, model, stepping, their extensions, type */
    assert_int_equal(e->ecx, /* SSE3 PCLMULQDQ SSSE3 FMA CMPXCHG16B PCID SSE4.1 SSE4.2 x2APIC */
                     BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) |
                         BIT(21) |
                         /* MOVBE POPCNT TSC-Deadline AES XSAVE AVX F16C RDRAND, hypervisor */
                         BIT(22) | BIT(23) | BIT(24) | BIT(25) | BIT(26) | BIT(28) | BIT(29) |
                         BIT(30) | BIT(31));
    assert_int_equal(e->edx, /* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV */
                     0x3ff | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(15) |
                         /* PAT PSE-36 CLFSH MMX FXSR SSE SSE2 SS */
                         BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26) |
                         BIT(27));
    e = find(7, 0);
    assert_int_equal(e->ebx, /* FSGSBASE TSC_ADJUST BMI1 HLE AVX2 FDP_EXCPTN SMEP BMI2 ERMS */
                     BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) |
                         BIT(9) |
                         /* INVPCID RTM FCS-FDS AVX512F DQ RDSEED ADX SMAP IFMA CLFLUSHOPT CLWB */
                         BIT(10) | BIT(11) | BIT(13) | BIT(16) | BIT(17) | BIT(18) | BIT(19) |
                         BIT(20) | BIT(21) | BIT(23) | BIT(24) |
                         /* PF ER CD SHA BW VL */
                         BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(30) | BIT(31));
    assert_int_equal(e->ecx, /* PREFETCHWT1 VBMI UMIP PKU VBMI2 GFNI VAES VPCLMULQDQ VNNI */
                     BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(6) | BIT(8) | BIT(9) | BIT(10) |
                         BIT(11) |
                         /* BITALG VPOPCNTDQ LA57 RDPID CLDEMOTE MOVDIRI MOVDIR64B */
                         BIT(12) | BIT(14) | BIT(16) | BIT(22) | BIT(25) | BIT(27) | BIT(28));
    assert_int_equal(e->dynamic, CPUID_SUBLEAVES | CPUID_OSPKE);
    e = find(7, 1);
    assert_int_equal(e->eax, /* SHA512 SM3 SM4 RAO-INT AVX-VNNI BF16 CMPCCXADD */
                     BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(7) |
                         /* FZRM FSRS FSRC AVX-IFMA */
                         BIT(10) | BIT(11) | BIT(12) | BIT(23));
    /* AVX-VNNI-INT8 AVX-NE-CONVERT AVX-VNNI-INT16 PREFETCHI */
    assert_int_equal(e->edx, BIT(4) | BIT(5) | BIT(10) | BIT(14));
    assert_int_equal(e->ecx, 0);
    e = find(0x80000001u, 0);
    assert_int_equal(e->ecx, BIT(0) | BIT(5) | BIT(8)); /* LAHF LZCNT PREFETCHW */
    assert_int_equal(e->edx, BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29)); /* SYSCALL XD 1G */
    assert_int_equal(e->eax | e->ebx, 0);                                      /* RDTSCP, 64-bit */
    assert_int_equal(e->dynamic, CPUID_XD);
    assert_int_equal(find(0x80000006u, 0)->ecx, ~0u); /* the second-level cache */
    assert_int_equal(find(0x80000006u, 0)->edx, 0);
    assert_int_equal(find(0x80000007u, 0)->edx, BIT(8)); /* an invariant TSC */
    assert_int_equal(find(0x80000005u, 0)->ecx, 0);
    static const uint32_t whole[] = {2, 0x80000002u, 0x80000003u, 0x80000004u};
    for (size_t i = 0; i < 4; i++) {
        e = find(whole[i], 0);
        assert_int_equal(e->eax & e->ebx & e->ecx & e->edx, ~0u);
    }
}

/* What Nadir emulates is there whatever the host has; and nothing else is. */
static void test_emulated_features(void **state)
{
    (void)state;
    last_subleaf_7 = 0;
    build(empty_host, &all);
    const struct cpuid_entry *e = find(1, 0);
    assert_int_equal(e->eax, 0);
    assert_int_equal(e->ebx, 1u << 16);                    /* one logical processor */
    assert_int_equal(e->ecx, BIT(21) | BIT(24) | BIT(31)); /* x2APIC, TSC deadline, hypervisor */
    assert_int_equal(e->edx,                               /* MSR MCE APIC MTRR MCA PAT */
                     BIT(5) | BIT(7) | BIT(9) | BIT(12) | BIT(14) | BIT(16));
    e = find(7, 0);
    assert_int_equal(e->ebx, BIT(1)); /* TSC_ADJUST */
    assert_int_equal(e->eax | e->ecx | e->edx, 0);
    assert_int_equal(find(0x80000001u, 0)->edx, 0);
    assert_int_equal(find(0x80000007u, 0)->edx, 0);
    assert_int_equal(cpuid_policy_xcr0(&t), 0);
}

/* A sub-leaf is read where the host has it: up to the last one, which EAX of the first names. */
static void test_last_subleaf_of_7(void **state)
{
    (void)state;
    for (last_subleaf_7 = 1; last_subleaf_7 < 3; last_subleaf_7++) {
        build(empty_host, &all);
        assert_int_equal(find(7, 0)->eax, 1); /* no more are shown */
        assert_int_equal(find(7, 1)->eax & BIT(4), BIT(4));
        assert_int_equal(find(7, 1)->edx & BIT(4), BIT(4));
        assert_int_equal(find(7, 2)->eax | find(7, 2)->edx, 0);
    }
    last_subleaf_7 = 0;
    build(empty_host, &all);
    assert_int_equal(find(7, 0)->eax, 0);
    assert_int_equal(find(7, 1)->eax | find(7, 1)->edx, 0);
}

static void test_controls(void **state)
{
    (void)state;
    struct cpuid_facts none = all;
    none.rdtscp = none.invpcid = none.xsaves = false;
    none.cr4_allowed = 0;
    build(full_host, &all);
    assert_int_not_equal(find(7, 0)->ebx & 1u << 10, 0);
    assert_int_not_equal(find(7, 0)->ecx & 1u << 22, 0);
    assert_int_not_equal(find(7, 0)->ecx & 1u << 16, 0);
    assert_int_not_equal(find(7, 0)->ecx & 1u << 3, 0);
    assert_int_not_equal(find(7, 0)->ebx & 1u << 20, 0);
    assert_int_not_equal(find(1, 0)->ecx & 1u << 17, 0);
    assert_int_equal(find(0x80000008u, 0)->eax >> 8, 57);
    assert_int_not_equal(find(0x80000001u, 0)->edx & 1u << 27, 0);
    assert_int_equal(find(0xd, 1)->eax, 0xf);
    build(full_host, &none);
    assert_int_equal(find(7, 0)->ebx & 1u << 10, 0);
    assert_int_equal(find(7, 0)->ecx & 1u << 22, 0);
    assert_int_equal(find(7, 0)->ecx & 1u << 16, 0);
    assert_int_equal(find(7, 0)->ecx & 1u << 3, 0);
    assert_int_equal(find(7, 0)->ebx & 1u << 20, 0);
    assert_int_equal(find(1, 0)->ecx & 1u << 17, 0);
    assert_int_equal(cpuid_policy_xcr0(&t) & 1u << 9, 0);
    assert_int_equal(find(0x80000008u, 0)->eax >> 8, 48);
    assert_int_equal(find(0x80000001u, 0)->edx & 1u << 27, 0);
    assert_int_equal(find(0xd, 1)->eax, 7);
}

/* An engine that executes instructions in software hides what that does not know. */
static void test_software(void **state)
{
    (void)state;
    const unsigned tsx = BIT(4) | BIT(11), atomics = BIT(3) | BIT(7);
    struct cpuid_facts none = all;
    build(full_host, &all);
    assert_int_equal(find(7, 0)->ebx & tsx, tsx);
    assert_int_equal(find(7, 0)->edx & BIT(16), BIT(16));
    assert_int_equal(find(7, 1)->eax & atomics, atomics);
    none.tsx = false;
    build(full_host, &none);
    assert_int_equal(find(7, 0)->ebx & tsx, 0);
    assert_int_equal(find(7, 0)->edx & BIT(16), 0);
    assert_int_equal(find(7, 1)->eax & atomics, atomics);
    none.atomics = false;
    build(full_host, &none);
    assert_int_equal(find(7, 1)->eax & atomics, 0);
    assert_int_equal(find(7, 1)->eax & BIT(4), BIT(4)); /* AVX-VNNI stays */
}

static void test_xsave(void **state)
{
    (void)state;
    build(full_host, &all);
    assert_int_equal(cpuid_policy_xcr0(&t), 0x2e7);
    assert_int_equal(find(0xd, 0)->ebx, 576);
    assert_int_equal(find(0xd, 0)->ecx, 2696); /* the end of PKRU */
    assert_int_equal(find(0xd, 0)->dynamic, CPUID_SUBLEAVES | CPUID_XSAVE_SIZE);
    assert_int_equal(find(0xd, 8)->eax, 0); /* supervisor state: PT */
    assert_int_equal(find(0xd, 18)->eax, 0);
    assert_int_equal(find(0xd, 64)->eax, 0);
    assert_int_equal(cpuid_xsave_size(&t, 1, false), 576);
    assert_int_equal(cpuid_xsave_size(&t, 7, false), 832);
    assert_int_equal(cpuid_xsave_size(&t, 0xe7, false), 2688);
    assert_int_equal(cpuid_xsave_size(&t, 0xe7, true), 832 + 64 + 512 + 1024);
    assert_int_equal(cpuid_xsave_size(&t, ~0ull, false), 2696);
}

/* Sizes that no CPU has: some components aligned in the compacted form, the last one of all. */
static void test_xsave_sizes(void **state)
{
    (void)state;
    enum { ALIGNED = 2, OTHER_BITS = 0xfffd };
    static const struct cpuid_entry entries[] = {
        {0},
        {.leaf = 0xd, .dynamic = CPUID_SUBLEAVES},
        {.leaf = 0xd, .subleaf = 2, .eax = 10, .ebx = 576, .ecx = OTHER_BITS},
        {.leaf = 0xd, .subleaf = 3, .eax = 20, .ebx = 640, .ecx = ALIGNED},
        {.leaf = 0xd, .subleaf = 4, .eax = 1, .ebx = 700, .ecx = 0},
        {.leaf = 0xd, .subleaf = 62, .eax = 5, .ebx = 1000, .ecx = 0},
        {.leaf = 0xd, .subleaf = 63, .eax = 5, .ebx = 2000, .ecx = 0},
    };
    static const struct {
        uint64_t components;
        uint32_t standard, compacted;
    } rows[] = {
        {0, 576, 576},
        {3, 576, 576},
        {BIT(2), 586, 586},
        {BIT(3), 660, 576 + 20},
        {BIT(2) | BIT(3), 660, 640 + 20},
        {BIT(4), 701, 577},
        {BIT(3) | BIT(4), 701, 576 + 20 + 1},
        {BIT(2) | BIT(5), 586, 586}, /* there is no 5 */
        {BIT(2) | 1ull << 62, 1005, 586 + 5},
        {BIT(2) | 1ull << 63, 586, 586}, /* the bit that says which form */
    };
    t = (struct cpuid_table){.count = sizeof(entries) / sizeof(entries[0]), .first[0xd] = 1};
    memcpy(t.entry, entries, sizeof(entries));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(cpuid_xsave_size(&t, rows[i].components, false), rows[i].standard);
        assert_int_equal(cpuid_xsave_size(&t, rows[i].components, true), rows[i].compacted);
    }
}

static uint32_t host_components, host_leaf1_ecx, host_leaf7_ecx, host_forms;

static struct cpuid_regs xsave_host(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs r = full_host(leaf, subleaf);
    if (leaf == 1)
        r.ecx = host_leaf1_ecx;
    if (leaf == 7)
        r.ecx = host_leaf7_ecx;
    if (leaf == 0xd && subleaf == 0)
        r.eax = host_components;
    if (leaf == 0xd && subleaf == 1)
        r.eax = host_forms;
    return r;
}

/* What a host lacks of state has consequences: AVX-512 is whole or none, PKRU comes with PKU. */
static void test_xsave_of_lesser_hosts(void **state)
{
    (void)state;
    static const struct {
        uint32_t leaf1_ecx, leaf7_ecx, components, forms; /* the host's */
        uint32_t xcr0, size, dynamic;
    } rows[] = {
        {~0u, ~0u, 0x2e7, 0xf, 0x2e7, 2696, CPUID_SUBLEAVES | CPUID_XSAVES_SIZE},
        {~0u, ~0u, 0x267, 0x1, 0x207, 2696, CPUID_SUBLEAVES},
        {~0u, ~0u, 0x2a7, 0x2, 0x207, 2696, CPUID_SUBLEAVES | CPUID_XSAVES_SIZE},
        {~0u, ~0u, 0x2c7, 0x8, 0x207, 2696, CPUID_SUBLEAVES | CPUID_XSAVES_SIZE},
        {~0u, ~BIT(3), 0x2e7, 0x5, 0x0e7, 2688, CPUID_SUBLEAVES},
        {~0u, BIT(3), 0x007, 0, 0x007, 832, CPUID_SUBLEAVES},
        {~0u, ~0u, 0x003, 0, 0x003, 576, CPUID_SUBLEAVES},
        {~BIT(26), ~0u, 0x2e7, 0xf, 0, 0, 0}, /* no XSAVE: no leaf */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        host_leaf1_ecx = rows[i].leaf1_ecx;
        host_leaf7_ecx = rows[i].leaf7_ecx;
        host_components = rows[i].components;
        host_forms = rows[i].forms;
        build(xsave_host, &all);
        assert_int_equal(cpuid_policy_xcr0(&t), rows[i].xcr0);
        assert_int_equal(find(0xd, 0)->ecx, rows[i].size);
        assert_int_equal(find(0xd, 1)->dynamic, rows[i].dynamic);
        assert_int_equal(find(0xd, 5)->ecx, 0); /* no XFD */
    }
}

static void test_clocks_and_identity(void **state)
{
    (void)state;
    struct cpuid_facts facts = all;
    facts.tsc_hz = 100000000;
    build(full_host, &facts);
    assert_int_equal(find(0, 0)->eax, 0x16);
    assert_int_equal(find(0, 0)->ebx, 0x756e6547);
    assert_int_equal(find(0x15, 0)->ecx, 100000000);
    assert_int_equal(find(0x16, 0)->eax, 100);
    assert_int_equal(find(0x40000010, 0)->eax, 100000);
    assert_memory_equal(&find(0x40000000, 0)->ebx, "NadirNadirVM", 12);
    assert_int_equal(find(0x40000001, 0)->eax,
                     1); /* guest/hypercall.h: the version, what there is */
    assert_int_equal(find(0x40000001, 0)->ebx, 31);
    assert_int_equal(find(0x40000001, 0)->ecx | find(0x40000001, 0)->edx, 0);
    assert_int_equal(find(0x80000008u, 0)->eax, 0x3934);
    facts.tsc_hz = 5000000000ull;
    build(full_host, &facts);
    assert_int_equal(find(0x15, 0)->ecx, 0);
    assert_int_equal(find(0x16, 0)->eax, 5000);
    facts.tsc_hz = UINT32_MAX; /* the highest that leaf 0x15 can tell */
    build(full_host, &facts);
    assert_int_equal(find(0x15, 0)->ecx, UINT32_MAX);
    facts.tsc_hz = 2999500000u; /* MHz are rounded */
    build(full_host, &facts);
    assert_int_equal(find(0x16, 0)->eax, 3000);
    facts.tsc_hz--;
    build(full_host, &facts);
    assert_int_equal(find(0x16, 0)->eax, 2999);
}

static void test_out_of_range(void **state)
{
    (void)state;
    build(full_host, &all);
    const struct cpuid_entry *highest = find(0x16, 0);
    static const uint32_t beyond[] = {0x17,        0x1f,        0x20,        0x3fffffff,
                                      0x40000011,  0x40000100,  0x80000009u, 0x8000001eu,
                                      0x80860000u, 0xc0000000u, 0xffffffffu};
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++)
        assert_ptr_equal(find(beyond[i], 0), highest);
    assert_int_equal(find(0x40000005, 0)->eax, 0);
    assert_int_equal(find(0xb, 0)->ebx, 1);
    assert_int_equal(find(0xb, 1)->ecx, 0x201);
    assert_int_equal(find(0xb, 2)->ecx, 2);
    assert_int_equal(find(0xb, 2)->ebx, 0);
    static const uint32_t invalid[] = {3, 0x55, 0xff, 0x100, 0x101, UINT32_MAX};
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_ptr_equal(find(0xb, invalid[i]), find(0xb, 2));
        assert_ptr_equal(find(7, invalid[i]), &t.entry[0]);
        assert_ptr_equal(find(0xd, invalid[i]), &t.entry[0]);
        assert_true(invalid[i] == 3 || find(4, invalid[i]) == &t.entry[0]);
    }
    assert_true((find(0xb, 2)->dynamic & CPUID_REST) != 0);
    assert_int_equal((find(0xb, 0)->dynamic | find(0xb, 1)->dynamic) & CPUID_REST, 0);
    assert_int_equal(find(4, 3)->eax, 0x121);
    assert_int_equal(find(4, 3)->edx, 7);
    /* What a leaf does not have is not found in another, either. */
    assert_ptr_equal(find(4, 4), &t.entry[0]);
    assert_ptr_equal(find(4, 9), &t.entry[0]);
    assert_ptr_equal(find(7, 2), &t.entry[0]);
}

static void test_old_host(void **state)
{
    (void)state;
    build(old_host, &all);
    assert_int_equal(cpuid_policy_xcr0(&t), 0);
    assert_int_equal(find(0xd, 1)->eax, 0);
    assert_int_equal(find(7, 0)->ebx, 2); /* nothing but TSC_ADJUST */
    assert_int_equal(find(7, 0)->ecx | find(7, 1)->eax, 0);
    assert_int_equal(find(0x80000002u, 0)->eax, 0);
    assert_int_equal(find(0x80000008u, 0)->eax, 48u << 8 | 36);
}

static struct cpuid_regs vendor_leaf, version_leaf;

static struct cpuid_regs some_cpu(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    return leaf == 0 ? vendor_leaf : leaf == 1 ? version_leaf : (struct cpuid_regs){0};
}

static void test_amd_family(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        unsigned family;
    } cpu[] = {{0x60fb1, 0xf}, {0x100f43, 0x10}, {0xa20f12, 0x19}, {0x58c, 5}};
    for (unsigned i = 0; i < sizeof(cpu) / sizeof(cpu[0]); i++) {
        version_leaf.eax = cpu[i].version;
        vendor_leaf = (struct cpuid_regs){1, 0x68747541, 0x444d4163, 0x69746e65};
        build(some_cpu, &all);
        assert_int_equal(cpuid_policy_amd_family(&t), cpu[i].family);
        vendor_leaf = (struct cpuid_regs){1, 0x756e6547, 0x6c65746e, 0x49656e69};
        build(some_cpu, &all);
        assert_int_equal(cpuid_policy_amd_family(&t), 0);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct cpuid_facts bad = all;
    bad.vcpus = 0;
    assert_int_equal(cpuid_policy_build(&t, full_host, &bad), ERR_BAD_INPUT);
    bad.vcpus = 256; /* more than there are xAPIC IDs */
    assert_int_equal(cpuid_policy_build(&t, full_host, &bad), ERR_BAD_INPUT);
    bad.vcpus = 255;
    assert_int_equal(cpuid_policy_build(&t, full_host, &bad), OK);
    bad = all;
    bad.tsc_hz = 0;
    assert_int_equal(cpuid_policy_build(&t, full_host, &bad), ERR_BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kvm),
        cmocka_unit_test(test_hidden_and_shown),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_emulated_features),
        cmocka_unit_test(test_last_subleaf_of_7),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_software),
        cmocka_unit_test(test_xsave),
        cmocka_unit_test(test_xsave_sizes),
        cmocka_unit_test(test_xsave_of_lesser_hosts),
        cmocka_unit_test(test_clocks_and_identity),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_old_host),
        cmocka_unit_test(test_amd_family),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
