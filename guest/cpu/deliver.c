/* SPDX-License-Identifier: BSD-2-Clause */
/* Delivery of interrupts and exceptions through the IVT, gates of 16, 32 and 64 bits, and task
 * gates (SDM, "Exception and Interrupt Handling"). */
#include "arch/bytes.h"
#include "guest/cpu/descriptor.h"

struct gate {
    unsigned type;
    bool present;
    unsigned dpl, ist;
    uint16_t selector;
    uint64_t offset;
    uint32_t error; /* names this gate: the IDT's bit, and EXT */
};

static enum segment_result done(bool good)
{
    return good ? SEGMENT_DONE : SEGMENT_FAULT;
}

/* INT n, INT3 and INTO are subject to the gate's DPL, and their faults are not external. INT1 is
 * neither. */
static bool is_software(const struct event *event)
{
    const uint32_t type = event->info & EVENT_TYPE_MASK;
    return type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION;
}

/* The IVT at idt: real mode, or a virtual-8086 task whose interrupts are redirected to it. */
static bool through_ivt(struct segment_env *env, unsigned vector, uint64_t idt, uint32_t limit,
                        uint64_t saved_flags)
{
    struct cpu_state *s = env->state;
    struct frame frame;
    uint8_t entry[4];
    frame_begin(&frame, s, 2);
    if (vector * 4 + 3 > limit)
        return segment_fault(env, VECTOR_GENERAL_PROTECTION, 0);
    if (!env->read(env->ctx, idt + vector * 4, entry, sizeof(entry), false))
        return false;
    frame_push(&frame, saved_flags & UINT16_MAX);
    frame_push(&frame, s->cs.selector);
    frame_push(&frame, s->rip & UINT16_MAX);
    if (!frame_write(env, &frame, false, 0))
        return false;
    s->rsp = frame.rsp;
    segment_load_real(s, STATE_CS, get_le16(entry + 2));
    s->rip = get_le16(entry);
    return true;
}

/* SDM, "Software Interrupt Handling Methods While Operating in Virtual-8086 Mode": whether the
 * redirection bit map of the TSS sends INT n to the task's own IVT. *fault: it cannot be read. */
static bool is_redirected(struct segment_env *env, unsigned vector, bool *fault)
{
    const struct cpu_state *s = env->state;
    uint8_t base[2], bits;
    *fault = false;
    if ((s->cr4 & CR4_VME) == 0 || s->tr.limit < 0x67)
        return false;
    if (!env->read(env->ctx, s->tr.base + 0x66, base, 2, false)) {
        *fault = true;
        return false;
    }
    const unsigned at = get_le16(base) - 32u + vector / 8;
    if (get_le16(base) < 32 || at > s->tr.limit)
        return false;
    if (!env->read(env->ctx, s->tr.base + at, &bits, 1, false)) {
        *fault = true;
        return false;
    }
    return (bits >> vector % 8 & 1) == 0;
}

static bool deliver_redirected(struct segment_env *env, unsigned vector)
{
    struct cpu_state *s = env->state;
    uint64_t saved = s->rflags, cleared = RFLAGS_IF | RFLAGS_TF;
    if ((s->rflags & RFLAGS_IOPL) != RFLAGS_IOPL) { /* the task sees VIF as its IF */
        saved = (saved & ~RFLAGS_IF) | RFLAGS_IOPL | (saved & RFLAGS_VIF ? RFLAGS_IF : 0);
        cleared = RFLAGS_VIF | RFLAGS_TF;
    }
    if (!through_ivt(env, vector, 0, UINT16_MAX, saved))
        return false;
    s->rflags &= ~cleared;
    return true;
}

static bool read_gate(struct segment_env *env, unsigned vector, struct gate *gate)
{
    const struct cpu_state *s = env->state;
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    const unsigned bytes = long_mode ? 16 : 8;
    uint8_t b[16] = {0};
    *gate = (struct gate){.error = vector << 3 | 2 | env->external};
    if (vector * bytes + bytes - 1 > s->idtr.limit)
        return segment_fault(env, VECTOR_GENERAL_PROTECTION, gate->error);
    if (!env->read(env->ctx, s->idtr.base + vector * bytes, b, bytes, false))
        return false;
    gate->type = b[5] & 0x1f;
    gate->present = (b[5] & ACCESS_P) != 0;
    gate->dpl = access_dpl(b[5]);
    gate->selector = get_le16(b + 2);
    gate->offset = get_le16(b);
    if (gate->type != TYPE_INTERRUPT_16 && gate->type != TYPE_TRAP_16)
        gate->offset |= (uint64_t)get_le16(b + 6) << 16;
    if (long_mode) {
        gate->ist = b[4] & 7;
        gate->offset |= (uint64_t)get_le32(b + 8) << 32;
    }
    const bool wide = gate->type == TYPE_INTERRUPT || gate->type == TYPE_TRAP;
    const bool narrow = gate->type == TYPE_INTERRUPT_16 || gate->type == TYPE_TRAP_16 ||
                        gate->type == TYPE_TASK_GATE;
    return wide || (narrow && !long_mode) ||
           segment_fault(env, VECTOR_GENERAL_PROTECTION, gate->error);
}

/* The handler's code segment; *cpl is the level that it runs at. */
static bool handler_code(struct segment_env *env, const struct gate *gate, struct descriptor *d,
                         unsigned *cpl)
{
    const struct cpu_state *s = env->state;
    const bool long_mode = (s->efer & EFER_LMA) != 0, v86 = (s->rflags & RFLAGS_VM) != 0;
    if (selector_is_null(gate->selector))
        return segment_selector_fault(env, VECTOR_GENERAL_PROTECTION, 0);
    if (!descriptor_read(env, gate->selector, VECTOR_GENERAL_PROTECTION, d))
        return false;
    const bool conforming = descriptor_is_conforming(d);
    const unsigned now = segment_cpl(s), dpl = descriptor_dpl(d);
    if (!descriptor_is_code(d) || dpl > now || (v86 && (conforming || dpl != 0)) ||
        (long_mode && (d->access & (ACCESS_L | ACCESS_DB)) != ACCESS_L))
        return segment_selector_fault(env, VECTOR_GENERAL_PROTECTION, gate->selector);
    *cpl = conforming ? now : dpl;
    return true;
}

/* A stack of an inner level gets the old one's pointer, and out of virtual-8086 mode the data
 * segments, too. */
static void push_outer(const struct cpu_state *s, struct frame *frame)
{
    static const uint8_t data[] = {STATE_GS, STATE_FS, STATE_DS, STATE_ES};
    for (unsigned i = 0; i < sizeof(data) && (s->rflags & RFLAGS_VM) != 0; i++)
        frame_push(frame, s->segment[data[i]].selector);
    frame_push(frame, s->ss.selector);
    frame_push(frame, low_bytes(s->rsp, frame->bytes));
}

static bool through_gate(struct segment_env *env, const struct event *event,
                         const struct gate *gate)
{
    struct cpu_state *s = env->state;
    const bool long_mode = (s->efer & EFER_LMA) != 0, v86 = (s->rflags & RFLAGS_VM) != 0;
    const bool narrow = gate->type == TYPE_INTERRUPT_16 || gate->type == TYPE_TRAP_16;
    struct descriptor d;
    struct target target;
    unsigned cpl = 0;
    if (!handler_code(env, gate, &d, &cpl))
        return false;
    struct frame frame;
    frame_begin(&frame, s, long_mode ? 8 : narrow ? 2 : 4);
    const bool inner = cpl != segment_cpl(s);
    frame.cpl = cpl;
    if ((inner || gate->ist != 0) && !frame_inner(env, &frame, cpl, gate->ist))
        return false;
    if (!target_set(env, &target, &d, cpl, gate->offset))
        return false;
    if (long_mode)
        frame.rsp &= ~15ull;
    if (inner || long_mode)
        push_outer(s, &frame);
    frame_push(&frame, low_bytes(s->rflags, frame.bytes));
    frame_push(&frame, s->cs.selector);
    frame_push(&frame, low_bytes(s->rip, frame.bytes));
    if ((event->info & EVENT_ERROR_CODE) != 0)
        frame_push(&frame, low_bytes(event->error, frame.bytes));
    if (!frame_write(env, &frame, long_mode, inner ? frame.ss.selector : 0))
        return false;
    if (v86)
        for (unsigned i = STATE_ES; i <= STATE_GS; i++)
            if (i != STATE_CS && i != STATE_SS)
                s->segment[i] = (struct cpu_segment){.access = ACCESS_UNUSABLE};
    s->ss = frame.ss;
    s->rsp = frame.rsp;
    s->cs = target.cs;
    s->rip = target.rip;
    s->rflags &= ~(RFLAGS_TF | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT);
    if (gate->type == TYPE_INTERRUPT || gate->type == TYPE_INTERRUPT_16)
        s->rflags &= ~RFLAGS_IF;
    return true;
}

static enum segment_result deliver_protected(struct segment_env *env, const struct event *event)
{
    const unsigned vector = event->info & 0xff;
    struct gate gate;
    if (!read_gate(env, vector, &gate))
        return SEGMENT_FAULT;
    if (is_software(event) && gate.dpl < segment_cpl(env->state))
        return done(segment_fault(env, VECTOR_GENERAL_PROTECTION, gate.error));
    if (!gate.present)
        return done(segment_fault(env, VECTOR_NOT_PRESENT, gate.error));
    if (gate.type != TYPE_TASK_GATE)
        return done(through_gate(env, event, &gate));
    env->task = (struct task_request){.source = TASK_GATE,
                                      .selector = gate.selector,
                                      .has_error = (event->info & EVENT_ERROR_CODE) != 0,
                                      .error = event->error};
    return SEGMENT_TASK;
}

enum segment_result segment_deliver(struct segment_env *env, const struct event *event)
{
    struct cpu_state *s = env->state;
    const bool is_int_n = (event->info & EVENT_TYPE_MASK) == EVENT_SOFTWARE_INTERRUPT;
    const unsigned vector = event->info & 0xff;
    env->external = !is_software(event);
    if ((s->cr0 & CR0_PE) == 0) {
        if (!through_ivt(env, vector, s->idtr.base, s->idtr.limit, s->rflags))
            return SEGMENT_FAULT;
        s->rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
        return SEGMENT_DONE;
    }
    if (is_int_n && (s->rflags & RFLAGS_VM) != 0) {
        bool fault;
        if (is_redirected(env, vector, &fault))
            return done(deliver_redirected(env, vector));
        if (fault)
            return SEGMENT_FAULT;
        if ((s->rflags & RFLAGS_IOPL) != RFLAGS_IOPL)
            return done(segment_fault(env, VECTOR_GENERAL_PROTECTION, 0));
    }
    return deliver_protected(env, event);
}
