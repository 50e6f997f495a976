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
#include "guest/vm/step_parts.h"
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

static const char no_memory[] = "no memory is left", too_many[] = "it reaches too many pages";

static void cannot_step(struct vcpu *vcpu, const char *why)
{
    vm_end_format(vcpu->vm, VM_CRASH, 0, "an instruction that cannot be stepped: %s", why);
}

bool step_has_parts(struct vcpu *vcpu)
{
    hpa_t page;
    if (vcpu->step.parts != NULL)
        return true;
    if (page_alloc(1, 1, &page) == OK) {
        vcpu->step.parts = hpa_to_ptr(page);
        return true;
    }
    cannot_step(vcpu, no_memory);
    return false;
}

/* The copy for the next page that is shown; 0: the VM ends. Where there are more pages than copies,
 * the instruction goes on where it has been interrupted, as a gather does: what it has met before
 * is over. */
static hpa_t next_copy(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    if (step->count == STEP_PAGES && step->pieces == 0)
        step_give_up(vcpu);
    if (!step_has_parts(vcpu))
        return hpa(0);
    if (step->count < STEP_PAGES) {
        hpa_t *copy = &step->parts->copy[step->count];
        if (copy->v != 0 || page_alloc(1, 1, copy) == OK)
            return *copy;
        cannot_step(vcpu, no_memory);
    } else {
        cannot_step(vcpu, too_many);
    }
    return hpa(0);
}

static bool show(struct vcpu *vcpu, gpa_t page, hpa_t host)
{
    vcpu->step.count++;
    const enum status s = vcpu->engine->show(vcpu, page, host, MAP_RWX);
    if (s == OK && vcpu->engine->step(vcpu, true))
        return true;
    cannot_step(vcpu, s == OK          ? "this CPU has no monitor trap flag"
                      : s == ERR_LIMIT ? too_many
                                       : no_memory);
    return false;
}

bool step_show_ones(struct vcpu *vcpu, gpa_t page)
{
    const hpa_t copy = next_copy(vcpu);
    if (copy.v == 0)
        return false;
    memset(hpa_to_ptr(copy), 0xff, PAGE_SIZE);
    return show(vcpu, page, copy);
}

static void show_memory(struct vcpu *vcpu, gpa_t page)
{
    const hpa_t copy = next_copy(vcpu);
    if (copy.v == 0)
        return;
    (void)guestmem_read(&vcpu->vm->mem, page, hpa_to_ptr(copy), PAGE_SIZE); /* it is there */
    (void)show(vcpu, page, copy);
}

/* False: a device is there, which a step cannot be made on. */
static bool show_page(struct vcpu *vcpu, gpa_t page)
{
    void *memory;
    if (guestmem_is_writable(&vcpu->vm->mem, page)) /* by PAM, since the CPU has met it */
        return true;
    if (guestmem_slot(&vcpu->vm->mem, page) != NULL)
        show_memory(vcpu, page);
    else if (!is_plain(vcpu, page, &memory))
        return false;
    else if (memory != NULL)
        (void)show(vcpu, page, ptr_to_hpa(memory));
    else
        (void)step_show_ones(vcpu, page);
    return true;
}

bool step_begin(struct vcpu *vcpu, gpa_t address)
{
    vm_lock(vcpu->vm);
    const bool possible = show_page(vcpu, gpa(address.v & ~(PAGE_SIZE - 1)));
    vm_unlock(vcpu->vm);
    return possible;
}

/* From this copy on: a step of many pages must not keep their memory. */
static void free_copies(struct step_parts *parts, unsigned from)
{
    for (unsigned i = from; i < STEP_PAGES && parts->copy[i].v != 0; i++) {
        page_free(parts->copy[i], 1);
        parts->copy[i] = hpa(0);
    }
}

void step_forget(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    step->pieces = step->count = 0;
    step->unfinished = false;
    if (step->parts != NULL)
        free_copies(step->parts, STEP_KEPT);
}

void step_done(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    struct cpu_state state;
    step->count = 0;
    if (step->pieces != 0) {
        vcpu->engine->get_state(vcpu, STATE_IP, &state);
        step->parts->executed = state.rip == step->next_rip;
        vm_lock(vcpu->vm);
        step_work(vcpu, STEP_WRITES);
        vm_unlock(vcpu->vm);
    }
    if (!step->unfinished)
        step_forget(vcpu);
}

void step_give_up(struct vcpu *vcpu)
{
    (void)vcpu->engine->step(vcpu, false);
    step_forget(vcpu);
}

void step_destroy(struct vcpu *vcpu)
{
    if (vcpu->step.parts == NULL)
        return;
    free_copies(vcpu->step.parts, 0);
    page_free(ptr_to_hpa(vcpu->step.parts), 1);
}
