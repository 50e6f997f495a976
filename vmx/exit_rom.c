/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes to memory that is read-only to the guest, by what the emulator does not know: a far jump
 * through a descriptor in ROM marks it as accessed, LTR marks a TSS as busy, a page walk marks
 * entries, an interrupt pushes. ROM takes no notice of writes, so the CPU does its work by itself:
 * for one step, until its monitor trap flag makes it exit, there is a copy of the page that can be
 * written, and is then forgotten.
 */
#include "mm/page_alloc.h"
#include "vmx/caps.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

static void set_monitor_trap(struct vcpu *vcpu, bool on)
{
    vcpu->proc = on ? vcpu->proc | PROC_MONITOR_TRAP : vcpu->proc & ~PROC_MONITOR_TRAP;
    vmwrite(VMCS_CTRL_PROC, vcpu->proc);
}

/* Copies stay the vCPU's until its end: another CPU may have one cached until its next INVEPT. */
static bool show_copy(struct vcpu *vcpu, uint64_t page)
{
    struct vm *vm = vcpu->vm;
    struct rom_step *step = &vcpu->rom_step;
    for (uint32_t i = 0; i < step->count; i++) {
        if (step->guest[i] ==
            page) /* another vCPU, at its end of a step, has shown the ROM again */
            return ept_redirect(&vm->ept, gpa(page), step->copy[i], EPT_RWX) == OK;
    }
    if (step->count == ROM_STEP_PAGES || !control_allowed(vmx_caps()->proc, PROC_MONITOR_TRAP))
        return false;
    hpa_t *copy = &step->copy[step->count];
    if (copy->v == 0 && page_alloc(1, 1, copy) != OK)
        return false;
    if (!guestmem_read(&vm->mem, gpa(page), hpa_to_ptr(*copy), PAGE_SIZE) ||
        ept_redirect(&vm->ept, gpa(page), *copy, EPT_RWX) != OK)
        return false;
    step->guest[step->count++] = page;
    return true;
}

enum exit_action exit_step_on_rom(struct vcpu *vcpu, uint64_t address)
{
    vm_lock(vcpu->vm);
    const bool shown = show_copy(vcpu, address & ~(PAGE_SIZE - 1));
    vm_unlock(vcpu->vm);
    if (!shown) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "a write to ROM at 0x%llx that cannot be stepped over",
                      (unsigned long long)address);
        return EXIT_SAME;
    }
    set_monitor_trap(vcpu, true);
    vm_ept_changed(vcpu->vm);
    return EXIT_SAME;
}

enum exit_action exit_monitor_trap(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct rom_step *step = &vcpu->rom_step;
    vm_lock(vm);
    while (step->count > 0) {
        const gpa_t page = gpa(step->guest[--step->count]);
        const unsigned perms = guestmem_is_writable(&vm->mem, page) ? EPT_RWX : EPT_R | EPT_X;
        const hpa_t rom = ptr_to_hpa(guestmem_window(&vm->mem, page, PAGE_SIZE));
        (void)ept_redirect(&vm->ept, page, rom, perms); /* has succeeded once */
    }
    vm_unlock(vm);
    set_monitor_trap(vcpu, false);
    vm_ept_changed(vm);
    return EXIT_SAME;
}
