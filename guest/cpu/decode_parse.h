/* SPDX-License-Identifier: BSD-2-Clause */
/* What both decoders share: bytes taken one by one, prefixes, and the address behind ModRM (SDM,
 * "Instruction Format"). */
#pragma once

#include "arch/bytes.h"
#include "guest/cpu/decode.h"

struct vector_opcode;

enum { SIZE_66 = 1, ADDRESS_67 = 2 };

/* Bytes beyond the end read as 0; at > count then tells of it in the end. */
struct parse {
    const uint8_t *bytes;
    unsigned at, count;
    enum insn_mode mode;
    unsigned prefixes;
    unsigned repeat; /* the last of F2 and F3 counts: INSN_REPNE, INSN_REPE */
    unsigned rex;    /* or what VEX has of it */
    uint8_t vvvv;    /* of VEX, made upright: 0 where unused */
    bool wide;       /* VEX.L */
    bool undefined;
    uint8_t opcode;                     /* its last byte */
    const struct vector_opcode *vector; /* decode.c's */
};

static inline uint8_t take_byte(struct parse *p)
{
    unsigned i = p->at++;
    return i < p->count ? p->bytes[i] : 0;
}

/* A little-endian number of 1, 2, 4 or 8 bytes, sign-extended. */
static inline int64_t take_signed(struct parse *p, unsigned bytes)
{
    unsigned i = p->at;
    p->at += bytes;
    if (p->at > p->count)
        return 0;
    switch (bytes) {
    case 1: return (int8_t)p->bytes[i];
    case 2: return (int16_t)get_le16(p->bytes + i);
    case 4: return (int32_t)get_le32(p->bytes + i);
    default: return (int64_t)get_le64(p->bytes + i);
    }
}

static inline void note_prefix(struct parse *p, struct insn *out, uint8_t byte)
{
    p->rex = 0; /* counts only as the last one */
    switch (byte) {
    case 0x64: out->segment = SEG_FS; break;
    case 0x65: out->segment = SEG_GS; break;
    case 0x66: p->prefixes |= SIZE_66; break;
    case 0x67: p->prefixes |= ADDRESS_67; break;
    case 0xf0: out->lock = true; break;
    case 0xf2: p->repeat = INSN_REPNE; break;
    case 0xf3: p->repeat = INSN_REPE; break;
    default:
        if (p->mode != INSN_64) /* there these segments are flat and the prefixes do nothing */
            out->segment = byte >> 3 & 3;
    }
}

static inline void decode_memory_16(struct parse *p, struct insn *out, unsigned mod, unsigned rm)
{
    enum { BX = 3, BP = 5, SI = 6, DI = 7, NONE = INSN_NO_REG };
    static const uint8_t base[8] = {BX, BX, BP, BP, SI, DI, BP, BX};
    static const uint8_t index[8] = {SI, DI, SI, DI, NONE, NONE, NONE, NONE};
    bool absolute = mod == 0 && rm == 6;
    out->base = absolute ? INSN_NO_REG : base[rm];
    out->index = index[rm];
    if (absolute || mod == 2)
        out->disp = take_signed(p, 2);
    else if (mod == 1)
        out->disp = take_signed(p, 1);
}

/* The memory operand behind ModRM, for addresses of 32 and 64 bits. */
static inline void decode_memory(struct parse *p, struct insn *out, unsigned mod, unsigned rm)
{
    if (rm == 4) {
        uint8_t sib = take_byte(p);
        uint8_t index = (uint8_t)((sib >> 3 & 7) | (p->rex & 2u) << 2);
        out->index = index == 4 ? INSN_NO_REG : index;
        out->scale = sib >> 6;
        rm = sib & 7;
    } else if (rm == 5 && mod == 0 && p->mode == INSN_64) {
        out->base = INSN_RIP;
        out->disp = take_signed(p, 4);
        return;
    }
    if (mod == 1) {
        out->disp = take_signed(p, 1);
    } else if (mod == 2) {
        out->disp = take_signed(p, 4);
    } else if (rm == 5) {
        out->disp = take_signed(p, 4);
        return; /* no base */
    }
    out->base = (uint8_t)(rm | (p->rex & 1u) << 3);
}
