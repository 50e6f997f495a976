/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the emulator does not know the CPU does by itself, on pages that this vCPU alone sees for
 * one instruction. Of memory that is read-only to the guest, it is a copy that can be written, and
 * is then forgotten, as ROM takes no notice of writes: a far jump through a descriptor in ROM marks
 * it as accessed, LTR marks a TSS as busy, a page walk marks entries, an interrupt pushes. Where
 * nothing is at all, it is a page of ones; device memory that is no more than memory is shown
 * itself.
 */
#include "guest/vm/step.h"

#include "arch/string.h"
#include "guest/vm/access.h"
#include "mm/page_alloc.h"

/* Where no access has effects beyond memory: there is none, and no device either, or a device's. */
static bool is_plain(const struct vcpu *vcpu, gpa_t page, void **memory)
{
    return !access_is_apic(vcpu, page) && bus_mmio_is_plain(&vcpu->vm->bus, page, memory);
}

bool step_is_device_memory(const struct vcpu *vcpu, gpa_t address)
{
    const gpa_t page = gpa(address.v & ~(PAGE_SIZE - 1));
    void *memory;
    return guestmem_slot(&vcpu->vm->mem, page) == NULL && is_plain(vcpu, page, &memory) &&
           memory != NULL;
}

/* What the CPU is to find at a page: a copy, or a device's own. 0: a device that is more. */
static hpa_t page_for(struct vcpu *vcpu, gpa_t page, hpa_t copy)
{
    void *memory;
    if (guestmem_read(&vcpu->vm->mem, page, hpa_to_ptr(copy), PAGE_SIZE))
        return copy;
    if (!is_plain(vcpu, page, &memory))
        return hpa(0);
    if (memory != NULL)
        return ptr_to_hpa(memory);
    memset(hpa_to_ptr(copy), 0xff, PAGE_SIZE);
    return copy;
}

static void cannot_step(struct vcpu *vcpu, gpa_t address)
{
    vm_end_format(vcpu->vm, VM_CRASH, 0, "an access to 0x%llx that cannot be stepped over",
                  (unsigned long long)address.v);
}

/* False: a device is there, which a step cannot be made on. */
static bool show_page(struct vcpu *vcpu, gpa_t page)
{
    struct step *step = &vcpu->step;
    if (guestmem_is_writable(&vcpu->vm->mem, page)) /* by PAM, since the CPU has met it */
        return true;
    hpa_t *copy = &step->copy[step->count % STEP_PAGES];
    if (step->count == STEP_PAGES || (copy->v == 0 && page_alloc(1, 1, copy) != OK)) {
        cannot_step(vcpu, page);
        return true;
    }
    const hpa_t host = page_for(vcpu, page, *copy);
    if (host.v == 0)
        return false;
    step->count++;
    if (vcpu->engine->show(vcpu, page, host, MAP_RWX) != OK || !vcpu->engine->step(vcpu, true))
        cannot_step(vcpu, page);
    return true;
}

bool step_begin(struct vcpu *vcpu, gpa_t address)
{
    vm_lock(vcpu->vm);
    const bool possible = show_page(vcpu, gpa(address.v & ~(PAGE_SIZE - 1)));
    vm_unlock(vcpu->vm);
    return possible;
}

static void take_pages_away(struct vcpu *vcpu)
{
    vcpu->step.count = 0;
}

void step_done(struct vcpu *vcpu)
{
    if (vcpu->step.count != 0)
        take_pages_away(vcpu);
    if (vcpu->x87.asserted)
        vcpu_x87_stepped(vcpu);
}
