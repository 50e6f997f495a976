/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's linear memory during one exit: page walk, then RAM, device or fault. */
#pragma once

#include "guest/cpu/emulate.h"
#include "guest/cpu/guestwalk.h"
#include "guest/vm/vcpu.h"

/* One exit's view of the vCPU, which the engine fills in (engine->view()); rsp is left out. */
struct emulate_context {
    struct vcpu *vcpu;
    struct guest_paging paging;
    uint64_t pdpte[4]; /* under PAE paging */
    uint64_t rip;
    uint64_t cs_base;    /* not filled in in 64-bit mode, where it counts as 0 */
    enum insn_mode mode; /* of the code, by EFER.LMA, CS.L and CS.D */
    uint64_t dr7;
    /* What the instruction has done to the vCPU beside struct guest_regs: where changed is set,
     * paging.rflags, rsp, and pending debug exceptions that are to be added at its end. */
    bool changed;
    uint64_t rsp;
    uint64_t debug_hits;
    /* The guest-physical page number where an operand has to lie, at least in part; 0: anywhere. An
     * operand elsewhere is not translated, and no fault is raised: the instruction has been changed
     * since the exit, and the CPU executes it anew. */
    uint64_t expected;
};

/* What the emulator works on: the vCPU's registers (the slot of RSP included, which it sets),
 * memory, and ctx's copy of RFLAGS. */
struct emulate_env linear_environment(struct emulate_context *ctx);

/* The part of it that is about vector and x87 registers, which are in the CPU whatever the engine.
 */
void linear_open_vectors(struct emulate_env *env);

/* Translates 1 to 4096 bytes at an address; they may cross a page. Device memory is translated as
 * well as RAM; breakpoints on it are noted. False: #PF has been queued. */
bool linear_translate(void *context, gva_t address, unsigned bytes, bool write,
                      struct emulate_operand *out);

/* What has been translated: RAM, or the VM's bus. The VM's lock is held, so that what an
 * instruction reads and then writes is one access to other vCPUs. */
void linear_read(void *context, const struct emulate_operand *operand, void *to);
void linear_write(void *context, const struct emulate_operand *operand, const void *from);

/* The same for bytes within one page, by their guest-physical address. */
void linear_read_page(struct vcpu *vcpu, gpa_t at, void *to, unsigned bytes);
void linear_write_page(struct vcpu *vcpu, gpa_t at, const void *from, unsigned bytes);

/* The low 64 bits of the guest's opmask register, of which one of 16 bits has those alone: element
 * says how wide the instruction's elements are. */
uint64_t linear_read_mask(void *context, unsigned reg, unsigned element);

/* Its instruction bytes at RIP: returns how many there are before a page fault (*fault is its error
 * code) or before what is not RAM (*fault is 0). */
static inline unsigned linear_fetch(const struct emulate_context *ctx,
                                    uint8_t bytes[INSN_MAX_BYTES], uint32_t *fault, gva_t *fault_at)
{
    uint64_t rip = ctx->rip;
    if (ctx->mode != INSN_64)
        rip = (rip + ctx->cs_base) & UINT32_MAX;
    else if (guestwalk_fetch(&ctx->vcpu->vm->mem, &ctx->paging, gva(rip), bytes))
        return INSN_MAX_BYTES;
    return (unsigned)guestwalk_read(&ctx->vcpu->vm->mem, &ctx->paging, gva(rip), WALK_FETCH, bytes,
                                    INSN_MAX_BYTES, fault, fault_at);
}
