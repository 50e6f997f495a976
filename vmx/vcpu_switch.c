/* SPDX-License-Identifier: BSD-2-Clause */
/* Which vCPU a CPU has: its VMCS, and the registers that neither the VMCS nor struct guest_regs
 * holds. The host uses none of those, so they move only when another vCPU gets the CPU. */
#include "guest/vm/vcpu.h"

#include "arch/cpu.h"
#include "arch/msr.h"
#include "arch/panic.h"
#include "arch/percpu.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* The last needs RDTSCP. IA32_XSS is 0 in every guest. */
static const uint32_t moved_msrs[] = {MSR_IA32_STAR,  MSR_IA32_LSTAR,          MSR_IA32_CSTAR,
                                      MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX};

_Static_assert(sizeof(moved_msrs) / sizeof(moved_msrs[0]) ==
                   sizeof(((struct vcpu_saved *)0)->msr) / sizeof(uint64_t),
               "one place for each");

static uint32_t moved_msr_count(const struct vcpu *vcpu)
{
    const uint32_t all = sizeof(moved_msrs) / sizeof(moved_msrs[0]);
    return (vcpu->proc2 & PROC2_RDTSCP) != 0 ? all : all - 1;
}

static void write_dr(const uint64_t dr[4], uint64_t dr6)
{
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3; mov %4, %%dr6"
                     :
                     : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]), "r"(dr6));
}

/* x87, SSE and what XCR0 may name beyond: all of it, whatever the guest has enabled of it. */
static void restore_extended(const struct vcpu *vcpu, const void *area)
{
    const uint64_t components = vcpu->vm->xcr0_allowed;
    if (components == 0) {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
        return;
    }
    cpu_xsetbv(0, components);
    __asm__ volatile("xrstor64 (%0)"
                     :
                     : "r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
    cpu_xsetbv(0, vcpu->xcr0);
}

static void save_extended(const struct vcpu *vcpu)
{
    const uint64_t components = vcpu->vm->xcr0_allowed;
    void *area = hpa_to_ptr(vcpu->xsave_area);
    if (components == 0) {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
        return;
    }
    cpu_xsetbv(0, components);
    __asm__ volatile("xsave64 (%0)"
                     :
                     : "r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
}

/* As after a reset, with nothing of an earlier VM. */
static void load_initial_state(const struct vcpu *vcpu)
{
    /* XRSTOR of a header that names no component puts each into its initial state; FXRSTOR likewise
     * has x87 and SSE. */
    static const uint8_t initial[832] __attribute__((aligned(64))) = {
        [0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}; /* FCW 0x37f, MXCSR 0x1f80 */
    for (uint32_t i = 0; i < moved_msr_count(vcpu); i++)
        cpu_wrmsr(moved_msrs[i], 0);
    if ((vcpu->proc2 & PROC2_XSAVES) != 0)
        cpu_wrmsr(MSR_IA32_XSS, 0); /* what the guest is told; XSAVES goes by the CPU's own */
    vcpu_reset_debug();
    restore_extended(vcpu, initial);
}

void vcpu_reset_debug(void)
{
    static const uint64_t none[4];
    write_dr(none, 0xffff0ff0);
    cpu_write_cr2(0);
}

static void save_state(struct vcpu *vcpu)
{
    struct vcpu_saved *saved = &vcpu->saved;
    for (uint32_t i = 0; i < moved_msr_count(vcpu); i++)
        saved->msr[i] = cpu_rdmsr(moved_msrs[i]);
    __asm__ volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3; mov %%dr6, %4"
                     : "=r"(saved->dr[0]), "=r"(saved->dr[1]), "=r"(saved->dr[2]),
                       "=r"(saved->dr[3]), "=r"(saved->dr6));
    saved->cr2 = cpu_read_cr2();
    save_extended(vcpu);
}

static void load_state(const struct vcpu *vcpu)
{
    const struct vcpu_saved *saved = &vcpu->saved;
    for (uint32_t i = 0; i < moved_msr_count(vcpu); i++)
        cpu_wrmsr(moved_msrs[i], saved->msr[i]);
    write_dr(saved->dr, saved->dr6);
    cpu_write_cr2(saved->cr2);
    restore_extended(vcpu, hpa_to_ptr(vcpu->xsave_area));
}

void vcpu_load(struct vcpu *vcpu)
{
    struct cpu *cpu = cpu_self();
    struct vcpu *before = cpu->vcpu;
    __atomic_store_n(&vcpu->seat->current, vcpu, __ATOMIC_SEQ_CST);
    vcpu->attention = true; /* RVI, windows and requests are as they were when it left */
    if (before == vcpu)
        return;
    if (before != NULL)
        save_state(before);
    if (!vcpu->loaded_once && !vmclear(vcpu->vmcs))
        panic("VMCLEAR failed on a new VMCS at 0x%lx", vcpu->vmcs.v);
    if (!vmptrld(vcpu->vmcs))
        panic("VMPTRLD failed on the VMCS at 0x%lx", vcpu->vmcs.v);
    /* Where the host sleeps within an exit: on the console, if it has said much itself. */
    cpu->posted_missed = &vcpu->attention;
    cpu->vcpu = vcpu; /* from here on the CPU may write to the VMCS's page */
    if (vcpu->loaded_once) {
        load_state(vcpu);
        /* The VM's EPT, and what is cached of it, is the same for both, but for the APIC's page. */
        if (before != NULL && ((before->proc2 ^ vcpu->proc2) & PROC2_VIRTUALIZE_APIC_ACCESSES) != 0)
            vcpu->ept_seen = vcpu->vm->ept_changes - 1;
        return;
    }
    const struct boot_state reset = boot_state_reset(vcpu_signature(vcpu));
    vcpu->loaded_once = true;
    vmcs_set_controls(vcpu);
    vmcs_set_host();
    vmcs_set_guest(vcpu, vcpu->boot != NULL ? vcpu->boot : &reset);
    load_initial_state(vcpu);
}

void vcpu_put_away(struct vm *vm, struct vm_seat *seat)
{
    bool clean = true;
    cpu_self()->vcpu = NULL;
    cpu_self()->posted_missed = NULL;
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpu[i]->seat == seat && vm->vcpu[i]->loaded_once)
            clean = vmclear(vm->vcpu[i]->vmcs) && clean;
    }
    /* Nothing of this VM may be met by the next one with the same VPID or EPT root. */
    clean = invept(INVALIDATE_ALL, 0) && clean;
    if ((vmx_caps()->ept_vpid & EPTCAP_INVVPID_ALL) != 0)
        clean = invvpid(INVALIDATE_ALL, 0) && clean;
    if (!clean)
        panic("VMCLEAR, INVEPT or INVVPID failed at the end of a VM");
}
