/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's turn: what has been asked for, the next event, then instructions, until something comes.
 */
#include "guest/bt/bt.h"

/* Instructions in a row, with the host's interrupts off: some 10,000 of the host's, and no more
 * where exits make them longer. */
#define BATCH 16

/* Interrupts of the host that have come meanwhile: the other CPUs' calls, and the timer's. */
static void take_host_interrupts(void)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
}

/* Books the first entry of a run on what has brought the vCPU to this CPU. */
static void book_beginning(struct vcpu *vcpu)
{
    vcpu->stats.count[vcpu->began]++;
    vcpu->stats.tsc_root[vcpu->began] += cpu_rdtsc() - vcpu->tsc_exit;
}

/* False: return. */
static bool __attribute__((cold)) prepare(struct bt_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    const enum bt_event why = vcpu->attention ? BT_ATTENTION : BT_TIMER;
    bt_exit_begin(v);
    const enum vcpu_prepared prepared = vcpu_prepare(vcpu);
    if (prepared == PREPARED_LOOK) {
        if (vcpu->memory_seen != vcpu->vm->memory_changes) {
            vcpu->memory_seen = __atomic_load_n(&vcpu->vm->memory_changes, __ATOMIC_SEQ_CST);
            ring3_tlb_flush(&v->tlb);
            bt_space_memory_changed(vcpu->vm);
            if (v->code != NULL)
                bt_code_want_flush(v->code);
        }
        bt_choose_event(v);
    }
    ring3_roots_forget_timer(&v->space.roots); /* the CPU may have slept by its timer */
    bt_exit_end(v, why);
    return prepared != PREPARED_LEAVE;
}

static void __attribute__((cold)) halt(struct bt_vcpu *v)
{
    const struct cpu_state *s = &v->state;
    bt_exit_begin(v);
    (void)vcpu_halt(&v->vcpu, (s->rflags & RFLAGS_IF) != 0,
                    (s->interruptibility & BLOCKED_BY_NMI) == 0, s->pending_debug != 0);
    bt_exit_end(v, BT_HLT);
}

static void __attribute__((cold)) switch_task(struct bt_vcpu *v)
{
    bt_exit_begin(v);
    (void)vcpu_task_switch(&v->vcpu, v->env.task.source, v->env.task.selector, v->env.length);
    bt_exit_end(v, BT_TASK_SWITCH);
}

static void one_instruction(struct bt_vcpu *v)
{
    const struct interpret_known *known = v->known;
    enum interpret_result result;
    v->known = NULL;
    if (known != NULL) {
        result = interpret_known(&v->env, known);
    } else {
        result = interpret_one(&v->env);
        if (v->code != NULL)
            bt_sites_note(&v->code->sites, &v->env);
    }
    switch (result) {
    case INTERPRET_DONE: break;
    case INTERPRET_HALT: halt(v); break;
    case INTERPRET_TASK: switch_task(v); break;
    case INTERPRET_COMPUTE: bt_compute(v); break;
    }
    if (__builtin_expect(v->watched, 0) && !v->x87_again)
        vcpu_x87_stepped(&v->vcpu);
    v->x87_again = false;
}

/* Whether what waits can come now. */
static bool may_come(const struct bt_vcpu *v)
{
    return v->vcpu.event.info == 0 && !interpret_has_debug_trap(&v->env) &&
           (bt_takes_interrupts(v) || (v->vcpu.nmis_pending != 0 && bt_takes_nmis(v)));
}

/* Until something has been asked for, what waits can come, or the processor can go on. An event
 * that does not end, as one that leads from task to task, is no instruction, but counts as such. */
static void __attribute__((hot)) run_batch(struct bt_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    unsigned instructions = 0;
    v->batch_since = cpu_rdtsc();
    v->batch_is_over = false;
    for (unsigned i = 0; i < BATCH && !vcpu->attention && !v->batch_is_over; i++) {
        if (vcpu->event.info != 0) {
            bt_deliver(v);
            if (vcpu->event.info != 0)
                continue;
        }
        if (!bt_translates(v) || bt_run_translated(v)) {
            one_instruction(v);
            instructions++;
        }
        if (v->direct.detour != 0)
            v->direct.detour--;
        if (v->something_waits && may_come(v))
            vcpu->attention = true;
        if (bt_is_direct(v))
            break;
    }
    if (v->code != NULL)
        bt_code_leave(v->code);
    bt_count(v, BT_INTERPRETED, instructions);
}

void __attribute__((hot)) bt_run(struct vcpu *vcpu)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    book_beginning(vcpu);
    for (;;) {
        const uint64_t now = cpu_rdtsc();
        if ((vcpu->attention || now >= vcpu->timers.next) && !prepare(v))
            break;
        if (vm_has_ended(vcpu->vm))
            break;
        if (!bt_is_direct(v) || !bt_direct_run(v))
            run_batch(v);
        take_host_interrupts();
    }
    vcpu->tsc_exit = cpu_rdtsc();
}
