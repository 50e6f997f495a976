/* SPDX-License-Identifier: BSD-2-Clause */
/* What VT-x keeps of a VM: its EPT, and the page at which the CPU virtualizes the local APIC. */
#include "arch/log.h"
#include "arch/panic.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

enum status vmx_vm_create(struct vm *vm)
{
    hpa_t page;
    enum status s = page_alloc(1, 1, &page);
    if (s != OK)
        return s;
    struct vmx_vm *own = hpa_to_ptr(page);
    const struct ept_caps caps = vmx_ept_caps();
    vm->engine_vm = own;
    s = ept_init(&own->ept, &caps);
    if (s == OK && vmx_has_apicv()) {
        s = page_alloc(1, 1, &own->apic_access_page);
        if (s == OK)
            s = ept_map(&own->ept, gpa(VM_APIC_PAGE_GPA), own->apic_access_page, PAGE_SIZE, EPT_RW,
                        MEMORY_WB);
    }
    return s;
}

void vmx_vm_destroy(struct vm *vm)
{
    struct vmx_vm *own = vmx_vm(vm);
    if (own == NULL)
        return;
    if (own->apic_access_page.v != 0)
        page_free(own->apic_access_page, 1);
    ept_destroy(&own->ept, sched_look);
    ept_destroy(&own->a20_off, sched_look);
    page_free(ptr_to_hpa(own), 1);
    vm->engine_vm = NULL;
}

_Static_assert((int)MAP_R == (int)EPT_R && (int)MAP_W == (int)EPT_W && (int)MAP_X == (int)EPT_X,
               "permissions are EPT's");

enum status vmx_map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms)
{
    struct ept *ept = &vmx_vm(vm)->ept;
    enum status s = OK;
    for (uint64_t done = 0, n; done < bytes && s == OK; done += n) {
        n = ept_portion(ept, gpa(guest.v + done), hpa(host.v + done), bytes - done);
        s = ept_map(ept, gpa(guest.v + done), hpa(host.v + done), n, perms, MEMORY_WB);
        sched_look();
    }
    return s;
}

enum status vmx_protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms)
{
    vmx_a20_forget(vm, guest, bytes);
    return ept_protect(&vmx_vm(vm)->ept, guest, bytes, perms);
}

enum status vmx_redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms)
{
    vmx_a20_forget(vm, page, PAGE_SIZE);
    return ept_redirect(&vmx_vm(vm)->ept, page, host, perms);
}

void vmx_memory(const struct vm *vm, struct engine_memory *out)
{
    const struct ept *ept = &vmx_vm(vm)->ept;
    *out = (struct engine_memory){
        ept->table_pages,
        {ept->leaves[EPT_LEAF_4K], ept->leaves[EPT_LEAF_2M], ept->leaves[EPT_LEAF_1G]}};
}

/* An APIC that is off, in x2APIC mode or elsewhere does not answer at the usual place. Where one is
 * such, accesses of all vCPUs are emulated: the EPT is theirs together. */
static void place_apic(struct vcpu *vcpu, uint64_t base)
{
    struct vm *vm = vcpu->vm;
    struct vmx_vm *own = vmx_vm(vm);
    const uint64_t usual = VM_APIC_PAGE_GPA / PAGE_SIZE;
    const bool listens = (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
    const uint64_t frame = listens ? base / PAGE_SIZE : VCPU_NO_APIC_FRAME;
    const gpa_t page = gpa(frame * PAGE_SIZE), usual_page = gpa(VM_APIC_PAGE_GPA);
    if (frame == vcpu->apic_frame)
        return;
    if (listens && guestmem_slot(&vm->mem, page) != NULL) { /* memory for this vCPU only, then */
        vm_end_format(vm, VM_CRASH, 0, "a local APIC was moved to 0x%llx, where memory is",
                      (unsigned long long)page.v);
        return;
    }
    vm_lock(vm);
    own->apics_elsewhere += (uint32_t)(frame != usual) - (uint32_t)(vcpu->apic_frame != usual);
    vcpu->apic_frame = frame;
    vmx_a20_forget(vm, usual_page, PAGE_SIZE);
    if (own->apic_access_page.v != 0 &&
        (own->apics_elsewhere == 0
             ? ept_redirect(&own->ept, usual_page, own->apic_access_page, EPT_RW)
             : ept_protect(&own->ept, usual_page, PAGE_SIZE, 0)) != OK)
        panic("no EPT entry for the APIC page");
    vm_unlock(vm);
    vm_memory_changed(vm);
}

void vmx_apic_changed(struct vcpu *vcpu)
{
    const uint64_t base = vcpu->apic.base;
    place_apic(vcpu, base);
    vmcs_set_apic_mode(vmx_vcpu(vcpu), (base & APIC_BASE_X2APIC) != 0);
}
