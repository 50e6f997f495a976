/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU under VT-x: made, run from entry to exit until its turn or its VM ends, freed. The run
 * loop is vmx_run(). */
#include "guest/vm/step.h"
#include "guest/vm/vcpu_extended.h"
#include "guest/vm/vcpu_prepare.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/panic.h"
#include "mm/page_alloc.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* SDM, "Guidelines for Use of the INVEPT Instruction". */
static void __attribute__((noinline)) drop_cached_ept(struct vcpu *vcpu)
{
    vcpu->memory_seen = __atomic_load_n(&vcpu->vm->memory_changes, __ATOMIC_SEQ_CST);
    if (vcpu->step.count != 0) /* by copies of tables that have changed */
        step_give_up(vcpu);
    vmx_use_ept(vcpu);
    if (!invept(INVALIDATE_ALL, 0))
        panic("INVEPT failed");
}

_Static_assert(64 * VM_MAX_VCPUS < UINT16_MAX, "each vCPU of 64 VMs has a VPID of its own");

enum status vmx_vcpu_create(struct vm *vm, struct vcpu **out)
{
    _Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "one page");
    hpa_t page;
    enum status s = page_alloc(1, 1, &page);
    if (s != OK)
        return s;
    struct vmx_vcpu *v = hpa_to_ptr(page);
    v->xsave_pages = vcpu_extended_pages(vm);
    v->vpid = (uint16_t)(vm->index * VM_MAX_VCPUS + vm->vcpu_count + 1);
    v->vcpu.assisted = vmx_has_apicv();
    v->preemption_timer = control_allowed(vmx_caps()->pin, PIN_PREEMPTION_TIMER);
    v->preemption_shift = (uint8_t)vmx_preemption_shift(vmx_caps());
    s = page_alloc(1, 1, &v->vmcs);
    if (s == OK)
        s = page_alloc(1, 1, &v->msr_bitmap);
    if (s == OK)
        s = page_alloc(v->xsave_pages, 1, &v->xsave_area);
    v->vcpu.engine = vm->engine;
    if (s != OK) {
        vmx_vcpu_destroy(&v->vcpu);
        return s;
    }
    *(uint32_t *)hpa_to_ptr(v->vmcs) = vmx_revision(vmx_caps());
    *out = &v->vcpu;
    return OK;
}

void vmx_vcpu_destroy(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    if (v->vmcs.v != 0)
        page_free(v->vmcs, 1);
    if (v->msr_bitmap.v != 0)
        page_free(v->msr_bitmap, 1);
    if (v->xsave_area.v != 0)
        page_free(v->xsave_area, v->xsave_pages);
    ept_overlay_drop(&v->overlay);
    page_free(ptr_to_hpa(v), 1);
}

/* Before the next entry, where something has been asked for or is due. False: return. */
static bool __attribute__((noinline)) prepare(struct vcpu *vcpu)
{
    const enum vcpu_prepared prepared = vcpu_prepare_in_line(vcpu);
    if (prepared != PREPARED_LOOK)
        return prepared == PREPARED_ENTER;
    if (vcpu->memory_seen != vcpu->vm->memory_changes)
        drop_cached_ept(vcpu);
    inject_prepare(vcpu);
    return true;
}

/* Books the time in root mode since the exit on it. */
static void account(struct vcpu *vcpu, uint32_t event, uint64_t now)
{
    vcpu->stats.count[event]++;
    vcpu->stats.tsc_root[event] += now - vcpu->tsc_exit;
}

/* Makes the CPU leave the guest after so many TSC ticks: by the preemption timer, or else by an
 * interrupt of the host's APIC. */
static void arm_deadline(const struct vmx_vcpu *v, uint64_t ticks, uint64_t now)
{
    /* The field takes 32 bits and VMWRITE drops the others: then the CPU comes too early, never too
     * late. */
    if (v->preemption_timer)
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, ticks >> v->preemption_shift);
    else
        lapic_timer_arm(now + ticks);
}

_Static_assert((int)EXIT_REASON_COUNT <= (int)STATS_NO_SWITCH, "an exit has a slot of its own");

/* What is to be done between an exit and the next entry. event: what that time is booked on, below
 * STATS_EVENTS. False: the run is over. */
static inline __attribute__((always_inline)) bool get_ready(struct vcpu *vcpu, uint32_t event)
{
    const struct timers *timers = &vcpu->timers;
    bool runs = true;
    uint64_t now = cpu_rdtsc(), next = timers->next, ticks = next - now;
    if (vcpu->attention || now >= next) {
        runs = prepare(vcpu);
        now = cpu_rdtsc();
        next = timers->next;
        ticks = next > now ? next - now : 0;
    }
    account(vcpu, event, now);
    if (!runs || (CHECK_ENTRY && !vmx_entry_is_sound(vcpu, event)))
        return false;
    arm_deadline(vmx_vcpu(vcpu), ticks, now);
    return true;
}

void vmx_run(struct vcpu *vcpu)
{
    if (!get_ready(vcpu, vcpu->began))
        return;
    unsigned failed = vmx_enter_first(&vcpu->regs, vmx_vcpu(vcpu)->launched);
    if (failed == 0)
        vmx_vcpu(vcpu)->launched = true;
    while (failed == 0) {
        vcpu->tsc_exit = cpu_rdtsc();
        const uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
        exit_dispatch(vcpu, reason);
        if (!get_ready(vcpu, reason % STATS_EVENTS))
            return;
        failed = vmx_enter_next(&vcpu->regs);
    }
    vmx_report_failed_entry(vcpu, failed);
}
