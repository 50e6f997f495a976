/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of translate_32 share: templates for stack and branches, and how they are made.
 */
#pragma once

#include "arch/x86.h"
#include "guest/bt/translate_parts.h"

enum { R8 = 8, R9 = 9 };
enum { STORE = 0x89, LOAD = 0x8b }; /* the opcodes of MOV, to and from memory */

/* Near CALL, JMP, RET, conditional jumps and loops; and all else that has to do with the stack. An
 * operand in memory is one of 32-bit addresses, and of no code segment. */
enum translated translate_32_branch(struct emitter *e, const struct insn *in);
enum translated translate_32_stack(struct emitter *e, const struct insn *in);

/* The override, where it counts. */
static inline void emit_segment(struct emitter *e, unsigned segment)
{
    if (segment == SEG_FS || segment == SEG_GS)
        emit(e, segment == SEG_FS ? 0x64 : 0x65);
}

/* MOV of 2 or 4 bytes between a register and the guest's memory. */
void emit_memory(struct emitter *e, unsigned bytes, unsigned opcode, unsigned reg,
                 const struct insn *at);
/* The same at ESP + disp. */
void emit_stack(struct emitter *e, unsigned bytes, unsigned opcode, unsigned reg, int32_t disp);
/* LEA reg, [ESP + disp], of 32 bits. */
void emit_add_sp(struct emitter *e, unsigned reg, int32_t disp);
