/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest-linear accesses for the emulator: translation by guestwalk, then RAM or the bus. */
#include "guest/vm/linear.h"

#include "arch/bytes.h"
#include "arch/string.h"
#include "arch/x86.h"
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/vector.h"

static bool translate(struct emulate_context *ctx, gva_t address, bool write, gpa_t *out)
{
    uint32_t error;
    if ((ctx->paging.efer & EFER_LMA) == 0)
        address.v &= UINT32_MAX; /* the second page of what crosses 4 GiB */
    if (guestwalk_translate(&ctx->vcpu->vm->mem, &ctx->paging, address,
                            write ? WALK_WRITE : WALK_READ, out, &error))
        return true;
    vcpu_inject_page_fault(ctx->vcpu, address.v, error);
    return false;
}

bool linear_translate(void *context, gva_t address, unsigned bytes, bool write,
                      struct emulate_operand *out)
{
    struct emulate_context *ctx = context;
    uint64_t room = PAGE_SIZE - address.v % PAGE_SIZE;
    out->bytes = bytes;
    out->first = bytes < room ? bytes : (unsigned)room;
    if (!translate(ctx, address, write, &out->at[0]) ||
        (out->first != bytes && !translate(ctx, gva(address.v + room), write, &out->at[1])))
        return false;
    if (ctx->expected != 0 && out->at[0].v / PAGE_SIZE != ctx->expected &&
        (out->first == bytes || out->at[1].v / PAGE_SIZE != ctx->expected)) {
        ctx->vcpu->engine->flush_tlb(ctx->vcpu); /* it may go by what is no longer so */
        return false;
    }
    if (breakpoints_on(ctx) && !ctx->paging.implicit)
        ctx->debug_hits |=
            breakpoint_match(ctx, write ? BREAKPOINT_WRITE : BREAKPOINT_READ, address.v, bytes);
    return true;
}

/* Device memory takes 1, 2, 4 or 8 bytes at a time: others come in the largest pieces, low first.
 */
static unsigned piece_of(unsigned bytes)
{
    return bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
}

void linear_read_page(struct vcpu *vcpu, gpa_t at, void *to, unsigned bytes)
{
    if (guestmem_read(&vcpu->vm->mem, at, to, bytes))
        return;
    for (unsigned done = 0, n; done < bytes; done += n) {
        n = piece_of(bytes - done);
        put_le((uint8_t *)to + done, n, access_mmio_read_locked(vcpu, gpa(at.v + done), n));
    }
}

void linear_write_page(struct vcpu *vcpu, gpa_t at, const void *from, unsigned bytes)
{
    if (guestmem_write(&vcpu->vm->mem, at, from, bytes))
        return;
    for (unsigned done = 0, n; done < bytes; done += n) {
        n = piece_of(bytes - done);
        access_mmio_write_locked(vcpu, gpa(at.v + done), n,
                                 get_le((const uint8_t *)from + done, n));
    }
}

void linear_read(void *context, const struct emulate_operand *operand, void *to)
{
    struct vcpu *vcpu = ((struct emulate_context *)context)->vcpu;
    linear_read_page(vcpu, operand->at[0], to, operand->first);
    if (operand->first < operand->bytes)
        linear_read_page(vcpu, operand->at[1], (uint8_t *)to + operand->first,
                         operand->bytes - operand->first);
}

void linear_write(void *context, const struct emulate_operand *operand, const void *from)
{
    struct vcpu *vcpu = ((struct emulate_context *)context)->vcpu;
    linear_write_page(vcpu, operand->at[0], from, operand->first);
    if (operand->first < operand->bytes)
        linear_write_page(vcpu, operand->at[1], (const uint8_t *)from + operand->first,
                          operand->bytes - operand->first);
}

static void segment_read(void *context, enum insn_segment number, struct emulate_segment *out)
{
    struct vcpu *vcpu = ((struct emulate_context *)context)->vcpu;
    struct cpu_segment segment;
    vcpu->engine->get_segment(vcpu, number, &segment);
    *out = (struct emulate_segment){segment.base, segment.limit, segment.access};
}

static void raise(void *context, unsigned vector)
{
    struct vcpu *vcpu = ((struct emulate_context *)context)->vcpu;
    if (vector == VECTOR_STACK_FAULT || vector == VECTOR_GENERAL_PROTECTION ||
        vector == VECTOR_ALIGNMENT_CHECK)
        vcpu_inject_exception_error(vcpu, vector, 0);
    else
        vcpu_inject_exception(vcpu, vector);
}

static unsigned kind_of(const struct insn *insn)
{
    if (insn->vex)
        return YMM_READ;
    return insn->reg_bytes == 8 ? MMX_READ : XMM_READ;
}

static void vector_read(void *context, const struct insn *insn, unsigned reg, uint64_t value[4])
{
    (void)context;
    vector_move(value, kind_of(insn) * 16 + reg);
}

static void vector_write(void *context, const struct insn *insn, const uint64_t value[4])
{
    (void)context;
    uint64_t copy[4];
    memcpy(copy, value, sizeof(copy));
    vector_move(copy, (kind_of(insn) + 1) * 16 + insn->reg);
}

static void zmm_read(void *context, unsigned reg, uint64_t value[8])
{
    (void)context;
    vector_move(value, ZMM_READ * 16 + reg);
}

/* They have 64 bits where there are instructions on bytes and words. */
uint64_t linear_read_mask(void *context, unsigned reg, unsigned element)
{
    const struct vcpu *vcpu = ((struct emulate_context *)context)->vcpu;
    const bool bw = (cpuid_table_find(&vcpu->vm->cpuid, 7, 0)->ebx & CPUID_7_EBX_AVX512BW) != 0;
    uint64_t mask = 0;
    vector_move(&mask, (element < 4 && bw ? MASK64_READ : MASK16_READ) * 16u + reg);
    return mask;
}

static bool x87_pending(void *context)
{
    (void)context;
    uint16_t status;
    __asm__ volatile("fnstsw %0" : "=a"(status));
    return (status & 0x80) != 0;
}

void linear_open_vectors(struct emulate_env *env)
{
    env->vector_read = vector_read;
    env->zmm_read = zmm_read;
    env->vector_write = vector_write;
    env->x87_pending = x87_pending;
}

struct emulate_env linear_environment(struct emulate_context *ctx)
{
    struct emulate_env env = {
        .gpr = ctx->vcpu->regs.gpr,
        .rflags = &ctx->paging.rflags,
        .rip = ctx->rip,
        .cr0 = ctx->paging.cr0,
        .cr4 = ctx->paging.cr4,
        .xcr0 = ctx->vcpu->xcr0,
        .mode = ctx->mode,
        .cpl = ctx->paging.cpl,
        .one_step = breakpoints_on(ctx),
        .ctx = ctx,
        .translate = linear_translate,
        .read = linear_read,
        .write = linear_write,
        .segment = segment_read,
        .raise = raise,
    };
    linear_open_vectors(&env);
    return env;
}
