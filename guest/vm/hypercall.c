/* SPDX-License-Identifier: BSD-2-Clause */
/* Nadir's own hypercalls: which there are, and those about interrupts and time. */
#include "guest/vm/hypercall.h"

#include "arch/nospec.h"
#include "guest/hypercall.h"

#define VECTOR_FIRST 16 /* those below are exceptions' */

_Static_assert((int)NADIR_CLASS_COUNT == (int)CLASS_COUNT &&
                   (int)NADIR_CLASS_PAGE_TABLES == (int)CLASS_PAGE_TABLES &&
                   (int)NADIR_CLASS_SYSCALL == (int)CLASS_SYSCALL &&
                   (int)NADIR_CLASS_OTHER == (int)CLASS_OTHER,
               "guests know the classes by the same numbers");
_Static_assert(VMCALL_UNKNOWN == HYPERCALL_UNKNOWN &&
                   VMCALL_NOT_PERMITTED == HYPERCALL_NOT_PERMITTED,
               "vcpu_hypercall() answers as guests are told");

typedef enum exit_action call_fn(struct hypercall *call);

static enum exit_action version(struct hypercall *call)
{
    return vcpu_return(call->vcpu, NADIR_FEATURES << 8 | NADIR_VERSION);
}

/* --- interrupts --- */

/* Lets interrupts come to the vCPU, or not: by RFLAGS.IF, for which an engine may have another flag
 * (pv: the event mask). Returns what was before. */
static bool set_interrupts(struct vcpu *vcpu, bool on)
{
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    const bool before = (state.rflags & RFLAGS_IF) != 0;
    if (before != on) {
        state.rflags ^= RFLAGS_IF;
        vcpu->engine->set_state(vcpu, STATE_IP, &state);
    }
    return before;
}

static enum exit_action mask(struct hypercall *call)
{
    return vcpu_return(call->vcpu, set_interrupts(call->vcpu, false));
}

static enum exit_action unmask(struct hypercall *call)
{
    return vcpu_return(call->vcpu, set_interrupts(call->vcpu, true));
}

static bool is_vector(uint64_t vector)
{
    return vector >= VECTOR_FIRST && vector <= UINT8_MAX;
}

static struct vlapic_message message_of(uint64_t vector)
{
    return (struct vlapic_message){.vector = (uint8_t)vector, .mode = DELIVERY_FIXED};
}

/* To all others: at most 64, in one go, as an IPI goes. */
static bool send_to_others(struct vcpu *vcpu, const struct vlapic_message *message)
{
    struct vm *vm = vcpu->vm;
    bool taken = false;
    uint64_t woken = 0;
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        if (i != vcpu->index)
            taken |= vlapic_take(&vm->vcpu[i]->apic, message, &woken);
    vcpu_kick_all(vm, woken);
    return taken;
}

static enum exit_action send(struct hypercall *call)
{
    struct vcpu *vcpu = call->vcpu;
    struct vm *vm = vcpu->vm;
    const uint64_t vector = hypercall_argument(call, RDI), to = hypercall_argument(call, RSI);
    const uint64_t others = call->is_64bit ? UINT64_MAX : UINT32_MAX; /* NADIR_ALL_BUT_SELF */
    if (!is_vector(vector) || (to != others && to >= vm->vcpu_count))
        return vcpu_return(vcpu, NADIR_BAD_ARGUMENT);
    const struct vlapic_message message = message_of(vector);
    vm_lock(vm);
    const bool taken = to == others ? send_to_others(vcpu, &message)
                                    : vlapic_take(&vm->vcpu[index_nospec(to, vm->vcpu_count)]->apic,
                                                  &message, NULL);
    vm_unlock(vm);
    return vcpu_return(vcpu, taken ? 0 : NADIR_NOT_TAKEN);
}

static enum exit_action end_of_interrupt(struct hypercall *call)
{
    struct vcpu *vcpu = call->vcpu;
    vm_lock(vcpu->vm);
    const bool taken = vlapic_write(&vcpu->apic, APIC_EOI, 0);
    vm_unlock(vcpu->vm);
    return vcpu_return(vcpu, taken ? 0 : NADIR_NOT_TAKEN);
}

/* --- time --- */

static uint64_t now_ns(const struct vm *vm)
{
    return timers_cycles_since(&vm->timers, vm->tsc_first_entry, NS_PER_SECOND);
}

/* An argument that is a time; of a 32-bit caller its high half is in EDX. */
static uint64_t time_argument(const struct hypercall *call)
{
    const uint64_t low = hypercall_argument(call, RDI);
    return call->is_64bit ? low : low | hypercall_argument(call, RDX) << 32;
}

/* Arms a timer of the vCPU, which is in the list of its timers from the first time on: those who
 * never ask for one do not pay for it. */
static void arm(struct vcpu *vcpu, struct timer *timer, void (*fire)(void *dev, uint64_t now),
                uint64_t ns)
{
    const struct vm *vm = vcpu->vm;
    const uint64_t deadline =
        ns == UINT64_MAX ? TIMER_NEVER
                         : timers_cycle_start(&vm->timers, vm->tsc_first_entry, NS_PER_SECOND, ns);
    if (timer->fire == NULL) {
        timer->fire = fire;
        timer->dev = vcpu;
        timers_add(&vcpu->timers, timer);
    }
    timers_arm(&vcpu->timers, timer, deadline);
}

static enum exit_action time(struct hypercall *call)
{
    /* It is below 2^63 for the first 292 years. */
    const uint64_t now = now_ns(call->vcpu->vm) & INT64_MAX;
    if (!call->is_64bit)
        call->vcpu->regs.gpr[RDX] = now >> 32;
    return vcpu_return(call->vcpu, (int64_t)now);
}

static void timer_fired(void *dev, uint64_t now)
{
    struct vcpu *vcpu = dev;
    const struct vlapic_message message = message_of(vcpu->call_vector);
    (void)now;
    (void)vlapic_take(&vcpu->apic, &message, NULL);
}

static enum exit_action timer(struct hypercall *call)
{
    struct vcpu *vcpu = call->vcpu;
    const uint64_t at = time_argument(call), vector = hypercall_argument(call, RSI);
    if (at != 0 && !is_vector(vector))
        return vcpu_return(vcpu, NADIR_BAD_ARGUMENT);
    vm_lock(vcpu->vm);
    vcpu->call_vector = (uint8_t)vector;
    arm(vcpu, &vcpu->call_timer, timer_fired, at == 0 ? UINT64_MAX : at);
    vm_unlock(vcpu->vm);
    return vcpu_return(vcpu, 0);
}

/* That the vCPU sleeps still, and not again: another sleep has armed the timer anew, and a HLT is
 * another activity. */
static void slept(void *dev, uint64_t now)
{
    struct vcpu *vcpu = dev;
    (void)now;
    if (vcpu->activity != ACTIVITY_SLEEP)
        return;
    vcpu->halted_trap = true;
    vcpu_kick(vcpu);
}

static enum exit_action sleep(struct hypercall *call)
{
    struct vcpu *vcpu = call->vcpu;
    const uint64_t until = time_argument(call);
    struct cpu_state state;
    (void)set_interrupts(vcpu, true);
    (void)vcpu_return(vcpu, 0);
    vcpu->engine->get_state(vcpu, STATE_EVENTS, &state);
    /* As behind HLT: a debug trap, which comes behind the instruction, ends it at once. */
    if (until <= now_ns(vcpu->vm) || state.pending_debug != 0 ||
        (call->ctx.paging.rflags & RFLAGS_TF) != 0)
        return EXIT_NEXT;
    vm_lock(vcpu->vm);
    arm(vcpu, &vcpu->sleep_timer, slept, until);
    vm_unlock(vcpu->vm);
    vcpu_wait_for_interrupt(vcpu, ACTIVITY_SLEEP, true,
                            (state.interruptibility & BLOCKED_BY_NMI) == 0, false);
    return EXIT_NEXT;
}

/* --- the VM as a whole --- */

static enum exit_action end_vm(struct hypercall *call)
{
    vm_end_request(call->vcpu->vm, VM_DEBUG_EXIT, (uint32_t)hypercall_argument(call, RDI),
                   "hypercall");
    return vcpu_return(call->vcpu, 0);
}

static enum exit_action yield(struct hypercall *call)
{
    call->vcpu->yields = true;
    call->vcpu->attention = true;
    return vcpu_return(call->vcpu, 0);
}

#define ROW(number) [(number)-NADIR_CALL_VERSION]

static call_fn *const calls[] = {
    ROW(NADIR_CALL_VERSION) = version,
    ROW(NADIR_CALL_MEMORY) = hypercall_memory,
    ROW(NADIR_CALL_MASK) = mask,
    ROW(NADIR_CALL_UNMASK) = unmask,
    ROW(NADIR_CALL_SEND) = send,
    ROW(NADIR_CALL_END) = end_of_interrupt,
    ROW(NADIR_CALL_TIME) = time,
    ROW(NADIR_CALL_TIMER) = timer,
    ROW(NADIR_CALL_SLEEP) = sleep,
    ROW(NADIR_CALL_WRITE) = hypercall_console,
    ROW(NADIR_CALL_EXIT) = end_vm,
    ROW(NADIR_CALL_YIELD) = yield,
    ROW(NADIR_CALL_STATS) = hypercall_stats,
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))
_Static_assert(CALLS == NADIR_CALL_END_OF_LIST - NADIR_CALL_VERSION, "each number has a row");

enum exit_action hypercall_own(struct vcpu *vcpu)
{
    struct hypercall call = {.vcpu = vcpu, .since = timers_now(&vcpu->vm->timers)};
    vcpu->engine->view(vcpu, &call.ctx);
    call.is_64bit = call.ctx.mode == INSN_64;
    const uint64_t row = hypercall_argument(&call, RAX) - NADIR_CALL_VERSION;
    if (row >= CALLS)
        return vcpu_return(vcpu, VMCALL_UNKNOWN);
    return calls[index_nospec(row, CALLS)](&call);
}

static enum exit_action nop(struct vcpu *vcpu)
{
    return vcpu_return(vcpu, 0);
}

void hypercall_open(struct vm *vm)
{
    vm->hypercall[HYPERCALL_NOP] = nop;
    vm->own_hypercall = hypercall_own;
}
