/* SPDX-License-Identifier: BSD-2-Clause */
/* The contents of a new VMCS, in three parts: controls, host state, guest state. */
#pragma once

#include "guest/cpu/state.h"
#include "guest/vm/vcpu.h"

/* CR0 and CR4 bits that the guest does not own: a change of one exits (see exit_cr.c). */
#define CR0_HOST_OWNED (~(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM | CR0_PG))

/* All three act on the current VMCS of the calling CPU. */
void vmcs_set_controls(struct vcpu *vcpu);
void vmcs_set_host(void);
void vmcs_set_guest(struct vcpu *vcpu, const struct boot_state *state);

/* The CR4 bits that this vCPU's CPUID allows and the CPU has. */
uint64_t vmcs_cr4_allowed(const struct vcpu *vcpu);

/* The bits of IA32_EFER that this vCPU's CPUID allows. */
uint64_t vmcs_efer_allowed(const struct vcpu *vcpu);

/* Matches APIC-virtualization controls, MSR bitmap, and what is mapped at the APIC's page, to mode
 * and address of the vCPU's local APIC. */
void vmcs_set_apic_mode(struct vcpu *vcpu);
