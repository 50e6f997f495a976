/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction on a device's registers that the emulator does not know: the CPU executes it on a
 * page that holds, where the instruction reads, what the device has answered, each register having
 * been read once; and what it has written there goes to the device afterwards. So whatever the CPU
 * can do, it does to device memory as well, and all of its checks and faults are its own.
 *
 * Between the two the VM's lock is free: what needs a bus lock, the emulator knows.
 */
#include "arch/string.h"
#include "guest/cpu/operands.h"
#include "guest/vm/access.h"
#include "guest/vm/step.h"

/* How many bytes from i on belong together: all chosen or all not; *chosen: which. */
static unsigned run_of(const struct step_piece *p, unsigned i, bool *chosen)
{
    unsigned n = 0;
    *chosen = true;
    if (p->element == 0)
        return p->bytes - i;
    *chosen = (p->chosen >> (p->first + i) / p->element & 1) != 0;
    while (i + n < p->bytes && ((p->chosen >> (p->first + i + n) / p->element & 1) != 0) == *chosen)
        n++;
    return n;
}

static uint8_t *held_at(const struct step *step, const struct step_piece *p)
{
    return (uint8_t *)hpa_to_ptr(step->copy[p->page]) + p->at.v % PAGE_SIZE;
}

/* Whether nothing but a device's registers is at a page, so that a step needs this. */
static bool is_registers(const struct vcpu *vcpu, gpa_t page)
{
    void *memory;
    return guestmem_slot(&vcpu->vm->mem, page) == NULL &&
           (access_is_apic(vcpu, page) || !bus_mmio_is_plain(&vcpu->vm->bus, page, &memory));
}

static bool add_piece(struct step *step, const struct insn_range *range, unsigned first, gpa_t at,
                      unsigned bytes)
{
    if (step->pieces == STEP_PIECES)
        return false;
    step->piece[step->pieces++] = (struct step_piece){
        .at = at,
        .bytes = (uint16_t)bytes,
        .read = range->read,
        .write = range->write,
        .element = (uint8_t)range->element,
        .first = (uint16_t)first,
        .chosen = range->chosen,
    };
    return true;
}

/* Whether the operands are in so few pages that there is a copy for each, whatever is there. */
static bool are_near(const struct insn_range *range, unsigned ranges)
{
    uint64_t page[STEP_OPERAND_PAGES];
    unsigned pages = 0, known;
    for (unsigned i = 0; i < ranges; i++) {
        const uint64_t last = (range[i].linear.v + range[i].bytes - 1) / PAGE_SIZE;
        for (uint64_t p = range[i].linear.v / PAGE_SIZE; p <= last; p++) {
            for (known = 0; known < pages && page[known] != p; known++) {}
            if (known == STEP_OPERAND_PAGES)
                return false;
            if (known == pages)
                page[pages++] = p;
        }
    }
    return true;
}

/* The parts of an operand that lie in a device's registers. A page that is not there is the CPU's
 * to find; of a masked operand it may not matter. False: there are too many. */
static bool find_pieces(const struct emulate_context *ctx, const struct insn_range *range)
{
    struct vcpu *vcpu = ctx->vcpu;
    for (unsigned done = 0, n; done < range->bytes; done += n) {
        gva_t linear = gva(range->linear.v + done);
        const unsigned room = (unsigned)(PAGE_SIZE - linear.v % PAGE_SIZE);
        gpa_t at;
        uint32_t error;
        n = range->bytes - done < room ? range->bytes - done : room;
        if (ctx->mode != INSN_64)
            linear.v &= UINT32_MAX;
        if (guestwalk_translate(&vcpu->vm->mem, &ctx->paging, linear,
                                range->write ? WALK_WRITE : WALK_READ, &at, &error) &&
            is_registers(vcpu, at) && !add_piece(&vcpu->step, range, done, at, n))
            return false;
    }
    return true;
}

/* Shows a page for a piece, unless it is there for another one. */
static bool show_piece(struct vcpu *vcpu, struct step_piece *p)
{
    struct step *step = &vcpu->step;
    const gpa_t page = gpa(p->at.v & ~(PAGE_SIZE - 1));
    for (const struct step_piece *q = step->piece; q < p; q++) {
        if (q->at.v / PAGE_SIZE == p->at.v / PAGE_SIZE) {
            p->page = q->page;
            return true;
        }
    }
    p->page = (uint8_t)step->count;
    return step_show_ones(vcpu, page);
}

/* What the device answers; and a copy, to see what has been written. */
static void fill(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    uint8_t *before = hpa_to_ptr(step->copy[STEP_PAGES]);
    for (struct step_piece *p = step->piece; p < step->piece + step->pieces; p++) {
        uint8_t *held = held_at(step, p);
        bool chosen;
        for (unsigned i = 0, n; i < p->bytes && p->read; i += n) {
            n = run_of(p, i, &chosen);
            if (chosen)
                linear_read_page(vcpu, gpa(p->at.v + i), held + i, n);
        }
        memcpy(before, held, p->bytes);
        before += p->bytes;
    }
}

/* Shows all that has been found. False: the VM ends. */
static bool show_pieces(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    for (struct step_piece *p = step->piece; p < step->piece + step->pieces; p++)
        if (!show_piece(vcpu, p))
            return false;
    return step_has_copy(vcpu, STEP_PAGES);
}

static bool is_about(const struct step *step, gpa_t address)
{
    for (const struct step_piece *p = step->piece; p < step->piece + step->pieces; p++)
        if (p->at.v / PAGE_SIZE == address.v / PAGE_SIZE)
            return true;
    return false;
}

static bool begin(struct emulate_context *ctx, const struct insn_operands *operands, gpa_t address)
{
    struct step *step = &ctx->vcpu->step;
    const struct emulate_env env = linear_environment(ctx);
    struct insn_range range[INSN_MAX_RANGES];
    const unsigned ranges = insn_find_ranges(operands, &env, linear_read_mask, range);
    bool possible = are_near(range, ranges);
    for (unsigned i = 0; i < ranges && possible; i++)
        possible = find_pieces(ctx, &range[i]);
    if (!possible || !is_about(step, address)) {
        step->pieces = 0;
        return false;
    }
    if (step->count > STEP_PAGES - STEP_OPERAND_PAGES) { /* of what stood here before, perhaps */
        (void)ctx->vcpu->engine->step(ctx->vcpu, false);
        step->count = 0;
    }
    if (show_pieces(ctx->vcpu))
        fill(ctx->vcpu);
    step->next_rip = ctx->rip + operands->insn.length;
    if (ctx->mode != INSN_64)
        step->next_rip &= UINT32_MAX;
    return true;
}

bool step_on_device(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                    gpa_t address)
{
    struct vcpu *vcpu = ctx->vcpu;
    struct insn_operands operands;
    struct cpu_state state;
    if (vcpu->step.pieces != 0 || /* the one that is being stepped has all that it is to have */
        insn_decode_operands(&operands, bytes, count, ctx->mode) != INSN_OK)
        return false;
    if (operands.bytes == 0 && operands.stack == STACK_UNUSED)
        return step_blindly(vcpu, address);
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    vcpu->regs.gpr[RSP] = state.rsp;
    vm_lock(vcpu->vm);
    const bool begun = begin(ctx, &operands, address);
    vm_unlock(vcpu->vm);
    return begun;
}

bool step_blindly(struct vcpu *vcpu, gpa_t address)
{
    vm_lock(vcpu->vm);
    (void)step_show_ones(vcpu, gpa(address.v & ~(PAGE_SIZE - 1)));
    vm_unlock(vcpu->vm);
    return true;
}

/* An instruction that has faulted, or has not been executed, has written nothing; one that jumps,
 * what it has pushed. */
void step_write_back(struct vcpu *vcpu)
{
    struct step *step = &vcpu->step;
    const uint8_t *before = hpa_to_ptr(step->copy[STEP_PAGES]);
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    vm_lock(vcpu->vm);
    for (const struct step_piece *p = step->piece; p < step->piece + step->pieces; p++) {
        const uint8_t *held = held_at(step, p);
        const bool written =
            p->write && (state.rip == step->next_rip || memcmp(held, before, p->bytes) != 0);
        bool chosen;
        for (unsigned i = 0, n; i < p->bytes && written; i += n) {
            n = run_of(p, i, &chosen);
            if (chosen)
                linear_write_page(vcpu, gpa(p->at.v + i), held + i, n);
        }
        before += p->bytes;
    }
    vm_unlock(vcpu->vm);
    step->pieces = 0;
}
