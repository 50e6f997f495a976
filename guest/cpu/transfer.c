/* SPDX-License-Identifier: BSD-2-Clause */
/* Far JMP, CALL and RET, call gates, and IRET (SDM, volume 2, the operation of each; "Privilege
 * Level Checking When Transferring Program Control Between Code Segments"). */
#include "guest/cpu/descriptor.h"

static bool general_protection(struct segment_env *env, uint16_t selector)
{
    return segment_selector_fault(env, VECTOR_GENERAL_PROTECTION, selector);
}

static enum segment_result done(bool good)
{
    return good ? SEGMENT_DONE : SEGMENT_FAULT;
}

static bool in_long_mode(const struct segment_env *env)
{
    return (env->state->efer & EFER_LMA) != 0;
}

/* --- JMP and CALL --- */

struct transfer {
    bool call;
    unsigned bytes; /* of the operand, or of the gate */
    uint64_t next;  /* RIP that a CALL pushes */
};

/* Real and virtual-8086 mode: no checks but those of limits. */
static bool real_transfer(struct segment_env *env, const struct transfer *t, uint16_t selector,
                          uint64_t offset)
{
    struct cpu_state *s = env->state;
    struct frame frame;
    frame_begin(&frame, s, t->bytes);
    if (offset > s->cs.limit)
        return general_protection(env, 0);
    frame_push(&frame, s->cs.selector);
    frame_push(&frame, low_bytes(t->next, t->bytes));
    if (t->call && !frame_write(env, &frame, false, 0))
        return false;
    if (t->call)
        s->rsp = frame.rsp;
    segment_load_real(s, STATE_CS, selector);
    s->rip = offset;
    return true;
}

/* To a code segment named by the instruction. */
static bool direct_transfer(struct segment_env *env, const struct transfer *t, struct descriptor *d,
                            uint64_t offset)
{
    struct cpu_state *s = env->state;
    const unsigned cpl = segment_cpl(s), rpl = d->selector & 3u, dpl = descriptor_dpl(d);
    struct target target;
    if (descriptor_is_conforming(d) ? dpl > cpl : rpl > cpl || dpl != cpl)
        return general_protection(env, d->selector);
    if (!target_set(env, &target, d, cpl, offset))
        return false;
    if (t->call) {
        struct frame frame;
        frame_begin(&frame, s, t->bytes);
        frame_push(&frame, s->cs.selector);
        frame_push(&frame, low_bytes(t->next, t->bytes));
        if (!frame_write(env, &frame, segment_is_64(s), 0))
            return false;
        s->rsp = frame.rsp;
    }
    s->cs = target.cs;
    s->rip = target.rip;
    return true;
}

/* A CALL through a gate to an inner level: the parameters go along. */
static bool inner_call(struct segment_env *env, const struct transfer *t, struct descriptor *code,
                       uint64_t offset, unsigned parameters)
{
    struct cpu_state *s = env->state;
    const unsigned dpl = descriptor_dpl(code);
    struct frame outer, frame;
    struct target target;
    frame_begin(&outer, s, t->bytes);
    frame_begin(&frame, s, t->bytes);
    if (!frame_inner(env, &frame, dpl, 0) || !target_set(env, &target, code, dpl, offset))
        return false;
    if (parameters != 0 && !frame_read(env, &outer, 0, parameters))
        return false;
    frame_push(&frame, s->ss.selector);
    frame_push(&frame, low_bytes(s->rsp, t->bytes));
    for (unsigned i = parameters; i-- > 0;)
        frame_push(&frame, outer.parts[i]);
    frame_push(&frame, s->cs.selector);
    frame_push(&frame, low_bytes(t->next, t->bytes));
    if (!frame_write(env, &frame, in_long_mode(env), frame.ss.selector))
        return false;
    s->ss = frame.ss;
    s->rsp = frame.rsp;
    s->cs = target.cs;
    s->rip = target.rip;
    return true;
}

static bool through_gate(struct segment_env *env, const struct transfer *from,
                         const struct descriptor *gate)
{
    const unsigned cpl = segment_cpl(env->state);
    const bool long_mode = in_long_mode(env), wide = descriptor_type(gate) == TYPE_CALL;
    const uint16_t selector = (uint16_t)(gate->low >> 16);
    const unsigned parameters = long_mode ? 0 : gate->high & 31;
    uint64_t offset = (gate->low & 0xffff) | (wide ? gate->high & 0xffff0000 : 0);
    struct transfer t = *from;
    struct descriptor code;
    t.bytes = long_mode ? 8 : wide ? 4 : 2;
    if (long_mode)
        offset |= (uint64_t)gate->upper << 32;
    if ((gate->access & ACCESS_P) == 0)
        return segment_selector_fault(env, VECTOR_NOT_PRESENT, gate->selector);
    if (selector_is_null(selector))
        return general_protection(env, 0);
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &code))
        return false;
    const bool conforming = descriptor_is_conforming(&code);
    if (!descriptor_is_code(&code) || descriptor_dpl(&code) > cpl ||
        (!t.call && !conforming && descriptor_dpl(&code) != cpl) ||
        (long_mode && (code.access & (ACCESS_L | ACCESS_DB)) != ACCESS_L))
        return general_protection(env, selector);
    if (t.call && !conforming && descriptor_dpl(&code) < cpl)
        return inner_call(env, &t, &code, offset, parameters);
    code.selector = (uint16_t)((selector & 0xfffc) | cpl); /* its RPL does not count */
    return direct_transfer(env, &t, &code, offset);
}

/* A TSS, or a gate to one. */
static enum segment_result to_task(struct segment_env *env, const struct transfer *t,
                                   const struct descriptor *d)
{
    uint16_t selector = d->selector;
    if (descriptor_type(d) == TYPE_TASK_GATE) {
        if ((d->access & ACCESS_P) == 0)
            return done(segment_selector_fault(env, VECTOR_NOT_PRESENT, selector));
        selector = (uint16_t)(d->low >> 16);
    }
    env->task =
        (struct task_request){.source = t->call ? TASK_CALL : TASK_JMP, .selector = selector};
    return SEGMENT_TASK;
}

static enum segment_result transfer(struct segment_env *env, const struct transfer *t,
                                    uint16_t selector, uint64_t offset)
{
    struct descriptor d;
    if (segment_is_real(env->state))
        return done(real_transfer(env, t, selector, offset));
    if (selector_is_null(selector))
        return done(general_protection(env, 0));
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &d))
        return SEGMENT_FAULT;
    if (descriptor_is_code(&d))
        return done(direct_transfer(env, t, &d, offset));
    const unsigned dpl = descriptor_dpl(&d), cpl = segment_cpl(env->state);
    const bool reachable = dpl >= cpl && dpl >= (selector & 3u), legacy = !in_long_mode(env);
    switch (descriptor_type(&d)) {
    case TYPE_CALL_16:
    case TYPE_CALL:
        if (!reachable || (!legacy && descriptor_type(&d) == TYPE_CALL_16))
            break;
        return done(through_gate(env, t, &d));
    case TYPE_TASK_GATE:
    case TYPE_TSS_16:
    case TYPE_TSS:
        if (!reachable || !legacy)
            break;
        return to_task(env, t, &d);
    default: break;
    }
    return done(general_protection(env, selector));
}

enum segment_result segment_jump(struct segment_env *env, uint16_t selector, uint64_t offset,
                                 unsigned bytes)
{
    const struct transfer t = {.call = false, .bytes = bytes};
    return transfer(env, &t, selector, low_bytes(offset, bytes));
}

enum segment_result segment_call(struct segment_env *env, uint16_t selector, uint64_t offset,
                                 unsigned bytes, uint64_t next)
{
    const struct transfer t = {.call = true, .bytes = bytes, .next = next};
    return transfer(env, &t, selector, low_bytes(offset, bytes));
}

/* --- RET and IRET --- */

/* The code segment that a return names. */
static bool return_target(struct segment_env *env, struct target *target, uint16_t selector,
                          uint64_t rip)
{
    const unsigned rpl = selector & 3u;
    struct descriptor d;
    if (selector_is_null(selector))
        return general_protection(env, 0);
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &d))
        return false;
    const unsigned dpl = descriptor_dpl(&d);
    if (!descriptor_is_code(&d) || rpl < segment_cpl(env->state) ||
        (descriptor_is_conforming(&d) ? dpl > rpl : dpl != rpl))
        return general_protection(env, selector);
    return target_set(env, target, &d, rpl, rip);
}

/* The stack segment of the level that is returned to; null in 64-bit code below CPL 3. */
static bool return_stack(struct segment_env *env, const struct target *target, uint16_t selector,
                         struct cpu_segment *ss)
{
    const uint32_t kind = ACCESS_S | ACCESS_CODE | ACCESS_WRITABLE;
    const unsigned cpl = target->cs.selector & 3u;
    const bool to_64 = in_long_mode(env) && (target->cs.access & ACCESS_L) != 0;
    struct descriptor d;
    if (selector_is_null(selector)) {
        if (!to_64 || cpl == 3 || (selector & 3u) != cpl)
            return general_protection(env, 0);
        *ss = (struct cpu_segment){.selector = selector,
                                   .access = ACCESS_UNUSABLE | cpl << ACCESS_DPL_SHIFT};
        return true;
    }
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &d))
        return false;
    if ((selector & 3u) != cpl || descriptor_dpl(&d) != cpl ||
        (d.access & kind) != (ACCESS_S | ACCESS_WRITABLE))
        return general_protection(env, selector);
    if ((d.access & ACCESS_P) == 0)
        return segment_selector_fault(env, VECTOR_STACK_FAULT, selector);
    if (!descriptor_mark(env, &d, ACCESS_ACCESSED))
        return false;
    *ss = descriptor_segment(env->state, &d);
    return true;
}

static bool far_return(struct segment_env *env, unsigned bytes, unsigned drop)
{
    struct cpu_state *s = env->state;
    struct frame frame;
    struct target target;
    frame_begin(&frame, s, bytes);
    if (!frame_read(env, &frame, 0, 2))
        return false;
    const uint64_t rip = frame.parts[0];
    const uint16_t selector = (uint16_t)frame.parts[1];
    const unsigned taken = 2 * bytes + drop;
    if (segment_is_real(s)) {
        if (rip > s->cs.limit)
            return general_protection(env, 0);
        stack_pointer_load(s, s->rsp + taken);
        segment_load_real(s, STATE_CS, selector);
        s->rip = rip;
        return true;
    }
    if (!return_target(env, &target, selector, rip))
        return false;
    if ((selector & 3u) == segment_cpl(s)) {
        stack_pointer_load(s, s->rsp + taken);
        s->cs = target.cs;
    } else {
        struct cpu_segment ss;
        if (!frame_read(env, &frame, taken, 2) ||
            !return_stack(env, &target, (uint16_t)frame.parts[1], &ss))
            return false;
        s->cs = target.cs;
        s->ss = ss;
        stack_pointer_load(s, frame.parts[0] + drop);
        segments_leave(s, selector & 3u);
    }
    s->rip = target.rip;
    return true;
}

enum segment_result segment_return(struct segment_env *env, unsigned bytes, unsigned drop)
{
    return done(far_return(env, bytes, drop));
}

#define FLAGS_BY_ALL                                                                     \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_DF | \
     RFLAGS_OF | RFLAGS_NT)
#define FLAGS_WIDE (RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)

/* The flags that IRET may change at a level (SDM, "IRET/IRETD/IRETQ"). */
static uint64_t iret_flags(const struct cpu_state *s, unsigned bytes)
{
    const unsigned cpl = segment_cpl(s), iopl = (unsigned)(s->rflags >> 12 & 3);
    const bool real = (s->cr0 & CR0_PE) == 0;
    uint64_t flags = FLAGS_BY_ALL | (bytes > 2 ? FLAGS_WIDE : 0);
    if (real || cpl <= iopl)
        flags |= RFLAGS_IF;
    if (real || cpl == 0)
        flags |= RFLAGS_IOPL;
    if (!real && cpl == 0 && bytes > 2)
        flags |= RFLAGS_VIF | RFLAGS_VIP;
    return flags;
}

static void change_flags(struct cpu_state *s, uint64_t which, uint64_t flags)
{
    s->rflags = (s->rflags & ~which) | (flags & which) | RFLAGS_FIXED;
}

/* Real mode, and virtual-8086 mode that stays there. With IOPL below 3 the 16-bit form alone is
 * left, of VIF (SDM, "Virtual-8086 Mode Extensions"). */
static bool real_iret(struct segment_env *env, unsigned bytes)
{
    struct cpu_state *s = env->state;
    const bool v86 = (s->rflags & RFLAGS_VM) != 0;
    const bool by_vif = v86 && (s->rflags & RFLAGS_IOPL) != RFLAGS_IOPL;
    struct frame frame;
    frame_begin(&frame, s, bytes);
    if (by_vif && (bytes != 2 || (s->cr4 & CR4_VME) == 0))
        return general_protection(env, 0);
    if (!frame_read(env, &frame, 0, 3))
        return false;
    uint64_t flags = frame.parts[2], which = iret_flags(s, bytes);
    if (frame.parts[0] > s->cs.limit)
        return general_protection(env, 0);
    if (v86)
        which = (which & ~(RFLAGS_IOPL | RFLAGS_VIF | RFLAGS_VIP)) | RFLAGS_IF;
    if (by_vif) {
        const bool enables = (flags & RFLAGS_IF) != 0;
        if ((flags & RFLAGS_TF) != 0 || (enables && (s->rflags & RFLAGS_VIP) != 0))
            return general_protection(env, 0);
        flags |= enables ? RFLAGS_VIF : 0;
        which = (which & ~RFLAGS_IF) | RFLAGS_VIF;
    }
    stack_pointer_load(s, s->rsp + 3 * bytes);
    segment_load_real(s, STATE_CS, (uint16_t)frame.parts[1]);
    s->rip = frame.parts[0];
    change_flags(s, which, flags);
    return true;
}

static bool iret_to_v86(struct segment_env *env, const struct frame *three)
{
    static const uint8_t order[] = {STATE_SS, STATE_ES, STATE_DS, STATE_FS, STATE_GS};
    struct cpu_state *s = env->state;
    struct frame frame = *three;
    if (!frame_read(env, &frame, 12, 6))
        return false;
    if (three->parts[0] > UINT16_MAX)
        return general_protection(env, 0);
    s->rflags = (three->parts[2] & RFLAGS_DEFINED) | RFLAGS_FIXED;
    segment_load_real(s, STATE_CS, (uint16_t)three->parts[1]);
    for (unsigned i = 0; i < sizeof(order); i++)
        segment_load_real(s, order[i], (uint16_t)frame.parts[i + 1]);
    s->rsp = frame.parts[0];
    s->rip = three->parts[0];
    return true;
}

static bool protected_iret(struct segment_env *env, unsigned bytes)
{
    struct cpu_state *s = env->state;
    struct frame frame;
    struct target target;
    frame_begin(&frame, s, bytes);
    if (!frame_read(env, &frame, 0, 3))
        return false;
    const uint64_t rip = frame.parts[0], flags = frame.parts[2], which = iret_flags(s, bytes);
    const uint16_t selector = (uint16_t)frame.parts[1];
    if ((flags & RFLAGS_VM) != 0 && segment_cpl(s) == 0 && bytes == 4 && !in_long_mode(env))
        return iret_to_v86(env, &frame);
    if (!return_target(env, &target, selector, rip))
        return false;
    if ((selector & 3u) != segment_cpl(s) || segment_is_64(s)) {
        struct cpu_segment ss;
        if (!frame_read(env, &frame, 3 * bytes, 2) ||
            !return_stack(env, &target, (uint16_t)frame.parts[1], &ss))
            return false;
        const bool outer = (selector & 3u) != segment_cpl(s);
        s->cs = target.cs;
        s->ss = ss;
        stack_pointer_load(s, frame.parts[0]);
        if (outer)
            segments_leave(s, selector & 3u);
    } else {
        stack_pointer_load(s, s->rsp + 3 * bytes);
        s->cs = target.cs;
    }
    s->rip = target.rip;
    change_flags(s, which, flags);
    return true;
}

/* With NT set it returns to the task that the TSS links to. */
static enum segment_result task_return(struct segment_env *env)
{
    const struct cpu_segment *tr = &env->state->tr;
    uint8_t link[2];
    if (in_long_mode(env))
        return done(general_protection(env, 0));
    if (!env->read(env->ctx, tr->base, link, 2, false))
        return SEGMENT_FAULT;
    env->task =
        (struct task_request){.source = TASK_IRET, .selector = (uint16_t)(link[0] | link[1] << 8)};
    return SEGMENT_TASK;
}

enum segment_result segment_iret(struct segment_env *env, unsigned bytes)
{
    const struct cpu_state *s = env->state;
    if (segment_is_real(s))
        return done(real_iret(env, bytes));
    if ((s->rflags & RFLAGS_NT) != 0)
        return task_return(env);
    return done(protected_iret(env, bytes));
}
