/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes to memory that is read-only to the guest, by what the emulator does not know: a far jump
 * through a descriptor in ROM marks it as accessed, LTR marks a TSS as busy, a page walk marks
 * entries, an interrupt pushes. ROM takes no notice of writes, so the CPU does its work by itself:
 * for one step there is a copy of the page that can be written, and is then forgotten. The same
 * serves where nothing is at all, on a page of ones, and on device memory that is no more than
 * memory, on itself.
 */
#include "guest/vm/step.h"

#include "arch/string.h"
#include "guest/vm/access.h"
#include "mm/page_alloc.h"

/* Pages that a guest may have mapped for steps where nothing is: each costs tables. */
#define MAX_STEP_PAGES 64

static bool is_memory(const struct vcpu *vcpu, gpa_t address)
{
    return guestmem_slot(&vcpu->vm->mem, address) != NULL;
}

/* Where no access has effects beyond memory: there is none, and no device either, or a device's.
 * The mappings are all vCPUs': what one has as its local APIC cannot be another's memory. */
static bool is_plain(const struct vcpu *vcpu, gpa_t address, void **memory)
{
    return !is_memory(vcpu, address) && !access_is_apic_of_any(vcpu->vm, address) &&
           bus_mmio_is_plain(&vcpu->vm->bus, gpa(address.v & ~(PAGE_SIZE - 1)), memory);
}

bool step_is_possible(const struct vcpu *vcpu, gpa_t address)
{
    void *memory;
    return is_memory(vcpu, address) || is_plain(vcpu, address, &memory);
}

bool step_is_device_memory(const struct vcpu *vcpu, gpa_t address)
{
    void *memory;
    return is_plain(vcpu, address, &memory) && memory != NULL;
}

/* Puts the page of ones, or a device's own, where nothing is mapped, or was for earlier steps. */
static bool map_plain(struct vm *vm, gpa_t page, hpa_t ones)
{
    void *memory;
    if (access_is_apic_of_any(vm, page) || !bus_mmio_is_plain(&vm->bus, page, &memory))
        return false;
    if (memory == NULL)
        memset(memory = hpa_to_ptr(ones), 0xff, PAGE_SIZE);
    if (vm->engine->redirect(vm, page, ptr_to_hpa(memory), MAP_RWX) == OK)
        return true;
    if (vm->step_pages >= MAX_STEP_PAGES)
        return false;
    vm->step_pages++;
    return vm->engine->map(vm, page, ptr_to_hpa(memory), PAGE_SIZE, MAP_RWX) == OK;
}

/* A page that is among those of the step has been taken away since, by another vCPU's end of a step
 * or by PAM: the instruction begins anew, so its copy does too. Copies stay the vCPU's until its
 * end: another CPU may have one cached until it looks at memory_changes. */
static bool show_copy(struct vcpu *vcpu, gpa_t page)
{
    struct vm *vm = vcpu->vm;
    struct step *step = &vcpu->step;
    uint32_t i = 0;
    if (guestmem_is_writable(&vm->mem, page)) /* by PAM, since the CPU has met it */
        return true;
    while (i < step->count && step->guest[i] != page.v)
        i++;
    if (i == STEP_PAGES)
        return false;
    hpa_t *copy = &step->copy[i];
    if (copy->v == 0 && page_alloc(1, 1, copy) != OK)
        return false;
    const bool shown = guestmem_read(&vm->mem, page, hpa_to_ptr(*copy), PAGE_SIZE)
                           ? vm->engine->redirect(vm, page, *copy, MAP_RWX) == OK
                           : map_plain(vm, page, *copy);
    if (!shown)
        return false;
    step->guest[i] = page.v;
    step->count += i == step->count;
    return true;
}

enum exit_action step_begin(struct vcpu *vcpu, gpa_t address)
{
    vm_lock(vcpu->vm);
    const bool shown = show_copy(vcpu, gpa(address.v & ~(PAGE_SIZE - 1)));
    vm_unlock(vcpu->vm);
    if (!shown || !vcpu->engine->step(vcpu, true))
        vm_end_format(vcpu->vm, VM_CRASH, 0, "an access to 0x%llx that cannot be stepped over",
                      (unsigned long long)address.v);
    else
        vm_memory_changed(vcpu->vm);
    return EXIT_SAME;
}

void step_done(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct step *step = &vcpu->step;
    vm_lock(vm);
    while (step->count > 0) {
        const gpa_t page = gpa(step->guest[--step->count]);
        if (guestmem_slot(&vm->mem, page) == NULL) {
            (void)vm->engine->protect(vm, page, PAGE_SIZE, 0); /* mapped by itself */
            continue;
        }
        const unsigned perms = guestmem_is_writable(&vm->mem, page) ? MAP_RWX : MAP_RX;
        const hpa_t rom = ptr_to_hpa(guestmem_window(&vm->mem, page, PAGE_SIZE));
        (void)vm->engine->redirect(vm, page, rom, perms); /* has succeeded once */
    }
    vm_unlock(vm);
    vm_memory_changed(vm);
}
