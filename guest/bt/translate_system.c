/* SPDX-License-Identifier: BSD-2-Clause */
/* Templates: what code does with the interrupt flag, GS's base, selectors and the TSC, each in a
 * few instructions on bt_shared, none of which changes a flag unless the guest's does. */
#include "arch/x86.h"
#include "guest/bt/translate_parts.h"
#include "guest/cpu/system.h"

#define INTERRUPTS_OFF (~(uint32_t)RFLAGS_IF + 1u)

/* POPF leaves to the software CPU what would change more than arithmetic's flags, DF, IF and ID. */
#define POPF_RARE                                                                        \
    (uint32_t)(RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | \
               RFLAGS_VIF | RFLAGS_VIP)

/* Where the stack on which templates handle flags begins, and its first word. */
static uint64_t scratch_end(const struct emitter *e)
{
    return SHARED(e, scratch) + sizeof(((struct bt_shared *)0)->scratch);
}

static uint64_t scratch_word(const struct emitter *e)
{
    return scratch_end(e) - 8;
}

static void emit_set_interrupts_off(struct emitter *e, uint32_t value)
{
    emit_code(e, 3, 0x48c705); /* MOV [], value */
    emit_relative(e, SHARED(e, interrupts_off), 4);
    emit_le(e, 4, value);
}

static void emit_cli(struct emitter *e)
{
    emit_set_interrupts_off(e, INTERRUPTS_OFF);
}

static void emit_sti(struct emitter *e)
{
    emit_spill(e, CX);
    emit_load(e, CX, SHARED(e, pending));
    emit_code(e, 2, 0xe301); /* JRCXZ over the way out */
    emit_way_out(e);
    emit_set_interrupts_off(e, 0);
    emit_restore(e, CX);
}

/* The flags are the CPU's, but for IF, which is set in all that runs at CPL 3. */
static void emit_pushf(struct emitter *e)
{
    emit_spill(e, AX);
    emit_spill(e, CX);
    emit_spill(e, SP);
    emit_code(e, 3, 0x488d25); /* LEA RSP, [] */
    emit_relative(e, scratch_end(e), 0);
    emit_code(e, 2, 0x9c58); /* PUSHFQ; POP RAX */
    emit_load(e, CX, SHARED(e, interrupts_off));
    emit_code(e, 4, 0x488d0408); /* LEA RAX, [RAX+RCX] */
    emit_restore(e, SP);
    emit_code(e, 1, 0x50); /* PUSH RAX */
    emit_restore(e, AX);
    emit_restore(e, CX);
}

/* To the way out, where that word of the shared page is not 0: two instructions of 10 bytes. */
static void emit_leave_if(struct emitter *e, uint64_t word, unsigned out)
{
    emit_code(e, 3, 0x48833d); /* CMP [], 0 */
    emit_relative(e, word, 1);
    emit_code(e, 2, 0x0075); /* ...; JNE */
    emit(e, (uint8_t)(out - e->out->code_bytes - 1));
}

/* The guest's stack is read once: what has been checked is what is loaded. Its flags may go before
 * that, since all of them are about to be loaded, here or by the software CPU. */
static void emit_popf(struct emitter *e)
{
    emit_spill(e, AX);
    emit_spill(e, CX);
    emit_code(e, 4, 0x488b0424); /* MOV RAX, [RSP] */
    emit_code(e, 1, 0xa9);       /* TEST EAX, rare */
    emit_le(e, 4, POPF_RARE);
    emit_code(e, 2, 0x7401); /* JZ over the way out */
    const unsigned out = e->out->code_bytes;
    emit_way_out(e);
    emit_store(e, scratch_word(e), AX);
    emit_code(e, 4, 0x89c181e1); /* MOV ECX, EAX; AND ECX, RFLAGS_IF */
    emit_le(e, 4, (uint32_t)RFLAGS_IF);
    emit_code(e, 2, 0x740a); /* JZ over what follows */
    emit_leave_if(e, SHARED(e, pending), out);
    emit_code(e, 3, 0x488d89); /* LEA RCX, [RCX-RFLAGS_IF] */
    emit_le(e, 4, INTERRUPTS_OFF);
    emit_store(e, SHARED(e, interrupts_off), CX);
    emit_code(e, 8, 0x488d4c2408488d25); /* LEA RCX, [RSP+8]; LEA RSP, [] */
    emit_relative(e, scratch_word(e), 0);
    emit_code(e, 4, 0x9d4889cc); /* POPFQ; MOV RSP, RCX */
    emit_restore(e, AX);
    emit_restore(e, CX);
}

/* --- IRET --- */

static uint64_t iret_word(const struct emitter *e, unsigned number)
{
    return SHARED(e, scratch) + 8ull * number;
}

/* CMP of a register with a word of the shared page; where they differ, to the way out. */
static void emit_compare(struct emitter *e, unsigned reg, uint64_t with, unsigned out)
{
    emit_code(e, 2, 0x483b);
    emit(e, reg << 3 | 5);
    emit_relative(e, with, 0);
    emit(e, 0x75);
    emit(e, (uint8_t)(out - e->out->code_bytes - 1));
}

/* What IRET goes by, before any flag changes: CS is the one that there is, or it leaves at once;
 * the four words beside it to the scratch words, CS's descriptor to RCX, SS's to RDX; then the
 * flags to the stack there. Returns where the way out is. */
static unsigned emit_iret_reads(struct emitter *e)
{
    emit_code(e, 5, 0x488b4c2408); /* MOV RCX, [RSP+8] */
    emit_load(e, AX, SHARED(e, iret_minus_cs));
    emit_code(e, 4, 0x488d0c08); /* LEA RCX, [RAX+RCX] */
    emit_code(e, 2, 0xe301);     /* JRCXZ over the way out */
    emit_way_out(e);
    for (unsigned i = 0; i < 5; i++) {
        if (i == 1)
            continue;
        emit_code(e, 4, 0x488b4424); /* MOV RAX, [RSP+8*i] */
        emit(e, 8 * i);
        emit_store(e, iret_word(e, i), AX);
    }
    emit_load(e, CX, SHARED(e, iret_at[0]));
    emit_load(e, DX, SHARED(e, iret_at[1]));
    emit_code(e, 6, 0x488b09488b12); /* MOV RCX, [RCX]; MOV RDX, [RDX] */
    emit_code(e, 3, 0x488d25);       /* LEA RSP, [] */
    emit_relative(e, scratch_end(e), 0);
    emit_code(e, 4, 0x9ceb029d); /* PUSHFQ; JMP over POPFQ */
    emit_way_out(e);
    return e->out->code_bytes - 2;
}

/* Leaves what interrupts_off is to be in RAX, and the target in RCX. */
static void emit_iret_checks(struct emitter *e, unsigned out)
{
    emit_leave_if(e, SHARED(e, changed), out);
    emit_compare(e, CX, SHARED(e, iret_descriptor[0]), out);
    emit_compare(e, DX, SHARED(e, iret_descriptor[1]), out);
    emit_load(e, AX, iret_word(e, 4));
    emit_compare(e, AX, SHARED(e, iret_ss), out);
    emit_load(e, CX, iret_word(e, 0));
    emit_code(e, 3, 0x4889ca);           /* MOV RDX, RCX */
    emit_code(e, 8, 0x48c1e21048c1fa10); /* SHL RDX, 16; SAR RDX, 16 */
    emit_compare(e, DX, iret_word(e, 0), out);
    emit_load(e, AX, iret_word(e, 2));
    emit(e, 0xa9); /* TEST EAX, rare */
    emit_le(e, 4, POPF_RARE);
    emit(e, 0x75); /* JNE to the way out */
    emit(e, (uint8_t)(out - e->out->code_bytes - 1));
    emit(e, 0x25); /* AND EAX, RFLAGS_IF */
    emit_le(e, 4, (uint32_t)RFLAGS_IF);
    emit_code(e, 2, 0x740a); /* JZ over what follows */
    emit_leave_if(e, SHARED(e, pending), out);
    emit_code(e, 3, 0x488d80); /* LEA RAX, [RAX-RFLAGS_IF] */
    emit_le(e, 4, INTERRUPTS_OFF);
}

/* IRETQ to the code and stack segment that there are, which it would find in the GDT as they are.
 * All else is the software CPU's, with the flags that were. */
static enum translated emit_iret(struct emitter *e)
{
    emit_spill(e, AX);
    emit_spill(e, CX);
    emit_spill(e, DX);
    emit_spill(e, SP);
    emit_iret_checks(e, emit_iret_reads(e));
    emit_store(e, SHARED(e, interrupts_off), AX);
    emit_load(e, DX, iret_word(e, 2));
    emit_code(e, 5, 0x488914249d); /* MOV [RSP], RDX; POPFQ */
    emit_load(e, SP, iret_word(e, 3));
    emit(e, 0xe9); /* JMP to the look-up */
    emit_relative(e, e->in->lookup, 0);
    return TRANSLATED_LEFT;
}

static enum translated emit_swapgs(struct emitter *e)
{
    if (!e->in->has_fsgsbase)
        return TRANSLATED_NOT;
    emit_spill(e, AX);
    emit_spill(e, CX);
    emit_code(e, 5, 0xf3480faec8); /* RDGSBASE RAX */
    emit_load(e, CX, SHARED(e, kernel_gs_base));
    emit_code(e, 5, 0xf3480faed9); /* WRGSBASE RCX */
    emit_store(e, SHARED(e, kernel_gs_base), AX);
    emit_store(e, SHARED(e, gs_base), CX);
    emit_restore(e, AX);
    emit_restore(e, CX);
    return TRANSLATED_NEXT;
}

/* MOV to a register of 32 bits: the same for one of 64. */
static enum translated emit_mov_from_segment(struct emitter *e, const struct insn *in)
{
    if (in->rm == INSN_NO_REG || in->reg_bytes < 4)
        return TRANSLATED_NOT;
    if (in->rm >= 8)
        emit(e, 0x44);
    emit(e, 0x8b);
    emit(e, (in->rm & 7u) << 3 | 5);
    emit_relative(e, SHARED(e, selector) + 8ull * in->reg, 0);
    return TRANSLATED_NEXT;
}

/* The host's TSC as one number in RAX, the offset, and two again. BSWAP shifts by 32 bits, of which
 * flags know nothing: of the lower half, and then of the whole. */
static void emit_rdtsc(struct emitter *e)
{
    emit_code(e, 2, 0x0f31);       /* RDTSC */
    emit_code(e, 5, 0x0fca480fca); /* BSWAP EDX; BSWAP RDX */
    emit_code(e, 4, 0x488d0410);   /* LEA RAX, [RAX+RDX] */
    emit_load(e, DX, SHARED(e, tsc_offset));
    emit_code(e, 7, 0x488d04104889c2); /* LEA RAX, [RAX+RDX]; MOV RDX, RAX */
    emit_code(e, 5, 0x480fca0fca);     /* BSWAP RDX; BSWAP EDX */
    emit_code(e, 2, 0x89c0);           /* MOV EAX, EAX */
}

enum translated translate_system(struct emitter *e, const struct insn *in)
{
    const bool in_64 = e->in->mode == INSN_64;
    switch (in->op) {
    case SYSTEM_CLI: emit_cli(e); return TRANSLATED_NEXT;
    case SYSTEM_STI: emit_sti(e); return TRANSLATED_NEXT;
    case SYSTEM_RDTSC: emit_rdtsc(e); return TRANSLATED_NEXT;
    case SYSTEM_MOV_FROM_SEGMENT: return emit_mov_from_segment(e, in);
    case SYSTEM_IRET: return in_64 && in->reg_bytes == 8 ? emit_iret(e) : TRANSLATED_NOT;
    case SYSTEM_SWAPGS: return in_64 ? emit_swapgs(e) : TRANSLATED_NOT;
    case INSN_PUSHF:
    case INSN_POPF:
        if (!in_64 || in->mem_bytes != 8)
            return TRANSLATED_NOT;
        (in->op == INSN_PUSHF ? emit_pushf : emit_popf)(e);
        return TRANSLATED_NEXT;
    default: return TRANSLATED_NOT;
    }
}
