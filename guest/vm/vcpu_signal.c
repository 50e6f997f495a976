/* SPDX-License-Identifier: BSD-2-Clause */
/* What other CPUs and devices ask of a vCPU: to look at its interrupts, an NMI, INIT, SIPI, to
 * wait, a dump of its registers, the VM's end; and the VM's lock. */
#include "arch/fault.h"
#include "arch/format.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "guest/vm/sched.h"
#include "guest/vm/step.h"
#include "mm/guestspace.h"

#include <stdarg.h>

#define SIPI_VECTOR_SHIFT 8

void vm_lock_shared(struct vm *vm)
{
    spinlock_lock(&vm->lock);
}

void vm_unlock_shared(struct vm *vm)
{
    spinlock_unlock(&vm->lock);
}

void vm_start(struct vm *vm)
{
    static uint64_t last_number;
    const uint32_t count = vm->vcpu_count; /* behind the last resume the VM may be gone already */
    vm->number = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED);
    vm->running = count;
    vm->tsc_first_entry = cpu_rdtsc();
    for (uint32_t i = 0; i < count; i++)
        sched_interrupt(run_queue_resume(&vm->vcpu[i]->run, cpu_rdtsc()));
}

uint64_t vm_run_timers(void *dev, uint64_t now)
{
    struct vm *vm = dev;
    uint64_t next = RUN_NEVER;
    vm_lock(vm);
    if (!vm_has_ended(vm)) {
        const hpa_t before = guestspace_enter(vm->root);
        timers_run(&vm->timers, now);
        next = vm->alarm_armed = vm->timers.next;
        (void)guestspace_enter(before);
    }
    vm_unlock(vm);
    return next;
}

void vm_arm_alarm(struct vm *vm)
{
    vm->alarm_armed = vm->timers.next;
    sched_interrupt(run_alarm_arm(&vm->alarm, vm->timers.next));
}

/*
 * CPU A writes what it asks for, then attention, then wakes the vCPU by its run queue, which
 * tells it the CPU to interrupt. CPU B, which runs the vCPU, takes attention and woken back and
 * then looks at what has been asked for (vcpu_prepare()). Without this order B could look too
 * early, and go into the guest or to sleep with the request open.
 */
void vcpu_kick(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->attention, true, __ATOMIC_SEQ_CST);
    sched_interrupt(run_queue_wake(&vcpu->run, cpu_rdtsc()));
}

_Static_assert(VM_MAX_VCPUS <= 64 && VM_MAX_VCPUS <= RUN_WAKE_MAX, "all of a VM, and a bit each");

static void __attribute__((noinline)) kick_several(struct vm *vm, uint64_t which)
{
    struct run_vcpu *list[VM_MAX_VCPUS];
    struct run_cpus cpus = {.bits = {0}};
    uint32_t count = 0;
    for (; which != 0; which &= which - 1) {
        struct vcpu *vcpu = vm->vcpu[__builtin_ctzll(which)];
        __atomic_store_n(&vcpu->attention, true, __ATOMIC_SEQ_CST);
        list[count++] = &vcpu->run;
    }
    run_queue_wake_all(list, count, cpu_rdtsc(), &cpus);
    for (uint32_t i = 0; i < RUN_CPU_MAX / 64; i++)
        for (uint64_t bits = cpus.bits[i]; bits != 0; bits &= bits - 1)
            sched_interrupt(64 * i + (uint32_t)__builtin_ctzll(bits));
}

void vcpu_kick_all(struct vm *vm, uint64_t which)
{
    if ((which & (which - 1)) != 0)
        kick_several(vm, which);
    else if (which != 0)
        vcpu_kick(vm->vcpu[__builtin_ctzll(which)]);
}

static void kick_later(struct vcpu *vcpu, uint64_t *later)
{
    if (later != NULL)
        *later |= 1ull << vcpu->index;
    else
        vcpu_kick(vcpu);
}

void vm_wait_for_io(struct vm *vm)
{
    struct vcpu *vcpu = cpu_self()->vcpu;
    __atomic_store_n(&vm->io_waits, true, __ATOMIC_SEQ_CST);
    vcpu->activity = ACTIVITY_WAIT_FOR_IO;
    vcpu->attention = true;
}

/* Those that wait for it have begun with the lock held, so none is missed. */
void vm_io_ready(struct vm *vm)
{
    uint64_t waiting = 0;
    __atomic_store_n(&vm->io_waits, false, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        if (__atomic_load_n(&vm->vcpu[i]->activity, __ATOMIC_RELAXED) == ACTIVITY_WAIT_FOR_IO)
            waiting |= 1ull << i;
    vcpu_kick_all(vm, waiting);
}

void vm_set_a20(void *dev, bool on)
{
    struct vm *vm = dev;
    const uint64_t absent = on ? 0 : 1ull << 20;
    if (vm->mem.absent == absent)
        return;
    __atomic_store_n(&vm->mem.absent, absent, __ATOMIC_SEQ_CST);
    vm_memory_changed(vm);
}

static bool is_running(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->run.state, __ATOMIC_SEQ_CST) == VCPU_RUNNING;
}

/*
 * Nobody is woken for it, as it gives nobody anything to do. CPU A sets attention, and then looks
 * whether the vCPU runs. CPU B writes that it does (begin() in runqueue.c), and then looks at
 * attention, before the vCPU enters the guest. Without this order A could see it waiting and B
 * could see no attention: the vCPU would go on by what its CPU has cached.
 */
void vm_memory_changed(struct vm *vm)
{
    __atomic_add_fetch(&vm->memory_changes, 1, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        __atomic_store_n(&vm->vcpu[i]->attention, true, __ATOMIC_SEQ_CST);
        if (is_running(vm->vcpu[i]))
            vcpu_kick(vm->vcpu[i]);
    }
}

void vcpu_interrupts_changed(struct vcpu *vcpu)
{
    if (cpu_self()->vcpu == vcpu && is_running(vcpu))
        vcpu->attention = true;
    else
        vcpu_kick(vcpu);
}

/*
 * CPU A has set a bit in struct posted, sees that the vCPU runs, and sends a notification to its
 * CPU. CPU B puts the vCPU away before that comes, and loads it again, or CPU C does: vcpu_load()
 * looks at struct posted behind the change of the run state, as sched_block() does. Without these
 * looks the vCPU would run or sleep on with the interrupt open, as B's next vCPU has got the
 * notification.
 */
void vcpu_posted(struct vcpu *vcpu, bool silent, uint64_t *later)
{
    const struct cpu *self = cpu_self();
    if (!silent || !vcpu->posting || !is_running(vcpu)) {
        kick_later(vcpu, later);
        return;
    }
    const uint32_t cpu = __atomic_load_n(&vcpu->run.home, __ATOMIC_RELAXED)->index;
    if (cpu != self->index)
        lapic_send(cpu_by_index(cpu)->apic_id, VECTOR_POSTED);
    else if (self->vcpu == vcpu)
        vcpu->attention = true;
    else
        kick_later(vcpu, later);
}

static void request(struct vcpu *vcpu, uint32_t drop, uint32_t add, uint64_t *later)
{
    uint32_t old = __atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED), new;
    do {
        const uint32_t again = (old & add & REQUEST_NMI) != 0 ? REQUEST_NMI_AGAIN : 0;
        new = (old & ~drop) | add | again;
    } while (!__atomic_compare_exchange_n(&vcpu->requests, &old, new, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    __atomic_add_fetch(&vcpu->vm->request_count, 1, __ATOMIC_SEQ_CST); /* now, see all_stuck() */
    kick_later(vcpu, later);
}

void vcpu_request_nmi(struct vcpu *vcpu, uint64_t *later)
{
    request(vcpu, 0, REQUEST_NMI, later);
}

/* A SIPI from before the INIT does not count. */
void vcpu_request_init(struct vcpu *vcpu, uint64_t *later)
{
    request(vcpu, REQUEST_SIPI | REQUEST_NMIS | REQUEST_UNHALT, REQUEST_INIT, later);
}

void vcpu_request_sipi(struct vcpu *vcpu, unsigned vector, uint64_t *later)
{
    request(vcpu, 0xff << SIPI_VECTOR_SHIFT, REQUEST_SIPI | (vector & 0xff) << SIPI_VECTOR_SHIFT,
            later);
}

/*
 * CPU A, in the guest, has freed a lock that the vCPU of CPU B waits for, and asks for this. B has
 * looked at the lock, found it taken, and executes HLT, with interrupts off. Were the request for a
 * halted vCPU alone, A's could come between B's look and its HLT, which nothing would end.
 */
void vcpu_request_unhalt(struct vcpu *vcpu)
{
    request(vcpu, 0, REQUEST_UNHALT, NULL);
}

/*
 * SDM, "Processor State After INIT": the caches' control, x87 and SSE, MTRRs, the TSC and most MSRs
 * stay. The boot processor would fetch from the reset vector; the others wait.
 */
static void take_init(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (vcpu->step.count != 0) { /* the step that it was about to take is off */
        step_give_up(vcpu);
    }
    struct cpu_state old, state = cpu_state_reset(vcpu_signature(vcpu));
    vcpu->engine->get_state(vcpu, STATE_CONTROL, &old);
    state.cr0 &= ~(CR0_CD | CR0_NW);
    state.cr0 |= old.cr0 & (CR0_CD | CR0_NW);
    vcpu->engine->set_state(vcpu, STATE_ALL & ~STATE_MSRS, &state);
    vcpu->event.info = 0;
    vcpu->nmis_pending = 0;
    vcpu_pv_reset(vcpu);
    vm_lock(vm);
    vlapic_reset(&vcpu->apic, true);
    if (vcpu->call_timer.fire != NULL)
        timers_arm(&vcpu->timers, &vcpu->call_timer, TIMER_NEVER);
    vm_unlock(vm);
    vcpu->activity = vcpu->index == 0 ? ACTIVITY_ACTIVE : ACTIVITY_WAIT_FOR_SIPI;
    vcpu->halted_open = true;
    if (vcpu->index == 0 && guestmem_slot(&vm->mem, gpa(state.cs.base + state.rip)) == NULL)
        vm_end_request(vm, VM_RESET, 0, "INIT of the boot processor, and no firmware to go to");
}

/* A CPU delivers an NMI as it comes, and latches one more while the handler runs (SDM, "Handling
 * Multiple NMIs"): two that come while it is not in the guest are not one. */
static void take_nmis(struct vcpu *vcpu, uint32_t taken)
{
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_EVENTS, &state);
    const uint32_t event = vcpu->event.info;
    const bool in_handler = (state.interruptibility & BLOCKED_BY_NMI) != 0 ||
                            (event != 0 && (event & EVENT_TYPE_MASK) == EVENT_NMI);
    const unsigned room = in_handler ? 1 : 2;
    const unsigned came = (taken & REQUEST_NMIS) == REQUEST_NMIS ? 2 : 1;
    const unsigned count = vcpu->nmis_pending + came;
    vcpu->nmis_pending = (uint8_t)(count < room ? count : room);
}

void vcpu_take_requests(struct vcpu *vcpu)
{
    const uint32_t taken =
        __atomic_exchange_n(&vcpu->requests, REQUESTS_ARE_TAKEN, __ATOMIC_SEQ_CST);
    if ((taken & REQUEST_DUMP) != 0)
        vcpu_dump(vcpu);
    if ((taken & REQUEST_INIT) != 0)
        take_init(vcpu);
    if ((taken & REQUEST_NMIS) != 0)
        take_nmis(vcpu, taken);
    if ((taken & REQUEST_UNHALT) != 0 && vcpu->activity == ACTIVITY_HLT)
        vcpu->halted_trap = true;
    else if ((taken & REQUEST_UNHALT) != 0) /* the HLT that it is for is to come */
        __atomic_fetch_or(&vcpu->requests, REQUEST_UNHALT, __ATOMIC_SEQ_CST);
    if ((taken & REQUEST_SIPI) != 0 && vcpu->activity == ACTIVITY_WAIT_FOR_SIPI) {
        const uint32_t page = taken >> SIPI_VECTOR_SHIFT & 0xff;
        struct cpu_state state;
        vcpu->engine->get_state(vcpu, STATE_IP | STATE_SEGMENTS, &state);
        state.cs.selector = (uint16_t)(page << 8);
        state.cs.base = page << 12;
        state.rip = 0;
        vcpu->engine->set_state(vcpu, STATE_IP | STATE_SEGMENTS, &state);
        vcpu->activity = ACTIVITY_ACTIVE;
    }
    __atomic_fetch_and(&vcpu->requests, ~(uint32_t)REQUESTS_ARE_TAKEN, __ATOMIC_SEQ_CST);
}

void vcpu_request_dump(struct vcpu *vcpu)
{
    request(vcpu, 0, REQUEST_DUMP, NULL);
}

/* At a limit all vCPUs print at once, and 64 of them would leave no room for why the VM has ended:
 * a console's ring has 64 KiB, of which the guest may have filled a quarter. */
#define DUMPED_IN_FULL 24

/* One vCPU of a VM at a time, as lines of several would mix. */
void vcpu_dump(struct vcpu *vcpu)
{
    static const char *const doing[] = {[ACTIVITY_ACTIVE] = "runs",
                                        [ACTIVITY_HLT] = "halted",
                                        [ACTIVITY_WAIT_FOR_IO] = "waits for a device",
                                        [ACTIVITY_FROZEN] = "waits at an x87 error",
                                        [ACTIVITY_SLEEP] = "sleeps",
                                        [ACTIVITY_WAIT_FOR_SIPI] = "not started"};
    struct cpu_state state;
    __atomic_fetch_and(&vcpu->requests, ~(uint32_t)REQUEST_DUMP, __ATOMIC_SEQ_CST);
    vcpu->engine->get_state(vcpu, STATE_ALL, &state);
    spinlock_lock(&vcpu->vm->dump_lock);
    const bool started = vcpu->activity != ACTIVITY_WAIT_FOR_SIPI;
    const bool in_full = vcpu->vm->end != VM_LIMIT || vcpu->index < DUMPED_IN_FULL;
    if (started && !in_full)
        log_line_of(vcpu->vm->log, "%s: vCPU %u: %s, CS %04x, RIP %lx", vcpu->vm->name, vcpu->index,
                    doing[vcpu->activity], state.cs.selector, state.rip);
    else
        log_line_of(vcpu->vm->log, "%s: vCPU %u: %s", vcpu->vm->name, vcpu->index,
                    doing[vcpu->activity]);
    if (started && in_full)
        vcpu_print(vcpu, &state);
    if (vcpu->index == 0 && vcpu->vm->dump != NULL) {
        vm_lock(vcpu->vm);
        vcpu->vm->dump(vcpu->vm, &state);
        vm_unlock(vcpu->vm);
    }
    spinlock_unlock(&vcpu->vm->dump_lock);
}

void vm_end_request(void *dev, enum vm_end end, uint32_t code, const char *why)
{
    vm_end_format(dev, end, code, "%s", why);
}

void vm_end_format(struct vm *vm, enum vm_end end, uint32_t code, const char *format, ...)
{
    if (__atomic_exchange_n(&vm->end_claimed, true, __ATOMIC_ACQ_REL))
        return;
    struct vcpu *vcpu = cpu_self()->vcpu;
    vm->end_vcpu = vcpu != NULL && vcpu->vm == vm ? vcpu : vm->vcpu[0];
    vm->end_code = code;
    va_list args;
    va_start(args, format);
    format_text_va(vm->end_why, sizeof(vm->end_why), format, args);
    va_end(args);
    __atomic_store_n(&vm->end, end, __ATOMIC_RELEASE);
    vcpu_kick_all(vm, UINT64_MAX >> (64 - vm->vcpu_count));
}
