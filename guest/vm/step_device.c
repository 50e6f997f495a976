/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction on a device's registers that the emulator does not know: the CPU executes it on a
 * page that holds, where the instruction reads, what the device has answered, each register having
 * been read once; and what it has written there goes to the device afterwards. So whatever the CPU
 * can do, it does to device memory as well, and all of its checks and faults are its own.
 *
 * What the instruction touches is found when the CPU comes to the first of it, and each page is
 * read when it comes there: that is the CPU's order, and each exit is short, though an operand may
 * be of many pages. Between the exits the VM's lock is free: what needs a bus lock, the emulator
 * knows.
 */
#include "arch/x86.h"
#include "guest/cpu/operands.h"
#include "guest/vm/access.h"
#include "guest/vm/step.h"
#include "guest/vm/step_parts.h"

#define TABLE_UNIT  4u  /* the registers that devices have */
#define FRAME_BELOW 56u /* what the CPU pushes for an event, but for its first part */
#define FRAME_UNIT  2u  /* it pushes so many bytes at least */
#define AREA_UNIT   4u  /* of a state's area, all of four bytes are written or none */

/* Whether nothing but a device's registers is at a page, so that a step needs this. */
static bool is_registers(const struct vcpu *vcpu, gpa_t page)
{
    void *memory;
    return guestmem_slot(&vcpu->vm->mem, page) == NULL &&
           (access_is_apic(vcpu, page) || !bus_mmio_is_plain(&vcpu->vm->bus, page, &memory));
}

/* Nothing that a guest is likely to write: by chance, and no unit of it is zero, or ones. */
static uint64_t new_filling(const struct vcpu *vcpu)
{
    const uint64_t mixed = vcpu->tsc_exit * 0x9e3779b97f4a7c15ull >> 32;
    return ((mixed & 0x7f7f) | 0x0101) * 0x0001000100010001ull;
}

/* False: there are too many. */
static bool add_piece(struct vcpu *vcpu, struct step_piece piece)
{
    struct step *step = &vcpu->step;
    struct step_parts *parts = step->parts;
    if (step->pieces == 0) {
        parts->filling = new_filling(vcpu);
        parts->before_used = 0;
    }
    if (step->pieces == STEP_PIECES)
        return false;
    if (piece.write == STEP_WRITTEN || piece.write == STEP_CHANGED) {
        if (piece.bytes > sizeof(parts->before) - parts->before_used)
            return false;
        piece.before = (uint16_t)parts->before_used;
        parts->before_used += piece.bytes;
    }
    parts->piece[step->pieces++] = piece;
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
        struct step_piece piece = {
            .bytes = (uint16_t)n,
            .first = (uint16_t)done,
            .read = range->read,
            .write = !range->write   ? STEP_UNWRITTEN
                     : range->sparse ? STEP_SPARSE
                                     : STEP_WRITTEN,
            .element = range->sparse ? AREA_UNIT : (uint8_t)range->element,
            .chosen = range->chosen,
        };
        if (!guestwalk_translate(&vcpu->vm->mem, &ctx->paging, linear,
                                 range->write ? WALK_WRITE : WALK_READ, &at, &error) ||
            !is_registers(vcpu, at))
            continue;
        piece.at = at;
        if (!add_piece(vcpu, piece))
            return false;
    }
    return true;
}

/* Shows the page of an address, if any piece is in it that the CPU has not met yet. False: none is.
 * Where memory is short, the VM ends. */
static bool show_pieces(struct vcpu *vcpu, gpa_t address)
{
    struct step *step = &vcpu->step;
    bool shown = false;
    for (uint32_t i = 0; i < step->pieces; i++) {
        struct step_piece *p = &step->parts->piece[i];
        if (p->shown || p->at.v / PAGE_SIZE != address.v / PAGE_SIZE)
            continue;
        if (!shown && !step_show_ones(vcpu, gpa(address.v & ~(PAGE_SIZE - 1))))
            return true;
        p->page = (uint8_t)(step->count - 1);
        p->shown = shown = true;
    }
    if (shown)
        step_work(vcpu, STEP_FILLS);
    return shown;
}

/* As far as the instruction may touch an area of XSAVE: IA32_XSS is 0 in every guest. */
static uint32_t area_bytes(const struct vcpu *vcpu, enum insn_area area)
{
    const uint64_t *gpr = vcpu->regs.gpr;
    const uint64_t asked = (gpr[RDX] << 32 | (uint32_t)gpr[RAX]) & vcpu->xcr0;
    const uint32_t standard = cpuid_xsave_size(&vcpu->vm->cpuid, asked, false);
    const uint32_t compacted =
        cpuid_xsave_size(&vcpu->vm->cpuid, area == AREA_RESTORE ? vcpu->xcr0 : asked, true);
    if (area == AREA_RESTORE) /* in the form that its header names */
        return standard > compacted ? standard : compacted;
    return area == AREA_COMPACT ? compacted : standard;
}

/* A hint and the like. */
static bool has_no_data(const struct insn_operands *operands)
{
    return operands->bytes == 0 && operands->area == AREA_NONE && operands->stack == STACK_UNUSED;
}

/* With the lock held. False: there are too many pieces. */
static bool find_operands(struct emulate_context *ctx, struct insn_operands *operands)
{
    struct vcpu *vcpu = ctx->vcpu;
    struct step *step = &vcpu->step;
    struct cpu_state state;
    if (!step_has_parts(vcpu))
        return false;
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    vcpu->regs.gpr[RSP] = state.rsp;
    if (operands->area > AREA_FXSAVE)
        operands->bytes = (uint16_t)area_bytes(vcpu, operands->area);
    const struct emulate_env env = linear_environment(ctx);
    struct insn_range range[INSN_MAX_RANGES];
    const unsigned ranges = insn_find_ranges(operands, &env, linear_read_mask, range);
    step->next_rip = ctx->rip + operands->insn.length;
    if (ctx->mode != INSN_64)
        step->next_rip &= UINT32_MAX;
    for (unsigned i = 0; i < ranges; i++)
        if (!find_pieces(ctx, &range[i]))
            return false;
    return true;
}

bool step_on_device(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                    gpa_t address)
{
    struct vcpu *vcpu = ctx->vcpu;
    struct insn_operands operands;
    const bool begins = vcpu->step.pieces == 0;
    if (begins && insn_decode_operands(&operands, bytes, count, ctx->mode) != INSN_OK)
        return false;
    bool done = true;
    vm_lock(vcpu->vm);
    if (begins && has_no_data(&operands)) {
        (void)step_show_ones(vcpu, gpa(address.v & ~(PAGE_SIZE - 1)));
    } else {
        done = (!begins || find_operands(ctx, &operands)) && show_pieces(vcpu, address);
        if (!done && begins)
            vcpu->step.pieces = 0;
    }
    vm_unlock(vcpu->vm);
    return done;
}

/* With the lock held. Where there are too many pieces, ones are read. */
static void add_table(struct vcpu *vcpu, gpa_t address, bool write, unsigned bytes)
{
    const uint64_t page = address.v & ~(PAGE_SIZE - 1), end = page + PAGE_SIZE;
    struct step_piece piece = {
        .at = address, .read = true, .write = STEP_CHANGED, .element = TABLE_UNIT};
    if (write) {
        piece = (struct step_piece){.write = STEP_SPARSE, .element = FRAME_UNIT};
        piece.at = gpa(address.v - page > FRAME_BELOW ? address.v - FRAME_BELOW : page);
        bytes = (unsigned)(address.v + STEP_DESCRIPTOR - piece.at.v);
    }
    piece.bytes = (uint16_t)(bytes < end - piece.at.v ? bytes : end - piece.at.v);
    if (!step_has_parts(vcpu))
        return;
    (void)add_piece(vcpu, piece);
    if (!show_pieces(vcpu, address))
        (void)step_show_ones(vcpu, gpa(page));
}

static unsigned descriptor_bytes(const struct emulate_context *ctx)
{
    return (ctx->paging.efer & EFER_LMA) != 0 ? 2 * STEP_DESCRIPTOR : STEP_DESCRIPTOR;
}

void step_on_descriptor(struct emulate_context *ctx, const uint8_t *bytes, unsigned count,
                        gpa_t address, bool write)
{
    struct vcpu *vcpu = ctx->vcpu;
    struct insn_operands operands;
    vm_lock(vcpu->vm);
    if (vcpu->step.pieces == 0 &&
        insn_decode_operands(&operands, bytes, count, ctx->mode) == INSN_OK &&
        !find_operands(ctx, &operands))
        vcpu->step.pieces = 0;
    add_table(vcpu, address, write, descriptor_bytes(ctx));
    vm_unlock(vcpu->vm);
}

void step_on_delivery(struct vcpu *vcpu, gpa_t address, bool write)
{
    struct emulate_context ctx;
    vcpu->engine->view(vcpu, &ctx);
    vm_lock(vcpu->vm);
    add_table(vcpu, address, write, descriptor_bytes(&ctx));
    vm_unlock(vcpu->vm);
}

void step_on_walk(struct vcpu *vcpu, gpa_t address)
{
    struct emulate_context ctx;
    vcpu->engine->view(vcpu, &ctx);
    vm_lock(vcpu->vm);
    add_table(vcpu, address, false, ctx.paging.cr4 & CR4_PAE ? 8 : 4);
    vm_unlock(vcpu->vm);
}
