/* SPDX-License-Identifier: BSD-2-Clause */
/* MOV to CR0 and CR4 (the bits that the guest does not own), LMSW, CLTS. */
#include "arch/x86.h"
#include "guest/cpu/control.h"
#include "vmx/exit.h"

/* What the rules look at. Bit 3 of TR's type tells a 32/64-bit TSS from a 16-bit one, which long
 * mode does not know. */
static struct control_state read_control(const struct vcpu *vcpu)
{
    return (struct control_state){
        .cr0 = vmx_guest_cr0(),
        .cr3 = vmread(VMCS_GUEST_CR3),
        .cr4 = vmx_guest_cr4(vcpu->vm),
        .efer = vmread(VMCS_GUEST_EFER),
        .cs_long = (vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_L) != 0,
        .tss_is_286 = (vmread(VMCS_GUEST_TR_ACCESS) & 8) == 0,
    };
}

/* What a write of CR0 or CR4 has come to. */
static enum exit_action finish(struct vcpu *vcpu, const struct control_state *new,
                               const struct control_state *old, unsigned effects)
{
    uint64_t pdpte[4];
    if ((effects & CONTROL_FAULT) != 0 ||
        ((effects & CONTROL_LOAD_PDPTES) != 0 &&
         !control_read_pdptes(&vcpu->vm->mem, new->cr3, vcpu->phys_bits, pdpte)))
        return vcpu_general_protection(vcpu);
    if ((effects & CONTROL_LOAD_PDPTES) != 0)
        vmx_set_pdptes(pdpte);
    if (new->cr0 != old->cr0)
        vmx_set_cr0(vcpu, new->cr0);
    if (new->cr4 != old->cr4)
        vmx_set_cr4(new->cr4);
    if (new->efer != old->efer)
        vmx_set_efer(new->efer);
    if ((effects & CONTROL_FLUSH_TLB) != 0)
        vmx_flush_tlb(vcpu);
    return EXIT_NEXT;
}

static enum exit_action write_cr0(struct vcpu *vcpu, uint64_t value)
{
    const struct control_state old = read_control(vcpu);
    struct control_state new = old;
    const unsigned effects = control_write_cr0(&new, value);
    return finish(vcpu, &new, &old, effects);
}

static enum exit_action write_cr4(struct vcpu *vcpu, uint64_t value)
{
    const struct control_state old = read_control(vcpu);
    struct control_state new = old;
    const unsigned effects = control_write_cr4(&new, value, vcpu->vm->cr4_allowed);
    return finish(vcpu, &new, &old, effects);
}

enum exit_action exit_cr_access(struct vcpu *vcpu)
{
    /* SDM, "Exit Qualification for Control-Register Accesses". */
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    unsigned cr = qualification & 15, access = qualification >> 4 & 3,
             reg = qualification >> 8 & 15;
    uint64_t value = reg == RSP ? vmread(VMCS_GUEST_RSP) : vcpu->regs.gpr[reg];
    if (!vmx_in_64bit_mode())
        value &= UINT32_MAX;

    if (vmx_cpl() != 0) /* see exit.c */
        return vcpu_general_protection(vcpu);
    enum { MOV_TO, MOV_FROM, CLTS, LMSW };
    if (access == MOV_TO && cr == 0)
        return write_cr0(vcpu, value);
    if (access == MOV_TO && cr == 4)
        return write_cr4(vcpu, value);
    if (access == CLTS)
        return write_cr0(vcpu, vmx_guest_cr0() & ~CR0_TS);
    if (access == LMSW) {
        exit_end_step(vcpu); /* its operand has been read */
        /* LMSW writes PE, MP, EM and TS, and cannot clear PE. */
        uint64_t old = vmx_guest_cr0(), source = qualification >> 16 & 15;
        return write_cr0(vcpu, (old & ~0xeull) | source);
    }
    vm_end_format(vcpu->vm, VM_CRASH, 0, "an exit of CR%u (qualification 0x%llx) was not asked for",
                  cr, (unsigned long long)qualification);
    return EXIT_SAME;
}
