/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSRs of the virtual PC that all its CPUs share. */
#pragma once

#include "guest/cpu/cpuid_table.h"
#include "guest/cpu/msr_table.h"
#include "mm/mtrr.h"

#define MSR_POLICY_MTRR_PAIRS 8u

struct msr_policy {
    struct mtrr_state mtrr; /* only remembered: the engine decides how RAM is cached */
    uint64_t microcode;     /* IA32_BIOS_SIGN_ID of the host: a guest looks up errata by it */
    uint64_t platform_info;
};

/* Puts the MTRRs into their state after a reset: off. For firmware, which sets them itself. */
void msr_policy_power_on(struct msr_policy *policy);

/* Opens these MSRs in *table, set as firmware leaves them. Pure. ERR_LIMIT, ERR_BAD_INPUT. */
enum status msr_policy_init(struct msr_policy *policy, struct msr_table *table,
                            const struct cpuid_table *cpuid, uint64_t microcode, uint64_t tsc_hz);
