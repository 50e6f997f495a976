/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 32-bit code's stack and near branches as 64-bit code, where PUSH and CALL would push 64 bits. So
 * they are MOVs to and from where ESP points to, by 32-bit addresses, and a LEA, which changes no
 * flags, once no access is to come that could fault.
 */
#include "guest/bt/translate_32.h"

/* --- what templates are made of --- */

void emit_memory(struct emitter *e, unsigned bytes, unsigned opcode, unsigned reg,
                 const struct insn *at)
{
    enum { RM_SIB = 4, NO_INDEX = 4, NO_BASE = 5, REX_R = 0x44 };
    const bool based = at->base != INSN_NO_REG;
    const unsigned base = based ? at->base : NO_BASE;
    const unsigned index = at->index != INSN_NO_REG ? at->index : NO_INDEX;
    const int32_t disp = (int32_t)at->disp;
    const bool is_short = based && disp == (int8_t)disp, none = disp == 0 && base != BP && based;
    emit_segment(e, at->segment);
    if (bytes == 2)
        emit(e, 0x66);
    emit(e, 0x67);
    if (reg >= 8)
        emit(e, REX_R);
    emit(e, opcode);
    emit(e, (!based || none ? 0u : is_short ? 0x40u : 0x80u) | (reg & 7) << 3 | RM_SIB);
    emit(e, (unsigned)at->scale << 6 | index << 3 | base);
    emit_le(e, none ? 0 : is_short ? 1 : 4, (uint32_t)disp);
}

void emit_stack(struct emitter *e, unsigned bytes, unsigned opcode, unsigned reg, int32_t disp)
{
    const struct insn at = {.base = SP, .index = INSN_NO_REG, .segment = SEG_SS, .disp = disp};
    emit_memory(e, bytes, opcode, reg, &at);
}

void emit_add_sp(struct emitter *e, unsigned reg, int32_t disp)
{
    enum { LEA = 0x8d, SIB_SP = 0x24, REX_R = 0x44 };
    const bool is_short = disp == (int8_t)disp;
    if (reg >= 8)
        emit(e, REX_R);
    emit(e, LEA);
    emit(e, (is_short ? 0x40u : 0x80u) | (reg & 7) << 3 | 4);
    emit(e, SIB_SP);
    emit_le(e, is_short ? 1 : 4, (uint32_t)disp);
}

/* MOV of 32 bits between registers. */
static void emit_move(struct emitter *e, unsigned to, unsigned from)
{
    const unsigned rex = (from >= 8 ? 4u : 0) | (to >= 8 ? 1u : 0);
    if (rex != 0)
        emit(e, 0x40 | rex);
    emit(e, STORE);
    emit(e, 0xc0 | (from & 7) << 3 | (to & 7));
}

/* MOV of a constant to [ESP - 4], and ESP is that. */
static void emit_push_constant(struct emitter *e, uint32_t value)
{
    static const uint8_t move[] = {0x67, 0xc7, 0x44, 0x24, 0xfc};
    emit_bytes(e, move, sizeof(move));
    emit_le(e, 4, value);
    emit_add_sp(e, SP, -4);
}

static void emit_push(struct emitter *e, unsigned reg)
{
    emit_stack(e, 4, STORE, reg, -4);
    emit_add_sp(e, SP, -4);
}

/* --- the stack --- */

static void push(struct emitter *e, const struct insn *in)
{
    if (in->form == INSN_IMM) {
        emit_push_constant(e, (uint32_t)in->imm);
    } else if (in->rm != INSN_NO_REG) {
        emit_push(e, in->rm);
    } else {
        emit_memory(e, 4, LOAD, R8, in);
        emit_push(e, R8);
    }
}

/* An operand in memory is addressed with ESP as it is then. */
static void pop(struct emitter *e, const struct insn *in)
{
    struct insn at = *in;
    if (in->rm != INSN_NO_REG) {
        emit_stack(e, 4, LOAD, in->rm, 0);
        if (in->rm != SP)
            emit_add_sp(e, SP, 4);
        return;
    }
    if (at.base == SP)
        at.disp += 4;
    emit_stack(e, 4, LOAD, R8, 0);
    emit_memory(e, 4, STORE, R8, &at);
    emit_add_sp(e, SP, 4);
}

/* The lowest first: it is what may be on another page than ESP. */
static void push_all(struct emitter *e)
{
    for (unsigned reg = DI + 1; reg-- > 0;)
        emit_stack(e, 4, STORE, reg, -4 * ((int32_t)reg + 1));
    emit_add_sp(e, SP, -32);
}

/* All is read before the first register changes. */
static void pop_all(struct emitter *e)
{
    for (unsigned reg = 0; reg <= DI; reg++)
        if (reg != SP)
            emit_stack(e, 4, LOAD, R8 + reg, 4 * (DI - (int32_t)reg));
    for (unsigned reg = 0; reg <= DI; reg++)
        if (reg != SP)
            emit_move(e, reg, R8 + reg);
    emit_add_sp(e, SP, 32);
}

static void leave(struct emitter *e)
{
    static const uint8_t load[] = {0x67, 0x44, 0x8b, 0x45, 0x00}; /* MOV R8D, [EBP] */
    static const uint8_t add[] = {0x8d, 0x65, 0x04};              /* LEA ESP, [EBP + 4] */
    emit_bytes(e, load, sizeof(load));
    emit_bytes(e, add, sizeof(add));
    emit_move(e, BP, R8);
}

/* --- flags --- */

/* LEA RSP, [RIP + ...] */
static void emit_sp_to(struct emitter *e, uint64_t at)
{
    emit(e, 0x48);
    emit(e, 0x8d);
    emit(e, SP << 3 | 5);
    emit_relative(e, at, 0);
}

/* PUSHFQ, on a stack of our own; the guest's ESP is in R8 meanwhile. */
static void push_flags(struct emitter *e)
{
    static const uint8_t get[] = {0x9c, 0x41, 0x59};       /* PUSHFQ; POP R9 */
    static const uint8_t add[] = {0x47, 0x8d, 0x0c, 0x11}; /* LEA R9D, [R9 + R10] */
    emit_move(e, R8, SP);
    emit_sp_to(e, SHARED(e, scratch) + sizeof(((struct bt_shared *)NULL)->scratch));
    emit_bytes(e, get, sizeof(get));
    emit_move(e, SP, R8);
    emit_load(e, 10, SHARED(e, interrupts_off));
    emit_bytes(e, add, sizeof(add));
    emit_push(e, R9);
}

/* What POPF may make of flags here; of others the software CPU thinks. */
#define POPF_NOT                                                                            \
    (RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | \
     RFLAGS_VIP)

/* The flags are the guest's to lose once the image has been read. */
static void pop_flags(struct emitter *e)
{
    static const uint8_t test[] = {0x41, 0xf7, 0xc0};     /* TEST R8D, ... */
    static const uint8_t compare[] = {0x48, 0x83, 0x3d};  /* CMP QWORD [...], 0 */
    static const uint8_t skip[] = {0x74, 1};              /* JZ over the way out */
    static const uint8_t take[] = {0x41, 0x81, 0xe1};     /* AND R9D, ... */
    static const uint8_t subtract[] = {0x49, 0x81, 0xe9}; /* SUB R9, ... */
    const uint64_t image = SHARED(e, scratch);
    emit_stack(e, 4, LOAD, R8, 0);
    emit_bytes(e, test, sizeof(test));
    emit_le(e, 4, POPF_NOT);
    emit_bytes(e, skip, sizeof(skip));
    emit_way_out(e);
    emit_bytes(e, compare, sizeof(compare));
    emit_relative(e, SHARED(e, pending), 1);
    emit(e, 0);
    emit_bytes(e, skip, sizeof(skip));
    emit_way_out(e);
    emit_move(e, R9, R8);
    emit_bytes(e, take, sizeof(take));
    emit_le(e, 4, RFLAGS_IF);
    emit_bytes(e, subtract, sizeof(subtract));
    emit_le(e, 4, RFLAGS_IF);
    emit_store(e, SHARED(e, interrupts_off), R9);
    emit_store(e, image, R8);
    emit_add_sp(e, R9, 4);
    emit_sp_to(e, image);
    emit(e, 0x9d); /* POPFQ */
    emit_move(e, SP, R9);
}

enum translated translate_32_stack(struct emitter *e, const struct insn *in)
{
    if (in->reg_bytes != 4)
        return TRANSLATED_NOT;
    switch (in->op) {
    case INSN_PUSH: push(e, in); break;
    case INSN_POP: pop(e, in); break;
    case INSN_PUSHA: push_all(e); break;
    case INSN_POPA: pop_all(e); break;
    case INSN_PUSHF: push_flags(e); break;
    case INSN_POPF: pop_flags(e); break;
    default: leave(e); break;
    }
    return TRANSLATED_NEXT;
}

/* --- branches --- */

static void emit_direct(struct emitter *e, uint64_t to)
{
    emit(e, 0xe9);
    emit_relative(e, to, 0);
}

/* The target is in R8. */
static void emit_lookup(struct emitter *e)
{
    emit_direct(e, e->in->lookup);
}

static enum translated branch_if(struct emitter *e, const struct insn *in, uint32_t target)
{
    if (in->op == INSN_JCC) {
        emit_jump_if(e, in->condition, target);
    } else {
        emit(e, 0x67);
        emit(e, 0xe0 | (in->op - INSN_LOOPNE));
        emit_jump_of_loop(e, target);
    }
    return TRANSLATED_NEXT;
}

static void indirect(struct emitter *e, const struct insn *in)
{
    if (in->rm != INSN_NO_REG)
        emit_move(e, R8, in->rm);
    else
        emit_memory(e, 4, LOAD, R8, in);
}

enum translated translate_32_branch(struct emitter *e, const struct insn *in)
{
    const uint32_t next = (uint32_t)(e->pc + e->guest), target = next + (uint32_t)in->imm;
    if (in->reg_bytes != 4 || (in->op >= INSN_LOOPNE && in->addr_bytes != 4))
        return TRANSLATED_NOT;
    switch (in->op) {
    case INSN_JMP:
    case INSN_CALL:
        if (in->form != INSN_IMM)
            indirect(e, in);
        if (in->op == INSN_CALL)
            emit_push_constant(e, next);
        if (in->form != INSN_IMM)
            emit_lookup(e);
        else if (in->op == INSN_CALL)
            emit_call(e, target);
        else
            emit_jump(e, target);
        break;
    case INSN_RET:
        emit_stack(e, 4, LOAD, R8, 0);
        emit_add_sp(e, SP, 4 + (int32_t)in->imm);
        emit_lookup(e);
        break;
    default: return branch_if(e, in, target);
    }
    return TRANSLATED_LEFT;
}
