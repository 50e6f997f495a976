/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces of a guest's state as its VMCS has them, for exits. All act on the current VMCS. */
#pragma once

#include "arch/x86.h"
#include "guest/vm/linear.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"

/* CR0 and CR4 as the guest reads them; and written, with what VMX adds. */
uint64_t vmx_guest_cr0(void);
uint64_t vmx_guest_cr4(const struct vm *vm);
void vmx_set_cr0(struct vcpu *vcpu, uint64_t value);
void vmx_set_cr4(uint64_t value);
/* EFER, and the entry control that goes with its LMA. */
void vmx_set_efer(uint64_t value);
void vmx_set_pdptes(const uint64_t pdpte[4]);

static inline bool vmx_in_64bit_mode(void)
{
    return (vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_L) != 0 &&
           (vmread(VMCS_GUEST_EFER) & EFER_LMA) != 0;
}

/* The current privilege level (SDM, "Guest Register State": SS.DPL is it in every mode). Of
 * virtual-8086 mode it is 3. */
static inline unsigned vmx_cpl(void)
{
    return vmread(VMCS_GUEST_SS_ACCESS) >> 5 & 3;
}

/* What vmx_view_context() leaves out in the common case: PDPTE registers, protection keys. */
void vmx_view_rest(struct emulate_context *ctx);

/* engine->view(). expected is 0: who translates may set it. rsp is left out. Paging has each member
 * named: else all of it would be cleared first. */
static inline void vmx_view_context(struct emulate_context *ctx, struct vcpu *vcpu)
{
    const uint64_t cs_access = vmread(VMCS_GUEST_CS_ACCESS);
    ctx->vcpu = vcpu;
    ctx->paging = (struct guest_paging){
        .cr0 = vmread(VMCS_GUEST_CR0),
        .cr3 = vmread(VMCS_GUEST_CR3),
        .cr4 = vmread(VMCS_GUEST_CR4),
        .efer = vmread(VMCS_GUEST_EFER),
        .rflags = vmread(VMCS_GUEST_RFLAGS),
        .cpl = (uint8_t)vmx_cpl(),
        .implicit = false,
        .peek = false,
        .phys_bits = vcpu->phys_bits,
        .pkru = 0,
        .pdpte = NULL,
    };
    ctx->rip = vmread(VMCS_GUEST_RIP);
    ctx->dr7 = vmread(VMCS_GUEST_DR7);
    ctx->changed = false;
    ctx->debug_hits = 0;
    ctx->expected = 0;
    ctx->mode = INSN_64;
    if ((ctx->paging.efer & EFER_LMA) == 0 || (cs_access & ACCESS_L) == 0) {
        ctx->mode = (cs_access & ACCESS_DB) != 0 ? INSN_32 : INSN_16;
        ctx->cs_base = vmread(VMCS_GUEST_CS_BASE);
    }
    if ((ctx->paging.cr4 & (CR4_PAE | CR4_PKE)) != CR4_PAE || (ctx->paging.efer & EFER_LMA) == 0)
        vmx_view_rest(ctx);
}
