/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a vCPU outside of its engine: made, loaded on a CPU, waiting, put away. */
#include "guest/vm/vcpu.h"

#include "arch/cpu.h"
#include "arch/nospec.h"
#include "arch/percpu.h"
#include "guest/vm/sched.h"
#include "guest/vm/step.h"
#include "guest/vm/vcpu_prepare.h"
#include "mm/guestspace.h"
#include "mm/page_alloc.h"

void vcpu_run_timer(struct vcpu *vcpu, uint64_t now)
{
    if (now < vcpu->timers.next)
        return;
    vm_lock(vcpu->vm);
    timers_run(&vcpu->timers, now);
    vm_unlock(vcpu->vm);
}

/* The timer's alarm, while no CPU has the vCPU. */
static uint64_t alarm_fired(void *dev, uint64_t now)
{
    struct vcpu *vcpu = dev;
    vcpu_run_timer(vcpu, now);
    return vcpu->timers.next;
}

/* That it has come is all: vcpu_prepare() looks at the run queue. */
static void host_timer_fired(void *dev, uint64_t now)
{
    (void)dev;
    (void)now;
}

static bool allows(const struct vm *vm, uint32_t cpu)
{
    return (vm->cpus.bits[cpu / 64] >> cpu % 64 & 1) != 0;
}

/* The CPUs are given out in turn, but for those where the VM may not run; the queues do the rest.
 */
static uint32_t choose_cpu(const struct vm *vm, uint32_t index)
{
    uint32_t cpu = (vm->index + index) % vm->queues->count;
    while (!allows(vm, cpu))
        cpu = cpu + 1 < vm->queues->count ? cpu + 1 : 0;
    return cpu;
}

void vcpu_init(struct vcpu *vcpu, struct vm *vm, uint32_t index)
{
    vcpu->vm = vm;
    vcpu->engine = vm->engine;
    vcpu->index = vcpu->apic_id = index;
    vcpu->attention = true;
    vcpu->halted_open = true;
    vcpu->activity = ACTIVITY_WAIT_FOR_SIPI;
    vcpu->xcr0 = 1;
    vcpu->misc_enable = MISC_ENABLE_RESET;
    vcpu->spec_control = 0;
    vcpu->tsc_offset = vm->tsc_offset;
    vcpu->phys_bits = (uint8_t)cpuid_table_find(&vm->cpuid, 0x80000008, 0)->eax;
    vcpu_mtrr_set_up(vcpu);
    vcpu->apic_frame = VM_APIC_PAGE_GPA / PAGE_SIZE;
    vcpu->timers =
        (struct timers){.read = vm->timers.read, .hz = vm->timers.hz, .next = TIMER_NEVER};
    vcpu->host_timer = (struct timer){.fire = host_timer_fired, .dev = vcpu};
    timers_add(&vcpu->timers, &vcpu->host_timer);
    vcpu->run.allowed = vm->cpus;
    run_vcpu_add(vm->queues, &vcpu->run, &vm->share, choose_cpu(vm, index), VCPU_PAUSED);
    vcpu->alarm = (struct run_alarm){.fire = alarm_fired, .dev = vcpu};
    run_alarm_add(&vcpu->run, &vcpu->alarm);
    if (index == 0)
        run_alarm_add(&vcpu->run, &vm->alarm);
    vm->vcpu[index] = vcpu;
    vm->vcpu_count++;
}

void vcpu_set_initial(struct vcpu *vcpu, const struct cpu_state *state)
{
    vcpu->initial = state;
    vcpu->activity = state != NULL ? ACTIVITY_ACTIVE : ACTIVITY_WAIT_FOR_SIPI;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    run_vcpu_remove(&vcpu->run, cpu_rdtsc());
    step_destroy(vcpu);
    vlapic_destroy(&vcpu->apic);
    vcpu->engine->vcpu_destroy(vcpu);
}

/* In the page tables of whom this CPU works for next. */
static inline __attribute__((always_inline)) void put(struct cpu *cpu)
{
    struct vcpu *vcpu = cpu->vcpu;
    if (vcpu == NULL)
        return;
    vcpu->engine->put(vcpu);
    cpu->vcpu = NULL;
    cpu->attention = NULL;
    if (vcpu->host_timer.deadline != TIMER_NEVER)
        timers_arm(&vcpu->timers, &vcpu->host_timer, TIMER_NEVER);
    if (vcpu->timers.next != TIMER_NEVER)
        sched_interrupt(run_alarm_arm(&vcpu->alarm, vcpu->timers.next));
    run_vcpu_unload(&vcpu->run); /* from here on it may be another CPU's */
}

/* In the page tables of the vCPU that is loaded, where one is. An offered EOI is taken back here,
 * as from now on its word in the guest's memory is out of reach for those who look whether the vCPU
 * has an interrupt. */
static inline __attribute__((always_inline)) void tell_guest_of_leaving(const struct cpu *cpu)
{
    struct vcpu *vcpu = cpu->vcpu;
    if (vcpu == NULL)
        return;
    if (vcpu->pv.eoi_offered)
        vlapic_take_offer(&vcpu->apic);
    if (vcpu->pv.steal != 0)
        vcpu_pv_leaves(vcpu);
}

void vcpu_put_away(void)
{
    struct cpu *cpu = cpu_self();
    tell_guest_of_leaving(cpu);
    if (cpu->vcpu != NULL)
        (void)guestspace_enter(hpa(0));
    put(cpu);
}

/* Apart, so that other switches do not pay for its frame. */
static void __attribute__((noinline)) start(struct vcpu *vcpu)
{
    const struct cpu_state reset = cpu_state_reset(vcpu_signature(vcpu));
    if (vcpu->index == 0)
        vcpu->vm->tsc_first_entry = cpu_rdtsc();
    vcpu->started = true;
    vcpu->engine->set_state(vcpu, STATE_ALL, vcpu->initial != NULL ? vcpu->initial : &reset);
}

/*
 * CPU A, here, leaves the page tables of the vCPU that it had, and then gives that free. CPU B may
 * find then that it was the last of a VM that has ended, and frees those tables. Without this
 * order A could go on by tables that are another's memory by now.
 */
void vcpu_load(struct vcpu *vcpu)
{
    struct cpu *cpu = cpu_self();
    if (cpu->vcpu == vcpu)
        return;
    tell_guest_of_leaving(cpu);
    (void)guestspace_enter(vcpu->vm->root);
    put(cpu);
    run_vcpu_load(&vcpu->run);
    if (vcpu->alarm.deadline != RUN_NEVER)
        (void)run_alarm_arm(&vcpu->alarm, RUN_NEVER);
    vcpu->engine->load(vcpu);
    cpu->vcpu = vcpu;
    cpu->attention = &vcpu->attention;
    if (!vcpu->started)
        start(vcpu);
    if (vcpu->pv.steal != 0)
        vcpu_pv_loaded(vcpu);
    /* The notification of what was posted while it ran elsewhere went there: vcpu_posted(). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vcpu->apic.posted->outstanding != 0)
        vcpu->attention = true;
}

/*
 * CPU A had the vCPU before, has chosen another one, and is about to save this one's registers. CPU
 * B, here, has taken it out of the queue meanwhile, and waits for that before it says that it has
 * stopped. Without this B could free what A still writes to. A waits for none of B's: B has put
 * away its own before.
 */
static void wait_until_unloaded(struct vcpu *vcpu)
{
    run_vcpu_load(&vcpu->run);
    run_vcpu_unload(&vcpu->run);
}

void vcpu_stop(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (cpu_self()->vcpu == vcpu && vm_end_is_crash(vm->end) && vm->end_vcpu == vcpu)
        vcpu->engine->get_state(vcpu, STATE_ALL, &vm->end_state);
    if (vm->end == VM_LIMIT) { /* its user wants to know what each of them was about */
        vcpu_load(vcpu);
        vcpu_dump(vcpu);
    }
    vcpu_put_away(); /* another VM's, too: stopped() finds none loaded */
    wait_until_unloaded(vcpu);
    run_queue_block(vcpu->run.home, VCPU_STOPPED, cpu_rdtsc());
    /* Whoever stops last has all others' stops behind it: what they have written is seen. */
    if (__atomic_sub_fetch(&vm->running, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    const bool lends = cpu_self()->lending == SCHED_LENDS_NOT;
    if (lends)
        cpu_self()->lending = SCHED_MAY_LEND;
    vm->stopped(vm);
    if (lends)
        cpu_self()->lending = SCHED_LENDS_NOT;
}

/* Whether its local APIC or the 8259 has an interrupt that would be delivered now. */
static bool has_interrupt(struct vcpu *vcpu)
{
    struct vlapic *apic = &vcpu->apic;
    if (vlapic_extint_pending(apic))
        return true;
    if (!vcpu->assisted)
        return vlapic_pending(apic) >= 0;
    vlapic_collect(apic);
    const int irr = vlapic_highest_vector(apic->page, APIC_IRR);
    return irr >= 0 && (uint32_t)irr >> 4 > (apic->page[APIC_PPR / 4] >> 4 & 15);
}

bool vcpu_is_ready(struct vcpu *vcpu)
{
    if (vcpu_is_wanted(vcpu))
        return true;
    if (vcpu->activity < ACTIVITY_HLT || vcpu->activity > ACTIVITY_SLEEP)
        return false;
    return vcpu->event.info != 0 || (vcpu->halted_open && has_interrupt(vcpu));
}

enum vcpu_prepared vcpu_prepare(struct vcpu *vcpu)
{
    return vcpu_prepare_in_line(vcpu);
}

enum exit_action vcpu_hypercall(struct vcpu *vcpu, unsigned cpl)
{
    uint64_t number = vcpu->regs.gpr[RAX];
    if (cpl != 0)
        return vcpu_return(vcpu, VMCALL_NOT_PERMITTED);
    const bool is_own = index_is_beyond(&number, VM_MAX_HYPERCALLS - 1);
    hypercall_fn *call = is_own ? vcpu->vm->own_hypercall : vcpu->vm->hypercall[number];
    return call != NULL ? call(vcpu) : vcpu_return(vcpu, VMCALL_UNKNOWN);
}
