/* SPDX-License-Identifier: BSD-2-Clause */
/* Why a VM entry failed, in words. */
#include "arch/cpu.h"
#include "arch/log.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vmcs_check.h"
#include "vmx/vmx.h"

/* SDM, "VM Instruction Error Numbers": those that VMLAUNCH and VMRESUME give. */
static const char *instruction_error_text(uint64_t error)
{
    switch (error) {
    case 4: return "VMLAUNCH with a VMCS that is not clear";
    case 5: return "VMRESUME with a VMCS that is not launched";
    case 6: return "VMRESUME after VMXOFF";
    case 7: return "VM entry with invalid control fields";
    case 8: return "VM entry with invalid host-state fields";
    case 25: return "VM entry with an invalid executive-VMCS pointer";
    case 26: return "VM entry with events blocked by MOV SS";
    default: return "an error number that an entry does not give";
    }
}

static uint64_t read_field(void *ctx, uint32_t field)
{
    (void)ctx;
    return vmread((enum vmcs_field)field);
}

static void report_rule(void *ctx, const char *rule, uint32_t field, uint64_t value,
                        const char *allowed)
{
    const struct vcpu *vcpu = ctx;
    log_line_of(vcpu->vm->log, "%s: broken rule: %s: %s (0x%04x) = 0x%lx, allowed: %s",
                vcpu->vm->name, rule, vmcs_field_name(field), field, value, allowed);
}

static unsigned report_broken_rules(struct vcpu *vcpu)
{
    const struct vmcs_view view = {
        .read = read_field,
        .ctx = vcpu,
        .caps = vmx_caps(),
        .phys_bits = cpu_cpuid(0x80000008, 0).eax & 0xff,
    };
    return vmcs_check(&view, report_rule, vcpu);
}

bool vmx_entry_is_sound(struct vcpu *vcpu, uint32_t reason)
{
    const uint64_t count = vcpu->stats.count[reason];
    if (count > 1000 && count % 61 != 0)
        return true;
    const unsigned broken = report_broken_rules(vcpu);
    if (broken != 0)
        vm_end_format(vcpu->vm, VM_CRASH, 0, "checked before the entry, broken rules found: %u",
                      broken);
    return broken == 0;
}

void vmx_report_failed_entry(struct vcpu *vcpu, unsigned failed)
{
    const char *name = vcpu->vm->name;
    if (failed == 1) {
        log_line_of(vcpu->vm->log, "%s: VM entry: VMfailInvalid: there is no current VMCS", name);
    } else if (failed == 2) {
        uint64_t error = vmread(VMCS_EXIT_INSTRUCTION_ERROR);
        log_line_of(vcpu->vm->log, "%s: VM entry: VMfailValid: VM-instruction error %lu: %s", name,
                    error, instruction_error_text(error));
    } else {
        uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON) & 0xffff;
        log_line_of(vcpu->vm->log,
                    "%s: VM entry failed after its first checks: %s, qualification %lu", name,
                    exit_reason_name(reason), vmread(VMCS_EXIT_QUALIFICATION));
    }
    const unsigned broken = failed != 1 ? report_broken_rules(vcpu) : 0;
    vm_end_format(vcpu->vm, VM_CRASH, 0, "VM entry failed, broken rules found: %u", broken);
}
