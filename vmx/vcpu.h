/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual CPU: its registers outside the VMCS, its run loop, how an event is queued for it. */
#pragma once

#include "vmx/boot_state.h"
#include "vmx/vm.h"

/* In the hardware's order. The RSP slot is unused: RSP is in the VMCS. */
enum gpr {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    GPR_COUNT
};

struct guest_regs {
    uint64_t gpr[GPR_COUNT];
};

struct vcpu {
    struct guest_regs regs;
    struct vm *vm;
    uint8_t phys_bits; /* MAXPHYADDR, as its CPUID says */
    uint32_t apic_id;  /* the initial one; 0 for the boot processor */
    bool launched;     /* the VMCS has been entered since its VMCLEAR */
    bool attention; /* interrupts, events or the VM's end: to be looked at before the next entry */
    bool halted;    /* executed HLT and waits for an interrupt */
    bool nmi_pending;
    bool assisted; /* the CPU delivers interrupts from the APIC page (virtual-interrupt delivery) */

    uint32_t insn_length; /* the decoder's, for EXIT_NEXT_DECODED */
    uint64_t tsc_exit;    /* host TSC when the current exit came, plus the time in HLT since */
    uint32_t event; /* VM-entry interruption information to be used at the next entry; 0 = none */
    uint32_t event_error; /* its error code and instruction length */
    uint32_t event_length;

    uint32_t proc, proc2; /* control words as they stand in the VMCS */
    uint32_t tpr_threshold;
    uint64_t eoi_exit[4]; /* the EOI-exit bitmap as it stands there */
    uint64_t xcr0;
    uint64_t tsc_adjust; /* IA32_TSC_ADJUST as the guest sees it */

    hpa_t vmcs;
    hpa_t msr_bitmap;
};

/* Makes the vCPU of a VM whose tables, EPT and intc are filled in, in the given architectural
 * state. Allocates the VMCS and the MSR bitmap. Call on a CPU in VMX operation; the vCPU then runs
 * on this CPU. */
enum status vcpu_create(struct vcpu *vcpu, struct vm *vm, const struct boot_state *state);
void vcpu_destroy(struct vcpu *vcpu);

/* Runs until the VM ends; vm->end, end_code, end_why say how. On the CPU that created the vCPU. */
void vcpu_run(struct vcpu *vcpu);

/* Ends a hypercall with its result. */
static inline enum exit_action vcpu_return(struct vcpu *vcpu, int64_t result)
{
    vcpu->regs.gpr[RAX] = (uint64_t)result;
    return EXIT_NEXT;
}

/* Queues an exception for the next entry. If another event was interrupted by this exit, the SDM's
 * rules ("Conditions for Generating a Double Fault") combine both; a triple fault ends the VM. */
void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector);
void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error);

/* Prints the guest's registers, for the end of a VM that did not end well. The VMCS is current. */
void vcpu_dump(const struct vcpu *vcpu);

/* After vmx_enter() did not enter: prints the VM-instruction error or the exit reason in words,
 * re-runs the SDM's entry checks in software and prints every rule that is broken; ends the VM.
 * failed: what vmx_enter() returned. */
void vcpu_report_failed_entry(struct vcpu *vcpu, unsigned failed);

_Static_assert(offsetof(struct vcpu, regs) == 0 && sizeof(struct guest_regs) == 16 * 8,
               "vmenter.asm counts on 16 registers in the hardware's order");
