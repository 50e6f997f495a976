/* SPDX-License-Identifier: BSD-2-Clause */
/* What is printed when a vCPU ends badly, or is asked where it stands: its registers; and why a VM
 * entry failed, in words. */
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

static uint64_t as_guest_reads(enum vmcs_field reg, enum vmcs_field mask, enum vmcs_field shadow)
{
    const uint64_t owned = vmread(mask);
    return (vmread(reg) & ~owned) | (vmread(shadow) & owned);
}

void vcpu_dump(const struct vcpu *vcpu)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    const char *vm = vcpu->vm->name;
    log_line("%s: RIP %016lx  RFLAGS %08lx  CS %04lx (base %lx, access %lx)", vm,
             vmread(VMCS_GUEST_RIP), vmread(VMCS_GUEST_RFLAGS), vmread(VMCS_GUEST_CS),
             vmread(VMCS_GUEST_CS_BASE), vmread(VMCS_GUEST_CS_ACCESS));
    for (unsigned i = 0; i < GPR_COUNT; i += 4) {
        uint64_t value[4];
        for (unsigned j = 0; j < 4; j++)
            value[j] = i + j == RSP ? vmread(VMCS_GUEST_RSP) : vcpu->regs.gpr[i + j];
        log_line("%s: %s %016lx  %s %016lx  %s %016lx  %s %016lx", vm, names[i], value[0],
                 names[i + 1], value[1], names[i + 2], value[2], names[i + 3], value[3]);
    }
    log_line("%s: CR0 %lx  CR2 %lx  CR3 %lx  CR4 %lx  EFER %lx", vm,
             as_guest_reads(VMCS_GUEST_CR0, VMCS_CTRL_CR0_MASK, VMCS_CTRL_CR0_SHADOW),
             cpu_read_cr2(), vmread(VMCS_GUEST_CR3),
             as_guest_reads(VMCS_GUEST_CR4, VMCS_CTRL_CR4_MASK, VMCS_CTRL_CR4_SHADOW),
             vmread(VMCS_GUEST_EFER));
    log_line("%s: IDT %lx (limit %lx)  GDT %lx (limit %lx)", vm, vmread(VMCS_GUEST_IDTR_BASE),
             vmread(VMCS_GUEST_IDTR_LIMIT), vmread(VMCS_GUEST_GDTR_BASE),
             vmread(VMCS_GUEST_GDTR_LIMIT));
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
    log_line("%s: broken rule: %s: %s (0x%04x) = 0x%lx, allowed: %s", vcpu->vm->name, rule,
             vmcs_field_name(field), field, value, allowed);
}

void vcpu_report_failed_entry(struct vcpu *vcpu, unsigned failed)
{
    const char *name = vcpu->vm->name;
    if (failed == 1) {
        log_line("%s: VM entry: VMfailInvalid: there is no current VMCS", name);
    } else if (failed == 2) {
        uint64_t error = vmread(VMCS_EXIT_INSTRUCTION_ERROR);
        log_line("%s: VM entry: VMfailValid: VM-instruction error %lu: %s", name, error,
                 instruction_error_text(error));
    } else {
        uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON) & 0xffff;
        log_line("%s: VM entry failed after its first checks: %s, qualification %lu", name,
                 exit_reason_name(reason), vmread(VMCS_EXIT_QUALIFICATION));
    }
    unsigned broken = 0;
    if (failed != 1) {
        struct vmcs_view view = {
            .read = read_field,
            .ctx = vcpu,
            .caps = vmx_caps(),
            .phys_bits = cpu_cpuid(0x80000008, 0).eax & 0xff,
        };
        broken = vmcs_check(&view, report_rule, vcpu);
    }
    vm_end_format(vcpu->vm, VM_CRASH, 0, "VM entry failed, broken rules found: %u", broken);
}
