/* SPDX-License-Identifier: BSD-2-Clause */
/* What moves between a step's pages and the registers of devices: to the pages before the CPU
 * executes the instruction, and from there afterwards. XSAVE has hundreds of registers moved: so
 * much is done at once, and the rest before the vCPU's next entry, behind a look at what else is
 * due. */
#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/vm/linear.h"
#include "guest/vm/step.h"
#include "guest/vm/step_parts.h"

#define PORTION      512u         /* bytes */
#define ENTRY_UNIT   4u           /* the registers that devices have */
#define DESCRIPTOR_S (1ull << 44) /* of code or data; what has it not, may be twice as long */

static uint8_t *held_at(const struct step_parts *parts, const struct step_piece *p)
{
    return (uint8_t *)hpa_to_ptr(parts->copy[p->page]) + p->at.v % PAGE_SIZE;
}

static bool is_compared(const struct step_piece *p)
{
    return p->write == STEP_WRITTEN || p->write == STEP_CHANGED;
}

/* Of an element, or of the part of it that the piece has, at i. */
static bool is_chosen(const struct step_parts *parts, const struct step_piece *p, unsigned i,
                      unsigned bytes)
{
    const uint8_t *held = held_at(parts, p) + i;
    switch (p->write) {
    case STEP_SPARSE: return get_le(held, bytes) != get_le(&parts->filling, bytes);
    case STEP_CHANGED: return get_le(held, bytes) != get_le(parts->before + p->before + i, bytes);
    default: return (p->chosen >> (p->first + i) / p->element & 1) != 0;
    }
}

/* How many bytes from i on belong together, all chosen or all not, of so many at most. *chosen:
 * which it is. */
static unsigned run_of(const struct step_parts *parts, const struct step_piece *p, unsigned i,
                       unsigned most, bool *chosen)
{
    unsigned end = i;
    *chosen = true;
    if (p->element == 0)
        return most;
    do {
        const unsigned rest = p->element - (p->first + end) % p->element;
        const unsigned n = rest < p->bytes - end ? rest : p->bytes - end;
        const bool is = is_chosen(parts, p, end, n);
        if (end == i)
            *chosen = is;
        else if (is != *chosen)
            break;
        end += n;
    } while (end < i + most);
    return end - i;
}

/* From where the work is in this piece to its end. False: no time is left. */
static bool move_chosen(struct vcpu *vcpu, const struct step_piece *p, unsigned *left)
{
    struct step_parts *parts = vcpu->step.parts;
    uint8_t *held = held_at(parts, p);
    while (parts->at_byte < p->bytes) {
        const unsigned i = parts->at_byte, rest = p->bytes - i;
        bool chosen;
        if (*left == 0)
            return false;
        const unsigned n = run_of(parts, p, i, rest < *left ? rest : *left, &chosen);
        if (chosen && parts->work == STEP_FILLS)
            linear_read_page(vcpu, gpa(p->at.v + i), held + i, n);
        else if (chosen)
            linear_write_page(vcpu, gpa(p->at.v + i), held + i, n);
        parts->at_byte += n;
        *left -= n < *left ? n : *left;
    }
    return true;
}

/* A descriptor, or another entry of a table. */
static void read_entry(struct vcpu *vcpu, const struct step_piece *p)
{
    uint8_t *held = held_at(vcpu->step.parts, p);
    for (unsigned i = 0; i < p->bytes; i += ENTRY_UNIT)
        if (i < STEP_DESCRIPTOR || (get_le64(held) & DESCRIPTOR_S) == 0)
            linear_read_page(vcpu, gpa(p->at.v + i), held + i,
                             p->bytes - i < ENTRY_UNIT ? p->bytes - i : ENTRY_UNIT);
}

static void put_filling(const struct step_parts *parts, const struct step_piece *p)
{
    uint8_t *held = held_at(parts, p);
    unsigned i = 0;
    for (; i + sizeof(parts->filling) <= p->bytes; i += sizeof(parts->filling))
        put_le(held + i, sizeof(parts->filling), parts->filling);
    memcpy(held + i, &parts->filling, p->bytes - i);
}

/* What the device answers; and a copy, to see what has been written. */
static bool fill(struct vcpu *vcpu, struct step_piece *p, unsigned *left)
{
    struct step_parts *parts = vcpu->step.parts;
    if (p->write == STEP_SPARSE)
        put_filling(parts, p);
    else if (p->write == STEP_CHANGED)
        read_entry(vcpu, p);
    else if (p->read && !move_chosen(vcpu, p, left))
        return false;
    if (is_compared(p))
        memcpy(parts->before + p->before, held_at(parts, p), p->bytes);
    p->filled = true;
    return true;
}

/* An instruction that has faulted, or has not been executed, has written nothing; one that jumps,
 * what it has pushed. */
static bool is_written(const struct step_parts *parts, const struct step_piece *p)
{
    if (!p->filled || p->write == STEP_UNWRITTEN)
        return false;
    return !is_compared(p) || (p->write == STEP_WRITTEN && parts->executed) ||
           memcmp(held_at(parts, p), parts->before + p->before, p->bytes) != 0;
}

static bool work_on(struct vcpu *vcpu, struct step_piece *p, unsigned *left)
{
    if (vcpu->step.parts->work == STEP_FILLS)
        return !p->shown || p->filled || fill(vcpu, p, left);
    return !is_written(vcpu->step.parts, p) || move_chosen(vcpu, p, left);
}

/* One portion, with the lock held. */
static void work(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    struct step_parts *parts = step->parts;
    unsigned left = PORTION;
    for (; parts->at_piece < step->pieces; parts->at_piece++) {
        if (!work_on(vcpu, &parts->piece[parts->at_piece], &left)) {
            step->unfinished = vcpu->attention = true;
            __atomic_fetch_or(&vcpu->requests, REQUEST_STEP, __ATOMIC_SEQ_CST);
            return;
        }
        parts->at_byte = 0;
    }
    step->unfinished = false;
}

void step_work(struct vcpu *vcpu, enum step_work kind)
{
    struct step_parts *parts = vcpu->step.parts;
    parts->work = kind;
    parts->at_piece = parts->at_byte = 0;
    work(vcpu);
}

bool step_continue(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    work(vcpu);
    vm_unlock(vcpu->vm);
    if (!vcpu->step.unfinished && vcpu->step.parts->work == STEP_WRITES)
        step_forget(vcpu);
    return vcpu->step.unfinished;
}
