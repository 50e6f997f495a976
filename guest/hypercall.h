/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest may ask of Nadir by VMCALL: all that hypervisor and guest programs share. */
#pragma once

/* VMCALL in any mode, at CPL 0: number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX; no
 * other register changes. Numbers and conventions leave room for KVM's own, so that a guest written
 * for KVM gets "unknown" where Nadir has nothing to offer. */
#define HYPERCALL_NOP           0 /* does nothing, returns 0: measures the way there and back */
#define HYPERCALL_UNKNOWN       (-1000) /* the result of every number that is not defined here */
#define HYPERCALL_NOT_PERMITTED (-1)    /* the result of any at CPL > 0 */
