/* SPDX-License-Identifier: BSD-2-Clause */
/* What CPUID tells a guest: a table made once per VM, with an index for a short look-up. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CPUID_MAX_ENTRIES  72
#define CPUID_INDEX_LEAVES 32 /* leaves 0..31 of each class */
#define CPUID_CLASSES      4  /* basic, 0x40000000 (hypervisor), 0x80000000 (extended), nothing */
#define CPUID_SECOND       0x40000100u /* another hypervisor's interface, beside our own */
#define CPUID_SECOND_COUNT 2u          /* so many leaves: a power of two */

/* What the exit handler is still to patch in, since it depends on the vCPU's state. */
enum cpuid_dynamic {
    CPUID_SUBLEAVES = 1u << 0,   /* ECX selects; the leaf's other entries follow this one */
    CPUID_APIC_ID_1 = 1u << 1,   /* EBX[31:24] = initial APIC ID */
    CPUID_APIC_ID_B = 1u << 2,   /* EDX = x2APIC ID */
    CPUID_OSXSAVE = 1u << 3,     /* ECX[27] = CR4.OSXSAVE */
    CPUID_OSPKE = 1u << 4,       /* ECX[4] = CR4.PKE */
    CPUID_XSAVE_SIZE = 1u << 5,  /* EBX = cpuid_xsave_size(XCR0, not compacted) */
    CPUID_XSAVES_SIZE = 1u << 6, /* EBX = cpuid_xsave_size(XCR0 | XSS, compacted) */
    CPUID_APIC = 1u << 7,        /* EDX[9] = IA32_APIC_BASE.EN */
    CPUID_XD = 1u << 8,          /* EDX[20] is 0 by IA32_MISC_ENABLE, "XD bit disable" */
    CPUID_REST =
        1u << 10,        /* stands for all subleaves from it on; ECX[7:0] = the subleaf asked for */
    CPUID_FEW = 1u << 9, /* EAX is 2 by IA32_MISC_ENABLE, "limit CPUID maxval" */
};

struct cpuid_entry {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
    uint32_t dynamic; /* enum cpuid_dynamic; atomic: CPUID_FEW comes when it is first needed */
    uint32_t reserved;
};

/* entry[0] is all zeros and stands for what is in range but not told. The others are sorted by leaf
 * and subleaf. first[] names each leaf's first entry: for leaves out of range already the entry of
 * the highest basic leaf, as the SDM's CPUID page says for such leaves. */
struct cpuid_table {
    uint8_t first[CPUID_CLASSES * CPUID_INDEX_LEAVES];
    uint8_t out_of_range; /* index of the highest basic leaf's entry */
    uint8_t second;       /* of CPUID_SECOND's, which the others follow; 0: there is none */
    uint32_t count;
    struct cpuid_entry entry[CPUID_MAX_ENTRIES];
};

_Static_assert(sizeof(struct cpuid_entry) == 32, "an index is a shift");

/* The same for leaves that first[] does not reach. The masks bind a CPU that guesses, too. */
static inline const struct cpuid_entry *cpuid_table_far(const struct cpuid_table *table,
                                                        uint32_t leaf)
{
    const uint32_t number = leaf - CPUID_SECOND;
    if (number >= CPUID_SECOND_COUNT || table->second == 0)
        return &table->entry[table->out_of_range];
    return &table->entry[table->second + number % CPUID_SECOND_COUNT];
}

/* The first entry of a leaf, whatever its subleaf. Never NULL. */
static inline const struct cpuid_entry *cpuid_table_first(const struct cpuid_table *table,
                                                          uint32_t leaf)
{
    const uint32_t number = leaf & 0x3fffffff, class = leaf >> 30;
    if (number >= CPUID_INDEX_LEAVES)
        return cpuid_table_far(table, leaf);
    /* The mask binds a CPU that guesses, too (arch/nospec.h). */
    return &table->entry[table->first[class * CPUID_INDEX_LEAVES + number % CPUID_INDEX_LEAVES]];
}

/* What CPUID answers to EAX = leaf, ECX = subleaf, but for the dynamic bits. Never NULL. */
static inline const struct cpuid_entry *cpuid_table_find(const struct cpuid_table *table,
                                                         uint32_t leaf, uint32_t subleaf)
{
    const struct cpuid_entry *e = cpuid_table_first(table, leaf);
    if ((e->dynamic & CPUID_SUBLEAVES) == 0)
        return e;
    const struct cpuid_entry *first = e, *end = &table->entry[table->count];
    for (; e < end && e->leaf == first->leaf; e++)
        if (e->subleaf == subleaf || ((e->dynamic & CPUID_REST) != 0 && e->subleaf < subleaf))
            return e;
    return &table->entry[0];
}

/* Bytes of an XSAVE area that holds these state components, in the standard or the compacted form
 * (SDM: "XSAVE-Managed Features and State Components"); components not in the table are ignored. */
static inline uint32_t cpuid_xsave_size(const struct cpuid_table *table, uint64_t components,
                                        bool compacted)
{
    uint32_t size = 512 + 64; /* legacy region and header */
    for (uint32_t i = 2; i < 63; i++) {
        if ((components >> i & 1) == 0)
            continue;
        const struct cpuid_entry *e = cpuid_table_find(table, 0xd, i);
        if (e->eax == 0)
            continue;
        if (compacted)
            size = ((e->ecx & 2) != 0 ? (size + 63) & ~63u : size) + e->eax;
        else if (e->ebx + e->eax > size)
            size = e->ebx + e->eax;
    }
    return size;
}
