/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a vCPU outside of its engine: made, loaded on a CPU, waiting, put away; and
 * exceptions on their way to it. */
#include "guest/vm/vcpu.h"

#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/msr.h"
#include "arch/percpu.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"

#define DR7_GD            (1ull << 13)
#define DR6_CLEARED_BY_DB 0xfull /* what a new #DB clears: B0 to B3 */
/* Active low, and not what is reflected here: a bus lock, a transaction that is debugged. */
#define DR6_SET_BY_DB (1ull << 11 | 1ull << 16)
#define DEBUGCTL_BTF  (1ull << 1)

void vcpu_init(struct vcpu *vcpu, struct vm *vm, uint32_t index)
{
    vcpu->vm = vm;
    vcpu->engine = vm->engine;
    vcpu->index = vcpu->apic_id = index;
    vcpu->seat = vm_seat_of(vm, index);
    vcpu->seat->vcpu_count++;
    vcpu->timers = &vcpu->seat->timers;
    vcpu->attention = true;
    vcpu->halted_open = true;
    vcpu->activity = VCPU_WAITS_FOR_SIPI;
    vcpu->xcr0 = 1;
    vcpu->misc_enable = MISC_ENABLE_RESET;
    vcpu->phys_bits = (uint8_t)cpuid_table_find(&vm->cpuid, 0x80000008, 0)->eax;
    vcpu->apic_frame = VM_APIC_PAGE_GPA / PAGE_SIZE;
    vm->vcpu[index] = vcpu;
    vm->vcpu_count++;
}

void vcpu_set_initial(struct vcpu *vcpu, const struct boot_state *state)
{
    vcpu->initial = state;
    vcpu->activity = state != NULL ? VCPU_RUNS : VCPU_WAITS_FOR_SIPI;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < STEP_PAGES; i++)
        if (vcpu->step.copy[i].v != 0)
            page_free(vcpu->step.copy[i], 1);
    vlapic_destroy(&vcpu->apic);
    vcpu->engine->vcpu_destroy(vcpu);
}

void vcpu_put_away(void)
{
    struct cpu *cpu = cpu_self();
    struct vcpu *vcpu = cpu->vcpu;
    if (vcpu == NULL)
        return;
    vcpu->engine->put(vcpu);
    cpu->vcpu = NULL;
    cpu->posted_missed = NULL;
}

void vcpu_load(struct vcpu *vcpu)
{
    struct cpu *cpu = cpu_self();
    __atomic_store_n(&vcpu->seat->current, vcpu, __ATOMIC_SEQ_CST);
    vcpu->attention = true; /* interrupts and requests are as they were when it left */
    if (cpu->vcpu == vcpu)
        return;
    vcpu_put_away();
    vcpu->engine->load(vcpu);
    cpu->vcpu = vcpu;
    /* Where the host sleeps within an exit: on the console, if it has said much itself. */
    cpu->posted_missed = &vcpu->attention;
    if (!vcpu->started) {
        const struct boot_state reset = boot_state_reset(vcpu_signature(vcpu));
        vcpu->started = true;
        vcpu->engine->set_state(vcpu, STATE_ALL, vcpu->initial != NULL ? vcpu->initial : &reset);
    }
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
    const int irr = vlapic_highest_vector(apic->page, VLAPIC_IRR);
    return irr >= 0 && (uint32_t)irr >> 4 > (apic->page[VLAPIC_PPR / 4] >> 4 & 15);
}

bool vcpu_is_ready(struct vcpu *vcpu)
{
    if (vcpu_is_wanted(vcpu))
        return true;
    if (vcpu->activity != VCPU_HALTED)
        return false;
    return vcpu->event.info != 0 || (vcpu->halted_open && has_interrupt(vcpu));
}

/* HLT, waiting for SIPI, or held by a device: the CPU sleeps until there is something to do, or
 * leaves the vCPU to its seat, where others share it. False: nothing more for now. */
static bool wait(struct vcpu *vcpu)
{
    struct vm_seat *seat = vcpu->seat;
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

bool vcpu_prepare(struct vcpu *vcpu)
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
    if (vcpu->activity != VCPU_RUNS && !wait(vcpu))
        return false;
    return !vm_seat_must_stop(seat) && (seat->vcpu_count == 1 || !sched_turn_is_over(vm, seat));
}

static void queue_exception(struct vcpu *vcpu, struct event exception)
{
    if (event_combine(&vcpu->event, &exception))
        vcpu->engine->inject(vcpu, &exception);
    else
        vm_end_request(vcpu->vm, VM_CRASH, 0, "triple fault");
}

void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector)
{
    queue_exception(vcpu, (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | vector});
}

void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error)
{
    queue_exception(
        vcpu, (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | vector,
                             .error = error});
}

void vcpu_inject_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error)
{
    const struct boot_state state = {.cr2 = address};
    vcpu->engine->set_state(vcpu, STATE_CR2, &state);
    vcpu_inject_exception_error(vcpu, VECTOR_PAGE_FAULT, error);
}

void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes)
{
    struct boot_state state;
    vcpu->engine->get_state(vcpu, STATE_DEBUG, &state);
    state.dr6 = (state.dr6 & ~DR6_CLEARED_BY_DB) | DR6_SET_BY_DB | causes;
    state.dr7 &= ~DR7_GD;
    state.debugctl &= ~DEBUGCTL_BTF;
    vcpu->engine->set_state(vcpu, STATE_DEBUG, &state);
    vcpu_inject_exception(vcpu, VECTOR_DEBUG);
}

enum exit_action vcpu_hypercall(struct vcpu *vcpu, unsigned cpl)
{
    const uint64_t number = vcpu->regs.gpr[RAX];
    if (cpl != 0)
        return vcpu_return(vcpu, VMCALL_NOT_PERMITTED);
    if (number >= VM_MAX_HYPERCALLS || vcpu->vm->hypercall[number] == NULL)
        return vcpu_return(vcpu, VMCALL_UNKNOWN);
    return vcpu->vm->hypercall[number](vcpu);
}
