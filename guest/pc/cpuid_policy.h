/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of the host's CPUID facts a guest may see, and which are our own. */
#pragma once

#include "arch/status.h"
#include "arch/x86.h"
#include "guest/cpu/cpuid_table.h"

/* cpu_cpuid(), or a test's record of it. */
typedef struct cpuid_regs cpuid_fn(uint32_t leaf, uint32_t subleaf);

struct cpuid_facts {
    uint32_t vcpus;
    uint64_t tsc_hz; /* measured: emulated and broken CPUs misreport it in leaf 0x15 */
    /* What the engine lets a guest use: struct engine_facts. */
    bool rdtscp, invpcid, xsaves, spec_control, tsx, atomics;
    uint64_t cr4_allowed;
    uint32_t kvm_features; /* what of KVM's interface is shown: kvm_pv.h; 0: it is not there */
    bool paravirtual; /* for a kernel that knows Xen's PV interface: it finds that, and no PC */
};

/* Fills *table. Pure. ERR_BAD_INPUT for impossible facts, ERR_LIMIT when the table is too small. */
enum status cpuid_policy_build(struct cpuid_table *table, cpuid_fn *host,
                               const struct cpuid_facts *facts);

/* XCR0 bits that a guest may set (0 without XSAVE), from leaf 0xD of its own table. */
uint64_t cpuid_policy_xcr0(const struct cpuid_table *table);

/* The family of the CPU that the table tells of where its vendor is AuthenticAMD, else 0. */
unsigned cpuid_policy_amd_family(const struct cpuid_table *table);
