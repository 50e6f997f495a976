/* SPDX-License-Identifier: BSD-2-Clause */
/* What stands around vmx/ in its tests. */
#include "tests/unit/vmx_fixture.h"

#include "arch/fault.h"
#include "arch/panic.h"
#include "mm/page_alloc.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_RAM (4ull << 20)
#define ARENA    (1ull << 20) /* where the host's memory begins */

struct vmx_fixture fixture;
static uint8_t *arena;

const struct engine vmx_engine = {
    .name = "vtx",
    .map = vmx_map,
    .protect = vmx_protect,
    .redirect = vmx_redirect,
    .get_state = vmx_get_state,
    .set_state = vmx_set_state,
    .get_segment = vmx_get_segment,
    .flush_tlb = vmx_flush_tlb,
    .view = vmx_view,
    .inject = vmx_inject,
    .apic_changed = vmx_apic_changed,
    .tsc_changed = vmx_tsc_changed,
    .open_spec_control = vmx_open_spec_control,
    .show = vmx_show,
    .step = vmx_step,
    .watch = vmx_watch,
    .set_debug = vmx_set_debug,
};

static uint64_t read_clock(void)
{
    static uint64_t now;
    return now += 100;
}

static void demand(bool holds, const char *what)
{
    if (!holds)
        panic("fixture: %s", what);
}

static void make_vm(struct vm *vm)
{
    vm->name = "test";
    vm->engine = &vmx_engine;
    vm->timers = (struct timers){.read = read_clock, .hz = 2000000000, .next = TIMER_NEVER};
    vm->alarm_armed = TIMER_NEVER;
    vm->memory_bytes = FIXTURE_RAM;
    vm->cr4_allowed = fake_vmx.caps.cr4_fixed1 & ~CR4_VMXE;
    demand(vmx_vm_create(vm) == OK, "no VM");
    hpa_t ram;
    demand(page_alloc(FIXTURE_RAM / PAGE_SIZE, 1, &ram) == OK, "no RAM");
    fixture.ram = hpa_to_ptr(ram);
    demand(guestmem_add(&vm->mem, gpa(0), FIXTURE_RAM, fixture.ram) == OK, "no slot");
    demand(vmx_map(vm, gpa(0), ram, FIXTURE_RAM, MAP_RWX) == OK, "not mapped");
}

void fixture_make_rom(gpa_t base)
{
    struct guestmem *mem = &fixture.vm.mem;
    mem->slot[0].size = base.v;
    demand(guestmem_add(mem, base, FIXTURE_RAM - base.v, fixture.ram + base.v) == OK, "no slot");
    guestmem_replace(mem, base, fixture.ram + base.v, true);
}

static void make_vcpu(struct vmx_vcpu *v, struct vm *vm)
{
    struct vcpu *vcpu = &v->vcpu;
    vcpu->vm = vm;
    vcpu->engine = vm->engine;
    vcpu->timers = vm->timers;
    vcpu->phys_bits = 39;
    vcpu->assisted = vmx_has_apicv();
    vcpu->halted_open = true;
    vcpu->apic_frame = VM_APIC_PAGE_GPA / PAGE_SIZE;
    vcpu->xcr0 = 1;
    vcpu->misc_enable = MISC_ENABLE_RESET;
    vm->vcpu[0] = vcpu;
    vm->vcpu_count = 1;
    v->vpid = 1;
    demand(page_alloc(1, 1, &v->vmcs) == OK && page_alloc(1, 1, &v->msr_bitmap) == OK &&
               vlapic_init(&vcpu->apic, NULL, NULL) == OK,
           "no vCPU");
    *(uint32_t *)hpa_to_ptr(v->vmcs) = vmx_revision(&fake_vmx.caps);
    demand(vmclear(v->vmcs) && vmptrld(v->vmcs), "no VMCS");
    vmcs_set_controls(v);
    vmcs_set_host();
    const struct cpu_state reset = cpu_state_reset(0x50654);
    vmx_set_state(vcpu, STATE_ALL, &reset);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, 0);
    fake_vmx.cpu.vcpu = vcpu;
}

void fixture_make(bool assisted)
{
    if (!assisted) {
        fake_vmx.caps.pin.may_be_1 &= ~PIN_POSTED_INTERRUPTS;
        fake_vmx.caps.proc2.may_be_1 &=
            ~(PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_VIRTUALIZE_X2APIC |
              PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY);
    }
    memset(&fixture, 0, sizeof(fixture));
    arena = aligned_alloc(PAGE_SIZE, HOST_RAM);
    physmap_base = (uint64_t)arena - ARENA;
    const struct page_range all = {ARENA, HOST_RAM / PAGE_SIZE};
    demand(page_alloc_init(&all, 1) == OK, "no memory");
    make_vm(&fixture.vm);
    make_vcpu(&fixture.v, &fixture.vm);
}

void fixture_end(void)
{
    struct vmx_vcpu *v = &fixture.v;
    ept_overlay_drop(&v->overlay);
    vlapic_destroy(&v->vcpu.apic);
    page_free(v->vmcs, 1);
    page_free(v->msr_bitmap, 1);
    vmx_vm_destroy(&fixture.vm);
    page_free(ptr_to_hpa(fixture.ram), FIXTURE_RAM / PAGE_SIZE);
    demand(page_alloc_used_by_hypervisor() == 0, "memory has been lost");
    free(arena);
}

/* What the host's other parts would do. */

void panic(const char *format, ...)
{
    va_list args;
    if (fake_vmx.escape != NULL)
        longjmp(*fake_vmx.escape, 1);
    va_start(args, format);
    fputs("panic: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    abort();
}

bool panic_is_active(void)
{
    return false;
}

void log_line(const char *format, ...)
{
    (void)format;
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    (void)format;
}

void lapic_eoi(void)
{
    fixture.eois++;
}

void interrupt_handle_rare(uint8_t vector)
{
    fixture.rare_interrupt = vector;
}

void nmi_handle(void)
{
    fixture.nmis++;
}

void vmx_exit_point(void);
void vmx_exit_point(void)
{
    abort();
}

void vmx_report_failed_entry(struct vcpu *vcpu, unsigned failed)
{
    (void)failed;
    fixture.failed_entries++;
    vm_end_request(vcpu->vm, VM_CRASH, 0, "failed entry");
}

void vm_arm_alarm(struct vm *vm)
{
    vm->alarm_armed = vm->timers.next;
}

void vm_lock_shared(struct vm *vm)
{
    spinlock_lock(&vm->lock);
}

void vm_unlock_shared(struct vm *vm)
{
    spinlock_unlock(&vm->lock);
}

void sched_look(void)
{
}

void vcpu_kick(struct vcpu *vcpu)
{
    fixture.kicks++;
    vcpu->attention = true;
}

void vcpu_interrupts_changed(struct vcpu *vcpu)
{
    vcpu->attention = true;
}

void vcpu_kick_all(struct vm *vm, uint64_t which)
{
    for (; which != 0; which &= which - 1)
        vcpu_kick(vm->vcpu[__builtin_ctzll(which)]);
}

void vcpu_posted(struct vcpu *vcpu, bool silent, uint64_t *later)
{
    (void)later;
    (void)silent;
    vcpu_kick(vcpu);
}

void vcpu_request_nmi(struct vcpu *vcpu, uint64_t *later)
{
    (void)later;
    vcpu->nmis_pending = 1;
}

void vcpu_request_init(struct vcpu *vcpu, uint64_t *later)
{
    (void)later;
    vcpu->requests |= REQUEST_INIT;
}

void vcpu_request_sipi(struct vcpu *vcpu, unsigned vector, uint64_t *later)
{
    (void)later;
    (void)vector;
    vcpu->requests |= REQUEST_SIPI;
}

void vm_memory_changed(struct vm *vm)
{
    vm->memory_changes++;
    vcpu_kick(vm->vcpu[0]);
}

void vm_end_request(void *dev, enum vm_end end, uint32_t code, const char *why)
{
    vm_end_format(dev, end, code, "%s", why);
}

void vm_end_format(struct vm *vm, enum vm_end end, uint32_t code, const char *format, ...)
{
    if (vm->end != VM_RUNS)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(vm->end_why, sizeof(vm->end_why), format, args);
    va_end(args);
    vm->end = end;
    vm->end_code = code;
}
