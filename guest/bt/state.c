/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a guest's CPU in and out of struct bt_vcpu, for common code. */
#include "arch/cpu.h"
#include "arch/string.h"
#include "guest/bt/bt.h"

void bt_flush_tlb(struct vcpu *vcpu)
{
    bt_space_switch(bt_vcpu(vcpu), SHADOW_FLUSH_ALL);
}

void bt_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out)
{
    *out = bt_vcpu(vcpu)->state.segment[number];
}

static void copy_tables_and_msrs(unsigned parts, const struct cpu_state *from, struct cpu_state *to)
{
    if ((parts & STATE_TABLES) != 0) {
        to->gdtr = from->gdtr;
        to->idtr = from->idtr;
    }
    if ((parts & STATE_DEBUG) != 0) {
        memcpy(to->dr, from->dr, sizeof(to->dr));
        to->dr6 = from->dr6;
        to->dr7 = from->dr7;
        to->debugctl = from->debugctl;
    }
    if ((parts & STATE_MSRS) != 0) {
        to->pat = from->pat;
        to->sysenter_cs = from->sysenter_cs;
        to->sysenter_esp = from->sysenter_esp;
        to->sysenter_eip = from->sysenter_eip;
    }
    if ((parts & STATE_EVENTS) != 0) {
        to->interruptibility = from->interruptibility;
        to->pending_debug = from->pending_debug;
    }
    if ((parts & STATE_CR2) != 0)
        to->cr2 = from->cr2;
}

static void copy_parts(unsigned parts, const struct cpu_state *from, struct cpu_state *to)
{
    if ((parts & STATE_GPRS) != 0)
        for (unsigned i = 0; i < GPR_COUNT; i++)
            if (i != RSP)
                to->gpr[i] = from->gpr[i];
    if ((parts & STATE_IP) != 0) {
        to->rip = from->rip;
        to->rsp = from->rsp;
        to->rflags = from->rflags;
    }
    if ((parts & STATE_CONTROL) != 0) {
        to->cr0 = from->cr0;
        to->cr3 = from->cr3;
        to->cr4 = from->cr4;
        to->efer = from->efer;
        memcpy(to->pdpte, from->pdpte, sizeof(to->pdpte));
    }
    if ((parts & STATE_SEGMENTS) != 0)
        memcpy(to->segment, from->segment, sizeof(to->segment));
    copy_tables_and_msrs(parts, from, to);
}

void bt_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out)
{
    copy_parts(parts, &bt_vcpu(vcpu)->state, out);
}

/* Common code may be at work on vcpu->regs, which are to be the same then. */
void bt_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    copy_parts(parts, in, &v->state);
    if ((parts & (STATE_GPRS | STATE_IP)) != 0)
        memcpy(vcpu->regs.gpr, v->state.gpr, sizeof(v->state.gpr));
    if ((parts & STATE_CONTROL) != 0)
        bt_flush_tlb(vcpu);
}

void bt_view(struct vcpu *vcpu, struct emulate_context *out)
{
    const struct cpu_state *s = &bt_vcpu(vcpu)->state;
    out->vcpu = vcpu;
    out->paging = (struct guest_paging){
        .cr0 = s->cr0,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .efer = s->efer,
        .rflags = s->rflags,
        .cpl = (uint8_t)segment_cpl(s),
        .phys_bits = vcpu->phys_bits,
        .pdpte = out->pdpte,
    };
    memcpy(out->pdpte, s->pdpte, sizeof(out->pdpte));
    out->rip = s->rip;
    out->cs_base = s->cs.base;
    out->mode = segment_is_64(s) ? INSN_64 : (s->cs.access & ACCESS_DB) != 0 ? INSN_32 : INSN_16;
    out->dr7 = s->dr7;
    out->changed = false;
    out->debug_hits = 0;
    out->expected = 0;
}
