/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID: a look-up in the VM's table, and the few bits that depend on the vCPU's state. */
#include "arch/cpu.h"
#include "vmx/exit.h"
#include "vmx/insn.h"

/* SDM, "CPUID—CPU Identification": the bits that follow CR4, XCR0 and the APIC ID. */
static void patch_dynamic(const struct vcpu *vcpu, uint32_t dynamic, struct cpuid_regs *out)
{
    const struct vm *vm = vcpu->vm;
    if ((dynamic & (CPUID_OSXSAVE | CPUID_OSPKE)) != 0) {
        uint64_t cr4 = vmread(VMCS_GUEST_CR4);
        if ((dynamic & CPUID_OSXSAVE) != 0 && (cr4 & CR4_OSXSAVE) != 0)
            out->ecx |= 1u << 27;
        if ((dynamic & CPUID_OSPKE) != 0 && (cr4 & CR4_PKE) != 0)
            out->ecx |= 1u << 4;
    }
    if ((dynamic & CPUID_XSAVE_SIZE) != 0)
        out->ebx = cpuid_xsave_size(&vm->cpuid, vcpu->xcr0, false);
    if ((dynamic & CPUID_XSAVES_SIZE) != 0)
        out->ebx = cpuid_xsave_size(&vm->cpuid, vcpu->xcr0, true);
    if ((dynamic & CPUID_APIC_ID_1) != 0)
        out->ebx = (out->ebx & 0x00ffffffu) | vcpu->apic_id << 24;
    if ((dynamic & CPUID_APIC_ID_B) != 0)
        out->edx = vcpu->apic_id;
}

/* Leaves with subleaves or bits that depend on the vCPU: apart, so that the common way stays short.
 */
static __attribute__((noinline)) struct cpuid_regs lookup_dynamic(const struct vcpu *vcpu,
                                                                  uint32_t leaf, uint32_t subleaf)
{
    const struct cpuid_entry *e = cpuid_table_find(&vcpu->vm->cpuid, leaf, subleaf);
    struct cpuid_regs out = {e->eax, e->ebx, e->ecx, e->edx};
    patch_dynamic(vcpu, e->dynamic, &out);
    return out;
}

enum exit_action exit_cpuid(struct vcpu *vcpu)
{
    uint64_t *gpr = vcpu->regs.gpr;
    uint32_t leaf = (uint32_t)gpr[RAX];
    const struct cpuid_entry *e = cpuid_table_first(&vcpu->vm->cpuid, leaf);
    if (e->dynamic != 0) {
        struct cpuid_regs out = lookup_dynamic(vcpu, leaf, (uint32_t)gpr[RCX]);
        gpr[RAX] = out.eax;
        gpr[RBX] = out.ebx;
        gpr[RCX] = out.ecx;
        gpr[RDX] = out.edx;
        return EXIT_NEXT;
    }
    gpr[RAX] = e->eax;
    gpr[RBX] = e->ebx;
    gpr[RCX] = e->ecx;
    gpr[RDX] = e->edx;
    return EXIT_NEXT;
}
