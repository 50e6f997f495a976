/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM's CPUs say that they are, whatever executes it. */
#pragma once

#include "guest/pc/pc.h"

/* Fills the VM's CPUID and MSR tables, and what goes by them. As cpuid_policy_build() and
 * msr_policy_init(). */
enum status pc_policies_make(struct pc *pc, const struct vm_config *config,
                             const struct pc_host *host);
