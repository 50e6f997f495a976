/* SPDX-License-Identifier: BSD-2-Clause */
/* EPT violations and APIC accesses: what the guest has touched, and how, for guest/vm/. */
#include "arch/panic.h"
#include "guest/vm/exits.h"
#include "guest/vm/step.h"
#include "vmx/exit.h"
#include "vmx/inject.h"

/* Exit qualification for EPT violations. */
#define VIOLATION_READ         (1u << 0)
#define VIOLATION_WRITE        (1u << 1)
#define VIOLATION_FETCH        (1u << 2)
#define VIOLATION_LINEAR_VALID (1u << 7)
#define VIOLATION_NOT_WALK \
    (1u << 8) /* of the linear address's page itself, not of a paging-structure entry */

static inline enum exit_action __attribute__((always_inline))
emulate(struct vcpu *vcpu, const struct memory_access *access)
{
    struct emulate_context ctx;
    vmx_view_context(&ctx, vcpu);
    const enum exit_action action = exit_memory_access(&ctx, access);
    if (ctx.changed)
        exit_take_context(&ctx);
    return action;
}

/* Whether the exit came in an event's delivery, which is handled then. */
static bool ended_by_delivery(struct vcpu *vcpu, gpa_t address, bool write)
{
    if (!inject_again(vcpu))
        return false;
    exit_memory_delivery(vcpu, address, write);
    return true;
}

/* A violation on memory of the guest. False: a write to what is read-only, by an instruction. */
static bool __attribute__((noinline))
ended_on_memory(struct vcpu *vcpu, uint64_t qualification, gpa_t address, bool of_walk)
{
    struct vm *vm = vcpu->vm;
    vm_lock(vm); /* a change is made piece by piece, and counted at its end */
    const bool changed = vcpu->memory_seen != vm->memory_changes;
    const bool writable = guestmem_is_writable(&vm->mem, address);
    vm_unlock(vm);
    if (changed) { /* by permissions that have changed meanwhile, perhaps */
        vcpu->attention = true;
        inject_again(vcpu);
        return true;
    }
    if (writable) {
        vcpu->stats.faults_on_ram++;
        vm_end_format(vm, VM_CRASH, 0, "EPT violation (0x%llx) on RAM at 0x%llx",
                      (unsigned long long)qualification, (unsigned long long)address.v);
        return true;
    }
    if (!of_walk && (vmread(VMCS_EXIT_IDT_VECTORING) & EVENT_VALID) == 0)
        return false;
    inject_again(vcpu);
    (void)step_begin(vcpu, address);
    return true;
}

enum exit_action exit_ept_violation(struct vcpu *vcpu)
{
    const uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    gpa_t address = gpa(vmread(VMCS_EXIT_GUEST_PHYSICAL));
    if ((qualification & UNBLOCKED_BY_IRET) != 0)
        inject_iret_again();
    if (__builtin_expect(vcpu->vm->mem.absent != 0, 0)) {
        if (vmx_a20_fill(vcpu, address, qualification & EPT_RWX))
            return EXIT_SAME;
        address.v &= ~vcpu->vm->mem.absent;
    }
    const bool of_walk =
        (qualification & VIOLATION_LINEAR_VALID) == 0 || (qualification & VIOLATION_NOT_WALK) == 0;
    if (guestmem_slot(&vcpu->vm->mem, address) != NULL &&
        ended_on_memory(vcpu, qualification, address, of_walk))
        return EXIT_SAME;
    if (of_walk) {
        inject_again(vcpu);
        return exit_memory_walk(vcpu, address);
    }
    if (ended_by_delivery(vcpu, address, (qualification & VIOLATION_WRITE) != 0))
        return EXIT_SAME;
    if ((qualification & VIOLATION_FETCH) != 0)
        return exit_memory_fetch(vcpu, address);
    struct memory_access access = {
        .address = address,
        .read = (qualification & VIOLATION_READ) != 0,
        .write = (qualification & VIOLATION_WRITE) != 0,
    };
    if (vcpu->vm->vcpu_count > 1) { /* for the one question that only another CPU raises */
        access.has_linear = true;
        access.linear = gva(vmread(VMCS_EXIT_GUEST_LINEAR));
    }
    return emulate(vcpu, &access);
}

/* What the CPU does not virtualize of the APIC page (SDM, "Virtualizing Memory-Mapped APIC
 * Accesses"). */
enum exit_action exit_apic_access(struct vcpu *vcpu)
{
    enum { LINEAR_READ, LINEAR_WRITE, LINEAR_FETCH };
    const uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    const unsigned type = qualification >> 12 & 15;
    const struct memory_access access = {
        .address = gpa(VM_APIC_PAGE_GPA | (qualification & 0xfff)),
        .read = type == LINEAR_READ,
        .write = type == LINEAR_WRITE,
    };
    if (ended_by_delivery(vcpu, access.address, access.write))
        return EXIT_SAME;
    switch (type) {
    case LINEAR_READ:
    case LINEAR_WRITE: return emulate(vcpu, &access);
    case LINEAR_FETCH: return exit_memory_fetch(vcpu, access.address);
    default: /* a walk; where in the page, the CPU does not say */
        return exit_memory_walk(vcpu, gpa(VM_APIC_PAGE_GPA));
    }
}

enum exit_action exit_ept_misconfiguration(struct vcpu *vcpu)
{
    struct ept_error where = {gpa(0), 0, 0};
    bool right = ept_check(&vmx_vm(vcpu->vm)->ept, &where);
    panic("EPT misconfiguration at 0x%llx; tables %s, entry 0x%llx at level %u for 0x%llx",
          (unsigned long long)vmread(VMCS_EXIT_GUEST_PHYSICAL),
          right ? "pass the check" : "are wrong", (unsigned long long)where.entry, where.level,
          (unsigned long long)where.guest.v);
}
