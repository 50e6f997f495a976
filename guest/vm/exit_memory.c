/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest has touched device memory, or none: its instruction is emulated. */
#include "arch/string.h"
#include "arch/x86.h"
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/exits.h"
#include "guest/vm/step.h"

/* How long and how often, both, something that is not emulated is tried again: 1/4 s. */
#define TRYING_PER_SECOND 4
#define ENOUGH_TRIES      1000

/*
 * An instruction that is not emulated may be another one than that which has exited: one that
 * another CPU has put there meanwhile, as debuggers do with INT3. Then the CPU, which executes the
 * new one, does not come here again; but for those that are changed back and forth, of which each
 * try has its chance to meet the same one twice. What comes again for long enough, and often
 * enough, is what is there: then it is a descriptor that the CPU has come to.
 */
static bool may_have_changed(struct vcpu *vcpu)
{
    if (vcpu->accesses != vcpu->unknown_at + 1) {
        vcpu->unknown_since = vcpu->tsc_exit;
        vcpu->unknown_tries = 0;
    }
    vcpu->unknown_at = vcpu->accesses;
    return vcpu->vm->vcpu_count > 1 &&
           (++vcpu->unknown_tries < ENOUGH_TRIES ||
            vcpu->tsc_exit - vcpu->unknown_since < vcpu->timers.hz / TRYING_PER_SECOND);
}

/* What the fetch has brought. */
struct fetched {
    unsigned count;
    uint32_t fault;
    gva_t fault_at;
    uint8_t bytes[INSN_MAX_BYTES];
};

/* The CPU executes it by itself, on pages of its own. */
static enum exit_action not_emulated(struct emulate_context *ctx, const struct fetched *code,
                                     const struct memory_access *access)
{
    const gpa_t address = access->address;
    if (!step_begin(ctx->vcpu, address) &&
        !step_on_device(ctx, code->bytes, code->count, address) && !may_have_changed(ctx->vcpu))
        step_on_descriptor(ctx, code->bytes, code->count, address, access->write);
    return EXIT_SAME;
}

/* The first byte of a page may be the second part of an operand that begins in the page before:
 * then that is where the CPU has met the device, and the operand is elsewhere. */
static inline bool may_begin_before(const struct memory_access *access)
{
    return access->address.v % PAGE_SIZE == 0;
}

/* Whether the operand is where the CPU has met the device: it may begin in the page before, and
 * another CPU may have changed the instruction since. What cannot be told in short is told by a
 * translation. */
static bool __attribute__((noinline))
is_as_reported(const struct emulate_context *ctx, struct insn insn,
               const struct memory_access *access)
{
    if (ctx->mode != INSN_64 || insn.segment >= SEG_FS || insn.base == RSP)
        return false;
    const uint64_t at = insn_address(&insn, ctx->vcpu->regs.gpr, ctx->rip);
    if (may_begin_before(access) && at % PAGE_SIZE != 0)
        return false;
    return ctx->vcpu->vm->vcpu_count == 1 || (access->has_linear && at == access->linear.v);
}

/*
 * MOV between a register or a constant and device memory: nearly every access that drivers make.
 * The CPU has made all checks for the access that it has reported, and the guest-physical address
 * is known, so nothing is left to compute. False: not such an instruction, or one that the CPU has
 * not checked, as the code has been changed since.
 */
static inline bool __attribute__((always_inline))
move_directly(const struct emulate_context *ctx, const struct insn *insn,
              const struct memory_access *access)
{
    struct vcpu *vcpu = ctx->vcpu;
    uint64_t *gpr = vcpu->regs.gpr;
    const gpa_t address = access->address;
    const bool wanted = insn->form == INSN_REG_MEM ? access->read : access->write;
    if (!wanted || (address.v & (insn->mem_bytes - 1u)) != 0 || breakpoints_on(ctx))
        return false;
    if (insn->form == INSN_REG_MEM && insn->reg_bytes >= 4) /* clears the upper half */
        gpr[insn->reg] = access_mmio_read(vcpu, address, insn->mem_bytes);
    else if (insn->form == INSN_REG_MEM)
        insn_set_reg(insn, gpr, access_mmio_read(vcpu, address, insn->mem_bytes));
    else if (insn->form == INSN_MEM_REG)
        access_mmio_write(vcpu, address, insn->mem_bytes, insn_get_reg(insn, gpr));
    else
        access_mmio_write(vcpu, address, insn->mem_bytes, insn->imm);
    vcpu->insn_length = insn->length;
    return true;
}

/* Everything else, with the whole of the checks. */
static enum exit_action emulate_whole(struct emulate_context *ctx, const struct insn *insn,
                                      gpa_t address)
{
    struct vcpu *vcpu = ctx->vcpu;
    const bool one_operand =
        insn->form != INSN_STRING && insn->op != INSN_PUSH && insn->op != INSN_POP;
    ctx->expected = one_operand && vcpu->vm->vcpu_count > 1 ? address.v / PAGE_SIZE : 0;
    const struct emulate_env env = linear_environment(ctx);
    const uint64_t rflags = ctx->paging.rflags;
    struct cpu_state state;
    vcpu->engine->get_state(vcpu, STATE_IP, &state);
    vcpu->regs.gpr[RSP] = state.rsp;
    vcpu->insn_length = insn->length;
    vm_lock(vcpu->vm);
    const enum emulate_result result = insn_emulate(insn, &env);
    vm_unlock(vcpu->vm);
    if (result == EMULATE_FAULT) /* what breakpoints have met has not come about */
        return EXIT_SAME;
    ctx->rsp = vcpu->regs.gpr[RSP];
    ctx->changed = ctx->paging.rflags != rflags || ctx->rsp != state.rsp || ctx->debug_hits != 0;
    return result == EMULATE_DONE ? EXIT_NEXT_DECODED : EXIT_ITERATION;
}

static enum exit_action __attribute__((noinline))
decode_and_emulate(struct emulate_context *ctx, struct fetched *code,
                   const struct memory_access *access)
{
    struct vcpu *vcpu = ctx->vcpu;
    struct insn insn;
    vcpu->accesses++;
    if (code->count < INSN_MAX_BYTES && code->fault == 0) { /* beyond RAM, where ones are read */
        memset(code->bytes + code->count, 0xff, INSN_MAX_BYTES - code->count);
        code->count = INSN_MAX_BYTES;
    }
    switch (insn_decode_access(&insn, code->bytes, code->count, ctx->mode)) {
    case INSN_OK: break;
    case INSN_TOO_LONG: return vcpu_general_protection(vcpu);
    case INSN_UNDEFINED: vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE); return EXIT_SAME;
    case INSN_TRUNCATED: /* its page has gone since the CPU fetched it */
        vcpu_inject_page_fault(vcpu, code->fault_at.v, code->fault);
        return EXIT_SAME;
    case INSN_UNKNOWN: return not_emulated(ctx, code, access);
    }
    if (vcpu->step.count != 0) /* another CPU has put this one in the place of the one stepped */
        step_give_up(vcpu);
    if (insn.op == INSN_MOV && insn.reg != RSP &&
        ((vcpu->vm->vcpu_count == 1 && !may_begin_before(access)) ||
         is_as_reported(ctx, insn, access)) &&
        move_directly(ctx, &insn, access))
        return EXIT_NEXT_DECODED;
    return emulate_whole(ctx, &insn, access->address);
}

enum exit_action exit_memory_access(struct emulate_context *ctx, const struct memory_access *access)
{
    struct fetched code;
    struct insn insn;
    code.count = linear_fetch(ctx, code.bytes, &code.fault, &code.fault_at);
    /* The quick decoder tells no operand. Where other CPUs may have changed the instruction, or the
     * operand may begin elsewhere, that is needed, to see whether it is about this address. */
    if (ctx->mode == INSN_64 && code.count == INSN_MAX_BYTES && ctx->vcpu->vm->vcpu_count == 1 &&
        !may_begin_before(access) && insn_decode_mov(&insn, code.bytes) &&
        move_directly(ctx, &insn, access))
        return EXIT_NEXT_DECODED;
    return decode_and_emulate(ctx, &code, access);
}

enum exit_action exit_memory_fetch(struct vcpu *vcpu, gpa_t address)
{
    if (step_is_device_memory(vcpu, address) && step_begin(vcpu, address))
        return EXIT_SAME;
    vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE);
    return EXIT_SAME;
}

void exit_memory_delivery(struct vcpu *vcpu, gpa_t address, bool write)
{
    if (!step_begin(vcpu, address))
        step_on_delivery(vcpu, address, write);
}

enum exit_action exit_memory_walk(struct vcpu *vcpu, gpa_t address)
{
    if (!step_begin(vcpu, address))
        step_on_walk(vcpu, address);
    return EXIT_SAME;
}
