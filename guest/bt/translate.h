/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The translator: guest kernel code (CPL 0; 64-bit, or 32-bit with flat segments) is made into
 * 64-bit code that does the same at CPL 3. What may be executed there as it is stays the same
 * bytes; what would see or change what is not the guest's becomes a template, or a way out to the
 * software CPU. Pure: bytes in, bytes out; who keeps the translations is cache.h.
 *
 * The rules that make it safe to leave the code at any of its instructions:
 * - The way out is HLT, which raises #GP at CPL 3 and changes no register. Where the processor
 *   raises an exception in the code of a guest's instruction, by that HLT or because of what the
 *   guest does, the registers in that instruction's spill set are taken back from
 *   bt_shared.spill[], and the guest is before the instruction, which the software CPU carries out.
 * - So a template stores all registers that it needs into their places in bt_shared.spill[] before
 *   anything of it can raise an exception; and nothing of it can once it has changed a register of
 *   the guest, a flag, or bt_shared for good. Registers that it has stored have their own values
 *   again where the next instruction's code begins.
 * - No flag changes but as the guest's instruction says.
 * - Code that has run is not written to again. Each jump to another block goes through a slot: a
 *   word with the address where it leads to, and at first with that of the HLT behind the jump.
 *
 * What kernel code can tell from a CPU of its own: a near RET, JMP or CALL by register or memory to
 * an address that is not canonical has been carried out when #GP comes, at that address, as on
 * AMD's CPUs; Intel's raise it at the branch. And the pages of the window (HOST_WINDOW_BASE, within
 * 512 GiB) can be read, and those below written, where the guest has nothing mapped and should get
 * a page fault. Where it maps anything in those 512 GiB, its kernel code is interpreted (code.h:
 * window_used).
 *
 * The guest can write to bt_shared, the slots and the look-up table. What it makes of itself so is
 * its own loss: page tables and CPL are what keeps it in.
 */
#pragma once

#include "guest/cpu/decode.h"

#include <stdbool.h>
#include <stdint.h>

/* What translated code and the hypervisor share, within 2 GiB of the code. */
struct bt_shared {
    uint64_t spill[16];      /* general registers that a template has borrowed, by number */
    uint64_t interrupts_off; /* what is added to RFLAGS with IF set: 0, or -RFLAGS_IF */
    uint64_t pending;        /* not 0: STI and POPF are the software CPU's to carry out */
    uint64_t target;         /* of the look-up: where the guest jumps to */
    uint64_t jump;           /* and the address of that block's code */
    uint64_t gs_base, kernel_gs_base; /* the guest's IA32_GS_BASE and IA32_KERNEL_GS_BASE */
    uint64_t tsc_offset;              /* what the guest's TSC has more than the host's */
    uint64_t selector[6];             /* of segment registers, in the CPU's order */
    uint64_t changed; /* not 0: code of the guest has (code.h), so that IRET is not carried out */
    /* IRET within the level: CS, negated, and SS that it may find on the stack, where their
     * descriptors are, and what stands there as long as they are what CS and SS have been loaded
     * with. BT_NO_IRET, which no selector is, with descriptors that are not so: each IRET is the
     * software CPU's to carry out. */
    uint64_t iret_minus_cs, iret_ss, iret_at[2], iret_descriptor[2];
    uint64_t scratch[16]; /* templates' own; also a stack that grows down from its end */
};

#define BT_NO_IRET 1u

/* The look-up table, found by the low 16 bits of where a jump leads to. */
#define BT_LOOKUPS 65536u
struct bt_lookup {
    uint64_t minus_pc; /* the negated address in the guest, or of another entry: nothing is here */
    uint64_t code;     /* where its block's code is */
};

#define TRANSLATE_MAX_INSNS 64
#define TRANSLATE_MAX_CODE  4096 /* bytes */
/* A jump of each instruction's, and one behind the last. */
#define TRANSLATE_MAX_SLOTS (TRANSLATE_MAX_INSNS + 1)

struct translate_input {
    uint64_t pc;          /* the guest's RIP; CS base is 0 */
    const uint8_t *bytes; /* what stands there */
    unsigned count;       /* so many bytes are known */
    unsigned page_bytes;  /* of these, so many to the end of the page: an instruction that reaches
                           * beyond is translated as the first one only */
    unsigned max_insns;   /* 1 to TRANSLATE_MAX_INSNS */
    enum insn_mode mode;  /* INSN_64, INSN_32 */
    bool apart;           /* no jump leads to another instruction of the block but by a slot */
    bool has_fsgsbase;    /* the host's CR4.FSGSBASE is set while such code runs */
    /* Addresses where code runs and finds things; all within 2 GiB. */
    uint64_t at;     /* of this code, a multiple of 16 */
    uint64_t shared; /* of struct bt_shared */
    uint64_t slots;  /* of this block's slots, 8 bytes each */
    uint64_t lookup; /* of what translate_lookup() has made for this mode */
};

struct translate_insn {
    uint16_t at;      /* where its code begins */
    uint16_t guest;   /* and the instruction, from pc on */
    uint16_t spilled; /* registers to be taken back from bt_shared.spill, bit by number */
    bool shadow;      /* no interrupt may come before it: it is behind STI */
};

struct translate_slot {
    uint64_t target; /* in the guest */
    uint16_t stub;   /* the HLT that the slot holds the address of at first */
};

struct translation {
    uint8_t code[TRANSLATE_MAX_CODE];
    unsigned code_bytes, guest_bytes;
    unsigned insns, slots;
    struct translate_insn insn[TRANSLATE_MAX_INSNS];
    struct translate_slot slot[TRANSLATE_MAX_SLOTS];
};

/*
 * Translates from input->pc on what is reached from there without leaving the page or going back
 * behind pc: straight-line code, where a conditional jump goes on in both ways, and what its jumps
 * forward lead to; at least one instruction. Jumps between instructions of the block need no slot.
 * out->insn[] is in the order of the guest's addresses, of which some between may be missing;
 * guest_bytes is to the end of the last one. *out is all of the block. False: there are too few
 * bytes for the first instruction (the fetch of those behind them is going to fault).
 */
bool translate(struct translation *out, const struct translate_input *input);

/*
 * The code that indirect jumps of a mode share. In 64-bit code it is jumped to with RAX, RCX and
 * RDX in bt_shared.spill[] and the target in RCX, in 32-bit code with the target in R8. Where the
 * table has the target, it goes to the block's code, with all registers the guest's; else to an HLT
 * at *miss, with all registers but RCX the guest's in spill[] (64-bit), or in the CPU (32-bit), and
 * the target in bt_shared.target. Returns its bytes, at most TRANSLATE_LOOKUP_CODE.
 */
#define TRANSLATE_LOOKUP_CODE 192
unsigned translate_lookup(uint8_t *to, enum insn_mode mode, uint64_t at, uint64_t shared,
                          uint64_t table, unsigned *miss);
