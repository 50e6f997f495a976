/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a domain's CPU in and out of struct pv_vcpu, for common code: as those of a CPU
 * on which the kernel runs at CPL 0. */
#include "guest/pv/pv.h"

#include "arch/string.h"
#include "guest/vm/linear.h"

static struct cpu_segment flat(uint64_t selector, uint32_t access)
{
    return (struct cpu_segment){
        .selector = (uint16_t)selector, .access = access, .limit = UINT32_MAX};
}

static uint32_t with_cpl(const struct pv_vcpu *v, uint32_t access)
{
    return access | (v->user ? 3u << ACCESS_DPL_SHIFT : 0);
}

static bool is_loaded(const struct pv_vcpu *v)
{
    return cpu_self()->vcpu == &v->vcpu;
}

void pv_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out)
{
    const struct pv_vcpu *v = pv_vcpu(vcpu);
    uint16_t selector[4];
    memcpy(selector, v->selector, sizeof(selector));
    if (is_loaded(v))
        ring3_read_selectors(selector);
    switch (number) {
    case STATE_CS: *out = flat(v->frame.cs, with_cpl(v, SEGMENT_CODE64)); break;
    case STATE_SS: *out = flat(v->frame.ss, with_cpl(v, SEGMENT_DATA32)); break;
    case STATE_DS: *out = flat(selector[0], SEGMENT_DATA32); break;
    case STATE_ES: *out = flat(selector[1], SEGMENT_DATA32); break;
    case STATE_FS:
        *out = flat(selector[2], SEGMENT_DATA32);
        out->base = is_loaded(v) ? cpu_rdmsr(MSR_IA32_FS_BASE) : v->fs_base;
        break;
    case STATE_GS:
        *out = flat(selector[3], SEGMENT_DATA32);
        out->base = is_loaded(v) ? cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE)
                    : v->user    ? v->user_gs_base
                                 : v->kernel_gs_base;
        break;
    default: *out = (struct cpu_segment){.access = SEGMENT_UNUSABLE}; break;
    }
}

void pv_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out)
{
    const struct pv_vcpu *v = pv_vcpu(vcpu);
    const struct ring3_frame *f = &v->frame;
    const uint64_t rsp = (parts & STATE_IP) != 0 ? f->gpr[RSP] : out->rsp;
    if ((parts & STATE_GPRS) != 0)
        memcpy(out->gpr, f->gpr, sizeof(out->gpr));
    out->rsp = rsp;
    if ((parts & STATE_IP) != 0) {
        out->rip = f->rip;
        out->rflags =
            v->info != NULL && v->info->mask != 0 ? f->rflags & ~(uint64_t)RFLAGS_IF : f->rflags;
    }
    if ((parts & STATE_CONTROL) != 0) {
        out->cr0 = v->cr0;
        out->cr3 = v->user ? v->user_cr3 : v->kernel_cr3;
        out->cr4 = v->cr4 | CR4_PAE;
        out->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
        memset(out->pdpte, 0, sizeof(out->pdpte));
    }
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT && (parts & STATE_SEGMENTS) != 0; i++)
        pv_get_segment(vcpu, i, &out->segment[i]);
    if ((parts & STATE_TABLES) != 0)
        out->gdtr = out->idtr = (struct cpu_table_register){0, 0};
    if ((parts & STATE_DEBUG) != 0) {
        memcpy(out->dr, v->dr, sizeof(out->dr));
        out->dr6 = v->dr6;
        out->dr7 = v->dr7;
        out->debugctl = 0;
    }
    if ((parts & STATE_MSRS) != 0) {
        out->pat = PAT_RESET_VALUE;
        out->sysenter_cs = out->sysenter_esp = out->sysenter_eip = 0;
    }
    if ((parts & STATE_EVENTS) != 0) {
        out->interruptibility = v->in_nmi ? BLOCKED_BY_NMI : 0;
        out->pending_debug = 0;
    }
    if ((parts & STATE_CR2) != 0)
        out->cr2 = v->info != NULL ? v->info->cr2 : 0;
}

/* The state of the domain's start, which the loader has made; of the first vCPU, as others begin by
 * VCPUOP_initialise; and the general registers, which hypercalls change. */
void pv_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in)
{
    struct pv_vcpu *v = pv_vcpu(vcpu);
    struct ring3_frame *f = &v->frame;
    const bool start = (parts & STATE_ALL) == STATE_ALL;
    if (start && v->vcpu.index != 0)
        return;
    for (unsigned i = 0; i < GPR_COUNT && (parts & STATE_GPRS) != 0; i++)
        if (i != RSP)
            f->gpr[i] = in->gpr[i];
    if ((parts & STATE_IP) != 0) {
        f->gpr[RSP] = in->rsp;
        f->rip = in->rip;
        f->rflags = ring3_flags(in->rflags);
        if (!start && v->info != NULL)
            v->info->mask = (in->rflags & RFLAGS_IF) == 0;
    }
    if ((parts & (STATE_GPRS | STATE_IP)) != 0)
        memcpy(vcpu->regs.gpr, f->gpr, sizeof(f->gpr));
    if (!start)
        return;
    f->cs = XEN_CODE64;
    f->ss = XEN_DATA;
    v->kernel_sp = in->rsp;
    v->kernel_cr3 = in->cr3;
    v->user_cr3 = 0;
    v->initialised = v->up = true;
    v->wait = PV_RUNS;
    pv_flush(v, SHADOW_FLUSH_ALL);
}

void pv_view(struct vcpu *vcpu, struct emulate_context *out)
{
    struct cpu_state s;
    pv_get_state(vcpu, STATE_IP | STATE_CONTROL, &s);
    out->vcpu = vcpu;
    out->paging = (struct guest_paging){
        .cr0 = s.cr0 | CR0_PG | CR0_PE | CR0_WP,
        .cr3 = s.cr3,
        .cr4 = CR4_PAE,
        .efer = s.efer,
        .rflags = s.rflags,
        .cpl = pv_vcpu(vcpu)->user ? 3 : 0,
        .phys_bits = vcpu->phys_bits,
        .pdpte = out->pdpte,
    };
    memset(out->pdpte, 0, sizeof(out->pdpte));
    out->rip = s.rip;
    out->cs_base = 0;
    out->mode = INSN_64;
    out->dr7 = DR7_RESET;
    out->changed = false;
    out->debug_hits = 0;
    out->expected = 0;
}
