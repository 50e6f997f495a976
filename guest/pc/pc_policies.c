/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM's CPUs say that they are: CPUID and MSRs, by what its engine and the host have. */
#include "guest/pc/pc_policies.h"
#include "guest/cpu/control.h"
#include "guest/pc/kvm_pv.h"

enum status pc_policies_make(struct pc *pc, const struct vm_config *config,
                             const struct pc_host *host)
{
    struct vm *vm = &pc->vm;
    const struct engine_facts *engine = &host->engine[config->engine]->facts;
    /* A domain has Xen's interface instead. */
    const bool has_kvm = config->paravirt == PARAVIRT_KVM && !pc->paravirtual;
    const struct cpuid_facts facts = {
        .vcpus = config->vcpus,
        .tsc_hz = host->tsc_hz,
        .rdtscp = engine->rdtscp,
        .invpcid = engine->invpcid,
        .xsaves = engine->xsaves,
        .tsx = engine->tsx,
        .atomics = engine->atomics,
        .cr4_allowed = engine->cr4_allowed,
        .spec_control = engine->spec_control,
        .kvm_features = has_kvm ? kvm_pv_features(engine) : 0,
        .paravirtual = pc->paravirtual,
    };
    enum status s = cpuid_policy_build(&vm->cpuid, host->cpuid, &facts);
    if (s == OK && has_kvm)
        s = kvm_pv_open(vm, host->read_tsc(), host->epoch);
    if (s != OK)
        return s;
    vm->arch_capabilities = engine->arch_capabilities;
    vm->xcr0_allowed = cpuid_policy_xcr0(&vm->cpuid);
    vm->cr4_allowed = control_cr4_allowed(&vm->cpuid) & engine->cr4_allowed;
    return msr_policy_init(&pc->msr, &vm->msrs, host->microcode, host->tsc_hz,
                           cpuid_policy_amd_family(&vm->cpuid));
}
