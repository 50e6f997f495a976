/* SPDX-License-Identifier: BSD-2-Clause */
/* VMX operation of this machine: the checklist at start, and VMXON on each CPU. */
#pragma once

#include "arch/percpu.h"
#include "vmx/caps.h"
#include "vmx/ept.h"

/* Reads the capabilities and goes through the checklist of SDM chapter "Introduction to Virtual
 * Machine Extensions" and of what Nadir relies on; logs each thing that is missing, and which
 * fall-backs run. Called once on the boot CPU. ERR_UNSUPPORTED: the CPU cannot run Nadir;
 * ERR_DENIED: the firmware has locked VT-x off. */
enum status vmx_init(void);

/* The capabilities that vmx_init has read; the same on all CPUs (vmx_enable checks that). */
const struct vmx_caps *vmx_caps(void);

/* What of the EPT this CPU can do, for ept_init(). */
struct ept_caps vmx_ept_caps(void);

/* Whether the CPU virtualizes the local APIC: registers, delivery, xAPIC page and x2APIC MSRs. */
bool vmx_has_apicv(void);

/* Enters VMX root operation on the calling CPU (SDM, "Enabling and Entering VMX Operation"). */
enum status vmx_enable(struct cpu *cpu);

/* Leaves it, for power-off and reset, if in it: some firmware does not expect CR4.VMXE. */
void vmx_disable(void);
