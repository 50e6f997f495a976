/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's way from instruction to instruction: decodes, asks for the code of each, and
 * decides what is part of the block, and how its jumps lead there. What the code of an instruction
 * is, is hidden in translate_64.c and translate_32.c. */
#include "guest/bt/translate_parts.h"
#include "guest/cpu/system.h"

enum { JUMP_CODE = 7 }; /* of emit_jump_out() */

/* Whether it stores where the last x87 instruction was, or is one that the next such store tells
 * of. In the cache it would not be where the guest has it; guest/ring3/x87.h tells the truth. */
static bool has_x87_pointers(const struct compute *what, const uint8_t *bytes)
{
    if (what->class == COMPUTE_X87) {
        while (*bytes < 0xd8 || *bytes > 0xdf)
            bytes++;
        const unsigned reg = bytes[1] >> 3 & 7;
        if (!what->memory) /* FNCLEX, FNINIT, FNSTSW AX */
            return (bytes[0] != 0xdb || (bytes[1] & 0xfe) != 0xe2) &&
                   (bytes[0] != 0xdf || bytes[1] != 0xe0);
        /* FLDCW, FNSTCW, FNSTSW */
        return (bytes[0] != 0xd9 || (reg != 5 && reg != 7)) && (bytes[0] != 0xdd || reg != 7);
    }
    if (what->class != COMPUTE_FXSAVE && what->class != COMPUTE_XSAVE)
        return false;
    while (*bytes != 0x0f)
        bytes++;
    const unsigned reg = bytes[2] >> 3 & 7;
    return bytes[1] != 0xae || (reg != 1 && reg != 5); /* FXRSTOR, XRSTOR */
}

/* The instruction's bytes; 0: more of them are needed than there are. kind is DECODED_NONE where it
 * is none that this processor has, or too long, as the software CPU finds, too; and where no part
 * of the translator is to see it. */
static unsigned decode(struct translate_decoded *what, const uint8_t *bytes, unsigned count,
                       enum insn_mode mode)
{
    struct compute compute = {.length = 0};
    what->kind = DECODED_INTEGER;
    enum insn_result result = insn_decode(&what->insn, bytes, count, mode);
    unsigned length = what->insn.length;
    if (result == INSN_UNKNOWN) {
        what->kind = DECODED_SYSTEM;
        result = system_decode(&what->insn, bytes, count, mode);
        length = what->insn.length;
    }
    if (result == INSN_UNKNOWN) {
        what->kind = DECODED_COMPUTE;
        result = compute_decode(&compute, bytes, count, mode);
        length = compute.length;
    }
    if (result == INSN_TRUNCATED)
        return 0;
    const bool is_port =
        what->kind == DECODED_INTEGER && (what->insn.op == INSN_INS || what->insn.op == INSN_OUTS);
    if (result != INSN_OK || is_port ||
        (what->kind == DECODED_COMPUTE && has_x87_pointers(&compute, bytes)))
        what->kind = DECODED_NONE;
    return result == INSN_TOO_LONG ? INSN_MAX_BYTES : length;
}

/* QEMU's own emulation (of 7.2) has CMPXCHG8B and CMPXCHG16B make the flags that they leave alone
 * of what the last arithmetic instruction has stored, but of another kind of it, unless a jump
 * stands between the two: DF and others, too, would become an operand's bits. For other CPUs it is
 * a NOP. */
static void emit_settle_flags(struct emitter *e)
{
    emit_code(e, 2, 0xeb00); /* JMP to the next instruction */
}

static enum translated translate_insn(struct emitter *e, const uint8_t *bytes,
                                      const struct translate_decoded *what)
{
    if (what->kind == DECODED_NONE)
        return TRANSLATED_NOT;
    if (what->kind == DECODED_INTEGER && what->insn.op == INSN_CMPXCHG_PAIR)
        emit_settle_flags(e);
    return e->in->mode == INSN_64 ? translate_64(e, bytes, what) : translate_32(e, bytes, what);
}

/* Makes the block's last instruction one that the software CPU carries out. */
static void leave_it(struct emitter *e)
{
    struct translate_insn *insn = &e->out->insn[e->out->insns - 1];
    e->out->code_bytes = insn->at;
    insn->spilled = 0;
    emit_way_out(e);
}

/* --- jumps --- */

/* Addresses have as many bits as the mode has. */
static uint64_t address(const struct emitter *e, uint64_t value)
{
    return e->in->mode == INSN_64 ? value : (uint32_t)value;
}

/* Where an address is from the block's beginning on. */
static uint64_t distance(const struct emitter *e, uint64_t target)
{
    return address(e, target - e->in->pc);
}

/* Instructions of the block begin before that. */
static unsigned reach(const struct translate_input *in)
{
    return in->count < in->page_bytes ? in->count : in->page_bytes;
}

/* The block's instruction that begins there, or NULL. */
static const struct translate_insn *insn_at(const struct translation *t, uint64_t guest)
{
    unsigned low = 0, high = t->insns;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (t->insn[middle].guest < guest)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->insns && t->insn[low].guest == guest ? &t->insn[low] : NULL;
}

/* JMP through a new slot. */
static void emit_jump_out(struct emitter *e, uint64_t target)
{
    struct translation *out = e->out;
    emit(e, 0xff);
    emit(e, 0x25);
    emit_relative(e, e->in->slots + 8ull * out->slots, 0);
    out->slot[out->slots++] = (struct translate_slot){target, (uint16_t)out->code_bytes};
    emit(e, 0xf4);
}

/* The displacement of a jump within the block. False: it does not lead there; nothing is done. */
static bool emit_inner(struct emitter *e, unsigned opcode_bytes, uint64_t opcode, uint64_t target)
{
    const uint64_t guest = distance(e, target);
    const struct translate_insn *insn = insn_at(e->out, guest);
    if (e->in->apart || (insn == NULL && (guest <= distance(e, e->pc) || guest >= reach(e->in))))
        return false;
    emit_code(e, opcode_bytes, opcode);
    if (insn != NULL) {
        emit_relative(e, e->in->at + insn->at, 0);
        return true;
    }
    e->forward[e->forwards++] =
        (struct translate_forward){(uint16_t)e->out->code_bytes, (uint16_t)guest};
    emit_le(e, 4, 0);
    return true;
}

void emit_jump(struct emitter *e, uint64_t target)
{
    if (!emit_inner(e, 1, 0xe9, target))
        emit_jump_out(e, target);
}

void emit_call(struct emitter *e, uint64_t target)
{
    if (target == e->in->pc)
        emit_jump(e, target);
    else
        emit_jump_out(e, target);
}

void emit_jump_if(struct emitter *e, unsigned condition, uint64_t target)
{
    if (emit_inner(e, 2, 0x0f80 | condition, target))
        return;
    emit(e, 0x70 | (condition ^ 1)); /* over the jump */
    emit(e, JUMP_CODE);
    emit_jump_out(e, target);
}

/* These have no counterparts that are inverted. */
void emit_jump_of_loop(struct emitter *e, uint64_t target)
{
    emit_code(e, 3, 0x02eb00); /* over a jump over the jump */
    const unsigned behind = e->out->code_bytes;
    emit_jump(e, target);
    e->out->code[behind - 1] = (uint8_t)(e->out->code_bytes - behind);
}

/* The nearest place from there on that a jump waits for, or UINT32_MAX. */
static unsigned next_forward(const struct emitter *e, unsigned from)
{
    unsigned next = UINT32_MAX;
    for (unsigned i = 0; i < e->forwards; i++)
        if (e->forward[i].guest >= from && e->forward[i].guest < next)
            next = e->forward[i].guest;
    return next;
}

/* The code of a jump out to that address, which may be there already. */
static unsigned way_to(struct emitter *e, uint64_t target)
{
    for (unsigned i = 0; i < e->out->slots; i++)
        if (e->out->slot[i].target == target)
            return e->out->slot[i].stub + 1 - JUMP_CODE;
    emit_jump_out(e, target);
    return e->out->code_bytes - JUMP_CODE;
}

/* The block is complete: what its jumps forward lead to is known. */
static void fill_in_forwards(struct emitter *e)
{
    for (unsigned i = 0; i < e->forwards; i++) {
        const struct translate_forward *f = &e->forward[i];
        const struct translate_insn *insn = insn_at(e->out, f->guest);
        const unsigned to = insn != NULL ? insn->at : way_to(e, e->in->pc + f->guest);
        put_le(e->out->code + f->at, 4, to - (f->at + 4u));
    }
}

/* --- all of it --- */

/* One instruction, at e->out->guest_bytes. False: it is none of this block's. */
static bool translate_next(struct emitter *e, enum translated *done, bool *shadow)
{
    const struct translate_input *in = e->in;
    struct translation *out = e->out;
    struct translate_decoded what;
    const unsigned at = out->guest_bytes;
    const unsigned length = decode(&what, in->bytes + at, in->count - at, in->mode);
    if (length == 0 || (at != 0 && at + length > in->page_bytes))
        return false;
    out->insn[out->insns++] = (struct translate_insn){
        .at = (uint16_t)out->code_bytes, .guest = (uint16_t)at, .shadow = *shadow};
    out->guest_bytes += length;
    e->pc = in->pc + at;
    e->guest = length;
    *done = translate_insn(e, in->bytes + at, &what);
    *shadow = *done == TRANSLATED_NEXT && what.kind == DECODED_SYSTEM && what.insn.op == SYSTEM_STI;
    if (*done == TRANSLATED_NOT)
        leave_it(e);
    return true;
}

/* Room for one more instruction, and for the jumps out that are to come: one for each jump forward,
 * its own too, and one behind the last instruction. */
static bool has_room(const struct emitter *e)
{
    const struct translation *out = e->out;
    return out->insns < e->in->max_insns &&
           out->code_bytes + TRANSLATE_INSN_CODE + (e->forwards + 2) * JUMP_CODE <=
               TRANSLATE_MAX_CODE;
}

bool translate(struct translation *out, const struct translate_input *in)
{
    struct emitter e = {.in = in, .out = out};
    bool shadow = false; /* the last instruction was STI */
    enum translated done = TRANSLATED_NEXT;
    out->code_bytes = out->guest_bytes = out->insns = out->slots = 0;
    while (has_room(&e)) {
        const unsigned end = out->guest_bytes;
        if (done != TRANSLATED_NEXT)
            out->guest_bytes = next_forward(&e, end);
        if (out->guest_bytes >= reach(in) || !translate_next(&e, &done, &shadow)) {
            out->guest_bytes = end;
            break;
        }
    }
    if (out->insns == 0)
        return false;
    /* What follows STI has to be in its block: to be seen as such. */
    if (shadow)
        leave_it(&e);
    else if (done == TRANSLATED_NEXT)
        emit_jump_out(&e, address(&e, in->pc + out->guest_bytes));
    fill_in_forwards(&e);
    return true;
}
