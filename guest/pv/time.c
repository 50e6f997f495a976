/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A domain's time: nanoseconds since its start, which the guest makes of the time-stamp counter by
 * itself. The host's counter runs at one rate and is one for all CPUs, so the numbers for that are
 * written once, and are the same for each vCPU: system time never goes back.
 */
#include "guest/pv/pv.h"

uint64_t pv_time_now(const struct vm *vm)
{
    return vm_clock_ns(&vm->clock, cpu_rdtsc() - vm->clock.base);
}

/* A tick later on either side of the shift, which may be of several bits: at that time the guest
 * reads no earlier one, however both are rounded. */
uint64_t pv_time_tsc(const struct vm *vm, uint64_t ns)
{
    const struct vm_clock *clock = &vm->clock;
    const uint64_t ticks = scale_u64(ns, 1ull << 32, clock->mul);
    if (ticks >> 56 != 0)
        return TIMER_NEVER;
    return clock->base + vm_clock_shifted(ticks + 1, -clock->shift) + 1;
}

void pv_time_write(const struct vm *vm, struct xen_time *out)
{
    volatile struct xen_time *time = out;
    const uint32_t version = time->version;
    time->version = version | 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    time->tsc = vm->clock.base;
    time->ns = 0;
    time->mul = vm->clock.mul;
    time->shift = vm->clock.shift;
    time->flags = XEN_TIME_STABLE;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    time->version = (version | 1) + 1;
}

/* The time of day at system time 0. */
void pv_clock_write(const struct vm *vm)
{
    struct xen_shared_info *shared = pv_vm(vm)->shared;
    const uint64_t hz = vm->timers.hz, seconds = vm->domain->epoch + vm->clock.base / hz;
    shared->clock_version = 2;
    shared->clock_seconds = (uint32_t)seconds;
    shared->clock_seconds_high = (uint32_t)(seconds >> 32);
    shared->clock_ns = (uint32_t)scale_u64(vm->clock.base % hz, NS_PER_SECOND, hz);
}

/* --- the guest's timer --- */

/* In whatever page tables the CPU is: the vCPU itself sets the event (pv_run()). */
static void fire(void *dev, uint64_t now)
{
    struct pv_vcpu *v = dev;
    (void)now;
    __atomic_or_fetch(&v->asked, PV_ASK_TIMER, __ATOMIC_SEQ_CST);
    pv_wake(v);
}

/* The vCPU looks at the time itself. */
static void end_poll(void *dev, uint64_t now)
{
    (void)now;
    pv_wake(dev);
}

void pv_timer_init(struct pv_vcpu *v)
{
    v->timer = (struct timer){.fire = fire, .dev = v};
    timers_add(&v->vcpu.timers, &v->timer);
    v->poll_timer = (struct timer){.fire = end_poll, .dev = v};
    timers_add(&v->vcpu.timers, &v->poll_timer);
}

void pv_timer_set(struct pv_vcpu *v, uint64_t ns)
{
    timers_arm(&v->vcpu.timers, &v->timer, ns == 0 ? TIMER_NEVER : pv_time_tsc(v->vcpu.vm, ns));
}
