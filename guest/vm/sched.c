/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns and sleep of a seat's vCPUs. */
#include "guest/vm/sched.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/msr.h"

/* A turn is 1/500 s. One that others wait for, because they have just woken up, is 1/10,000 s; and
 * so are theirs behind it: who has woken them may wait for their answer. */
#define TURNS_PER_SECOND       500
#define SHORT_TURNS_PER_SECOND 10000

static void slice_over(void *dev, uint64_t now)
{
    struct vm_seat *seat = dev;
    (void)now;
    seat->turn_over = true;
    if (seat->current != NULL)
        seat->current->attention = true;
}

/* What an earlier VM has taught the branch predictors and left in the first-level cache is not for
 * this one. */
static void forget_earlier_vm(void)
{
    uint32_t features = cpu_cpuid(0, 0).eax >= 7 ? cpu_cpuid(7, 0).edx : 0;
    if ((features >> 26 & 1) != 0)
        cpu_wrmsr(MSR_IA32_PRED_CMD, 1); /* IBPB */
    if ((features >> 28 & 1) != 0)
        cpu_wrmsr(MSR_IA32_FLUSH_CMD, 1); /* L1D_FLUSH */
}

void sched_run_timers(struct vm *vm, struct vm_seat *seat, uint64_t now)
{
    vm_lock(vm);
    timers_run(&seat->timers, now);
    vm_unlock(vm);
}

/* Nothing but an NMI, INIT or SIPI of another vCPU can wake a vCPU, and that is so for each. They
 * are looked at one by one, which shows them at one time if no request has come in between. */
static bool all_stuck(const struct vm *vm)
{
    const uint32_t before = __atomic_load_n(&vm->request_count, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        const struct vcpu *vcpu = vm->vcpu[i];
        const bool open = __atomic_load_n(&vcpu->halted_open, __ATOMIC_SEQ_CST) &&
                          vcpu->activity != VCPU_WAITS_FOR_SIPI;
        if (open || vcpu_is_wanted(vcpu) || vlapic_device_may_wake(&vcpu->apic))
            return false;
    }
    return before == __atomic_load_n(&vm->request_count, __ATOMIC_SEQ_CST);
}

/* Answers vm_show() for the seat's vCPUs. One vCPU at a time, as lines of several would mix. */
static void show_vcpus(struct vm *vm, struct vm_seat *seat)
{
    static struct spinlock printer;
    static const char *const doing[] = {[VCPU_RUNS] = "runs",
                                        [VCPU_HALTED] = "halted",
                                        [VCPU_HELD] = "waits for a device",
                                        [VCPU_WAITS_FOR_SIPI] = "not started"};
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpu[i];
        if (vcpu->seat != seat)
            continue;
        spinlock_lock(&printer);
        log_line("%s: vCPU %u: %s", vm->name, i, doing[vcpu->activity]);
        if (vcpu->activity != VCPU_WAITS_FOR_SIPI) {
            vcpu_load(vcpu);
            vcpu_dump(vcpu);
        }
        spinlock_unlock(&printer);
    }
    __atomic_store_n(&seat->current, NULL, __ATOMIC_SEQ_CST);
}

uint64_t sched_sleep(struct vm *vm, struct vm_seat *seat)
{
    if (vm_seat_must_stop(seat)) /* said while attention was set already: nobody interrupts */
        return 0;
    if (all_stuck(vm)) {
        vm_end_request(vm, VM_CRASH, 0, "halted with interrupts disabled: nothing can wake it");
        return 0;
    }
    uint64_t before = cpu_rdtsc();
    cpu_idle_until(seat->timers.next);
    uint64_t now = cpu_rdtsc();
    seat->tsc_idle += now - before;
    if (now >= seat->timers.next)
        sched_run_timers(vm, seat, now);
    return now - before;
}

static void arm_slice(struct vm *vm, struct vm_seat *seat, uint64_t turns_per_second)
{
    const uint64_t end = cpu_rdtsc() + seat->timers.hz / turns_per_second;
    vm_lock(vm);
    if (end < seat->slice.deadline)
        timers_arm(&seat->timers, &seat->slice, end);
    vm_unlock(vm);
}

static void start_turn(struct vm *vm, struct vm_seat *seat, bool others)
{
    vm_lock(vm);
    timers_arm(&seat->timers, &seat->slice, TIMER_NEVER);
    vm_unlock(vm);
    const bool is_short = seat->short_turns > 0;
    seat->short_turns -= is_short;
    if (others)
        arm_slice(vm, seat, is_short ? SHORT_TURNS_PER_SECOND : TURNS_PER_SECOND);
}

/* Looks at a vCPU that has no turn. */
static bool look_at(struct vcpu *vcpu)
{
    if (vcpu->activity == VCPU_RUNS)
        return true;
    __atomic_store_n(&vcpu->attention, false, __ATOMIC_SEQ_CST);
    if (!vcpu_is_ready(vcpu))
        return false;
    vcpu->attention = true;
    return true;
}

/* The next vCPU of the seat, behind the one that had its turn, that is ready; NULL: none.
 * *others: more than one is. */
static struct vcpu *pick(struct vm *vm, struct vm_seat *seat, uint32_t last, bool *others)
{
    struct vcpu *next = NULL;
    *others = false;
    __atomic_store_n(&seat->woken, false, __ATOMIC_SEQ_CST);
    for (uint32_t n = 1; n <= vm->vcpu_count; n++) {
        struct vcpu *vcpu = vm->vcpu[(last + n) % vm->vcpu_count];
        if (vcpu->seat != seat || !look_at(vcpu))
            continue;
        *others = next != NULL;
        if (next == NULL)
            next = vcpu;
        else
            break;
    }
    return next;
}

bool sched_turn_is_over(struct vm *vm, struct vm_seat *seat)
{
    if (__atomic_exchange_n(&seat->woken, false, __ATOMIC_SEQ_CST)) {
        arm_slice(vm, seat, SHORT_TURNS_PER_SECOND);
        seat->short_turns = seat->vcpu_count - 1;
    }
    return seat->turn_over;
}

void sched_run(struct vm *vm, struct vm_seat *seat)
{
    uint32_t last = vm->vcpu_count - 1;
    forget_earlier_vm();
    seat->slice = (struct timer){.fire = slice_over, .dev = seat};
    vm_lock(vm);
    timers_add(&seat->timers, &seat->slice);
    vm_unlock(vm);
    for (;;) {
        bool others;
        const bool stop = __atomic_exchange_n(&seat->stop, false, __ATOMIC_SEQ_CST);
        if (vm_has_ended(vm)) /* asked behind the flag, which is set behind the end */
            break;
        if (stop)
            show_vcpus(vm, seat);
        struct vcpu *vcpu = pick(vm, seat, last, &others);
        if (vcpu == NULL) {
            sched_sleep(vm, seat);
            continue;
        }
        last = vcpu->index;
        seat->turn_over = false;
        vcpu_load(vcpu);
        if (seat->vcpu_count > 1)
            start_turn(vm, seat, others);
        vcpu->engine->run(vcpu);
        __atomic_store_n(&seat->current, NULL, __ATOMIC_SEQ_CST);
    }
}
