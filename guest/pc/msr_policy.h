/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSRs of the virtual PC that all its CPUs share. */
#pragma once

#include "guest/cpu/msr_table.h"

struct msr_policy {
    uint64_t microcode; /* IA32_BIOS_SIGN_ID of the host: a guest looks up errata by it */
    uint64_t platform_info;
    uint64_t hardware_config;
};

/* Opens these MSRs in *table, set as firmware leaves them; amd_family: where CPUID says
 * AuthenticAMD, the family, for which those are open, too, that kernels read without asking; else
 * 0. Pure. ERR_LIMIT, ERR_BAD_INPUT. */
enum status msr_policy_init(struct msr_policy *policy, struct msr_table *table, uint64_t microcode,
                            uint64_t tsc_hz, unsigned amd_family);
