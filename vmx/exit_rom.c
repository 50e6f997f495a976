/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes to memory that is read-only to the guest, by what the emulator does not know: a far jump
 * through a descriptor in ROM marks it as accessed, LTR marks a TSS as busy, a page walk marks
 * entries, an interrupt pushes. ROM takes no notice of writes, so the CPU does its work by itself:
 * for one step, until its monitor trap flag makes it exit, there is a copy of the page that can be
 * written, and is then forgotten. The same serves where nothing is at all, on a page of ones, and
 * on device memory that is no more than memory, on itself.
 */
#include "arch/string.h"
#include "guest/vm/access.h"
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

/* What a guest may make the EPT grow by where it has nothing mapped. */
#define STEP_TABLES 64

/* Puts the page of ones, or a device's own, where nothing is mapped, or was for earlier steps. */
static bool map_plain(struct vm *vm, gpa_t page, hpa_t ones)
{
    const uint64_t tables = vm->ept.table_pages;
    void *memory;
    if (access_is_apic_of_any(vm, page.v) || !bus_mmio_is_plain(&vm->bus, page.v, &memory))
        return false;
    if (memory == NULL)
        memset(memory = hpa_to_ptr(ones), 0xff, PAGE_SIZE);
    if (ept_redirect(&vm->ept, page, ptr_to_hpa(memory), EPT_RWX) == OK)
        return true;
    if (vm->step_tables >= STEP_TABLES)
        return false;
    const bool mapped =
        ept_map(&vm->ept, page, ptr_to_hpa(memory), PAGE_SIZE, EPT_RWX, MEMORY_WB, false) == OK;
    vm->step_tables += (uint32_t)(vm->ept.table_pages - tables);
    return mapped;
}

/* A page that is among those of the step has been taken away since, by another vCPU's end of a step
 * or by PAM: the instruction begins anew, so its copy does too. Copies stay the vCPU's until its
 * end: another CPU may have one cached until its next INVEPT. */
static bool show_copy(struct vcpu *vcpu, gpa_t page)
{
    struct vm *vm = vcpu->vm;
    struct rom_step *step = &vcpu->rom_step;
    uint32_t i = 0;
    if (guestmem_is_writable(&vm->mem, page)) /* by PAM, since the CPU has met it */
        return true;
    while (i < step->count && step->guest[i] != page.v)
        i++;
    if (i == ROM_STEP_PAGES || !control_allowed(vmx_caps()->proc, PROC_MONITOR_TRAP))
        return false;
    hpa_t *copy = &step->copy[i];
    if (copy->v == 0 && page_alloc(1, 1, copy) != OK)
        return false;
    const bool shown = guestmem_read(&vm->mem, page, hpa_to_ptr(*copy), PAGE_SIZE)
                           ? ept_redirect(&vm->ept, page, *copy, EPT_RWX) == OK
                           : map_plain(vm, page, *copy);
    if (!shown)
        return false;
    step->guest[i] = page.v;
    step->count += i == step->count;
    return true;
}

enum exit_action exit_step_on_copy(struct vcpu *vcpu, uint64_t address)
{
    vm_lock(vcpu->vm);
    const bool shown = show_copy(vcpu, gpa(address & ~(PAGE_SIZE - 1)));
    vm_unlock(vcpu->vm);
    if (!shown) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "an access to 0x%llx that cannot be stepped over",
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
        if (guestmem_slot(&vm->mem, page) == NULL) {
            (void)ept_protect(&vm->ept, page, PAGE_SIZE, 0); /* mapped by itself */
            continue;
        }
        const unsigned perms = guestmem_is_writable(&vm->mem, page) ? EPT_RWX : EPT_R | EPT_X;
        const hpa_t rom = ptr_to_hpa(guestmem_window(&vm->mem, page, PAGE_SIZE));
        (void)ept_redirect(&vm->ept, page, rom, perms); /* has succeeded once */
    }
    vm_unlock(vm);
    set_monitor_trap(vcpu, false);
    vm_ept_changed(vm);
    return EXIT_SAME;
}
