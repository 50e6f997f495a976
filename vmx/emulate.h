/* SPDX-License-Identifier: BSD-2-Clause */
/* Executes a decoded instruction on a register file, with callbacks for memory. Pure. */
#pragma once

#include "vmx/decode.h"

/* Iterations of a REP per call, so that a guest can't hold the hypervisor. */
#define EMULATE_MAX_REPEATS 64

/* The world of one instruction. Callbacks return false where they have raised a fault in the guest
 * (or ended it); then the instruction has changed nothing but finished iterations of a REP. */
struct emulate_env {
    uint64_t *gpr; /* 16, in hardware order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15 */
    uint64_t *rflags;
    uint64_t rip; /* of the instruction itself */
    enum insn_mode mode;
    void *ctx;
    /* Bytes (1, 2, 4, 8) at a linear address, which may cross pages; the value is zero-extended. */
    bool (*read)(void *ctx, uint64_t linear, unsigned bytes, uint64_t *value);
    bool (*write)(void *ctx, uint64_t linear, unsigned bytes, uint64_t value);
    /* Asked only where it matters: in 64-bit mode for FS and GS alone. */
    uint64_t (*segment_base)(void *ctx, enum insn_segment segment);
};

enum emulate_result {
    EMULATE_DONE,   /* the caller steps RIP by insn->length */
    EMULATE_REPEAT, /* a part of a REP is done: RIP stays, enter the guest again */
    EMULATE_FAULT,  /* a callback said no: RIP stays */
};

enum emulate_result insn_emulate(const struct insn *insn, const struct emulate_env *env);

/* The linear address of the memory operand (of the source of MOVS, the destination of STOS). */
uint64_t insn_linear(const struct insn *insn, const struct emulate_env *env);

/* The register operand, as the instruction reads and writes it (4 bytes clear the upper half). */
uint64_t insn_get_reg(const struct insn *insn, const uint64_t *gpr);
void insn_set_reg(const struct insn *insn, uint64_t *gpr, uint64_t value);
