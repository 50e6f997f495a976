/* SPDX-License-Identifier: BSD-2-Clause */
/* What VT-x keeps of a VM and of a virtual CPU beside the common part. */
#pragma once

#include "guest/vm/vcpu.h"
#include "vmx/ept_overlay.h"

/* The registers that neither the VMCS nor struct guest_regs holds: they stay in the CPU, and are
 * saved here (and in the XSAVE area) while another vCPU has it (vcpu_switch.c). */
#define MOVED_MSRS 5
struct vmx_saved {
    uint64_t msr[MOVED_MSRS], tsc_aux;
    uint64_t dr[4], dr6, cr2;
};

struct vmx_vcpu {
    struct vcpu vcpu;         /* first: vmx_vcpu() */
    bool launched;            /* entered since it was loaded: VMRESUME is to enter it */
    bool preemption_timer;    /* is there; it counts at the TSC's rate >> preemption_shift */
    uint8_t preemption_shift; /* at most 31 */
    uint16_t vpid;
    uint32_t proc, proc2; /* control words as they stand in the VMCS */
    uint32_t exceptions;  /* the exception bitmap there */
    uint32_t tpr_threshold;
    uint64_t eoi_exit[4]; /* the EOI-exit bitmap there */
    enum debug_stop debug_stops;
    bool watched;               /* it is on for vcpu_x87_stepped() */
    bool stepping;              /* the monitor trap flag is on for step_begin() */
    struct ept_overlay overlay; /* what it alone sees for that */
    struct cpu *last_cpu; /* where it was loaded last: others may have cached old translations */
    hpa_t vmcs;
    hpa_t msr_bitmap;
    hpa_t xsave_area; /* as many bytes as CPUID asks for */
    uint32_t xsave_pages;
    bool filled; /* has been loaded before: VMCS, saved and XSAVE area hold a state */
    struct vmx_saved saved;
};

struct vmx_vm {
    struct ept ept;
    struct ept a20_off; /* a20.c; no root: A20 has never been off */
    /* At VM_APIC_PAGE_GPA where the CPU virtualizes APIC accesses, as long as all vCPUs have their
     * registers there: to others it would be memory. */
    hpa_t apic_access_page;
    uint32_t apics_elsewhere;
};

static inline struct vmx_vcpu *vmx_vcpu(struct vcpu *vcpu)
{
    return (struct vmx_vcpu *)vcpu;
}

static inline struct vmx_vm *vmx_vm(const struct vm *vm)
{
    return vm->engine_vm;
}

/* Beside RAX and RSI: vmenter.asm. */
#define LOST_IN_THE_GUEST \
    "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory"

/*
 * Enters the guest and returns when it exits: 0 after an exit, 1 for VMfailInvalid, 2 for
 * VMfailValid. An ordinary function but for the registers that it does not keep. Stores the host's
 * stack pointer in the VMCS. launched: this has been done with this VMCS since it was loaded.
 */
static inline unsigned vmx_enter_first(struct guest_regs *regs, bool launched)
{
    uint64_t resume = launched;
    unsigned why;
    bool failed;
    __asm__ volatile("call vmx_enter_first"
                     : "=@ccc"(failed), "=a"(why), "+S"(resume)
                     : "D"(regs)
                     : LOST_IN_THE_GUEST);
    return failed ? why : 0;
}

/* The same again, from the same function, whose stack pointer is as it was. */
static inline unsigned vmx_enter_next(struct guest_regs *regs)
{
    unsigned why;
    bool failed;
    __asm__ volatile("call vmx_enter_next"
                     : "=@ccc"(failed), "=a"(why)
                     : "D"(regs)
                     : "rsi", LOST_IN_THE_GUEST);
    return failed ? why : 0;
}

/* Engine functions, by file. vcpu.c: */
enum status vmx_vcpu_create(struct vm *vm, struct vcpu **out);
void vmx_vcpu_destroy(struct vcpu *vcpu);
void vmx_run(struct vcpu *vcpu);
/* vcpu_switch.c: */
void vmx_load(struct vcpu *vcpu);
void vmx_put(struct vcpu *vcpu);
/* state.c: */
void vmx_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out);
void vmx_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in);
void vmx_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out);
void vmx_flush_tlb(struct vcpu *vcpu);
void vmx_invalidate(struct vcpu *vcpu, gva_t linear);
void vmx_view(struct vcpu *vcpu, struct emulate_context *out);
/* vm.c: */
enum status vmx_vm_create(struct vm *vm);
void vmx_vm_destroy(struct vm *vm);
enum status vmx_map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms);
enum status vmx_protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms);
enum status vmx_redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms);
void vmx_memory(const struct vm *vm, struct engine_memory *out);
void vmx_apic_changed(struct vcpu *vcpu);
/* inject.c: */
void vmx_inject(struct vcpu *vcpu, const struct event *event);
/* vmcs.c: */
void vmx_tsc_changed(struct vcpu *vcpu);
void vmx_open_spec_control(struct vcpu *vcpu);
/* a20.c: */
/* The root that vCPUs are to run by, as A20 is now. */
hpa_t vmx_ept_root(const struct vm *vm);
/* Puts it into the current VMCS, which is this vCPU's. */
void vmx_use_ept(struct vcpu *vcpu);
/* The VM's EPT is about to change in these bytes: the second EPT, which is used while A20 is off,
 * forgets them, and is filled again by violations. With the VM's lock held. */
void vmx_a20_forget(const struct vm *vm, gpa_t guest, uint64_t bytes);
/* A violation with A20 off at this address, with all its bits. access: what it asked for, enum
 * ept_perms. True: it goes on; false: it is about the address without those bits. */
bool vmx_a20_fill(struct vcpu *vcpu, gpa_t at, unsigned access);
/* step.c: */
enum status vmx_show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms);
bool vmx_step(struct vcpu *vcpu, bool on);
bool vmx_watch(struct vcpu *vcpu, bool on);
bool vmx_set_debug(struct vcpu *vcpu, unsigned stops);
/* retrial.c: after a triple fault's exit, executes the instruction at RIP once more, to see which
 * exception or interrupt came first. *first is all zero where that cannot be found; the vCPU's
 * state is as before. Loaded. */
void vmx_retry(struct vcpu *vcpu, struct undelivered *first);

/* After vmx_enter_...() did not enter: prints the VM-instruction error or the exit reason in words,
 * re-runs the SDM's entry checks in software and prints every rule that is broken; ends the VM.
 * failed: what that returned. */
void vmx_report_failed_entry(struct vcpu *vcpu, unsigned failed);

/* `make check-entry` builds with 1: vmx_run() then asks vmx_entry_is_sound() before entries. */
#ifndef CHECK_ENTRY
#define CHECK_ENTRY 0
#endif

/* Runs the same checks before an entry, after an exit for that reason: the first thousand of each,
 * later some. False: rules are broken and printed, the VM has ended. */
bool vmx_entry_is_sound(struct vcpu *vcpu, uint32_t reason);
