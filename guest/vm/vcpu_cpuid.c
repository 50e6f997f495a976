/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID, where its answer depends on the subleaf or on the vCPU's state. */
#include "arch/x86.h"
#include "guest/vm/vcpu.h"

/* SDM, "CPUID—CPU Identification": the bits that follow CR4, XCR0, the local APIC and
 * IA32_MISC_ENABLE. */
static void patch_dynamic(const struct vcpu *vcpu, uint64_t cr4, uint32_t subleaf, uint32_t dynamic,
                          struct cpuid_regs *out)
{
    const struct vm *vm = vcpu->vm;
    if ((dynamic & CPUID_OSXSAVE) != 0 && (cr4 & CR4_OSXSAVE) != 0)
        out->ecx |= CPUID_1_ECX_OSXSAVE;
    if ((dynamic & CPUID_OSPKE) != 0 && (cr4 & CR4_PKE) != 0)
        out->ecx |= CPUID_7_ECX_OSPKE;
    if ((dynamic & CPUID_XSAVE_SIZE) != 0)
        out->ebx = cpuid_xsave_size(&vm->cpuid, vcpu->xcr0, false);
    if ((dynamic & CPUID_XSAVES_SIZE) != 0)
        out->ebx = cpuid_xsave_size(&vm->cpuid, vcpu->xcr0, true);
    if ((dynamic & CPUID_APIC) != 0 && (vcpu->apic.base & APIC_BASE_ENABLE) == 0)
        out->edx &= ~CPUID_1_EDX_APIC;
    if ((dynamic & CPUID_APIC_ID_1) != 0)
        out->ebx = (out->ebx & 0x00ffffffu) | vcpu->apic_id << 24;
    if ((dynamic & CPUID_APIC_ID_B) != 0)
        out->edx = vcpu->apic_id;
    if ((dynamic & CPUID_REST) != 0)
        out->ecx = (out->ecx & ~0xffu) | (subleaf & 0xff);
    if ((dynamic & CPUID_XD) != 0 && (vcpu->misc_enable & MISC_ENABLE_NO_XD) != 0)
        out->edx &= ~CPUID_80000001_EDX_NX;
    if ((dynamic & CPUID_FEW) != 0 && (vcpu->misc_enable & MISC_ENABLE_FEW_LEAVES) != 0)
        out->eax = 2;
}

enum exit_action vcpu_cpuid_dynamic(struct vcpu *vcpu, uint64_t cr4)
{
    uint64_t *gpr = vcpu->regs.gpr;
    const struct cpuid_entry *e =
        cpuid_table_find(&vcpu->vm->cpuid, (uint32_t)gpr[RAX], (uint32_t)gpr[RCX]);
    struct cpuid_regs out = {e->eax, e->ebx, e->ecx, e->edx};
    patch_dynamic(vcpu, cr4, (uint32_t)gpr[RCX], e->dynamic, &out);
    gpr[RAX] = out.eax;
    gpr[RBX] = out.ebx;
    gpr[RCX] = out.ecx;
    gpr[RDX] = out.edx;
    return EXIT_NEXT;
}
