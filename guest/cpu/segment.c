/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors, loads of segment registers, and stacks of far transfers (SDM, "Segment Descriptors",
 * "Checking of Limits, Types and Privilege"). */
#include "arch/bytes.h"
#include "guest/cpu/descriptor.h"

static bool general_protection(struct segment_env *env, uint16_t selector)
{
    return segment_selector_fault(env, VECTOR_GENERAL_PROTECTION, selector);
}

/* Where the descriptor is; false: beyond its table. */
static bool locate(const struct cpu_state *s, uint16_t selector, unsigned bytes, uint64_t *at)
{
    const bool local = (selector & 4) != 0;
    const unsigned last = (selector & 0xfff8u) + bytes - 1;
    if (local && (s->ldtr.access & ACCESS_UNUSABLE) != 0)
        return false;
    *at = (local ? s->ldtr.base : s->gdtr.base) + (selector & 0xfff8u);
    return last <= (local ? s->ldtr.limit : s->gdtr.limit);
}

bool descriptor_read(struct segment_env *env, uint16_t selector, unsigned vector,
                     struct descriptor *out)
{
    const struct cpu_state *s = env->state;
    uint8_t bytes[16] = {0};
    uint64_t at;
    if (!locate(s, selector, 8, &at))
        return segment_selector_fault(env, vector, selector);
    if (!env->read(env->ctx, at, bytes, 8, false))
        return false;
    *out = (struct descriptor){.selector = selector,
                               .low = get_le32(bytes),
                               .high = get_le32(bytes + 4),
                               .access = get_le32(bytes + 4) >> 8 & 0xf0ff,
                               .at = at};
    if ((s->efer & EFER_LMA) == 0 || (out->access & ACCESS_S) != 0)
        return true;
    if (!locate(s, selector, 16, &at))
        return segment_selector_fault(env, vector, selector);
    if (!env->read(env->ctx, at + 8, bytes + 8, 8, false))
        return false;
    out->upper = get_le32(bytes + 8);
    return true;
}

struct cpu_segment descriptor_segment(const struct cpu_state *state, const struct descriptor *d)
{
    const uint32_t limit = (d->low & 0xffff) | (d->high & 0xf0000);
    const bool has_upper = (state->efer & EFER_LMA) != 0 && (d->access & ACCESS_S) == 0;
    return (struct cpu_segment){
        .selector = d->selector,
        .access = d->access,
        .limit = d->access & ACCESS_G ? limit << 12 | 0xfff : limit,
        .base = d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000) |
                (has_upper ? (uint64_t)d->upper << 32 : 0),
    };
}

bool descriptor_mark(struct segment_env *env, struct descriptor *d, uint32_t bit)
{
    if ((d->access & bit) != 0)
        return true;
    d->access |= bit;
    return env->set_bits(env->ctx, d->at + 4, bit << 8);
}

/* --- loads --- */

/* The limit stays what it was, as does the rest of the access rights in real mode: programs count
 * on segments of 4 GiB there. */
void segment_load_real(struct cpu_state *state, unsigned number, uint16_t selector)
{
    struct cpu_segment *segment = &state->segment[number];
    segment->selector = selector;
    segment->base = (uint64_t)selector << 4;
    if ((state->rflags & RFLAGS_VM) != 0) {
        segment->limit = 0xffff;
        segment->access = SEGMENT_VM86;
    } else if (number != STATE_CS) {
        segment->access = (segment->access & (ACCESS_DB | ACCESS_G)) | SEGMENT_DATA16;
    }
}

/* SS is null only in 64-bit code below CPL 3 (SDM, "Stack Segment"). */
static bool load_null(struct segment_env *env, unsigned number, uint16_t selector)
{
    const unsigned cpl = segment_cpl(env->state);
    const bool stack = number == STATE_SS;
    if (stack && (!segment_is_64(env->state) || cpl == 3 || (selector & 3u) != cpl))
        return general_protection(env, 0);
    env->state->segment[number] = (struct cpu_segment){
        .selector = selector, .access = ACCESS_UNUSABLE | (stack ? cpl << ACCESS_DPL_SHIFT : 0)};
    return true;
}

static bool load_stack(struct segment_env *env, struct descriptor *d)
{
    const unsigned cpl = segment_cpl(env->state);
    const uint32_t kind = ACCESS_S | ACCESS_CODE | ACCESS_WRITABLE;
    if ((d->selector & 3u) != cpl || (d->access & kind) != (ACCESS_S | ACCESS_WRITABLE) ||
        descriptor_dpl(d) != cpl)
        return general_protection(env, d->selector);
    return (d->access & ACCESS_P) != 0 ||
           segment_selector_fault(env, VECTOR_STACK_FAULT, d->selector);
}

static bool load_data(struct segment_env *env, struct descriptor *d)
{
    const unsigned cpl = segment_cpl(env->state), rpl = d->selector & 3u, dpl = descriptor_dpl(d);
    const bool code = descriptor_is_code(d);
    if ((d->access & ACCESS_S) == 0 || (code && (d->access & ACCESS_WRITABLE) == 0) ||
        (!(code && descriptor_is_conforming(d)) && (rpl > dpl || cpl > dpl)))
        return general_protection(env, d->selector);
    return (d->access & ACCESS_P) != 0 ||
           segment_selector_fault(env, VECTOR_NOT_PRESENT, d->selector);
}

/* LLDT and LTR: of the GDT alone. */
static bool load_system(struct segment_env *env, unsigned number, struct descriptor *d)
{
    const unsigned type = descriptor_type(d);
    const bool long_mode = (env->state->efer & EFER_LMA) != 0;
    const bool good = number == STATE_LDTR
                          ? type == TYPE_LDT
                          : type == TYPE_TSS || (type == TYPE_TSS_16 && !long_mode);
    if (!good)
        return general_protection(env, d->selector);
    if ((d->access & ACCESS_P) == 0)
        return segment_selector_fault(env, VECTOR_NOT_PRESENT, d->selector);
    return number == STATE_LDTR || descriptor_mark(env, d, ACCESS_TSS_BUSY);
}

bool segment_load(struct segment_env *env, unsigned number, uint16_t selector)
{
    struct cpu_state *s = env->state;
    struct descriptor d;
    const bool system = number >= STATE_LDTR;
    if (!system && segment_is_real(s)) {
        segment_load_real(s, number, selector);
        return true;
    }
    if (selector_is_null(selector))
        return number == STATE_TR ? general_protection(env, 0) : load_null(env, number, selector);
    if (system && (selector & 4) != 0)
        return general_protection(env, selector);
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &d))
        return false;
    const bool good = system               ? load_system(env, number, &d)
                      : number == STATE_SS ? load_stack(env, &d)
                                           : load_data(env, &d);
    if (!good || (!system && !descriptor_mark(env, &d, ACCESS_ACCESSED)))
        return false;
    s->segment[number] = descriptor_segment(s, &d);
    return true;
}

/* --- questions --- */

/* Whether LAR or LSL knows the type (SDM, the tables of "LAR" and "LSL"). */
static bool query_knows(const struct cpu_state *s, enum segment_query query, unsigned type)
{
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    switch (type) {
    case 16:
    case TYPE_LDT:
    case TYPE_TSS:
    case TYPE_TSS | 2: return true;
    case TYPE_TSS_16:
    case TYPE_TSS_16 | 2: return !long_mode;
    case TYPE_CALL: return query == SEGMENT_LAR;
    case TYPE_CALL_16:
    case TYPE_TASK_GATE: return query == SEGMENT_LAR && !long_mode;
    default: return false;
    }
}

bool segment_query(struct segment_env *env, enum segment_query query, uint16_t selector,
                   uint32_t *value, bool *fault)
{
    const struct cpu_state *s = env->state;
    struct descriptor d;
    uint64_t at;
    *fault = false;
    if (selector_is_null(selector) || !locate(s, selector, 8, &at))
        return false;
    if (!descriptor_read(env, selector, VECTOR_GENERAL_PROTECTION, &d)) {
        *fault = true;
        return false;
    }
    const unsigned cpl = segment_cpl(s), rpl = selector & 3u, dpl = descriptor_dpl(&d);
    const bool code = descriptor_is_code(&d), second = (d.access & ACCESS_WRITABLE) != 0;
    const bool open = (code && descriptor_is_conforming(&d)) || (cpl <= dpl && rpl <= dpl);
    switch (query) {
    case SEGMENT_VERR: return (d.access & ACCESS_S) != 0 && (!code || second) && open;
    case SEGMENT_VERW: return (d.access & ACCESS_S) != 0 && !code && second && open;
    default: break;
    }
    if (!open || !query_knows(s, query, descriptor_type(&d)))
        return false;
    *value = query == SEGMENT_LAR ? d.high & 0xf0ff00 : descriptor_segment(s, &d).limit;
    return true;
}

/* --- where control goes to --- */

static bool is_canonical(const struct cpu_state *s, uint64_t address)
{
    const unsigned unused = s->cr4 & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

bool target_set(struct segment_env *env, struct target *target, struct descriptor *d, unsigned cpl,
                uint64_t rip)
{
    struct cpu_state *s = env->state;
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    if ((d->access & ACCESS_P) == 0)
        return segment_selector_fault(env, VECTOR_NOT_PRESENT, d->selector);
    if (long_mode && (d->access & (ACCESS_L | ACCESS_DB)) == (ACCESS_L | ACCESS_DB))
        return general_protection(env, d->selector);
    const bool is_64 = long_mode && (d->access & ACCESS_L) != 0;
    const uint32_t limit = descriptor_segment(s, d).limit;
    if (is_64 ? !is_canonical(s, rip) : rip > limit)
        return general_protection(env, 0);
    if (!descriptor_mark(env, d, ACCESS_ACCESSED))
        return false;
    target->cs = descriptor_segment(s, d);
    target->cs.selector = (uint16_t)((d->selector & 0xfffc) | cpl);
    target->rip = rip;
    return true;
}

/* --- stacks --- */

/* The fields of a TSS (SDM, "Task-State Segment (TSS)", "64-Bit Task-State Segment"). */
static bool read_inner(struct segment_env *env, unsigned dpl, unsigned ist, uint64_t *rsp,
                       uint16_t *ss)
{
    const struct cpu_segment *tr = &env->state->tr;
    const bool long_mode = (env->state->efer & EFER_LMA) != 0;
    const bool wide = (tr->access & ACCESS_TSS32) != 0;
    const unsigned word = long_mode ? 8 : wide ? 4 : 2;
    const unsigned at = ist != 0    ? 0x24 + 8 * (ist - 1)
                        : long_mode ? 4 + 8 * dpl
                                    : word * (1 + 2 * dpl);
    const unsigned bytes = long_mode ? 8 : word + 2;
    uint8_t field[8] = {0};
    if (at + bytes - 1 > tr->limit)
        return segment_selector_fault(env, VECTOR_INVALID_TSS, tr->selector);
    if (!env->read(env->ctx, tr->base + at, field, bytes, false))
        return false;
    *rsp = get_le(field, word);
    *ss = long_mode ? (uint16_t)dpl : get_le16(field + word);
    return true;
}

/* SS of an inner level: faults are #TS, but for one that is not present. */
static bool inner_segment(struct segment_env *env, struct frame *frame, uint16_t selector)
{
    const uint32_t kind = ACCESS_S | ACCESS_CODE | ACCESS_WRITABLE;
    struct descriptor d;
    if (selector_is_null(selector))
        return segment_selector_fault(env, VECTOR_INVALID_TSS, 0);
    if (!descriptor_read(env, selector, VECTOR_INVALID_TSS, &d))
        return false;
    if ((selector & 3u) != frame->cpl || descriptor_dpl(&d) != frame->cpl ||
        (d.access & kind) != (ACCESS_S | ACCESS_WRITABLE))
        return segment_selector_fault(env, VECTOR_INVALID_TSS, selector);
    if ((d.access & ACCESS_P) == 0)
        return segment_selector_fault(env, VECTOR_STACK_FAULT, selector);
    if (!descriptor_mark(env, &d, ACCESS_ACCESSED))
        return false;
    frame->ss = descriptor_segment(env->state, &d);
    return true;
}

bool frame_inner(struct segment_env *env, struct frame *frame, unsigned dpl, unsigned ist)
{
    const struct cpu_state *s = env->state;
    uint16_t ss;
    if (!read_inner(env, dpl, ist, &frame->rsp, &ss))
        return false;
    const bool changes = dpl != segment_cpl(s);
    frame->cpl = dpl;
    if ((s->efer & EFER_LMA) == 0)
        return inner_segment(env, frame, ss);
    if (!is_canonical(s, frame->rsp))
        return segment_selector_fault(env, VECTOR_STACK_FAULT, 0);
    if (changes)
        frame->ss = (struct cpu_segment){.selector = ss,
                                         .access = ACCESS_UNUSABLE | dpl << ACCESS_DPL_SHIFT};
    return true;
}

/* Whether bytes at an offset may be used as stack. */
static bool stack_allows(const struct cpu_segment *ss, uint64_t offset, unsigned bytes)
{
    const uint64_t last = offset + bytes - 1;
    if ((ss->access & ACCESS_UNUSABLE) != 0)
        return false;
    if ((ss->access & ACCESS_EXPAND_DOWN) != 0)
        return offset > ss->limit && last <= (ss->access & ACCESS_DB ? UINT32_MAX : UINT16_MAX);
    return last <= ss->limit;
}

static unsigned pointer_bytes(const struct cpu_segment *ss, bool long_stack)
{
    return long_stack ? 8 : ss->access & ACCESS_DB ? 4 : 2;
}

void stack_pointer_load(struct cpu_state *state, uint64_t value)
{
    const unsigned bytes = pointer_bytes(&state->ss, segment_is_64(state));
    const uint64_t kept = bytes == 2 ? state->rsp & ~(uint64_t)UINT16_MAX : 0;
    state->rsp = kept | low_bytes(value, bytes);
}

/* Finds a block at an offset from the stack pointer. */
static bool block_at(struct segment_env *env, const struct frame *frame, bool long_stack,
                     int64_t offset, unsigned bytes, uint16_t error, uint64_t *linear)
{
    const uint64_t at =
        low_bytes(frame->rsp + (uint64_t)offset, pointer_bytes(&frame->ss, long_stack));
    const bool good = long_stack
                          ? is_canonical(env->state, at) && is_canonical(env->state, at + bytes - 1)
                          : stack_allows(&frame->ss, at, bytes);
    *linear = long_stack ? at : (frame->ss.base + at) & UINT32_MAX;
    return good || segment_selector_fault(env, VECTOR_STACK_FAULT, error);
}

bool frame_write(struct segment_env *env, struct frame *frame, bool long_stack, uint16_t error)
{
    uint8_t block[SEGMENT_MAX_BLOCK];
    const unsigned bytes = frame->count * frame->bytes;
    uint64_t linear;
    for (unsigned i = 0; i < frame->count; i++)
        put_le(block + (frame->count - 1 - i) * frame->bytes, frame->bytes, frame->parts[i]);
    if (!block_at(env, frame, long_stack, -(int64_t)bytes, bytes, error, &linear) ||
        !env->write(env->ctx, linear, block, bytes, frame->cpl == 3))
        return false;
    const unsigned pointer = pointer_bytes(&frame->ss, long_stack);
    const uint64_t kept = pointer == 2 ? frame->rsp & ~(uint64_t)UINT16_MAX : 0;
    frame->rsp = kept | low_bytes(frame->rsp - bytes, pointer);
    return true;
}

bool frame_read(struct segment_env *env, struct frame *frame, unsigned offset, unsigned count)
{
    uint8_t block[SEGMENT_MAX_BLOCK];
    const unsigned bytes = count * frame->bytes;
    uint64_t linear;
    if (!block_at(env, frame, segment_is_64(env->state), offset, bytes, 0, &linear) ||
        !env->read(env->ctx, linear, block, bytes, frame->cpl == 3))
        return false;
    for (unsigned i = 0; i < count; i++)
        frame->parts[i] = get_le(block + i * frame->bytes, frame->bytes);
    frame->count = count;
    return true;
}

void segments_leave(struct cpu_state *state, unsigned cpl)
{
    static const uint8_t data[] = {STATE_ES, STATE_FS, STATE_GS, STATE_DS};
    for (unsigned i = 0; i < sizeof(data); i++) {
        struct cpu_segment *segment = &state->segment[data[i]];
        const bool conforming = (segment->access & (ACCESS_CODE | ACCESS_EXPAND_DOWN)) ==
                                (ACCESS_CODE | ACCESS_EXPAND_DOWN);
        if ((segment->access & ACCESS_UNUSABLE) == 0 && !conforming &&
            access_dpl(segment->access) < cpl)
            *segment = (struct cpu_segment){.access = ACCESS_UNUSABLE};
    }
}
