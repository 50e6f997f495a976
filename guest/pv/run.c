/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's turn: what has been asked for, what waits for it, then guest code, until it needs
 * something. */
#include "guest/pv/pv.h"

#include "arch/hardening.h"
#include "arch/log.h"
#include "guest/vm/vcpu_extended.h"

/* --- on a CPU, and off it --- */

void pv_controls_changed(struct pv_vcpu *v)
{
    ring3_controls_enter(&v->controls, v->cr0, v->cr4 & RING3_CR4_OF_GUEST);
}

/* The first time: what the domain shares with it is made; without that it cannot begin. */
static void begin(struct pv_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    const enum status s = pv_space_create(v);
    pv_timer_init(v);
    if (s != OK)
        vm_end_format(vm, VM_CRASH, 0, "no page tables for vCPU %u: %s", v->vcpu.index,
                      status_text(s));
}

/* Nothing of the host's needs CR0 and CR4 otherwise than the guest has them, so they stay until the
 * vCPU is put away. */
void pv_load(struct vcpu *vcpu)
{
    struct pv_vcpu *v = pv_vcpu(vcpu);
    hardening_enter_domain(cpu_self(), vcpu->vm->number);
    ring3_load(0);
    v->frame.answer = pv_answer;
    ring3_roots_forget_timer(&v->roots);
    if (v->loaded_before)
        vcpu_extended_restore(vcpu, hpa_to_ptr(v->extended));
    else
        vcpu_extended_restore_initial(vcpu);
    if (!v->loaded_before)
        begin(v);
    v->loaded_before = true;
    ring3_controls_load(&v->controls);
    ring3_controls_set_aux(&v->controls, v->tsc_aux);
    pv_controls_changed(v);
    pv_segments_load(v);
    pv_debug_load(v);
}

void pv_put(struct vcpu *vcpu)
{
    struct pv_vcpu *v = pv_vcpu(vcpu);
    pv_debug_put(v);
    pv_segments_put(v);
    ring3_controls_put(&v->controls);
    vcpu_extended_save(vcpu, hpa_to_ptr(v->extended));
}

/* --- before the guest --- */

/* What others have asked for. It is taken before it is done: what comes meanwhile is for the next
 * time, for which the vCPU is told again. */
static void take_asked(struct pv_vcpu *v)
{
    const uint32_t asked = __atomic_exchange_n(&v->asked, 0, __ATOMIC_SEQ_CST);
    if ((asked & PV_ASK_FLUSH) != 0)
        pv_flush(v, SHADOW_FLUSH_ALL);
    if ((asked & PV_ASK_DESCRIPTORS) != 0)
        pv_descriptors_changed(v);
    if ((asked & PV_ASK_NMI) != 0)
        v->nmi_pending = true;
    if ((asked & PV_ASK_UP) != 0) {
        pv_start_take(v);
        pv_wait_ends(v);
    }
    if ((asked & PV_ASK_TIMER) != 0)
        pv_raise_virq(v, XEN_VIRQ_TIMER);
}

/* One that waits sleeps as a halted CPU does. False: return. */
static bool __attribute__((cold)) prepare(struct pv_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    for (;;) {
        const enum pv_event why = v->wait != PV_RUNS ? PV_HALT
                                  : vcpu->attention  ? PV_ATTENTION
                                                     : PV_TIMER;
        pv_begin_exit(v);
        if (vcpu_prepare(vcpu) == PREPARED_LEAVE) {
            pv_end_exit(v, why);
            return false;
        }
        ring3_roots_forget_timer(&v->roots); /* the CPU may have slept by its timer */
        __atomic_store_n(&vcpu->event_waits, false, __ATOMIC_SEQ_CST); /* see pv_wake() */
        take_asked(v);
        v->vector_waits = vlapic_pending(&vcpu->apic) >= 0;
        if (v->wait != PV_RUNS && pv_wait_is_over(v))
            pv_wait_ends(v);
        pv_end_exit(v, why);
        if (v->wait == PV_RUNS)
            return true;
        vcpu_wait_for_interrupt(vcpu, ACTIVITY_HLT, v->wait != PV_IS_DOWN, false, false);
    }
}

/* --- the guest --- */

/* Where it may not enter: something is asked of the vCPU that has to be done before. The order is
 * told at pv_flush_others(). */
static inline bool enters(struct pv_vcpu *v)
{
    if (v->vcpu.vm->vcpu_count == 1)
        return true;
    __atomic_store_n(&v->entered, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&v->asked, __ATOMIC_SEQ_CST) == 0)
        return true;
    __atomic_store_n(&v->entered, false, __ATOMIC_RELEASE);
    v->vcpu.attention = true;
    return false;
}

static void __attribute__((cold)) handle_seldom(struct pv_vcpu *v, unsigned vector)
{
    if (vector == RING3_SYSCALL32)
        pv_bounce_syscall32(v);
    else
        pv_bad_return(v);
}

static inline void handle(struct pv_vcpu *v, unsigned vector)
{
    if (vector == RING3_SYSCALL) {
        if (v->user)
            pv_bounce_syscall(v);
        else
            pv_hypercall(v);
    } else if (vector < VECTOR_FIRST_EXTERNAL) {
        pv_trap(v, vector);
    } else if (__builtin_expect(vector > RING3_SYSCALL, 0)) {
        handle_seldom(v, vector);
    } else {
        pv_book(v, PV_HOST_INTERRUPT);
    }
}

/* Until something is asked of the vCPU, or it waits. */
static void __attribute__((hot)) run_guest(struct pv_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    const uint64_t light_calls = ring3_may_answer() ? PV_LIGHT_CALLS : 0;
    do {
        if (__builtin_expect(
                pv_event_waits(v) || v->nmi_pending || v->vector_waits || v->failsafe_due, 0))
            pv_deliver_waiting(v);
        if (__builtin_expect(v->flush != SHADOW_FLUSH_NONE, 0))
            pv_space_flush_now(v);
        if (!enters(v))
            return;
        v->frame.answered = v->user ? 0 : light_calls;
        ring3_roots_enter(&v->roots, vcpu, v->user ? SHADOW_USER : SHADOW_KERNEL);
        const unsigned vector = ring3_enter(&v->frame);
        ring3_roots_leave(&v->roots, vcpu, vector);
        __atomic_store_n(&v->entered, false, __ATOMIC_RELEASE);
        if (vector == PV_ANSWERED)
            continue;
        pv_begin_exit(v);
        handle(v, vector);
        pv_end_exit(v, v->event);
    } while (!vcpu->attention && v->wait == PV_RUNS && vcpu->tsc_exit < vcpu->timers.next);
}

/* Interrupts of the host that have come meanwhile: the other CPUs' calls, and the timer's. */
static void take_host_interrupts(void)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
}

void __attribute__((hot)) pv_run(struct vcpu *vcpu)
{
    struct pv_vcpu *v = pv_vcpu(vcpu);
    vcpu->stats.count[vcpu->began]++;
    vcpu->stats.tsc_root[vcpu->began] += cpu_rdtsc() - vcpu->tsc_exit;
    for (;;) {
        if ((vcpu->attention || v->wait != PV_RUNS || cpu_rdtsc() >= vcpu->timers.next) &&
            !prepare(v))
            break;
        if (vm_has_ended(vcpu->vm))
            break;
        run_guest(v);
        take_host_interrupts();
    }
    vcpu->tsc_exit = cpu_rdtsc();
}
