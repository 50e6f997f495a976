/* SPDX-License-Identifier: BSD-2-Clause */
/* VMX operation of this machine: the checklist at start, and VMXON on each CPU. */
#pragma once

#include "arch/percpu.h"
#include "guest/vm/engine.h"
#include "vmx/caps.h"
#include "vmx/ept.h"

/* The engine "vtx". Its probe() goes through the checklist of SDM chapter "Introduction to Virtual
 * Machine Extensions" and of what Nadir relies on, and logs which fall-backs run; its cpu_on()
 * enters VMX root operation (SDM, "Enabling and Entering VMX Operation"). */
extern const struct engine vmx_engine;

/* The capabilities that probe() has read; the same on all CPUs (cpu_on() checks that). */
const struct vmx_caps *vmx_caps(void);

/* What of the EPT this CPU can do, for ept_init(). */
struct ept_caps vmx_ept_caps(void);

/* Whether the CPU virtualizes the local APIC: registers, delivery, xAPIC page and x2APIC MSRs. */
bool vmx_has_apicv(void);
