/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's vector registers, which are in the CPU while its vCPU is loaded. */
#pragma once

enum vector_kind {
    MMX_READ,
    MMX_WRITE,
    XMM_READ,
    XMM_WRITE,
    YMM_READ,
    YMM_WRITE,
    MASK16_READ,
    MASK64_READ,
    ZMM_READ /* twice sixteen */
};

/* vector.asm: between memory and a register, which is kind * 16 + number, that the CPU has. */
void vector_move(void *memory, unsigned which);
