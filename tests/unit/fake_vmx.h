/* SPDX-License-Identifier: BSD-2-Clause */
/* A CPU with VT-x for unit tests: the VMX instructions over arrays of fields, and the privileged
 * instructions that vmx/ needs beside them over a struct. What a CPU would refuse ends the test. */
#pragma once

#include "arch/cpu.h"
#include "arch/percpu.h"
#include "vmx/caps.h"
#include "vmx/insn.h"

#include <setjmp.h>

struct fake_vmx {
    struct vmx_caps caps; /* vmx_caps(): a test may take features away before it uses them */
    struct cpu cpu;       /* cpu_self() */
    uint64_t tsc, cr0, cr2, cr3, cr4, pat, efer;
    uint64_t s_cet, ssp_table;
    uint64_t tsc_passes; /* ticks from one look at the clock to the next */
    uint64_t dr[4], dr6, xcr0;
    uint32_t pkru;
    bool on; /* between VMXON and VMXOFF */
    unsigned invepts, invvpids;
    uint16_t invvpid_of; /* the last one's VPID */
    uint64_t invvpid_at; /* and its address, where it was for one */
    bool corrupt;        /* a machine check has damaged the CPU, too */
    bool elsewhere;      /* a machine check is another CPU's */
    jmp_buf *escape;     /* where a refused VMREAD or VMWRITE, or panic(), goes; NULL: abort() */
};

extern struct fake_vmx fake_vmx;

/* In VMX operation, with no VMCS, as a Skylake server has it. */
void fake_vmx_reset(void);

/* Its capability MSRs, 0x480 to 0x491. */
uint64_t fake_vmx_capability(uint32_t msr);

/* What the CPU itself does with a field of the current VMCS: those that VMWRITE refuses, too. */
void fake_vmx_set(enum vmcs_field field, uint64_t value);

/* All fields of the current VMCS, by encoding; those that are not known are 0. */
#define FAKE_VMX_FIELDS 0x7000u
const uint64_t *fake_vmx_fields(void);

/* The checks of VM entry on the current VMCS, for a physical-address width of 39 bits: how many are
 * broken, and the first in words (valid until the next call; "" for none). */
unsigned fake_vmx_check(const char **first);
