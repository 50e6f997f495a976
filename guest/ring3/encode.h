/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction that only computes (guest/cpu/system.h: compute_decode()), as it is executed for a
 * guest: 64-bit code, whatever mode the guest is in, whose memory operand is where the hypervisor
 * has put it. Registers, immediates and effect are the same. Pure.
 */
#pragma once

#include "guest/cpu/decode.h"

struct ring3_code {
    uint8_t bytes[INSN_MAX_BYTES];
    uint8_t length;
    bool from_rax; /* a gather or scatter: RAX is to hold the operand's address */
};

/* As it is executed at the address `at`, with what ModRM names in memory at `operand`, no 2 GiB
 * away. A gather or scatter finds 8 bytes for each element there, its index register counting
 * them. length: as compute_decode() says. False: #UD, in the guest's mode. */
bool ring3_encode(struct ring3_code *out, const uint8_t *bytes, unsigned length,
                  enum insn_mode mode, uint64_t at, uint64_t operand);

/* The same for 32-bit code with flat CS, DS, ES and SS: with its operand where it is, below 4 GiB,
 * FS and GS having their bases in the processor. False: #UD, or what is not to be done so: it
 * writes to CS perhaps, has 16-bit addresses, or has to do with registers that 32-bit code has not.
 */
bool ring3_encode_flat(struct ring3_code *out, const uint8_t *bytes, unsigned length);
