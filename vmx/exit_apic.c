/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits of APIC virtualization that come after the CPU has done its part (SDM, "APIC Virtualization
 * and Virtual Interrupts"). */
#include "vmx/exit.h"
#include "vmx/insn.h"

enum exit_action exit_apic_write(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    vlapic_written(&vcpu->apic, (unsigned)(vmread(VMCS_EXIT_QUALIFICATION) & 0xff0));
    vm_unlock(vcpu->vm);
    return EXIT_SAME;
}

enum exit_action exit_virtualized_eoi(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    vlapic_eoi(&vcpu->apic, (unsigned)(vmread(VMCS_EXIT_QUALIFICATION) & 0xff));
    vm_unlock(vcpu->vm);
    return EXIT_SAME;
}

enum exit_action exit_tpr_below_threshold(struct vcpu *vcpu)
{
    vcpu->attention = true; /* inject_prepare() finds what the lower TPR lets through */
    return EXIT_SAME;
}
