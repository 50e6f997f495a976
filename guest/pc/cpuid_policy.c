/* SPDX-License-Identifier: BSD-2-Clause */
/* Default deny: a CPUID bit reaches the guest only if a row here lets it through, or sets it. */
#include "guest/pc/cpuid_policy.h"
#include "guest/hypercall.h"

#include <stddef.h>

#define BIT(n) (1u << (n))

enum { MAX_BASIC = 0x16, MAX_HYPERVISOR = 0x40000010, MAX_EXTENDED = 0x80000008u };
/* State components: x87, SSE, AVX; the three of AVX-512; PKRU. Not MPX (gone from CPUs), not AMX
 * (needs IA32_XFD), no supervisor state. */
#define XCR0_ALLOWED ((uint32_t)(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU))

/* The MSRs IA32_SPEC_CTRL and IA32_PRED_CMD, and IA32_ARCH_CAPABILITIES. */
#define SPECULATION_CONTROLS \
    (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_ARCH_CAPABILITIES | CPUID_7_EDX_SSBD)

/* A row: what of the host's register passes, and what is set whatever the host has. */
struct feature_rule {
    uint32_t leaf, subleaf;
    struct cpuid_regs pass, set;
    uint32_t dynamic;
};

static const struct feature_rule rules[] = {
    /* Leaf 1. Passed: instructions without state or MSRs that we would have to provide. Set: what
     * we emulate (x2APIC, TSC deadline, the hypervisor bit; MSR, APIC, MTRR, PAT; MCE and MCA with
     * no bank).
     * Withheld in ECX: DTES64, DS-CPL, CNXT-ID, SDBG, xTPR, PDCM, DCA (MSRs that are closed),
     * MONITOR (would idle the CPU in the guest), VMX and SMX (no nesting), EIST and TM2 (power is
     * the host's), OSXSAVE (dynamic). In EDX: PSN, DS, ACPI, TM, PBE (serial number, debug store,
     * thermal MSRs), HTT (each package has one CPU). */
    {.leaf = 1,
     .pass = {.eax = 0x0fff3fff, /* family, model, stepping */
              .ebx = 0x0000ff00, /* CLFLUSH line */
              .ecx = BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) |
                     BIT(22) | BIT(23) | BIT(25) | CPUID_1_ECX_XSAVE | BIT(28) | BIT(29) | BIT(30),
              .edx = 0x0f8bfbff},
     .set = {.ebx = 1u << 16,
             .ecx = CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE | CPUID_1_ECX_HYPERVISOR,
             .edx = 0x000152a0},
     .dynamic = CPUID_APIC_ID_1 | CPUID_OSXSAVE | CPUID_APIC},
    /* Cache and TLB descriptors: descriptive only. */
    {.leaf = 2, .pass = {~0u, ~0u, ~0u, ~0u}},
    /* Leaf 6, power: only ARAT, since our APIC timer never stops. */
    {.leaf = 6, .set = {.eax = BIT(2)}},
    /* Leaf 7. Passed: instructions, SMEP, SMAP, UMIP, FSGSBASE, protection keys, 5-level paging,
     * TSX as the host has it. Set: TSC_ADJUST, emulated. Withheld in EBX: SGX, PQM and PQE
     * (resource MSRs), MPX, PT. In ECX: WAITPKG (VM-execution control left off), SHSTK, TME, KL,
     * bus-lock detection, ENQCMD, SGX_LC, PKS, OSPKE (dynamic). In EDX: what stands for a closed
     * MSR (L1D_FLUSH, CORE_CAPABILITIES, SRBDS, TSX aborts), UINTR, hybrid, PCONFIG, LBR, IBT,
     * AMX. MD_CLEAR passes: VERW is an instruction. What an engine has to switch passes where it
     * does (below). */
    {.leaf = 7,
     .pass = {.ebx = 0xfdbf2ff9,
              .ecx = BIT(0) | BIT(1) | BIT(2) | CPUID_7_ECX_PKU | BIT(6) | BIT(8) | BIT(9) |
                     BIT(10) | BIT(11) | BIT(12) | BIT(14) | CPUID_7_ECX_LA57 | CPUID_7_ECX_RDPID |
                     BIT(25) | BIT(27) | BIT(28),
              .edx = BIT(2) | BIT(3) | BIT(4) | BIT(8) | BIT(10) | BIT(14) | BIT(16) | BIT(23) |
                     SPECULATION_CONTROLS},
     .set = {.ebx = CPUID_7_EBX_TSC_ADJUST},
     .dynamic = CPUID_SUBLEAVES | CPUID_OSPKE},
    /* Leaf 7.1: vector, string and atomic instructions; not LAM and FRED (control registers). */
    {.leaf = 7,
     .subleaf = 1,
     .pass = {.eax = BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(10) |
                     BIT(11) | BIT(12) | BIT(23),
              .edx = BIT(4) | BIT(5) | BIT(10) | BIT(14)}},
    /* Extended 1: 64-bit LAHF, LZCNT, PREFETCHW; SYSCALL, NX, 1 GiB pages, RDTSCP, 64-bit. */
    {.leaf = 0x80000001u,
     .pass = {.ecx = BIT(0) | BIT(5) | BIT(8),
              .edx = CPUID_80000001_EDX_SYSCALL | CPUID_80000001_EDX_NX | CPUID_80000001_EDX_1G |
                     CPUID_80000001_EDX_RDTSCP | CPUID_80000001_EDX_LM},
     .dynamic = CPUID_XD},
    /* The brand string, and the second-level cache. */
    {.leaf = 0x80000002u, .pass = {~0u, ~0u, ~0u, ~0u}},
    {.leaf = 0x80000003u, .pass = {~0u, ~0u, ~0u, ~0u}},
    {.leaf = 0x80000004u, .pass = {~0u, ~0u, ~0u, ~0u}},
    {.leaf = 0x80000006u, .pass = {.ecx = ~0u}},
    /* Invariant TSC: a guest reads the host's TSC directly. */
    {.leaf = 0x80000007u, .pass = {.edx = BIT(8)}},
};

struct builder {
    struct cpuid_table *table;
    cpuid_fn *host;
    uint32_t host_max_basic, host_max_extended;
    bool full;
};

/* The host's value, zero where its CPU does not have the leaf. */
static struct cpuid_regs host_leaf(const struct builder *b, uint32_t leaf, uint32_t subleaf)
{
    const bool extended = leaf >= 0x80000000u;
    if (leaf > (extended ? b->host_max_extended : b->host_max_basic))
        return (struct cpuid_regs){0};
    return b->host(leaf, subleaf);
}

/* Inserts in order of leaf and subleaf; entry 0 stays the all-zero one. */
static void add(struct builder *b, uint32_t leaf, uint32_t subleaf, struct cpuid_regs r,
                uint32_t dynamic)
{
    struct cpuid_table *t = b->table;
    if (t->count >= CPUID_MAX_ENTRIES) {
        b->full = true;
        return;
    }
    uint32_t i = t->count++;
    for (; i > 1; i--) {
        const struct cpuid_entry *before = &t->entry[i - 1];
        if (before->leaf < leaf || (before->leaf == leaf && before->subleaf < subleaf))
            break;
        t->entry[i] = *before;
    }
    t->entry[i] = (struct cpuid_entry){leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx, dynamic, 0};
}

/* What a guest could not turn on: the engine keeps its bit of CR4. */
static void hide_by_cr4(const struct feature_rule *rule, uint64_t allowed, struct cpuid_regs *r)
{
    if (rule->leaf == 1)
        r->ecx &= (allowed & CR4_PCIDE) != 0 ? ~0u : ~CPUID_1_ECX_PCID;
    if (rule->leaf != 7 || rule->subleaf != 0)
        return;
    r->ebx &= (allowed & CR4_SMAP) != 0 ? ~0u : ~CPUID_7_EBX_SMAP;
    r->ecx &= (allowed & CR4_PKE) != 0 ? ~0u : ~CPUID_7_ECX_PKU;
    r->ecx &= (allowed & CR4_LA57) != 0 ? ~0u : ~CPUID_7_ECX_LA57;
}

/* Of a domain: what is of CPL 0, of tables with large or global pages, of the APIC and of MSRs. */
static void hide_from_domain(const struct feature_rule *rule, struct cpuid_regs *r)
{
    if (rule->leaf == 1) {
        r->ecx &= ~(CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE);
        r->edx &= ~(CPUID_1_EDX_VME | CPUID_1_EDX_PSE | CPUID_1_EDX_APIC | CPUID_1_EDX_MTRR |
                    CPUID_1_EDX_PGE | CPUID_1_EDX_PSE36);
    }
    if (rule->leaf == 6)
        r->eax = 0;
    if (rule->leaf == 7 && rule->subleaf == 0) {
        r->ebx &=
            ~(CPUID_7_EBX_FSGSBASE | CPUID_7_EBX_TSC_ADJUST | CPUID_7_EBX_SMEP | CPUID_7_EBX_SMAP);
        r->ecx &= ~CPUID_7_ECX_UMIP;
    }
    if (rule->leaf == 0x80000001u)
        r->edx &= ~CPUID_80000001_EDX_1G;
}

static void add_features(struct builder *b, const struct cpuid_facts *facts)
{
    const uint32_t max_subleaf_7 = host_leaf(b, 7, 0).eax;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct feature_rule *rule = &rules[i];
        struct cpuid_regs r = {0};
        if (rule->leaf != 7 || rule->subleaf <= max_subleaf_7)
            r = host_leaf(b, rule->leaf, rule->subleaf);
        r.eax = (r.eax & rule->pass.eax) | rule->set.eax;
        r.ebx = (r.ebx & rule->pass.ebx) | rule->set.ebx;
        r.ecx = (r.ecx & rule->pass.ecx) | rule->set.ecx;
        r.edx = (r.edx & rule->pass.edx) | rule->set.edx;
        if (rule->leaf == 7 && rule->subleaf == 0) {
            r.eax = max_subleaf_7 < 1 ? 0 : 1;
            r.ebx &= facts->invpcid ? ~0u : ~CPUID_7_EBX_INVPCID;
            r.ecx &= facts->rdtscp ? ~0u : ~CPUID_7_ECX_RDPID; /* the same control */
            r.edx &= facts->spec_control ? ~0u : ~SPECULATION_CONTROLS;
        }
        if (rule->leaf == 7 && rule->subleaf == 0 && !facts->tsx) {
            r.ebx &= ~(CPUID_7_EBX_HLE | CPUID_7_EBX_RTM);
            r.edx &= ~CPUID_7_EDX_TSXLDTRK;
        }
        if (rule->leaf == 7 && rule->subleaf == 1 && !facts->atomics)
            r.eax &= ~(CPUID_71_EAX_RAO_INT | CPUID_71_EAX_CMPCCXADD);
        if (rule->leaf == 0x80000001u && !facts->rdtscp)
            r.edx &= ~CPUID_80000001_EDX_RDTSCP;
        hide_by_cr4(rule, facts->cr4_allowed, &r);
        if (facts->paravirtual)
            hide_from_domain(rule, &r);
        add(b, rule->leaf, rule->subleaf, r,
            facts->paravirtual ? rule->dynamic & ~(uint32_t)CPUID_APIC : rule->dynamic);
    }
}

/* Leaves 4 and 0xB: packages of one core with one thread, so APIC IDs are 0..n-1. Of leaf 0xB ECX
 * and EDX are told for invalid levels, too (SDM, "CPUID—CPU Identification"). */
static void add_topology(struct builder *b)
{
    for (uint32_t i = 0; i < 8; i++) {
        struct cpuid_regs r = host_leaf(b, 4, i);
        if ((r.eax & 0x1f) == 0) /* no more caches */
            break;
        r.eax &= 0x3fff; /* type, level and form; not how many CPUs share it */
        r.edx &= 7;
        add(b, 4, i, r, CPUID_SUBLEAVES);
    }
    for (uint32_t level = 0; level < 3; level++) {
        const uint32_t type = level < 2 ? level + 1 : 0; /* thread, core, none */
        const struct cpuid_regs r = {.ebx = type != 0, .ecx = type << 8 | level};
        add(b, 0xb, level, r, CPUID_SUBLEAVES | CPUID_APIC_ID_B | (type == 0 ? CPUID_REST : 0u));
    }
}

/* Leaf 0xD: sizes and places of the state components that the guest may enable. */
static void add_xsave(struct builder *b, const struct cpuid_facts *facts)
{
    if ((host_leaf(b, 1, 0).ecx & CPUID_1_ECX_XSAVE) == 0)
        return;
    uint32_t components = host_leaf(b, 0xd, 0).eax & XCR0_ALLOWED;
    if ((components & XCR0_AVX512) != XCR0_AVX512)
        components &= ~(uint32_t)XCR0_AVX512;
    if ((host_leaf(b, 7, 0).ecx & CPUID_7_ECX_PKU) == 0 || (facts->cr4_allowed & CR4_PKE) == 0)
        components &= ~(uint32_t)XCR0_PKRU;

    uint32_t total = 512 + 64;
    for (uint32_t i = 2; i < 32; i++) {
        if ((components & BIT(i)) == 0)
            continue;
        struct cpuid_regs r = host_leaf(b, 0xd, i);
        r.ecx &= BIT(1); /* aligned in the compacted form; XFD needs an MSR */
        r.edx = 0;
        if (r.ebx + r.eax > total)
            total = r.ebx + r.eax;
        add(b, 0xd, i, r, CPUID_SUBLEAVES);
    }
    add(b, 0xd, 0, (struct cpuid_regs){.eax = components, .ebx = 512 + 64, .ecx = total},
        CPUID_SUBLEAVES | CPUID_XSAVE_SIZE);
    /* XSAVEOPT, XSAVEC, XGETBV(1), XSAVES; IA32_XSS has no bit that may be set. */
    const uint32_t forms = host_leaf(b, 0xd, 1).eax & (BIT(0) | CPUID_D1_EAX_XSAVEC | BIT(2) |
                                                       (facts->xsaves ? CPUID_D1_EAX_XSAVES : 0u));
    const uint32_t dynamic =
        (forms & (CPUID_D1_EAX_XSAVEC | CPUID_D1_EAX_XSAVES)) != 0 ? CPUID_XSAVES_SIZE : 0;
    add(b, 0xd, 1, (struct cpuid_regs){.eax = forms}, CPUID_SUBLEAVES | dynamic);
}

/* The clocks, as the guest's own timers will show them. */
static void add_clocks(struct builder *b, const struct cpuid_facts *facts)
{
    const uint32_t khz = (uint32_t)(facts->tsc_hz / 1000);
    const uint32_t mhz = (uint32_t)((facts->tsc_hz + 500000) / 1000000);
    /* The crystal drives the APIC timer, which in our virtual APIC counts the TSC: ratio 1/1. A
     * rate above 32 bits is "not enumerated" (0), and the guest takes leaf 0x16. */
    const uint32_t crystal = facts->tsc_hz <= UINT32_MAX ? (uint32_t)facts->tsc_hz : 0;
    add(b, 0x15, 0, (struct cpuid_regs){1, 1, crystal, 0}, 0);
    add(b, 0x16, 0, (struct cpuid_regs){.eax = mhz, .ebx = mhz}, 0);
    /* As several hypervisors tell it: TSC and APIC bus in kHz. */
    if (!facts->paravirtual)
        add(b, 0x40000010, 0, (struct cpuid_regs){.eax = khz, .ebx = khz}, 0);
}

/* Xen's leaves, by which Linux knows what it runs on. Version 4.17; a frame's number has 44 bits.
 */
static void add_xen(struct builder *b)
{
    const struct cpuid_regs signature = {0x40000005, 0x566e6558, 0x65584d4d, 0x4d4d566e};
    add(b, 0x40000000, 0, signature, 0);
    add(b, 0x40000001, 0, (struct cpuid_regs){.eax = 4 << 16 | 17}, 0);
    add(b, 0x40000005, 0, (struct cpuid_regs){.ebx = 44}, 0);
}

/* KVM's interface stands behind our own: Linux looks for its signature at each 0x100. */
static void add_kvm(struct builder *b, const struct cpuid_facts *facts)
{
    if (facts->kvm_features == 0)
        return;
    /* "KVMKVMKVM" */
    const struct cpuid_regs signature = {CPUID_SECOND + 1, 0x4b4d564b, 0x564b4d56, 0x4d};
    add(b, CPUID_SECOND, 0, signature, 0);
    /* EDX is hints, of which there is one: that no vCPU ever waits for a CPU. None can promise it.
     */
    add(b, CPUID_SECOND + 1, 0, (struct cpuid_regs){.eax = facts->kvm_features}, 0);
}

static void add_identity(struct builder *b, const struct cpuid_facts *facts)
{
    struct cpuid_regs vendor = host_leaf(b, 0, 0);
    vendor.eax = MAX_BASIC;
    add(b, 0, 0, vendor, 0);
    if (facts->paravirtual) {
        add_xen(b);
    } else {
        /* "NadirNadirVM" */
        const struct cpuid_regs signature = {MAX_HYPERVISOR, 0x6964614e, 0x64614e72, 0x4d567269};
        add(b, 0x40000000, 0, signature, 0);
        add(b, 0x40000001, 0, (struct cpuid_regs){NADIR_VERSION, NADIR_FEATURES, 0, 0}, 0);
    }
    add(b, 0x80000000u, 0, (struct cpuid_regs){.eax = MAX_EXTENDED}, 0);

    /* The host's, though four levels of EPT map 48 bits: the CPU itself decides by its own width
     * which bits of a page table are reserved. */
    uint32_t physical = host_leaf(b, 0x80000008u, 0).eax & 0xff;
    if (physical == 0)
        physical = 36; /* the SDM's value for CPUs without the leaf */
    const bool wide =
        (facts->cr4_allowed & CR4_LA57) != 0 && (host_leaf(b, 7, 0).ecx & CPUID_7_ECX_LA57) != 0;
    const uint32_t linear = wide ? 57 : 48;
    add(b, 0x80000008u, 0, (struct cpuid_regs){.eax = linear << 8 | physical}, 0);
}

/* Leaf numbers in range without an entry stay 0, the all-zero entry. */
static void make_index(struct cpuid_table *t)
{
    static const uint32_t used[CPUID_CLASSES] = {MAX_BASIC + 1, (MAX_HYPERVISOR & 0xff) + 1,
                                                 (MAX_EXTENDED & 0xff) + 1, 0};
    for (uint32_t i = t->count - 1; i > 0; i--) { /* downwards: a leaf's first entry wins */
        const uint32_t leaf = t->entry[i].leaf;
        if ((leaf & 0x3fffffff) < CPUID_INDEX_LEAVES)
            t->first[(leaf >> 30) * CPUID_INDEX_LEAVES + (leaf & 0xff)] = (uint8_t)i;
        if (leaf == CPUID_SECOND)
            t->second = (uint8_t)i;
    }
    t->out_of_range = t->first[MAX_BASIC];
    for (uint32_t class = 0; class < CPUID_CLASSES; class ++) {
        for (uint32_t n = used[class]; n < CPUID_INDEX_LEAVES; n++)
            t->first[class * CPUID_INDEX_LEAVES + n] = t->out_of_range;
    }
}

enum status cpuid_policy_build(struct cpuid_table *table, cpuid_fn *host,
                               const struct cpuid_facts *facts)
{
    if (facts->vcpus == 0 || facts->vcpus > 255 || facts->tsc_hz == 0)
        return ERR_BAD_INPUT;
    *table = (struct cpuid_table){.count = 1};

    struct builder b = {.table = table,
                        .host = host,
                        .host_max_basic = host(0, 0).eax,
                        .host_max_extended = host(0x80000000u, 0).eax};
    add_identity(&b, facts);
    add_features(&b, facts);
    add_topology(&b);
    add_xsave(&b, facts);
    add_clocks(&b, facts);
    add_kvm(&b, facts);
    if (b.full)
        return ERR_LIMIT;
    make_index(table);
    return OK;
}

uint64_t cpuid_policy_xcr0(const struct cpuid_table *table)
{
    const struct cpuid_entry *e = cpuid_table_find(table, 0xd, 0);
    return (uint64_t)e->edx << 32 | e->eax;
}

unsigned cpuid_policy_amd_family(const struct cpuid_table *table)
{
    enum { EXTENDED = 0xf };
    if (cpuid_table_find(table, 0, 0)->ebx != CPUID_0_EBX_AMD)
        return 0;
    const uint32_t eax = cpuid_table_find(table, 1, 0)->eax;
    const unsigned family = eax >> 8 & 0xf;
    return family == EXTENDED ? family + (eax >> 20 & 0xff) : family;
}
