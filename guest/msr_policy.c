/* SPDX-License-Identifier: BSD-2-Clause */
/* Default deny: an MSR that no row here (nor vmx) opens gives #GP. */
#include "guest/msr_policy.h"

#include "arch/msr.h"

#include <stddef.h>

#define MISC_FAST_STRINGS  (1ull << 0) /* the one bit that a guest may switch */
#define MISC_NO_BTS        (1ull << 11)
#define MISC_NO_PEBS       (1ull << 12)
#define MTRR_CAP_FIXED     (1ull << 8)
#define MTRR_CAP_WC        (1ull << 10)
#define MTRR_ENABLE        (1ull << 11)
#define MTRR_FIXED_ENABLE  (1ull << 10)
#define MTRR_MASK_VALID    (1ull << 11)
#define MTRR_LAST_VARIABLE (MSR_IA32_MTRR_PHYSBASE0 + 2 * MSR_POLICY_MTRR_PAIRS - 1)
#define MTRR_FIXED_ALL_WB  0x0606060606060606ull

static bool is_memory_type(uint64_t type)
{
    return type == MEMORY_UC || type == MEMORY_WC || type == MEMORY_WT || type == MEMORY_WP ||
           type == MEMORY_WB;
}

static bool read_zero(void *dev, uint32_t msr, uint64_t *value)
{
    (void)dev;
    (void)msr;
    *value = 0;
    return true;
}

static bool write_zero(void *dev, uint32_t msr, uint64_t value)
{
    (void)dev;
    (void)msr;
    return value == 0;
}

static bool read_microcode(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct msr_policy *)dev)->microcode;
    return true;
}

static bool read_misc_enable(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct msr_policy *)dev)->misc_enable;
    return true;
}

static bool write_misc_enable(void *dev, uint32_t msr, uint64_t value)
{
    struct msr_policy *p = dev;
    (void)msr;
    if (((value ^ p->misc_enable) & ~MISC_FAST_STRINGS) != 0)
        return false;
    p->misc_enable = value;
    return true;
}

static bool read_mtrr_cap(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct msr_policy *)dev)->mtrr.capability;
    return true;
}

static bool read_mtrr_default(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct msr_policy *)dev)->mtrr.default_type;
    return true;
}

static bool write_mtrr_default(void *dev, uint32_t msr, uint64_t value)
{
    struct msr_policy *p = dev;
    (void)msr;
    if ((value & ~(MTRR_ENABLE | MTRR_FIXED_ENABLE | 0xff)) != 0 || !is_memory_type(value & 0xff))
        return false;
    p->mtrr.default_type = value;
    return true;
}

static uint64_t *variable_mtrr(struct msr_policy *p, uint32_t msr)
{
    struct mtrr_variable *v = &p->mtrr.variable[(msr - MSR_IA32_MTRR_PHYSBASE0) / 2];
    return (msr & 1) == 0 ? &v->base : &v->mask;
}

static bool read_mtrr_variable(void *dev, uint32_t msr, uint64_t *value)
{
    *value = *variable_mtrr(dev, msr);
    return true;
}

static bool write_mtrr_variable(void *dev, uint32_t msr, uint64_t value)
{
    struct msr_policy *p = dev;
    const uint64_t address = ((1ull << p->mtrr.phys_bits) - 1) & ~0xfffull;
    const bool base = (msr & 1) == 0;
    if ((value & ~(address | (base ? 0xff : MTRR_MASK_VALID))) != 0 ||
        (base && !is_memory_type(value & 0xff)))
        return false;
    *variable_mtrr(p, msr) = value;
    return true;
}

static uint64_t *fixed_mtrr(struct msr_policy *p, uint32_t msr)
{
    if (msr == MSR_IA32_MTRR_FIX64K_00000)
        return &p->mtrr.fixed[0];
    if (msr <= MSR_IA32_MTRR_FIX16K_A0000)
        return &p->mtrr.fixed[1 + msr - MSR_IA32_MTRR_FIX16K_80000];
    return &p->mtrr.fixed[3 + msr - MSR_IA32_MTRR_FIX4K_C0000];
}

static bool read_mtrr_fixed(void *dev, uint32_t msr, uint64_t *value)
{
    *value = *fixed_mtrr(dev, msr);
    return true;
}

static bool write_mtrr_fixed(void *dev, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        if (!is_memory_type(value >> (8 * i) & 0xff))
            return false;
    }
    *fixed_mtrr(dev, msr) = value;
    return true;
}

/* Writes that do nothing: how an update or a log is started, which we have not. */
static bool write_ignored(void *dev, uint32_t msr, uint64_t value)
{
    (void)dev;
    (void)msr;
    (void)value;
    return true;
}

static const struct msr_range rows[] = {
    /* Read by microcode drivers to find their file; platform 0. */
    {MSR_IA32_PLATFORM_ID, MSR_IA32_PLATFORM_ID, NULL, read_zero, NULL},
    /* The way to ask for the microcode's revision is: write 0, CPUID, read. */
    {MSR_IA32_BIOS_SIGN_ID, MSR_IA32_BIOS_SIGN_ID, NULL, read_microcode, write_ignored},
    /* CPUID shows MTRR: the guest must find them consistent with each other. */
    {MSR_IA32_MTRRCAP, MSR_IA32_MTRRCAP, NULL, read_mtrr_cap, NULL},
    {MSR_IA32_MTRR_PHYSBASE0, MTRR_LAST_VARIABLE, NULL, read_mtrr_variable, write_mtrr_variable},
    {MSR_IA32_MTRR_FIX64K_00000, MSR_IA32_MTRR_FIX64K_00000, NULL, read_mtrr_fixed,
     write_mtrr_fixed},
    {MSR_IA32_MTRR_FIX16K_80000, MSR_IA32_MTRR_FIX16K_A0000, NULL, read_mtrr_fixed,
     write_mtrr_fixed},
    {MSR_IA32_MTRR_FIX4K_C0000, MSR_IA32_MTRR_FIX4K_F8000, NULL, read_mtrr_fixed, write_mtrr_fixed},
    {MSR_IA32_MTRR_DEF_TYPE, MSR_IA32_MTRR_DEF_TYPE, NULL, read_mtrr_default, write_mtrr_default},
    /* CPUID shows MCA: no banks, no IA32_MCG_CTL, and no error ever. */
    {MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, NULL, read_zero, NULL},
    {MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, NULL, read_zero, write_zero},
    {MSR_IA32_P5_MC_ADDR, MSR_IA32_P5_MC_TYPE, NULL, read_zero, write_ignored},
    /* Read by every 64-bit kernel to see whether XD or CPUID leaves are switched off. */
    {MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE, NULL, read_misc_enable, write_misc_enable},
};

enum status msr_policy_init(struct msr_policy *policy, struct msr_table *table, uint64_t microcode,
                            uint32_t phys_bits)
{
    *policy = (struct msr_policy){
        .mtrr = {.capability = MSR_POLICY_MTRR_PAIRS | MTRR_CAP_FIXED | MTRR_CAP_WC,
                 .default_type = MTRR_ENABLE | MTRR_FIXED_ENABLE | MEMORY_WB,
                 .variable_count = MSR_POLICY_MTRR_PAIRS,
                 .phys_bits = phys_bits},
        .misc_enable = MISC_FAST_STRINGS | MISC_NO_BTS | MISC_NO_PEBS,
        .microcode = microcode,
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
