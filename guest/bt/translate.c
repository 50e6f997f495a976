/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's way from instruction to instruction: decodes, asks for the code of each, and
 * decides where a block ends. What that code is, is hidden in translate_64.c and translate_32.c. */
#include "guest/bt/translate_parts.h"
#include "guest/cpu/system.h"

enum { JUMP_CODE = 7 }; /* what emit_jump() needs at most */

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

bool translate(struct translation *out, const struct translate_input *in)
{
    struct emitter e = {.in = in, .out = out};
    bool shadow = false; /* the last instruction was STI */
    out->code_bytes = out->guest_bytes = out->insns = out->slots = 0;
    while (out->insns < in->max_insns &&
           out->code_bytes + TRANSLATE_INSN_CODE + JUMP_CODE <= TRANSLATE_MAX_CODE) {
        struct translate_decoded what;
        const unsigned at = out->guest_bytes;
        const unsigned length = decode(&what, in->bytes + at, in->count - at, in->mode);
        if (length == 0 && at == 0)
            return false;
        if (length == 0 || (at != 0 && at + length > in->page_bytes))
            break;
        out->insn[out->insns++] = (struct translate_insn){
            .at = (uint16_t)out->code_bytes, .guest = (uint16_t)at, .shadow = shadow};
        out->guest_bytes += length;
        e.pc = in->pc + at;
        e.guest = length;
        const enum translated done = translate_insn(&e, in->bytes + at, &what);
        if (done == TRANSLATED_NOT)
            leave_it(&e);
        if (done != TRANSLATED_NEXT)
            return true;
        shadow = what.kind == DECODED_SYSTEM && what.insn.op == SYSTEM_STI;
        if (out->guest_bytes >= in->page_bytes)
            break;
    }
    /* What follows STI has to be in its block: to be seen as such. */
    if (shadow)
        leave_it(&e);
    else
        emit_jump(&e,
                  (in->pc + out->guest_bytes) & (in->mode == INSN_64 ? UINT64_MAX : UINT32_MAX));
    return true;
}
