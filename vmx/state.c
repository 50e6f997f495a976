/* SPDX-License-Identifier: BSD-2-Clause */
/* The architectural state of a vCPU in and out of its VMCS and, for what the VMCS has no field for,
 * the CPU itself. */
#include "vmx/state.h"
#include "arch/cpu.h"
#include "arch/panic.h"
#include "guest/vm/linear.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

/* SDM, "Operations that Invalidate TLBs and Paging-Structure Caches". */
void vmx_flush_tlb(struct vcpu *vcpu)
{
    const struct vmx_vcpu *v = vmx_vcpu(vcpu);
    if ((v->proc2 & PROC2_VPID) != 0 && !invvpid(INVALIDATE_SINGLE, v->vpid, 0))
        panic("INVVPID failed");
}

/* The CPU takes addresses that are canonical for the host, which has 48 bits. */
void vmx_invalidate(struct vcpu *vcpu, gva_t linear)
{
    const struct vmx_vcpu *v = vmx_vcpu(vcpu);
    const bool fits = (uint64_t)((int64_t)(linear.v << 16) >> 16) == linear.v;
    if (!fits || (vmx_caps()->ept_vpid & EPTCAP_INVVPID_ADDRESS) == 0)
        vmx_flush_tlb(vcpu);
    else if ((v->proc2 & PROC2_VPID) != 0 && !invvpid(INVALIDATE_ADDRESS, v->vpid, linear.v))
        panic("INVVPID failed for %lx", linear.v);
}

void vmx_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out)
{
    (void)vcpu;
    *out = (struct cpu_segment){
        .selector = (uint16_t)vmread(field_of(VMCS_GUEST_ES, number)),
        .access = (uint32_t)vmread(field_of(VMCS_GUEST_ES_ACCESS, number)),
        .limit = (uint32_t)vmread(field_of(VMCS_GUEST_ES_LIMIT, number)),
        .base = vmread(field_of(VMCS_GUEST_ES_BASE, number)),
    };
}

static void set_segment(unsigned number, const struct cpu_segment *segment)
{
    vmwrite(field_of(VMCS_GUEST_ES, number), segment->selector);
    vmwrite(field_of(VMCS_GUEST_ES_LIMIT, number), segment->limit);
    vmwrite(field_of(VMCS_GUEST_ES_ACCESS, number), segment->access);
    vmwrite(field_of(VMCS_GUEST_ES_BASE, number), segment->base);
}

uint64_t vmx_guest_cr0(void)
{
    return (vmread(VMCS_GUEST_CR0) & ~CR0_HOST_OWNED) |
           (vmread(VMCS_CTRL_CR0_SHADOW) & CR0_HOST_OWNED);
}

uint64_t vmx_guest_cr4(const struct vm *vm)
{
    const uint64_t owned = ~vm->cr4_allowed | CR4_MCE;
    return (vmread(VMCS_GUEST_CR4) & ~owned) | (vmread(VMCS_CTRL_CR4_SHADOW) & owned);
}

/* Where the guest's CR0.NE is 0, which VMX does not let be 0 in the CPU, x87 errors are not #MF. */
static void intercept_x87_errors(struct vmx_vcpu *v, bool on)
{
    const uint32_t bit = 1u << VECTOR_X87_ERROR;
    const uint32_t exceptions = on ? v->exceptions | bit : v->exceptions & ~bit;
    if (exceptions == v->exceptions)
        return;
    v->exceptions = exceptions;
    vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, exceptions);
}

/* The caches stay on in the CPU: guest RAM is coherent, and another VM's speed is not this one's to
 * spoil. */
void vmx_set_cr0(struct vcpu *vcpu, uint64_t value)
{
    intercept_x87_errors(vmx_vcpu(vcpu), (value & CR0_NE) == 0);
    const uint64_t fixed = vmx_caps()->cr0_fixed0 & ~(CR0_PE | CR0_PG);
    vmwrite(VMCS_CTRL_CR0_SHADOW, value);
    vmwrite(VMCS_GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | fixed);
}

void vmx_set_cr4(uint64_t value)
{
    vmwrite(VMCS_CTRL_CR4_SHADOW, value);
    vmwrite(VMCS_GUEST_CR4, value | vmx_caps()->cr4_fixed0 | CR4_MCE);
}

void vmx_set_efer(uint64_t value)
{
    const uint64_t entry = vmread(VMCS_CTRL_ENTRY) & ~(uint64_t)ENTRY_IA32E_GUEST;
    vmwrite(VMCS_GUEST_EFER, value);
    vmwrite(VMCS_CTRL_ENTRY, (value & EFER_LMA) != 0 ? entry | ENTRY_IA32E_GUEST : entry);
}

void vmx_set_pdptes(const uint64_t pdpte[4])
{
    for (unsigned i = 0; i < 4; i++)
        vmwrite(field_of(VMCS_GUEST_PDPTE0, i), pdpte[i]);
}

static void set_control(struct vcpu *vcpu, const struct cpu_state *in)
{
    vmx_set_cr0(vcpu, in->cr0);
    vmx_set_cr4(in->cr4);
    vmx_set_efer(in->efer);
    vmwrite(VMCS_GUEST_CR3, in->cr3);
    vmx_set_pdptes(in->pdpte);
    vmx_flush_tlb(vcpu);
}

static void get_segments(struct vcpu *vcpu, struct cpu_state *out)
{
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++)
        vmx_get_segment(vcpu, i, &out->segment[i]);
}

static void get_gprs(const struct vcpu *vcpu, struct cpu_state *out)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if (i != RSP)
            out->gpr[i] = vcpu->regs.gpr[i];
}

static void get_control(const struct vcpu *vcpu, struct cpu_state *out)
{
    out->cr0 = vmx_guest_cr0();
    out->cr3 = vmread(VMCS_GUEST_CR3);
    out->cr4 = vmx_guest_cr4(vcpu->vm);
    out->efer = vmread(VMCS_GUEST_EFER);
    for (unsigned i = 0; i < 4; i++)
        out->pdpte[i] = vmread(field_of(VMCS_GUEST_PDPTE0, i));
}

static void get_tables(struct cpu_state *out)
{
    out->gdtr = (struct cpu_table_register){vmread(VMCS_GUEST_GDTR_BASE),
                                            (uint16_t)vmread(VMCS_GUEST_GDTR_LIMIT)};
    out->idtr = (struct cpu_table_register){vmread(VMCS_GUEST_IDTR_BASE),
                                            (uint16_t)vmread(VMCS_GUEST_IDTR_LIMIT)};
}

static void get_msrs(struct cpu_state *out)
{
    out->pat = vmread(VMCS_GUEST_PAT);
    out->sysenter_cs = vmread(VMCS_GUEST_SYSENTER_CS);
    out->sysenter_esp = vmread(VMCS_GUEST_SYSENTER_ESP);
    out->sysenter_eip = vmread(VMCS_GUEST_SYSENTER_EIP);
}

void vmx_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out)
{
    if ((parts & STATE_EVENTS) != 0) {
        out->interruptibility = (uint32_t)vmread(VMCS_GUEST_INTERRUPTIBILITY);
        out->pending_debug = vmread(VMCS_GUEST_PENDING_DEBUG);
    }
    if ((parts & STATE_IP) != 0) {
        out->rip = vmread(VMCS_GUEST_RIP);
        out->rsp = vmread(VMCS_GUEST_RSP);
        out->rflags = vmread(VMCS_GUEST_RFLAGS);
    }
    if ((parts & ~(unsigned)(STATE_EVENTS | STATE_IP)) == 0)
        return;
    if ((parts & STATE_GPRS) != 0)
        get_gprs(vcpu, out);
    if ((parts & STATE_CONTROL) != 0)
        get_control(vcpu, out);
    if ((parts & STATE_CR2) != 0)
        out->cr2 = cpu_read_cr2();
    if ((parts & STATE_SEGMENTS) != 0)
        get_segments(vcpu, out);
    if ((parts & STATE_TABLES) != 0)
        get_tables(out);
    if ((parts & STATE_DEBUG) != 0) {
        cpu_read_debug(out->dr, &out->dr6);
        out->dr7 = vmread(VMCS_GUEST_DR7);
        out->debugctl = vmread(VMCS_GUEST_DEBUGCTL);
    }
    if ((parts & STATE_MSRS) != 0)
        get_msrs(out);
}

static void set_segments(const struct cpu_state *in)
{
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++)
        set_segment(i, &in->segment[i]);
}

static void set_gprs(struct vcpu *vcpu, const struct cpu_state *in)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if (i != RSP)
            vcpu->regs.gpr[i] = in->gpr[i];
}

static void set_tables(const struct cpu_state *in)
{
    vmwrite(VMCS_GUEST_GDTR_BASE, in->gdtr.base);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, in->gdtr.limit);
    vmwrite(VMCS_GUEST_IDTR_BASE, in->idtr.base);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, in->idtr.limit);
}

static void set_msrs(const struct cpu_state *in)
{
    vmwrite(VMCS_GUEST_PAT, in->pat);
    vmwrite(VMCS_GUEST_SYSENTER_CS, in->sysenter_cs);
    vmwrite(VMCS_GUEST_SYSENTER_ESP, in->sysenter_esp);
    vmwrite(VMCS_GUEST_SYSENTER_EIP, in->sysenter_eip);
}

static void set_debug(const struct cpu_state *in)
{
    cpu_write_debug(in->dr, in->dr6); /* which stay in the CPU: the host uses none */
    vmwrite(VMCS_GUEST_DR7, in->dr7);
    vmwrite(VMCS_GUEST_DEBUGCTL, in->debugctl);
}

void vmx_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in)
{
    if ((parts & STATE_GPRS) != 0)
        set_gprs(vcpu, in);
    if ((parts & STATE_IP) != 0) {
        vmwrite(VMCS_GUEST_RIP, in->rip);
        vmwrite(VMCS_GUEST_RSP, in->rsp);
        vmwrite(VMCS_GUEST_RFLAGS, in->rflags);
    }
    if ((parts & STATE_CONTROL) != 0)
        set_control(vcpu, in);
    if ((parts & STATE_CR2) != 0)
        cpu_write_cr2(in->cr2); /* the guest's stays in the CPU: the host takes no page faults */
    if ((parts & STATE_SEGMENTS) != 0)
        set_segments(in);
    if ((parts & STATE_TABLES) != 0)
        set_tables(in);
    if ((parts & STATE_DEBUG) != 0)
        set_debug(in);
    if ((parts & STATE_MSRS) != 0)
        set_msrs(in);
    if ((parts & STATE_EVENTS) != 0) {
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, in->interruptibility);
        vmwrite(VMCS_GUEST_PENDING_DEBUG, in->pending_debug);
    }
}

void vmx_view_rest(struct emulate_context *ctx)
{
    struct guest_paging *paging = &ctx->paging;
    if ((paging->cr4 & CR4_PKE) != 0)
        paging->pkru = cpu_rdpkru(); /* the guest's: the host has no user pages */
    for (unsigned i = 0; i < 4; i++)
        ctx->pdpte[i] = vmread(field_of(VMCS_GUEST_PDPTE0, i));
    paging->pdpte = ctx->pdpte;
}

void vmx_view(struct vcpu *vcpu, struct emulate_context *out)
{
    vmx_view_context(out, vcpu);
}
