/* SPDX-License-Identifier: BSD-2-Clause */
/* RDMSR, WRMSR and XSETBV: the VM's table, and the MSRs of which each vCPU has its own, in the
 * engine, in the local APIC or in struct vcpu. */
#include "arch/cpu.h"
#include "guest/cpu/control.h"
#include "guest/vm/vcpu.h"

/* What a guest may write of IA32_MISC_ENABLE; the last two act on CPUID. Fast strings, thermal
 * control, SpeedStep, MONITOR and xTPR are kept, without anything behind them. */
#define MISC_ENABLE_WRITABLE                                                                 \
    (1ull << 0 | 1ull << 3 | 1ull << 16 | 1ull << 18 | 1ull << 23 | MISC_ENABLE_FEW_LEAVES | \
     MISC_ENABLE_NO_XD)

/* A 32-bit write zeroes the upper half of the register, as the CPU does. */
static void set_eax_edx(struct vcpu *vcpu, uint64_t value)
{
    vcpu->regs.gpr[RAX] = (uint32_t)value;
    vcpu->regs.gpr[RDX] = value >> 32;
}

static uint64_t get_edx_eax(const struct vcpu *vcpu)
{
    return vcpu->regs.gpr[RDX] << 32 | (uint32_t)vcpu->regs.gpr[RAX];
}

enum exit_action vcpu_rdmsr(struct vcpu *vcpu)
{
    uint32_t msr = (uint32_t)vcpu->regs.gpr[RCX];
    const struct msr_range *range = msr_table_find(&vcpu->vm->msrs, msr);
    uint64_t value;
    if (range == NULL || range->read == NULL ||
        !range->read(range->dev != NULL ? range->dev : vcpu, msr, &value))
        return vcpu_general_protection(vcpu);
    set_eax_edx(vcpu, value);
    return EXIT_NEXT;
}

enum exit_action vcpu_wrmsr(struct vcpu *vcpu)
{
    uint32_t msr = (uint32_t)vcpu->regs.gpr[RCX];
    const struct msr_range *range = msr_table_find(&vcpu->vm->msrs, msr);
    if (range == NULL || range->write == NULL ||
        !range->write(range->dev != NULL ? range->dev : vcpu, msr, get_edx_eax(vcpu)))
        return vcpu_general_protection(vcpu);
    return EXIT_NEXT;
}

/* LMA follows CR0.PG and cannot be written. */
static bool write_efer(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_CONTROL, &state);
    struct control_state control = {.cr0 = state.cr0, .cr4 = state.cr4, .efer = state.efer};
    const uint64_t allowed =
        control_efer_allowed(&vcpu->vm->cpuid, (vcpu->misc_enable & MISC_ENABLE_NO_XD) != 0);
    if ((control_write_efer(&control, value, allowed) & CONTROL_FAULT) != 0)
        return false;
    state.efer = control.efer;
    vcpu->engine->set_state(vcpu, STATE_CONTROL, &state); /* which flushes the TLB */
    return true;
}

static bool read_efer(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_CONTROL, &state);
    *value = state.efer;
    return true;
}

static bool read_debugctl(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_DEBUG, &state);
    *value = state.debugctl;
    return true;
}

/* Branch records are not shown; single-stepping on branches (BTF) needs nothing of the host. */
static bool write_debugctl(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    struct cpu_state state;
    if ((value & ~DEBUGCTL_BTF) != 0)
        return false;
    vcpu->engine->get_state(vcpu, STATE_DEBUG, &state);
    state.debugctl = value;
    vcpu->engine->set_state(vcpu, STATE_DEBUG, &state);
    return true;
}

static void set_tsc_offset(struct vcpu *vcpu, uint64_t offset)
{
    vcpu->tsc_offset = offset;
    vcpu->engine->tsc_changed(vcpu);
    /* A deadline that is armed stands in guest TSC: it moves with the offset. */
    vm_lock(vcpu->vm);
    vlapic_write_deadline(&vcpu->apic, vlapic_deadline(&vcpu->apic));
    vm_unlock(vcpu->vm);
    vcpu_pv_tsc_changed(vcpu);
}

/* SDM, "IA32_TSC_ADJUST Support": a change of one moves the other by as much. */
static bool write_tsc(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    uint64_t offset = value - cpu_rdtsc();
    vcpu->tsc_adjust += offset - vcpu->tsc_offset;
    set_tsc_offset(vcpu, offset);
    return true;
}

static bool read_tsc_adjust(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    const struct vcpu *vcpu = dev;
    *value = vcpu->tsc_adjust;
    return true;
}

static bool write_tsc_adjust(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    if (value != vcpu->tsc_adjust) {
        set_tsc_offset(vcpu, vcpu->tsc_offset + value - vcpu->tsc_adjust);
        vcpu->tsc_adjust = value;
    }
    return true;
}

/* Read by every 64-bit kernel to see whether XD or CPUID leaves are switched off. */
static bool read_misc_enable(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct vcpu *)dev)->misc_enable;
    return true;
}

/* Each CPU has its own (SDM, "Model-Specific Registers": scope). */
static bool write_misc_enable(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    struct cpuid_table *cpuid = &vcpu->vm->cpuid;
    if (((value ^ vcpu->misc_enable) & ~MISC_ENABLE_WRITABLE) != 0)
        return false;
    vcpu->misc_enable = value;
    if ((value & MISC_ENABLE_FEW_LEAVES) != 0) /* until then, leaf 0 goes the short way */
        __atomic_fetch_or(&cpuid->entry[cpuid_table_first(cpuid, 0) - cpuid->entry].dynamic,
                          CPUID_FEW, __ATOMIC_RELAXED);
    return true;
}

/* SDM, "IA32_XSS" is there where CPUID.(EAX=0DH,ECX=1):EAX[3] says XSAVES. No supervisor state
 * component is shown: only 0 is allowed. */
static bool has_xss(const struct vcpu *vcpu)
{
    return (cpuid_table_find(&vcpu->vm->cpuid, 0xd, 1)->eax >> 3 & 1) != 0;
}

static bool read_xss(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = 0;
    return has_xss(dev);
}

static bool write_xss(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    return has_xss(dev) && value == 0;
}

static bool read_apic_base(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = ((const struct vcpu *)dev)->apic.base;
    return true;
}

static bool write_apic_base(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    vm_lock(vcpu->vm);
    const bool good = vlapic_write_base(&vcpu->apic, value);
    vm_unlock(vcpu->vm);
    if (!good)
        return false;
    vcpu->engine->apic_changed(vcpu);
    return true;
}

static bool read_deadline(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vlapic_deadline(&((const struct vcpu *)dev)->apic);
    return true;
}

static bool write_deadline(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    vm_lock(vcpu->vm);
    vlapic_write_deadline(&vcpu->apic, value);
    vm_unlock(vcpu->vm);
    return true;
}

static bool read_x2apic(void *dev, uint32_t msr, uint64_t *value)
{
    struct vcpu *vcpu = dev;
    if ((vcpu->apic.base & APIC_BASE_X2APIC) == 0)
        return false;
    vm_lock(vcpu->vm);
    const bool good = vlapic_read(&vcpu->apic, (msr - MSR_IA32_X2APIC_BASE) * 16, value);
    vm_unlock(vcpu->vm);
    return good;
}

static bool write_x2apic(void *dev, uint32_t msr, uint64_t value)
{
    struct vcpu *vcpu = dev;
    if ((vcpu->apic.base & APIC_BASE_X2APIC) == 0)
        return false;
    vm_lock(vcpu->vm);
    const bool good = vlapic_write(&vcpu->apic, (msr - MSR_IA32_X2APIC_BASE) * 16, value);
    vm_unlock(vcpu->vm);
    return good;
}

enum status vcpu_msr_open(struct vm *vm)
{
    const struct msr_range ranges[] = {
        {MSR_IA32_EFER, MSR_IA32_EFER, NULL, read_efer, write_efer},
        {MSR_IA32_DEBUGCTL, MSR_IA32_DEBUGCTL, NULL, read_debugctl, write_debugctl},
        {MSR_IA32_TIME_STAMP_COUNTER, MSR_IA32_TIME_STAMP_COUNTER, NULL, NULL, write_tsc},
        {MSR_IA32_TSC_ADJUST, MSR_IA32_TSC_ADJUST, NULL, read_tsc_adjust, write_tsc_adjust},
        {MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE, NULL, read_misc_enable, write_misc_enable},
        {MSR_IA32_XSS, MSR_IA32_XSS, NULL, read_xss, write_xss},
        {MSR_IA32_APIC_BASE, MSR_IA32_APIC_BASE, NULL, read_apic_base, write_apic_base},
        {MSR_IA32_TSC_DEADLINE, MSR_IA32_TSC_DEADLINE, NULL, read_deadline, write_deadline},
        {MSR_IA32_X2APIC_BASE, MSR_IA32_X2APIC_LAST, NULL, read_x2apic, write_x2apic},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        enum status s = msr_table_add(&vm->msrs, &ranges[i]);
        if (s != OK)
            return s;
    }
    const enum status s = vcpu_speculation_open(vm);
    return s == OK ? vcpu_mtrr_open(vm) : s;
}

/* SDM, "XSETBV—Set Extended Control Register". */
enum exit_action vcpu_xsetbv(struct vcpu *vcpu)
{
    const uint64_t value = get_edx_eax(vcpu);
    if ((uint32_t)vcpu->regs.gpr[RCX] != 0 || !control_xcr0_is_valid(value, vcpu->vm->xcr0_allowed))
        return vcpu_general_protection(vcpu);
    vcpu->xcr0 = value;
    cpu_xsetbv(0, value); /* the host uses no extended state: the guest's stays in the CPU */
    return EXIT_NEXT;
}
