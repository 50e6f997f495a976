/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual machine as the VT-x engine runs it. guest/pc.h builds the PC around it. */
#pragma once

#include "mm/ept.h"
#include "mm/guestmem.h"
#include "vmx/bus.h"
#include "vmx/cpuid_table.h"
#include "vmx/intc.h"
#include "vmx/lines.h"
#include "vmx/msr_table.h"
#include "vmx/stats.h"
#include "vmx/timers.h"

#define VM_APIC_PAGE_GPA     0xfee00000ull /* apic_access_page in the EPT, and its bus range */
#define VM_MAX_HYPERCALLS    8
#define VMCALL_UNKNOWN       (-1000) /* the results that are not a hypercall's own: guest/hypercall.h */
#define VMCALL_NOT_PERMITTED (-1) /* not at CPL 0 */

struct vcpu;

/* What a handler of a VM exit answers. A handler never writes RIP: exit_dispatch() does. */
enum exit_action {
    EXIT_NEXT,         /* emulated: step over the instruction */
    EXIT_NEXT_DECODED, /* the same, by vcpu->insn_length: the exit reports no length */
    EXIT_SAME,         /* enter again where it was: retry, or an event has been queued */
};

/* A hypercall: arguments in the vCPU's RBX RCX RDX RSI, ends with vcpu_return() of its result. */
typedef enum exit_action hypercall_fn(struct vcpu *vcpu);

struct vm {
    const char *name;
    unsigned index; /* from 0; its VPID is index + 1 */

    struct guestmem mem;
    struct ept ept;
    struct bus bus;
    struct timers timers;
    struct cpuid_table cpuid;
    struct msr_table msrs;
    uint64_t xcr0_allowed; /* what XSETBV may set; 0 without XSAVE. Agrees with CPUID leaf 0xd. */
    uint64_t memory_bytes;
    uint64_t tsc_offset;                        /* guest TSC = host TSC + tsc_offset */
    hypercall_fn *hypercall[VM_MAX_HYPERCALLS]; /* NULL: unknown */

    struct intc intc;           /* of the one vCPU */
    struct vcpu_line vcpu_line; /* to it, from the intc: filled in by vcpu_create() */
    hpa_t apic_access_page;     /* at VM_APIC_PAGE_GPA where the CPU virtualizes APIC accesses */
    struct vcpu *vcpu;

    enum vm_end end; /* VM_RUNS until somebody asked for the end */
    uint32_t end_code;
    char end_why[160];
    struct vm_stats stats;
};

/* Asks for the VM's end after the current exit; the first request wins. Fits struct power_line. */
void vm_end_request(void *vm, enum vm_end end, uint32_t code, const char *why);
void vm_end_format(struct vm *vm, enum vm_end end, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
