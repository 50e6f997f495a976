/* SPDX-License-Identifier: BSD-2-Clause */
/* What segment.c, transfer.c and deliver.c share: descriptors as they stand in tables, stacks that
 * are built aside, and faults. */
#pragma once

#include "guest/cpu/segment.h"

/* Types of system descriptors (SDM, "System Descriptor Types"). */
enum {
    TYPE_TSS_16 = 1,
    TYPE_LDT = 2,
    TYPE_CALL_16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INTERRUPT_16 = 6,
    TYPE_TRAP_16 = 7,
    TYPE_TSS = 9,
    TYPE_CALL = 12,
    TYPE_INTERRUPT = 14,
    TYPE_TRAP = 15,
};

struct descriptor {
    uint16_t selector;
    uint32_t access; /* as in a VMCS */
    uint32_t low, high;
    uint32_t upper; /* of the base or the offset, of system descriptors in IA-32e mode */
    uint64_t at;    /* its linear address */
};

/* Both return false, for the caller to return. */
static inline bool segment_fault(struct segment_env *env, unsigned vector, uint32_t error)
{
    env->raise(env->ctx, vector, error);
    return false;
}

/* The same with the error code that names a selector, and says by EXT whether an event was being
 * delivered. */
static inline bool segment_selector_fault(struct segment_env *env, unsigned vector,
                                          uint16_t selector)
{
    return segment_fault(env, vector, (selector & 0xfffcu) | env->external);
}

/* Reads a descriptor; beyond its table: `vector` with the selector. */
bool descriptor_read(struct segment_env *env, uint16_t selector, unsigned vector,
                     struct descriptor *out);
/* As a segment register holds it. */
struct cpu_segment descriptor_segment(const struct cpu_state *state, const struct descriptor *d);
/* Sets a bit of the type in memory, and in *d, unless it is set. */
bool descriptor_mark(struct segment_env *env, struct descriptor *d, uint32_t bit);

static inline bool descriptor_is_code(const struct descriptor *d)
{
    return (d->access & (ACCESS_S | ACCESS_CODE)) == (ACCESS_S | ACCESS_CODE);
}

static inline bool descriptor_is_conforming(const struct descriptor *d)
{
    return (d->access & ACCESS_EXPAND_DOWN) != 0;
}

static inline unsigned descriptor_dpl(const struct descriptor *d)
{
    return access_dpl(d->access);
}

/* The type of a system descriptor; 16 for the others. */
static inline unsigned descriptor_type(const struct descriptor *d)
{
    return d->access & ACCESS_S ? 16 : d->access & ACCESS_TYPE;
}

static inline bool selector_is_null(uint16_t selector)
{
    return (selector & 0xfffc) == 0;
}

static inline uint64_t low_bytes(uint64_t value, unsigned bytes)
{
    return bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);
}

/* A code segment that control goes to; *segment and *rip replace CS and RIP when all is checked. */
struct target {
    struct cpu_segment cs;
    uint64_t rip;
};

/* Makes target->cs of a code descriptor for code that will run at cpl, after its presence, its mode
 * and the target's address have been checked; marks it accessed. */
bool target_set(struct segment_env *env, struct target *target, struct descriptor *d, unsigned cpl,
                uint64_t rip);

/* A stack that is written or read as one block: what is pushed stands in parts[] in that order. */
struct frame {
    struct cpu_segment ss;
    uint64_t rsp; /* before the pushes, or after what is popped */
    unsigned cpl;
    unsigned bytes, count;
    uint64_t parts[SEGMENT_MAX_BLOCK / 8];
};

/* The current stack, with parts of bytes, of which there are none yet. */
static inline void frame_begin(struct frame *frame, const struct cpu_state *state, unsigned bytes)
{
    frame->ss = state->ss;
    frame->rsp = state->rsp;
    frame->cpl = segment_cpl(state);
    frame->bytes = bytes;
    frame->count = 0;
}
/* The stack of an inner level, of the TSS, or of its IST (ist > 0) in IA-32e mode. */
bool frame_inner(struct segment_env *env, struct frame *frame, unsigned dpl, unsigned ist);
static inline void frame_push(struct frame *frame, uint64_t value)
{
    frame->parts[frame->count++] = value;
}
/* Writes the parts below rsp, and moves that; a fault of the stack's limit is #SS(error).
 * long_stack: RSP has 64 bits. */
bool frame_write(struct segment_env *env, struct frame *frame, bool long_stack, uint16_t error);
/* Reads count parts at offset bytes from its top; rsp stays. */
bool frame_read(struct segment_env *env, struct frame *frame, unsigned offset, unsigned count);
/* Loads RSP with a stack segment that CS and SS of *state belong to by now: of a 16-bit stack SP
 * alone changes, and RSP keeps the upper bits that it has. */
void stack_pointer_load(struct cpu_state *state, uint64_t value);

/* Null selectors where the data segments are not for the outer level that is entered. */
void segments_leave(struct cpu_state *state, unsigned cpl);

/* A segment register in real or virtual-8086 mode. */
void segment_load_real(struct cpu_state *state, unsigned number, uint16_t selector);
