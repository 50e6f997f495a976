/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a vCPU: made, run from entry to exit until its VM ends, put away. The run loop is
 * vcpu_run(). */
#include "guest/vm/vcpu.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/msr.h"
#include "arch/panic.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/*
 * Enters the guest and returns when it exits: 0 after an exit, 1 for VMfailInvalid, 2 for
 * VMfailValid. An ordinary function but for the registers that it does not keep (vmenter.asm).
 */
static inline unsigned vmx_enter(struct guest_regs *regs, uint32_t launch)
{
    unsigned result;
    __asm__ volatile("call vmx_enter_guest"
                     : "=a"(result), "+S"(launch)
                     : "D"(regs)
                     : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "cc", "memory");
    return result;
}

/* SDM, "Guidelines for Use of the INVEPT Instruction". */
static void __attribute__((noinline)) drop_cached_ept(struct vcpu *vcpu)
{
    vcpu->ept_seen = __atomic_load_n(&vcpu->vm->ept_changes, __ATOMIC_SEQ_CST);
    if (!invept(INVALIDATE_ALL, 0))
        panic("INVEPT failed");
}

static enum status allocate(struct vcpu *vcpu)
{
    enum status s = page_alloc(1, 1, &vcpu->vmcs);
    if (s == OK)
        s = page_alloc(1, 1, &vcpu->msr_bitmap);
    if (s == OK && vcpu->seat->vcpu_count > 1)
        s = page_alloc(1, 1, &vcpu->xsave_area);
    if (s == OK)
        *(uint32_t *)hpa_to_ptr(vcpu->vmcs) = vmx_revision(vmx_caps());
    return s;
}

enum status vcpu_create(struct vcpu *vcpu, const struct boot_state *state)
{
    struct vm *vm = vcpu->vm;
    vcpu->boot = state;
    vcpu->activity = state != NULL ? VCPU_RUNS : VCPU_WAITS_FOR_SIPI;
    vcpu->halted_open = true;
    vcpu->xcr0 = 1;
    vcpu->misc_enable = MISC_ENABLE_RESET;
    vcpu->vpid = (uint16_t)(vm->index * VM_MAX_VCPUS + vcpu->index + 1);
    vcpu->phys_bits = (uint8_t)cpuid_table_find(&vm->cpuid, 0x80000008, 0)->eax;
    vcpu->assisted = vmx_has_apicv();
    vcpu->intc.assisted = vcpu->assisted;
    vcpu->posting = vcpu->assisted && vcpu->seat->vcpu_count == 1 &&
                    control_allowed(vmx_caps()->pin, PIN_POSTED_INTERRUPTS);
    enum status s = vcpu->index == 0 ? exit_msr_open(vm) : OK;
    if (s == OK)
        s = allocate(vcpu);
    if (s != OK)
        vcpu_destroy(vcpu);
    return s;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    hpa_t *pages[] = {&vcpu->vmcs, &vcpu->msr_bitmap, &vcpu->xsave_area};
    for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (pages[i]->v != 0)
            page_free(*pages[i], 1);
        *pages[i] = hpa(0);
    }
    for (unsigned i = 0; i < ROM_STEP_PAGES; i++) {
        if (vcpu->rom_step.copy[i].v != 0)
            page_free(vcpu->rom_step.copy[i], 1);
        vcpu->rom_step.copy[i] = hpa(0);
    }
}

bool vcpu_is_ready(struct vcpu *vcpu)
{
    return vcpu_is_wanted(vcpu) ||
           (vcpu->activity == VCPU_HALTED && inject_would_wake(vcpu, vcpu->halted_open));
}

/* HLT, waiting for SIPI, or held by a device: the CPU sleeps until there is something to do, or
 * leaves the vCPU to its seat, where others share it. False: nothing more for now. */
static bool vcpu_wait(struct vcpu *vcpu)
{
    struct vm_seat *seat = vcpu->seat;
    if (vcpu->activity == VCPU_HALTED) { /* none of these changes until it runs again */
        vcpu->halted_nmi = (vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_NMI) == 0;
        vcpu->halted_trap = vmread(VMCS_GUEST_PENDING_DEBUG) != 0;
        __atomic_store_n(&vcpu->halted_open, (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) != 0,
                         __ATOMIC_SEQ_CST);
    }
    while (!vcpu_is_ready(vcpu)) {
        if (seat->vcpu_count > 1)
            return false;
        vcpu->tsc_exit += sched_sleep(vcpu->vm, seat); /* waiting is not work */
        __atomic_store_n(&vcpu->attention, false, __ATOMIC_SEQ_CST);
        if (vm_seat_must_stop(seat))
            return false;
    }
    if (vcpu->activity != VCPU_WAITS_FOR_SIPI) {
        vcpu->activity = VCPU_RUNS;
        vcpu->halted_open = true;
    }
    if (vcpu->requests != 0)
        vcpu_take_requests(vcpu);
    return vcpu->activity == VCPU_RUNS;
}

/* What is to be done before the next entry beside the exit itself. False:
 * the seat is to look for another vCPU, or has something to do itself. */
static bool vcpu_prepare(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct vm_seat *seat = vcpu->seat;
    uint64_t now = cpu_rdtsc();
    if (now >= vcpu->timers->next)
        sched_run_timers(vm, seat, now);
    if (!vcpu->attention)
        return true;
    __atomic_store_n(&vcpu->attention, false, __ATOMIC_SEQ_CST);
    if (vcpu->requests != 0)
        vcpu_take_requests(vcpu);
    if (vcpu->activity != VCPU_RUNS && !vcpu_wait(vcpu))
        return false;
    if (vm_seat_must_stop(seat) || (seat->vcpu_count > 1 && sched_turn_is_over(vm, seat)))
        return false;
    if (vcpu->ept_seen != vm->ept_changes)
        drop_cached_ept(vcpu);
    inject_prepare(vcpu);
    return true;
}

/* Books the time in root mode since the exit on its reason. */
static void account(struct vcpu *vcpu, uint32_t reason, uint64_t now)
{
    struct exit_stat *stat = &vcpu->stats.exit[reason % EXIT_REASON_SLOTS];
    stat->count++;
    stat->tsc_root += now - vcpu->tsc_exit;
}

static uint64_t ticks_left(const struct timers *timers, uint64_t now)
{
    const uint64_t next = timers->next;
    return next > now ? next - now : 0;
}

/*
 * Makes the CPU leave the guest after so many TSC ticks: by the preemption timer, which counts at
 * TSC rate >> shift, or else (shift < 0) by an interrupt of the host's APIC.
 */
static void arm_deadline(uint64_t ticks, uint64_t now, int shift)
{
    /* The field takes 32 bits and VMWRITE drops the others: then the CPU comes too early, never too
     * late. */
    if (shift >= 0)
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, ticks >> shift);
    else
        lapic_timer_arm(now + ticks);
}

void vcpu_run(struct vcpu *vcpu)
{
    const struct timers *timers = vcpu->timers;
    const bool timer = control_allowed(vmx_caps()->pin, PIN_PREEMPTION_TIMER);
    const int shift = timer ? (int)vmx_preemption_shift(vmx_caps()) : -1;
    if (vcpu->launch != LAUNCH_NEEDED)
        vcpu->launch = LAUNCH_DONE_STACK_MOVED;

    bool runs = vcpu_prepare(vcpu);
    uint64_t now = cpu_rdtsc(), ticks = ticks_left(timers, now);
    while (runs) {
        arm_deadline(ticks, now, shift);
        unsigned failed = vmx_enter(&vcpu->regs, vcpu->launch);
        if (failed != 0) {
            vcpu_report_failed_entry(vcpu, failed);
            break;
        }
        vcpu->tsc_exit = cpu_rdtsc();
        vcpu->launch = LAUNCH_DONE;
        uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
        exit_dispatch(vcpu, reason);

        now = cpu_rdtsc();
        const uint64_t next = timers->next;
        if (!vcpu->attention && now < next) {
            account(vcpu, reason, now);
            ticks = next - now;
            continue;
        }
        runs = vcpu_prepare(vcpu);
        now = cpu_rdtsc();
        account(vcpu, reason, now);
        ticks = ticks_left(timers, now);
    }
}
