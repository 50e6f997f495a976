/* SPDX-License-Identifier: BSD-2-Clause */
/* Default deny: an MSR that no row here (nor vmx) opens gives #GP. */
#include "guest/pc/msr_policy.h"
#include "arch/x86.h"

#include <stddef.h>

#define HWCR_TSC_IS_STEADY \
    (1u << 24) /* it counts at the same rate whatever the CPU's; from 10h on */

#define PLATFORM_RATIO_HZ 100000000ull /* the unit of the ratio of TSC and bus clock */

/* Where an MSR's value is kept; NULL: it reads as zero. */
static uint64_t *msr_value(struct msr_policy *p, uint32_t msr)
{
    switch (msr) {
    case MSR_IA32_BIOS_SIGN_ID: return &p->microcode;
    case MSR_PLATFORM_INFO: return &p->platform_info;
    case MSR_AMD_HWCR: return &p->hardware_config;
    default: return NULL;
    }
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

static const struct msr_range rows[] = {
    /* Read by microcode drivers to find their file; platform 0. */
    {MSR_IA32_PLATFORM_ID, MSR_IA32_PLATFORM_ID, NULL, read_msr, NULL},
    /* Kernels of other makes take the TSC's rate from it, without asking. */
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, NULL, read_msr, NULL},
    /* No update is taken: the revision stays. */
    {MSR_IA32_BIOS_UPDT_TRIG, MSR_IA32_BIOS_UPDT_TRIG, NULL, NULL, write_ignored},
    /* The way to ask for the microcode's revision is: write 0, CPUID, read. */
    {MSR_IA32_BIOS_SIGN_ID, MSR_IA32_BIOS_SIGN_ID, NULL, read_msr, write_ignored},
    /* CPUID shows MCA: no banks, no IA32_MCG_CTL, and no error ever. */
    {MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, NULL, read_msr, NULL},
    {MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, NULL, read_msr, write_zero},
    {MSR_IA32_P5_MC_ADDR, MSR_IA32_P5_MC_TYPE, NULL, read_msr, write_ignored},
};

/* AMD64 Architecture Programmer's Manual, volume 2, "System-Configuration Register (SYSCFG)"; BIOS
 * and Kernel Developer's Guide for family 0Fh, "Interrupt Pending and CMP-Halt Register", and for
 * 10h, "Hardware Configuration Register (HWCR)" and "Performance Event Select Registers". */
static const struct msr_range amd_rows[] = {
    /* Four event selects and four counters, of which none counts: Xen stops them at its start. */
    {MSR_AMD_EVENT_SELECT_0, MSR_AMD_COUNTER_3, NULL, read_msr, write_ignored},
    /* No extended types in fixed MTRRs, no second top of memory: nothing is switched on. */
    {MSR_AMD_SYSCFG, MSR_AMD_SYSCFG, NULL, read_msr, write_ignored},
    /* Xen and Linux read it, and set what works around errata, which a virtual CPU has not. */
    {MSR_AMD_HWCR, MSR_AMD_HWCR, NULL, read_msr, write_ignored},
    /* No message at HLT, and no C1E. */
    {MSR_AMD_INTERRUPT_PENDING, MSR_AMD_INTERRUPT_PENDING, NULL, read_msr, write_ignored},
};

static enum status add_rows(struct msr_policy *policy, struct msr_table *table,
                            const struct msr_range *range, size_t count)
{
    enum status s = OK;
    for (size_t i = 0; i < count && s == OK; i++) {
        struct msr_range row = range[i];
        row.dev = policy;
        s = msr_table_add(table, &row);
    }
    return s;
}

enum status msr_policy_init(struct msr_policy *policy, struct msr_table *table, uint64_t microcode,
                            uint64_t tsc_hz, unsigned amd_family)
{
    *policy = (struct msr_policy){
        .microcode = microcode,
        .platform_info = (tsc_hz / PLATFORM_RATIO_HZ & 0xff) << 8,
        .hardware_config = amd_family >= 0x10 ? HWCR_TSC_IS_STEADY : 0,
    };
    const enum status s = add_rows(policy, table, rows, sizeof(rows) / sizeof(rows[0]));
    return s == OK && amd_family != 0
               ? add_rows(policy, table, amd_rows, sizeof(amd_rows) / sizeof(amd_rows[0]))
               : s;
}
