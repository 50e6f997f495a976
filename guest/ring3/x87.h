/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the guest's last x87 instruction was, and its operand, which FNSTENV, FNSAVE, FXSAVE and
 * XSAVE tell. The processor has executed it at another address (guest/ring3/window.h): so what it
 * tells is replaced, in the image that has been stored.
 *
 * The selectors are 0, as on CPUs that have given them up (CPUID's "deprecates FPU CS and FPU DS").
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ring3_x87 {
    bool known; /* it was executed by ring3_compute() */
    uint16_t opcode;
    /* Offsets in their segments; and the bases of these, for the formats of real mode. */
    uint64_t instruction, data;
    uint32_t instruction_base, data_base;
};

enum x87_format {
    X87_ENVIRONMENT_16, /* FNSTENV, FNSAVE: 14 bytes of pointers and words, or 28 */
    X87_ENVIRONMENT_32,
    X87_REAL_16, /* the same in real and virtual-8086 mode */
    X87_REAL_32,
    X87_FXSAVE, /* also XSAVE */
    X87_FXSAVE64,
};

struct emulate_env;
struct ring3_window;
struct compute;

/* After such an instruction has been executed, and before what it has stored goes to the guest's
 * memory: notes where it was, or replaces what it has told. */
void ring3_x87_follow(struct ring3_window *window, const struct emulate_env *env,
                      const struct compute *what);

/* Replaces the pointers in an image, if they point to where instructions are executed, from code_at
 * on; those of real mode in any case, since 64-bit code has stored them in the other format. */
void ring3_x87_replace(const struct ring3_x87 *x87, uint8_t *image, enum x87_format format,
                       uint64_t code_at, unsigned code_bytes);
