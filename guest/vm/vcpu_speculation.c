/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSRs by which a guest mends its own CPU's speculation: there as far as CPUID shows them. */
#include "arch/cpu.h"
#include "guest/vm/vcpu.h"

/* Where the CPU has enhanced IBRS, a guest writes IA32_SPEC_CTRL a few times when it starts; else
 * at each entry of its kernel and each way out. From so many writes on it does so without exits,
 * and an exit reads the MSR. */
#define MANY_WRITES 16

static uint32_t features_of(const struct vcpu *vcpu)
{
    return cpuid_table_find(&vcpu->vm->cpuid, 7, 0)->edx;
}

/* The bits of IA32_SPEC_CTRL that CPUID shows; 0: there is no such MSR. The engine has the value in
 * the CPU while the guest runs. */
static uint64_t spec_control_bits(const struct vcpu *vcpu)
{
    const uint32_t features = features_of(vcpu);
    return ((features & CPUID_7_EDX_IBRS) != 0 ? SPEC_CTRL_IBRS : 0) |
           ((features & CPUID_7_EDX_STIBP) != 0 ? SPEC_CTRL_STIBP : 0) |
           ((features & CPUID_7_EDX_SSBD) != 0 ? SPEC_CTRL_SSBD : 0);
}

static bool read_spec_control(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    const struct vcpu *vcpu = dev;
    *value = vcpu->spec_control;
    return spec_control_bits(vcpu) != 0;
}

static bool write_spec_control(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    struct vcpu *vcpu = dev;
    const uint64_t allowed = spec_control_bits(vcpu);
    if (allowed == 0 || (value & ~allowed) != 0)
        return false;
    vcpu->spec_control = value;
    if (++vcpu->spec_control_writes == MANY_WRITES)
        vcpu->engine->open_spec_control(vcpu);
    return true;
}

/* The barrier works on the CPU: what the guest has taught its predictors is forgotten. */
static bool write_pred_cmd(void *dev, uint32_t msr, uint64_t value)
{
    if ((features_of(dev) & CPUID_7_EDX_IBRS) == 0 || (value & ~PRED_CMD_IBPB) != 0)
        return false;
    if (value != 0)
        cpu_wrmsr(msr, value);
    return true;
}

static bool read_arch_capabilities(void *dev, uint32_t msr, uint64_t *value)
{
    (void)msr;
    const struct vcpu *vcpu = dev;
    *value = vcpu->vm->arch_capabilities;
    return (features_of(vcpu) & CPUID_7_EDX_ARCH_CAPABILITIES) != 0;
}

enum status vcpu_speculation_open(struct vm *vm)
{
    static const struct msr_range ranges[] = {
        {MSR_IA32_SPEC_CTRL, MSR_IA32_SPEC_CTRL, NULL, read_spec_control, write_spec_control},
        {MSR_IA32_PRED_CMD, MSR_IA32_PRED_CMD, NULL, NULL, write_pred_cmd},
        {MSR_IA32_ARCH_CAPABILITIES, MSR_IA32_ARCH_CAPABILITIES, NULL, read_arch_capabilities,
         NULL},
    };
    enum status s = OK;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && s == OK; i++)
        s = msr_table_add(&vm->msrs, &ranges[i]);
    return s;
}
