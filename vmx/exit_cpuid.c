/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID: a look-up in the VM's table, and the few bits that depend on the vCPU's state. */
#include "arch/cpu.h"
#include "arch/msr.h"
#include "vmx/exit.h"
#include "vmx/insn.h"

#define APIC_BASE_EN (1ull << 11)
#define EDX_APIC     (1u << 9)
#define EDX_XD       (1u << 20)

/* SDM, "CPUID—CPU Identification": the bits that follow CR4, XCR0, the local APIC and
 * IA32_MISC_ENABLE. */
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
    if ((dynamic & CPUID_APIC) != 0 && (vcpu->intc.read_base(vcpu->intc.chip) & APIC_BASE_EN) == 0)
        out->edx &= ~EDX_APIC;
    if ((dynamic & CPUID_APIC_ID_1) != 0)
        out->ebx = (out->ebx & 0x00ffffffu) | vcpu->apic_id << 24;
    if ((dynamic & CPUID_APIC_ID_B) != 0)
        out->edx = vcpu->apic_id;
    if ((dynamic & CPUID_XD) != 0 && (vcpu->misc_enable & MISC_ENABLE_NO_XD) != 0)
        out->edx &= ~EDX_XD;
    if ((dynamic & CPUID_FEW) != 0 && (vcpu->misc_enable & MISC_ENABLE_FEW_LEAVES) != 0)
        out->eax = 2;
}

static enum exit_action answer(struct vcpu *vcpu, uint32_t eax, uint32_t ebx, uint32_t ecx,
                               uint32_t edx)
{
    uint64_t *gpr = vcpu->regs.gpr;
    gpr[RAX] = eax;
    gpr[RBX] = ebx;
    gpr[RCX] = ecx;
    gpr[RDX] = edx;
    return EXIT_NEXT;
}

/* Leaves with subleaves or bits that depend on the vCPU: apart, so that the common way stays short.
 */
static __attribute__((noinline)) enum exit_action exit_cpuid_dynamic(struct vcpu *vcpu)
{
    const struct cpuid_entry *e = cpuid_table_find(&vcpu->vm->cpuid, (uint32_t)vcpu->regs.gpr[RAX],
                                                   (uint32_t)vcpu->regs.gpr[RCX]);
    struct cpuid_regs out = {e->eax, e->ebx, e->ecx, e->edx};
    patch_dynamic(vcpu, e->dynamic, &out);
    return answer(vcpu, out.eax, out.ebx, out.ecx, out.edx);
}

enum exit_action exit_cpuid(struct vcpu *vcpu)
{
    const struct cpuid_entry *e =
        cpuid_table_first(&vcpu->vm->cpuid, (uint32_t)vcpu->regs.gpr[RAX]);
    if (e->dynamic != 0)
        return exit_cpuid_dynamic(vcpu);
    return answer(vcpu, e->eax, e->ebx, e->ecx, e->edx);
}
