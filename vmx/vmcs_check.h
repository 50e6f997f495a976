/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of VM entry, in software: which rule of the SDM does a VMCS break, and how? Pure. */
#pragma once

#include "vmx/caps.h"

/* A VMCS to look at. read is asked only for fields that the controls in use make exist. */
struct vmcs_view {
    uint64_t (*read)(void *ctx, uint32_t field);
    void *ctx;
    const struct vmx_caps *caps;
    unsigned phys_bits; /* physical-address width */
};

/* One broken rule: in words, the field with its value, and what it may hold. The texts are valid
 * during the call only. */
typedef void vmcs_report_fn(void *ctx, const char *rule, uint32_t field, uint64_t value,
                            const char *allowed);

/* Re-runs the SDM's "Checks on VMX Controls and Host-State Area" and "Checks on the Guest State
 * Area" for a 64-bit host and an unrestricted guest, calls report for each violation and returns
 * how many there are. After a failed entry 0 means that the CPU minds something that is not checked
 * here: what stands in memory (the virtual-APIC page), and controls that vmcs.c never sets. */
unsigned vmcs_check(const struct vmcs_view *view, vmcs_report_fn *report, void *report_ctx);
