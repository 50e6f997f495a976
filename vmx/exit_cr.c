/* SPDX-License-Identifier: BSD-2-Clause */
/* MOV to CR0 and CR4 (the bits that the guest does not own), LMSW, CLTS, CR8 without TPR shadow,
 * and XSETBV. */
#include "arch/cpu.h"
#include "arch/panic.h"
#include "mm/guestmem.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#define CR3_PCID_MASK 0xfffull
#define XCR0_X87      (1ull << 0)
#define XCR0_SSE      (1ull << 1)
#define XCR0_AVX      (1ull << 2)
#define XCR0_AVX512   (7ull << 5)

/* SDM, "Operations that Invalidate TLBs and Paging-Structure Caches". */
void exit_flush_tlb(const struct vcpu *vcpu)
{
    if ((vcpu->proc2 & PROC2_VPID) != 0 && !invvpid(INVALIDATE_SINGLE, vcpu->vpid))
        panic("INVVPID failed");
}

/* SDM, "PDPTE Registers". */
bool exit_load_pdptes(const struct vcpu *vcpu)
{
    uint64_t pdpte[4];
    uint64_t cr3 = vmread(VMCS_GUEST_CR3) & 0xffffffe0u;
    if (!guestmem_read(&vcpu->vm->mem, gpa(cr3), pdpte, sizeof(pdpte)))
        return false;
    uint64_t reserved = ~((1ull << vcpu->phys_bits) - 1) | 0x1e6;
    for (uint32_t i = 0; i < 4; i++) {
        if ((pdpte[i] & 1) != 0 && (pdpte[i] & reserved) != 0)
            return false;
    }
    for (uint32_t i = 0; i < 4; i++)
        vmwrite((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), pdpte[i]);
    return true;
}

static uint64_t guest_cr0(void)
{
    return (vmread(VMCS_GUEST_CR0) & ~CR0_HOST_OWNED) |
           (vmread(VMCS_CTRL_CR0_SHADOW) & CR0_HOST_OWNED);
}

static uint64_t guest_cr4(void)
{
    uint64_t mask = vmread(VMCS_CTRL_CR4_MASK);
    return (vmread(VMCS_GUEST_CR4) & ~mask) | (vmread(VMCS_CTRL_CR4_SHADOW) & mask);
}

static void set_long_mode(bool on)
{
    uint64_t efer = vmread(VMCS_GUEST_EFER), entry = vmread(VMCS_CTRL_ENTRY);
    vmwrite(VMCS_GUEST_EFER, on ? efer | EFER_LMA : efer & ~EFER_LMA);
    vmwrite(VMCS_CTRL_ENTRY, on ? entry | ENTRY_IA32E_GUEST : entry & ~(uint64_t)ENTRY_IA32E_GUEST);
}

/* The rules of the SDM's "MOV—Move to/from Control Registers" for switching paging; false: #GP. */
static bool switch_paging(const struct vcpu *vcpu, bool on)
{
    uint64_t efer = vmread(VMCS_GUEST_EFER), cr4 = vmread(VMCS_GUEST_CR4);
    bool cs_l = (vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_LONG) != 0;
    if (!on) {
        if (((efer & EFER_LMA) != 0 && cs_l) || (cr4 & CR4_PCIDE) != 0)
            return false;
        set_long_mode(false);
        return true;
    }
    if ((efer & EFER_LME) != 0) {
        /* Bit 3 of the type tells a 32/64-bit TSS from a 16-bit one, which long mode does not know.
         */
        if ((cr4 & CR4_PAE) == 0 || cs_l || (vmread(VMCS_GUEST_TR_ACCESS) & 8) == 0)
            return false;
        set_long_mode(true);
        return true;
    }
    return (cr4 & CR4_PAE) == 0 || exit_load_pdptes(vcpu);
}

static enum exit_action write_cr0(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = guest_cr0();
    value |= CR0_ET;
    bool bad = value >> 32 != 0 || ((value & CR0_PG) != 0 && (value & CR0_PE) == 0) ||
               ((value & CR0_NW) != 0 && (value & CR0_CD) == 0);
    if (bad)
        return exit_general_protection(vcpu);
    uint64_t changed = value ^ old;
    if ((changed & CR0_PG) != 0 && !switch_paging(vcpu, (value & CR0_PG) != 0))
        return exit_general_protection(vcpu);
    /* SDM, "PDPTE Registers": under PAE paging a change of CD or NW loads them again. */
    bool pae_paging = (value & old & CR0_PG) != 0 && (vmread(VMCS_GUEST_CR4) & CR4_PAE) != 0 &&
                      (vmread(VMCS_GUEST_EFER) & EFER_LMA) == 0;
    if (pae_paging && (changed & (CR0_CD | CR0_NW)) != 0 && !exit_load_pdptes(vcpu))
        return exit_general_protection(vcpu);

    const uint64_t defined = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |
                             CR0_NW | CR0_CD | CR0_PG;
    value &= defined; /* the reserved bits of the low half are ignored */
    uint64_t fixed = vmx_caps()->cr0_fixed0 & ~(CR0_PE | CR0_PG);
    vmwrite(VMCS_CTRL_CR0_SHADOW, value);
    /* The caches stay on in the CPU: guest RAM is coherent, and another VM's speed is not this
     * one's to spoil. */
    vmwrite(VMCS_GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | fixed);
    if ((changed & (CR0_PG | CR0_WP | CR0_PE)) != 0)
        exit_flush_tlb(vcpu);
    return EXIT_NEXT;
}

static enum exit_action write_cr4(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = guest_cr4(), changed = value ^ old;
    uint64_t efer = vmread(VMCS_GUEST_EFER), cr3 = vmread(VMCS_GUEST_CR3);
    bool long_mode = (efer & EFER_LMA) != 0;
    bool bad = (value & ~vmcs_cr4_allowed(vcpu)) != 0 ||
               (long_mode && ((value & CR4_PAE) == 0 || (changed & CR4_LA57) != 0)) ||
               ((changed & value & CR4_PCIDE) != 0 && (!long_mode || (cr3 & CR3_PCID_MASK) != 0));
    if (bad)
        return exit_general_protection(vcpu);
    bool pae_paging =
        (vmread(VMCS_GUEST_CR0) & CR0_PG) != 0 && !long_mode && (value & CR4_PAE) != 0;
    if (pae_paging && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) != 0 &&
        !exit_load_pdptes(vcpu))
        return exit_general_protection(vcpu);

    vmwrite(VMCS_CTRL_CR4_SHADOW, value);
    vmwrite(VMCS_GUEST_CR4, value | vmx_caps()->cr4_fixed0 | CR4_MCE);
    if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_LA57)) != 0)
        exit_flush_tlb(vcpu);
    return EXIT_NEXT;
}

enum exit_action exit_cr_access(struct vcpu *vcpu)
{
    /* SDM, "Exit Qualification for Control-Register Accesses". */
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    unsigned cr = qualification & 15, access = qualification >> 4 & 3,
             reg = qualification >> 8 & 15;
    uint64_t value = reg == RSP ? vmread(VMCS_GUEST_RSP) : vcpu->regs.gpr[reg];
    if (!exit_from_64bit_mode())
        value &= UINT32_MAX;

    enum { MOV_TO, MOV_FROM, CLTS, LMSW };
    if (access == MOV_TO && cr == 0)
        return write_cr0(vcpu, value);
    if (access == MOV_TO && cr == 4)
        return write_cr4(vcpu, value);
    if (access == CLTS)
        return write_cr0(vcpu, guest_cr0() & ~CR0_TS);
    if (access == LMSW) {
        /* LMSW writes PE, MP, EM and TS, and cannot clear PE. */
        uint64_t old = guest_cr0(), source = qualification >> 16 & 15;
        return write_cr0(vcpu, (old & ~0xeull) | source);
    }
    vm_end_format(vcpu->vm, VM_CRASH, 0, "an exit of CR%u (qualification 0x%llx) was not asked for",
                  cr, (unsigned long long)qualification);
    return EXIT_SAME;
}

/* SDM, "XSETBV—Set Extended Control Register", and the combinations of "XSAVE-Supported Features
 * and State Components". */
enum exit_action exit_xsetbv(struct vcpu *vcpu)
{
    uint64_t value = get_edx_eax(vcpu);
    bool bad = (uint32_t)vcpu->regs.gpr[RCX] != 0 || (value & XCR0_X87) == 0 ||
               (value & ~vcpu->vm->xcr0_allowed) != 0 ||
               ((value & XCR0_AVX) != 0 && (value & XCR0_SSE) == 0) ||
               ((value & XCR0_AVX512) != 0 &&
                ((value & XCR0_AVX512) != XCR0_AVX512 || (value & XCR0_AVX) == 0));
    if (bad)
        return exit_general_protection(vcpu);
    vcpu->xcr0 = value;
    cpu_xsetbv(0, value); /* the host uses no extended state: the guest's stays in the CPU */
    return EXIT_NEXT;
}
