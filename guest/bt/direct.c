/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's user code on the processor: what it finds in registers that are not its own, and what
 * ends it. */
#include "guest/bt/direct.h"

#include "guest/bt/bt.h"

/* A page that is there, and faults all the same, so often in a row. */
#define MAX_SAME_FAULTS 16
/* Instructions that are interpreted where the segments are not the processor's to load. */
#define DETOUR 64

/* --- registers beside the frame --- */

/* The time-stamp counter is not the guest's where its own is not the host's. In code that is not
 * 64-bit code SYSCALL is #UD, as on Intel's CPUs. No performance counters, no protection keys. */
static void __attribute__((hot)) enter_controls(struct bt_vcpu *v)
{
    struct ring3_controls *c = &v->direct.controls;
    const struct cpu_state *s = &v->state;
    ring3_controls_enter(c, s->cr0,
                         (s->cr4 & RING3_CR4_OF_GUEST) | (v->vcpu.tsc_offset != 0 ? CR4_TSD : 0));
    ring3_controls_allow_syscall(c, segment_is_64(s) && (s->efer & EFER_SCE) != 0);
    ring3_controls_set_aux(c, v->env.extra.tsc_aux);
}

/* Templates read the time-stamp counter, and exchange GS bases. */
void __attribute__((hot)) bt_direct_enter_kernel(struct bt_vcpu *v)
{
    ring3_controls_enter(&v->direct.controls, v->state.cr0,
                         (v->state.cr4 & (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE)) |
                             (v->code->input.has_fsgsbase ? CR4_FSGSBASE : 0));
}

void __attribute__((hot)) bt_direct_leave_kernel(struct bt_vcpu *v)
{
    ring3_controls_leave(&v->direct.controls);
}

enum status bt_direct_create(struct bt_vcpu *v)
{
    return ring3_segments_create(&v->direct.segments);
}

void bt_direct_destroy(struct bt_vcpu *v)
{
    ring3_segments_destroy(&v->direct.segments);
}

void bt_direct_load(struct bt_vcpu *v)
{
    if (!v->space.exists)
        return;
    ring3_controls_load(&v->direct.controls);
    ring3_segments_attach(&v->direct.segments);
}

void bt_direct_put(struct bt_vcpu *v)
{
    if (!v->space.exists)
        return;
    ring3_segments_detach(&v->direct.segments);
    ring3_controls_put(&v->direct.controls);
}

/* --- in and out --- */

/* All of RFLAGS is as it is to be, by bt_direct_fits(). */
static void fill_frame(struct ring3_frame *frame, const struct cpu_state *s)
{
    frame->rip = s->rip;
    frame->cs = s->cs.selector;
    frame->ss = s->ss.selector;
    frame->rflags = (s->rflags & RFLAGS_DEFINED) | RFLAGS_FIXED;
}

static bool is_syscall(unsigned vector)
{
    return vector == RING3_SYSCALL || vector == RING3_SYSCALL32;
}

/* RF in the frame of a fault is of that fault alone, which the guest does not get as it is. SYSCALL
 * forgets SS, which it loads. */
static void take_frame(struct bt_vcpu *v, unsigned vector)
{
    const struct ring3_frame *frame = &v->frame;
    struct cpu_state *s = &v->state;
    uint64_t flags = frame->rflags;
    if (vector < VECTOR_FIRST_EXTERNAL)
        flags = (flags & ~RFLAGS_RF) | (frame->rip == s->rip ? s->rflags & RFLAGS_RF : 0);
    s->rip = frame->rip;
    s->rflags = flags;
    ring3_segments_store(&v->direct.segments, s,
                         is_syscall(vector) ? s->ss.selector : (uint16_t)frame->ss,
                         (s->cr4 & CR4_FSGSBASE) != 0);
}

/* #DB: by a TF that POPF has set, behind the instruction; or by INT1 (F1h), which has been
 * executed. */
static void __attribute__((cold)) take_debug(struct cpu_state *s)
{
    uint64_t dr[4], dr6;
    cpu_read_debug(dr, &dr6);
    if ((dr6 & DR6_BS) != 0)
        s->pending_debug |= PENDING_DEBUG_BS;
    else
        s->rip--;
    cpu_write_debug(dr, DR6_RESET);
}

/* Page faults that are only the shadow's, until something else comes. *fault: what is to be done
 * about one. Returns what ring3_enter() does. */
static unsigned run(struct bt_vcpu *v, enum bt_fault *fault)
{
    struct ring3_frame *frame = &v->frame;
    uint64_t rip = 0, cr2 = 0;
    unsigned same = 0;
    *fault = BT_FAULT_MAPPED;
    for (;;) {
        const unsigned vector = bt_space_run(v, SHADOW_USER, frame);
        if (vector != VECTOR_PAGE_FAULT)
            return vector;
        same = rip == frame->rip && cr2 == frame->cr2 ? same + 1 : 0;
        rip = frame->rip;
        cr2 = frame->cr2;
        *fault = bt_space_fault(v, SHADOW_USER, cr2, (uint32_t)frame->error, true);
        if (same == MAX_SAME_FAULTS)
            *fault = BT_FAULT_INTERPRET;
        if (*fault != BT_FAULT_MAPPED || v->batch_is_over || v->vcpu.attention)
            return vector;
    }
}

/* The processor has executed SYSCALL as far as it says so. */
static void carry_out_syscall(struct bt_vcpu *v)
{
    v->state.rip = v->state.rcx - SYSCALL_BYTES;
    interpret_syscall(&v->env);
    bt_count(v, BT_INTERPRETED, 1);
}

/* Whether the next instruction is not the processor's to run as it is. */
static bool conclude(struct bt_vcpu *v, unsigned vector, enum bt_fault fault)
{
    if (is_syscall(vector)) { /* in 32-bit code it is #UD, if that is so on the VM's CPU */
        carry_out_syscall(v);
        return true;
    }
    if (vector == VECTOR_PAGE_FAULT) {
        if (fault == BT_FAULT_GUEST)
            bt_space_raise(v);
        return fault == BT_FAULT_INTERPRET;
    }
    if (bt_direct_is_of_guest(vector)) {
        vcpu_inject_exception(&v->vcpu, vector);
        return false;
    }
    if (vector == VECTOR_DEBUG)
        take_debug(&v->state);
    return vector < VECTOR_FIRST_EXTERNAL || vector >= RING3_REFUSED;
}

bool __attribute__((hot)) bt_direct_run(struct bt_vcpu *v)
{
    struct bt_direct *d = &v->direct;
    enum bt_fault fault;
    if (!ring3_segments_prepare(&d->segments, &v->state, bt_look, v) ||
        !ring3_segments_load(&d->segments, &v->state)) {
        d->detour = DETOUR;
        return false;
    }
    v->batch_since = cpu_rdtsc();
    v->batch_is_over = false;
    fill_frame(&v->frame, &v->state);
    enter_controls(v);
    const unsigned vector = run(v, &fault);
    bt_exit_begin(v);
    ring3_controls_leave(&d->controls);
    take_frame(v, vector);
    const bool interpret = conclude(v, vector, fault);
    bt_exit_end(v, BT_DIRECT);
    return !interpret;
}
