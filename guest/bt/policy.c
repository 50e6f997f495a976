/* SPDX-License-Identifier: BSD-2-Clause */
/* What instructions ask of the virtual PC: ports, CPUID, MSRs, control registers, hypercalls; by
 * the rules that all engines share. */
#include "arch/string.h"
#include "guest/bt/bt.h"
#include "guest/cpu/control.h"
#include "guest/vm/access.h"

static struct bt_vcpu *of(struct interpret_env *env)
{
    return env->ctx;
}

/* DR6 and DR7 are written where it is #DB: by the software CPU. */
static void raise(struct interpret_env *env, unsigned vector, uint32_t error)
{
    struct bt_vcpu *v = of(env);
    const bool has_error_code = vector == VECTOR_DOUBLE_FAULT || vector == VECTOR_ALIGNMENT_CHECK ||
                                (vector >= VECTOR_INVALID_TSS && vector <= VECTOR_PAGE_FAULT);
    if (has_error_code)
        vcpu_inject_exception_error(&v->vcpu, vector, error);
    else
        vcpu_inject_exception(&v->vcpu, vector);
}

static bool port_in(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t *value)
{
    struct bt_vcpu *v = of(env);
    bt_exit_begin(v);
    *value = access_port_read(&v->vcpu, port, bytes);
    bt_exit_end(v, BT_IO);
    return true;
}

static bool port_out(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t value)
{
    struct bt_vcpu *v = of(env);
    bt_exit_begin(v);
    access_port_write(&v->vcpu, port, bytes, value);
    bt_exit_end(v, BT_IO);
    return true;
}

/* A device may have ended the VM, have it wait, or have taken long. */
static bool goes_on(struct interpret_env *env)
{
    const struct bt_vcpu *v = of(env);
    return !v->vcpu.attention && !v->batch_is_over;
}

static bool cpuid(struct interpret_env *env, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    struct bt_vcpu *v = of(env);
    uint64_t *gpr = v->vcpu.regs.gpr;
    bt_exit_begin(v);
    gpr[RAX] = leaf;
    gpr[RCX] = subleaf;
    if (!vcpu_cpuid(&v->vcpu))
        (void)vcpu_cpuid_dynamic(&v->vcpu, v->state.cr4);
    out[0] = (uint32_t)gpr[RAX];
    out[1] = (uint32_t)gpr[RBX];
    out[2] = (uint32_t)gpr[RCX];
    out[3] = (uint32_t)gpr[RDX];
    bt_exit_end(v, BT_CPUID);
    return true;
}

static bool rdmsr(struct interpret_env *env, uint32_t msr, uint64_t *value)
{
    struct bt_vcpu *v = of(env);
    uint64_t *gpr = v->vcpu.regs.gpr;
    if (msr == MSR_IA32_PAT || msr == MSR_IA32_TIME_STAMP_COUNTER) {
        *value = msr == MSR_IA32_PAT ? v->state.pat : cpu_rdtsc() + v->vcpu.tsc_offset;
        return true;
    }
    bt_exit_begin(v);
    gpr[RCX] = msr;
    const bool good = vcpu_rdmsr(&v->vcpu) == EXIT_NEXT;
    *value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
    bt_exit_end(v, BT_RDMSR);
    return good;
}

/* SDM, "IA32_PAT MSR": memory types 2, 3 and those above 7 are reserved. */
static bool pat_is_valid(uint64_t value)
{
    for (unsigned i = 0; i < 64; i += 8) {
        const unsigned type = value >> i & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static bool wrmsr(struct interpret_env *env, uint32_t msr, uint64_t value)
{
    struct bt_vcpu *v = of(env);
    uint64_t *gpr = v->vcpu.regs.gpr;
    if (msr == MSR_IA32_PAT && pat_is_valid(value)) { /* all of a guest's memory is write-back */
        v->state.pat = value;
        return true;
    }
    bt_exit_begin(v);
    gpr[RCX] = msr;
    gpr[RAX] = (uint32_t)value;
    gpr[RDX] = value >> 32;
    const bool good = vcpu_wrmsr(&v->vcpu) == EXIT_NEXT;
    bt_exit_end(v, BT_WRMSR);
    return good;
}

static bool refuse(struct bt_vcpu *v)
{
    (void)vcpu_general_protection(&v->vcpu);
    return false;
}

/* What the rules look at. Bit 3 of TR's type tells a 32/64-bit TSS from a 16-bit one. */
static bool write_cr0_or_cr4(struct bt_vcpu *v, unsigned number, uint64_t value)
{
    struct cpu_state *s = &v->state;
    struct control_state new = {
        .cr0 = s->cr0,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .efer = s->efer,
        .cs_long = (s->cs.access & ACCESS_L) != 0,
        .tss_is_286 = (s->tr.access & 8) == 0,
    };
    const unsigned effects = number == 0 ? control_write_cr0(&new, value)
                                         : control_write_cr4(&new, value, v->vcpu.vm->cr4_allowed);
    uint64_t pdpte[4];
    if ((effects & CONTROL_FAULT) != 0 ||
        ((effects & CONTROL_LOAD_PDPTES) != 0 &&
         !control_read_pdptes(&v->vcpu.vm->mem, new.cr3, v->vcpu.phys_bits, pdpte)))
        return refuse(v);
    if ((effects & CONTROL_LOAD_PDPTES) != 0)
        memcpy(s->pdpte, pdpte, sizeof(pdpte));
    /* CR0.WP alone changes what is allowed, not what is cached. */
    const bool only_wp = s->cr4 == new.cr4 && ((s->cr0 ^ new.cr0) & (CR0_PG | CR0_PE)) == 0;
    s->cr0 = new.cr0;
    s->cr4 = new.cr4;
    s->efer = new.efer;
    if ((effects & CONTROL_LOAD_PDPTES) != 0 || ((effects & CONTROL_FLUSH_TLB) != 0 && !only_wp))
        bt_space_switch(v, SHADOW_FLUSH_ALL);
    else if ((effects & CONTROL_FLUSH_TLB) != 0)
        bt_space_switch(v, SHADOW_FLUSH_NONE);
    return true;
}

/* SDM, "MOV—Move to/from Control Registers". Kept walks do not tell global pages from others. */
static bool write_cr3(struct bt_vcpu *v, uint64_t value)
{
    struct cpu_state *s = &v->state;
    const bool pae = (s->cr0 & CR0_PG) != 0 && (s->cr4 & CR4_PAE) != 0 && (s->efer & EFER_LMA) == 0;
    uint64_t pdpte[4];
    if ((s->efer & EFER_LMA) != 0 && (value >> v->vcpu.phys_bits) != 0)
        return refuse(v);
    if (pae) {
        if (!control_read_pdptes(&v->vcpu.vm->mem, value, v->vcpu.phys_bits, pdpte))
            return refuse(v);
        memcpy(s->pdpte, pdpte, sizeof(pdpte));
    }
    s->cr3 = value;
    bt_space_switch(v, SHADOW_FLUSH_LOCAL);
    return true;
}

/* Where the priority falls, what has waited for that may come. */
static bool write_cr8(struct bt_vcpu *v, uint64_t value)
{
    struct vlapic *apic = &v->vcpu.apic;
    uint32_t *tpr = &apic->page[APIC_TPR / 4];
    const uint32_t before = *tpr;
    if (value > 15)
        return refuse(v);
    vm_lock(v->vcpu.vm);
    *tpr = (uint32_t)value << 4;
    const bool comes = *tpr < before && vlapic_pending(apic) >= 0;
    vm_unlock(v->vcpu.vm);
    if (comes)
        v->vcpu.attention = true;
    return true;
}

static bool write_cr(struct interpret_env *env, unsigned number, uint64_t value)
{
    struct bt_vcpu *v = of(env);
    bt_exit_begin(v);
    const bool good = number == 3   ? write_cr3(v, value)
                      : number == 8 ? write_cr8(v, value)
                                    : write_cr0_or_cr4(v, number, value);
    bt_exit_end(v, BT_CONTROL);
    return good;
}

static bool read_cr8(struct interpret_env *env, uint64_t *value)
{
    *value = of(env)->vcpu.apic.page[APIC_TPR / 4] >> 4 & 15;
    return true;
}

static bool write_xcr0(struct interpret_env *env, uint64_t value)
{
    struct bt_vcpu *v = of(env);
    uint64_t *gpr = v->vcpu.regs.gpr;
    bt_exit_begin(v);
    gpr[RCX] = 0;
    gpr[RAX] = (uint32_t)value;
    gpr[RDX] = value >> 32;
    const bool good = vcpu_xsetbv(&v->vcpu) == EXIT_NEXT;
    env->extra.xcr0 = v->vcpu.xcr0;
    bt_exit_end(v, BT_XSETBV);
    return good;
}

static void invlpg(struct interpret_env *env, uint64_t linear)
{
    bt_space_invalidate(of(env), linear);
}

static void flush_tlb(struct interpret_env *env)
{
    bt_space_switch(of(env), SHADOW_FLUSH_ALL);
}

static uint64_t rdtsc(struct interpret_env *env)
{
    return cpu_rdtsc() + of(env)->vcpu.tsc_offset;
}

static bool hypercall(struct interpret_env *env)
{
    struct bt_vcpu *v = of(env);
    bt_exit_begin(v);
    memcpy(v->vcpu.regs.gpr, v->state.gpr, sizeof(v->state.gpr));
    const enum exit_action action = vcpu_hypercall(&v->vcpu, segment_cpl(&v->state));
    memcpy(v->state.gpr, v->vcpu.regs.gpr, sizeof(v->state.gpr));
    bt_exit_end(v, BT_HYPERCALL);
    return action != EXIT_ITERATION;
}

const struct interpret_calls bt_calls = {
    .fetch = bt_fetch,
    .translate = bt_translate,
    .translate_as = bt_translate_as,
    .read_quickly = bt_read_quickly,
    .write_quickly = bt_write_quickly,
    .read = bt_read,
    .write = bt_write,
    .read_locked = bt_read_locked,
    .exchange = bt_exchange,
    .raise = raise,
    .port_in = port_in,
    .port_out = port_out,
    .goes_on = goes_on,
    .cpuid = cpuid,
    .rdmsr = rdmsr,
    .wrmsr = wrmsr,
    .write_cr = write_cr,
    .read_cr8 = read_cr8,
    .write_xcr0 = write_xcr0,
    .invlpg = invlpg,
    .flush_tlb = flush_tlb,
    .rdtsc = rdtsc,
    .hypercall = hypercall,
};
