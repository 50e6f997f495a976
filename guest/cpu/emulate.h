/* SPDX-License-Identifier: BSD-2-Clause */
/* Executes a decoded instruction on a register file, with callbacks for memory: with all checks
 * that the CPU makes of segments, addresses and features, in its order. Pure. */
#pragma once

#include "arch/addr.h"
#include "guest/cpu/decode.h"

/* Iterations of a REP per call, so that a guest can't hold the hypervisor. */
#define EMULATE_MAX_REPEATS 64

/* A segment register's hidden part; access as in the VMCS (SDM, "Guest Register State"). */
struct emulate_segment {
    uint64_t base;
    uint32_t limit, access;
};

/* An operand in memory, translated: bytes in its first page, the others in its second. */
struct emulate_operand {
    gpa_t at[2];
    unsigned first, bytes;
};

/* The world of one instruction. All operands are translated before the first is touched, and what
 * is translated can be read and written without fail: so a fault leaves nothing half done. */
struct emulate_env {
    uint64_t *gpr; /* 16, in hardware order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15 */
    uint64_t *rflags;
    uint64_t rip;     /* of the instruction itself */
    uint64_t *target; /* NULL: what changes RIP is not emulated */
    uint64_t cr0, cr4, xcr0;
    enum insn_mode mode;
    uint8_t cpl;
    bool one_step; /* one iteration of a REP at a time, as with TF: data breakpoints are set */
    void *ctx;
    /* 1 to 32 bytes at a linear address. False: a page fault has been raised. */
    bool (*translate)(void *ctx, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out);
    void (*read)(void *ctx, const struct emulate_operand *operand, void *to);
    void (*write)(void *ctx, const struct emulate_operand *operand, const void *from);
    /* Asked only where it matters: in 64-bit mode for the base of FS and GS. */
    void (*segment)(void *ctx, enum insn_segment segment, struct emulate_segment *out);
    /* An exception, its error code 0 where it has one. */
    void (*raise)(void *ctx, unsigned vector);
    /* The vector register that an instruction names (its kind by vex and reg_bytes: YMM, XMM, MMX),
     * from and to four quadwords. A write of XMM keeps what is above it, one of YMM clears that. */
    void (*vector_read)(void *ctx, const struct insn *insn, unsigned reg, uint64_t value[4]);
    void (*zmm_read)(void *ctx, unsigned reg, uint64_t value[8]); /* where there is AVX-512 */
    void (*vector_write)(void *ctx, const struct insn *insn, const uint64_t value[4]);
    /* Whether a REP goes on at once, behind an element, which may be a device's; the instruction is
     * taken up again. NULL: it does. */
    bool (*goes_on)(void *ctx);
    bool (*x87_pending)(void *ctx); /* whether an MMX instruction would raise #MF */
};

enum emulate_result {
    EMULATE_DONE,   /* the caller steps RIP by insn->length */
    EMULATE_JUMP,   /* RIP becomes *env->target */
    EMULATE_REPEAT, /* a part of a REP is done: RIP stays. With RFLAGS.TF a single-step is due. */
    EMULATE_FAULT,  /* an exception has been raised (or the CPU shall see for itself): RIP stays */
};

enum emulate_result insn_emulate(const struct insn *insn, const struct emulate_env *env);

/* The linear address of bytes at an offset in a segment, after the checks of the SDM's "Limit
 * Checking", "Type Checking" and "Canonical Addressing", and of alignment. Returns 0 or the vector
 * of the exception, which is not raised. */
unsigned emulate_linear(const struct emulate_env *env, unsigned segment, uint64_t offset,
                        unsigned bytes, bool write, gva_t *linear);

/* The offset in its segment of the operand that ModRM or moffs names, as the instruction at rip
 * computes it. */
uint64_t insn_address(const struct insn *insn, const uint64_t *gpr, uint64_t rip);

/* The register operand, as the instruction reads and writes it (4 bytes clear the upper half). */
uint64_t insn_get_reg(const struct insn *insn, const uint64_t *gpr);
void insn_set_reg(const struct insn *insn, uint64_t *gpr, uint64_t value);
