/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A20 off: the CPU's addresses lose bit 20, so that each odd MiB is the even one below. The VM's
 * EPT is as it is, in its large pages. Beside it there is a second one, which begins empty and
 * takes each page, 4 KiB of it, as it is touched, from where the address without that bit leads.
 * The VMCS names the one or the other: with A20 on none of this costs anything. A vCPU that is
 * about a step (step.c) has copies of some tables, which take the page, too.
 */
#include "arch/panic.h"
#include "guest/vm/vcpu.h"
#include "vmx/inject.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vmx.h"

#define A20 (1ull << 20) /* in vm->mem.absent, while it is off */

hpa_t vmx_ept_root(const struct vm *vm)
{
    const struct vmx_vm *own = vmx_vm(vm);
    return vm->mem.absent != 0 && own->a20_off.root.v != 0 ? own->a20_off.root : own->ept.root;
}

void vmx_use_ept(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct vmx_vm *own = vmx_vm(vm);
    vm_lock(vm);
    if (vm->mem.absent != 0 && own->a20_off.root.v == 0 &&
        ept_init(&own->a20_off, &own->ept.caps) != OK)
        vm_end_format(vm, VM_CRASH, 0, "no memory for its page tables with A20 off");
    vmwrite(VMCS_CTRL_EPTP, ept_root_pointer(vmx_ept_root(vm)));
    vm_unlock(vm);
}

/* Of a change, and not all: a guest may have it made at each exit, and have much memory. */
void vmx_a20_forget(const struct vm *vm, gpa_t guest, uint64_t bytes)
{
    struct vmx_vm *own = vmx_vm(vm);
    if (own->a20_off.root.v == 0)
        return;
    for (uint64_t at = guest.v; at < guest.v + bytes; at += PAGE_SIZE) {
        ept_unmap(&own->a20_off, gpa(at));
        ept_unmap(&own->a20_off, gpa(at | A20)); /* which leads to the same page */
    }
}

bool vmx_a20_fill(struct vcpu *vcpu, gpa_t at, unsigned access)
{
    struct vm *vm = vcpu->vm;
    struct vmx_vm *own = vmx_vm(vm);
    const gpa_t page = gpa(at.v & ~(uint64_t)(PAGE_SIZE - 1));
    hpa_t host, old;
    unsigned perms, old_perms;
    vm_lock(vm);
    bool retry = vcpu->memory_seen != vm->memory_changes; /* it runs by the other one, perhaps */
    if (!retry && ept_find(&own->ept, gpa(page.v & ~vm->mem.absent), &host, &perms) &&
        (access & ~perms) == 0) {
        retry = true;
        if ((!ept_find(&own->a20_off, page, &old, &old_perms) &&
             ept_map(&own->a20_off, page, host, PAGE_SIZE, perms, MEMORY_WB) != OK) ||
            (vmx_vcpu(vcpu)->overlay.count != 0 && vmx_show(vcpu, page, host, perms) != OK))
            vm_end_format(vm, VM_CRASH, 0, "no memory for its page tables with A20 off");
    }
    vm_unlock(vm);
    if (retry) {
        vcpu->attention = true;
        inject_again(vcpu);
    }
    return retry;
}
