/* SPDX-License-Identifier: BSD-2-Clause */
/* The contents of a new VMCS but for the guest's state: controls and host state. */
#pragma once

#include "vmx/vcpu.h"

/* CR0 and CR4 bits that the guest does not own: a change of one exits (see exit_cr.c). */
#define CR0_HOST_OWNED (~(CR0_PE | CR0_MP | CR0_EM | CR0_ET | CR0_TS | CR0_WP | CR0_AM | CR0_PG))

/* Both act on the current VMCS of the calling CPU; host state is the calling CPU's. */
void vmcs_set_controls(struct vmx_vcpu *v);
void vmcs_set_host(void);

/* Matches APIC-virtualization controls and MSR bitmap to mode and address of the vCPU's local APIC.
 */
void vmcs_set_apic_mode(struct vmx_vcpu *v, bool x2apic);
