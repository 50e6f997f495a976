/* SPDX-License-Identifier: BSD-2-Clause */
/* Default deny: an MSR that no row here (nor vmx) opens gives #GP. */
#include "guest/pc/msr_policy.h"
#include "arch/x86.h"

#include <stddef.h>

#define PLATFORM_RATIO_HZ  100000000ull /* the unit of the ratio of TSC and bus clock */
#define MTRR_LAST_VARIABLE (MSR_IA32_MTRR_PHYSBASE0 + 2 * MSR_POLICY_MTRR_PAIRS - 1)
#define MTRR_FIXED_ALL_WB  0x0606060606060606ull

static bool is_memory_type(uint64_t type)
{
    return type == MEMORY_UC || type == MEMORY_WC || type == MEMORY_WT || type == MEMORY_WP ||
           type == MEMORY_WB;
}

/* Where an MSR's value is kept; NULL: it reads as zero. */
static uint64_t *msr_value(struct msr_policy *p, uint32_t msr)
{
    struct mtrr_state *mtrr = &p->mtrr;
    switch (msr) {
    case MSR_IA32_BIOS_SIGN_ID: return &p->microcode;
    case MSR_PLATFORM_INFO: return &p->platform_info;
    case MSR_IA32_MTRRCAP: return &mtrr->capability;
    case MSR_IA32_MTRR_DEF_TYPE: return &mtrr->default_type;
    case MSR_IA32_MTRR_FIX64K_00000: return &mtrr->fixed[0];
    case MSR_IA32_MTRR_FIX16K_80000: return &mtrr->fixed[1];
    case MSR_IA32_MTRR_FIX16K_A0000: return &mtrr->fixed[2];
    default: break;
    }
    if (msr >= MSR_IA32_MTRR_FIX4K_C0000 && msr <= MSR_IA32_MTRR_FIX4K_F8000)
        return &mtrr->fixed[3 + msr - MSR_IA32_MTRR_FIX4K_C0000];
    if (msr < MSR_IA32_MTRR_PHYSBASE0 || msr > MTRR_LAST_VARIABLE)
        return NULL;
    struct mtrr_variable *v = &mtrr->variable[(msr - MSR_IA32_MTRR_PHYSBASE0) / 2];
    return (msr & 1) == 0 ? &v->base : &v->mask;
}

static bool read_msr(void *dev, uint32_t msr, uint64_t *value)
{
    const uint64_t *kept = msr_value(dev, msr);
    *value = kept != NULL ? *kept : 0;
    return true;
}

static bool write_zero(void *dev, uint32_t msr, uint64_t value)
{
    (void)dev;
    (void)msr;
    return value == 0;
}

/* For what starts an action that we have not. */
static bool write_ignored(void *dev, uint32_t msr, uint64_t value)
{
    (void)dev;
    (void)msr;
    (void)value;
    return true;
}

/* All MTRRs but the fixed ones: a memory type in the lowest byte (not in masks), and some bits. */
static bool write_mtrr(void *dev, uint32_t msr, uint64_t value)
{
    struct msr_policy *p = dev;
    const uint64_t address = ((1ull << p->mtrr.phys_bits) - 1) & ~0xfffull;
    const bool is_default = msr == MSR_IA32_MTRR_DEF_TYPE;
    const bool is_mask = !is_default && (msr & 1) != 0;
    const uint64_t allowed = is_default ? MTRR_DEF_ENABLE | MTRR_DEF_FIXED_ENABLE | 0xff
                             : is_mask  ? address | MTRR_MASK_VALID
                                        : address | 0xff;
    if ((value & ~allowed) != 0 || (!is_mask && !is_memory_type(value & 0xff)))
        return false;
    *msr_value(p, msr) = value;
    return true;
}

static bool write_mtrr_fixed(void *dev, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(value >> (8 * i) & 0xff))
            return false;
    *msr_value(dev, msr) = value;
    return true;
}

static const struct msr_range rows[] = {
    /* Read by microcode drivers to find their file; platform 0. */
    {MSR_IA32_PLATFORM_ID, MSR_IA32_PLATFORM_ID, NULL, read_msr, NULL},
    /* Kernels of other makes take the TSC's rate from it, without asking. */
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, NULL, read_msr, NULL},
    /* No update is taken: the revision stays. */
    {MSR_IA32_BIOS_UPDT_TRIG, MSR_IA32_BIOS_UPDT_TRIG, NULL, NULL, write_ignored},
    /* The way to ask for the microcode's revision is: write 0, CPUID, read. */
    {MSR_IA32_BIOS_SIGN_ID, MSR_IA32_BIOS_SIGN_ID, NULL, read_msr, write_ignored},
    /* CPUID shows MTRR: the guest must find them consistent with each other. */
    {MSR_IA32_MTRRCAP, MSR_IA32_MTRRCAP, NULL, read_msr, NULL},
    {MSR_IA32_MTRR_PHYSBASE0, MTRR_LAST_VARIABLE, NULL, read_msr, write_mtrr},
    {MSR_IA32_MTRR_FIX64K_00000, MSR_IA32_MTRR_FIX64K_00000, NULL, read_msr, write_mtrr_fixed},
    {MSR_IA32_MTRR_FIX16K_80000, MSR_IA32_MTRR_FIX16K_A0000, NULL, read_msr, write_mtrr_fixed},
    {MSR_IA32_MTRR_FIX4K_C0000, MSR_IA32_MTRR_FIX4K_F8000, NULL, read_msr, write_mtrr_fixed},
    {MSR_IA32_MTRR_DEF_TYPE, MSR_IA32_MTRR_DEF_TYPE, NULL, read_msr, write_mtrr},
    /* CPUID shows MCA: no banks, no IA32_MCG_CTL, and no error ever. */
    {MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, NULL, read_msr, NULL},
    {MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, NULL, read_msr, write_zero},
    {MSR_IA32_P5_MC_ADDR, MSR_IA32_P5_MC_TYPE, NULL, read_msr, write_ignored},
};

enum status msr_policy_init(struct msr_policy *policy, struct msr_table *table,
                            const struct cpuid_table *cpuid, uint64_t microcode, uint64_t tsc_hz)
{
    const uint32_t phys_bits = cpuid_table_find(cpuid, 0x80000008u, 0)->eax & 0xff;
    *policy = (struct msr_policy){
        .mtrr = {.capability = MSR_POLICY_MTRR_PAIRS | MTRR_CAP_FIXED | MTRR_CAP_WC,
                 .default_type = MTRR_DEF_ENABLE | MTRR_DEF_FIXED_ENABLE | MEMORY_WB,
                 .variable_count = MSR_POLICY_MTRR_PAIRS,
                 .phys_bits = phys_bits},
        .microcode = microcode,
        .platform_info = (tsc_hz / PLATFORM_RATIO_HZ & 0xff) << 8,
    };
    for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
        policy->mtrr.fixed[i] = i == 2 ? 0 : MTRR_FIXED_ALL_WB; /* 0xa0000-0xbffff: no RAM, UC */
    /* The hole below 4 GiB: base 0xc0000000, UC, 1 GiB. */
    policy->mtrr.variable[0] = (struct mtrr_variable){
        .base = 0xc0000000 | MEMORY_UC,
        .mask = (((1ull << phys_bits) - 1) & ~0x3fffffffull) | MTRR_MASK_VALID,
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct msr_range range = rows[i];
        range.dev = policy;
        const enum status s = msr_table_add(table, &range);
        if (s != OK)
            return s;
    }
    return OK;
}

void msr_policy_power_on(struct msr_policy *policy)
{
    struct mtrr_state *mtrr = &policy->mtrr;
    mtrr->default_type = 0;
    for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
        mtrr->fixed[i] = 0;
    for (unsigned i = 0; i < MSR_POLICY_MTRR_PAIRS; i++)
        mtrr->variable[i] = (struct mtrr_variable){.base = 0};
}
