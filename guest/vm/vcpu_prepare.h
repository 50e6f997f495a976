/* SPDX-License-Identifier: BSD-2-Clause */
/* vcpu_prepare(), for an engine in which the call itself counts. */
#pragma once

#include "arch/cpu.h"
#include "guest/vm/sched.h"
#include "guest/vm/step.h"

/* What has been asked for until now is looked at behind this: see vcpu_kick(). */
static inline void vcpu_look(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->attention, false, __ATOMIC_RELAXED);
    run_vcpu_looks(&vcpu->run); /* a full barrier */
}

/* HLT, waiting for SIPI, or held by a device: the CPU sleeps until there is something to do, or the
 * vCPU is blocked, where others want the CPU. False: nothing more for now. An offered EOI is taken
 * back first: of a blocked vCPU, a CPU in other page tables looks whether it has an interrupt. */
static inline bool vcpu_wait(struct vcpu *vcpu)
{
    if (vcpu->pv.eoi_offered)
        vlapic_take_offer(&vcpu->apic);
    while (!vcpu_is_ready(vcpu)) {
        bool sleeps;
        vcpu->tsc_exit += sched_sleep(vcpu, &sleeps); /* waiting is not work */
        if (!sleeps && sched_block(vcpu))
            return false;
        vcpu_look(vcpu);
        if (vm_has_ended(vcpu->vm))
            return false;
        vcpu_dump_if_asked(vcpu);
    }
    const enum vcpu_activity waited = vcpu->activity;
    if (waited != ACTIVITY_WAIT_FOR_SIPI) {
        vcpu->activity = ACTIVITY_ACTIVE;
        vcpu->halted_open = true;
    }
    if (vcpu->requests != 0) {
        vcpu_take_requests(vcpu);
        if (waited == ACTIVITY_HLT) /* which an UNHALT among them was for */
            __atomic_fetch_and(&vcpu->requests, ~(uint32_t)REQUEST_UNHALT, __ATOMIC_SEQ_CST);
    }
    return vcpu->activity == ACTIVITY_ACTIVE;
}

/* What has been asked for is done. False: it leaves without having been entered. */
static inline bool vcpu_attend(struct vcpu *vcpu)
{
    vcpu_look(vcpu);
    if (vm_has_ended(vcpu->vm))
        return false;
    if (vcpu->requests != 0) {
        if (vcpu->step.unfinished && step_continue(vcpu))
            return false;
        vcpu_dump_if_asked(vcpu);
        vcpu_take_requests(vcpu);
    }
    if (vcpu->activity != ACTIVITY_ACTIVE && !vcpu_wait(vcpu))
        return false;
    return !vcpu->yields && !vm_has_ended(vcpu->vm) && !sched_turn_is_over(vcpu);
}

static inline __attribute__((always_inline)) enum vcpu_prepared vcpu_prepare_in_line(
    struct vcpu *vcpu)
{
    const uint64_t now = cpu_rdtsc();
    if (now >= vcpu->host_timer.deadline) /* the end of the turn, or an alarm */
        timers_arm(&vcpu->timers, &vcpu->host_timer, TIMER_NEVER);
    vcpu_run_timer(vcpu, now);
    sched_run_alarms(vcpu, now);
    if (!vcpu->attention) /* behind the timers, which may ask for something */
        return sched_turn_is_over(vcpu) ? PREPARED_LEAVE : PREPARED_ENTER;
    if (vcpu_attend(vcpu))
        return PREPARED_LOOK;
    vcpu->attention = true; /* the engine has not looked: it is to before the next entry */
    return PREPARED_LEAVE;
}
