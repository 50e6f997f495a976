/* SPDX-License-Identifier: BSD-2-Clause */
/* Which vCPU a CPU has: its VMCS, and the registers that neither the VMCS nor struct guest_regs
 * holds. The host uses none of those, so they move only when another vCPU gets the CPU. */
#include "guest/vm/vcpu_extended.h"

#include "arch/hardening.h"
#include "arch/panic.h"
#include "arch/percpu.h"
#include "vmx/insn.h"
#include "vmx/state.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* TSC_AUX is one more, where there is RDTSCP. IA32_XSS is 0 in every guest. */
static const uint32_t moved_msrs[MOVED_MSRS] = {MSR_IA32_STAR, MSR_IA32_LSTAR, MSR_IA32_CSTAR,
                                                MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE};

/* As after a reset, with nothing of an earlier VM, but for what set_state() is to write. */
static void load_initial_state(const struct vmx_vcpu *v)
{
    for (uint32_t i = 0; i < MOVED_MSRS; i++)
        cpu_wrmsr(moved_msrs[i], 0);
    if ((v->proc2 & PROC2_RDTSCP) != 0)
        cpu_wrmsr(MSR_IA32_TSC_AUX, 0);
    if ((v->proc2 & PROC2_XSAVES) != 0)
        cpu_wrmsr(MSR_IA32_XSS, 0); /* what the guest is told; XSAVES goes by the CPU's own */
    vcpu_extended_restore_initial(&v->vcpu);
}

static void save_state(struct vmx_vcpu *v)
{
    struct vmx_saved *saved = &v->saved;
#pragma GCC unroll 5
    for (uint32_t i = 0; i < MOVED_MSRS; i++)
        saved->msr[i] = cpu_rdmsr(moved_msrs[i]);
    if ((v->proc2 & PROC2_RDTSCP) != 0)
        saved->tsc_aux = cpu_rdmsr(MSR_IA32_TSC_AUX);
    cpu_read_debug(saved->dr, &saved->dr6);
    saved->cr2 = cpu_read_cr2();
    vcpu_extended_save(&v->vcpu, hpa_to_ptr(v->xsave_area));
}

static void load_state(const struct vmx_vcpu *v)
{
    const struct vmx_saved *saved = &v->saved;
#pragma GCC unroll 5
    for (uint32_t i = 0; i < MOVED_MSRS; i++)
        cpu_wrmsr(moved_msrs[i], saved->msr[i]);
    if ((v->proc2 & PROC2_RDTSCP) != 0)
        cpu_wrmsr(MSR_IA32_TSC_AUX, saved->tsc_aux);
    cpu_write_debug(saved->dr, saved->dr6);
    cpu_write_cr2(saved->cr2);
    vcpu_extended_restore(&v->vcpu, hpa_to_ptr(v->xsave_area));
}

/* A CPU keeps translations by VPID and by EPT root. Those of this vCPU may be of the time before it
 * was loaded elsewhere, or of an earlier VM's that had the same numbers. */
static void forget_translations(struct vmx_vcpu *v)
{
    if (v->vcpu.step.count == 0) { /* or else the step is to be given up: drop_cached_ept() */
        v->vcpu.memory_seen = __atomic_load_n(&v->vcpu.vm->memory_changes, __ATOMIC_SEQ_CST);
        vmx_use_ept(&v->vcpu);
    }
    if (!invept(INVALIDATE_ALL, 0))
        panic("INVEPT failed");
    vmx_flush_tlb(&v->vcpu);
}

void vmx_load(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    struct cpu *cpu = cpu_self();
    hardening_enter_domain(cpu, vcpu->vm->number);
    if (!v->filled && !vmclear(v->vmcs))
        panic("VMCLEAR failed on a new VMCS at 0x%lx", v->vmcs.v);
    if (!vmptrld(v->vmcs)) /* from here on the CPU may write to the VMCS's page */
        panic("VMPTRLD failed on the VMCS at 0x%lx", v->vmcs.v);
    v->launched = false;
    if (v->last_cpu != cpu) {
        if (!v->filled)
            vmcs_set_controls(v);
        vmcs_set_host();
        forget_translations(v);
        v->last_cpu = cpu;
    }
    if (v->filled)
        load_state(v);
    else
        load_initial_state(v);
    v->filled = true;
}

void vmx_put(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    save_state(v);
    if (!vmclear(v->vmcs))
        panic("VMCLEAR failed on the VMCS at 0x%lx", v->vmcs.v);
}
