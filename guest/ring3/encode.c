/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Takes an instruction apart (SDM, "Instruction Format") and puts it together again as 64-bit code
 * that addresses its operand relative to RIP. So no register is needed for the address; only where
 * the operand has a vector of indices it is RAX, which such instructions do not use otherwise.
 *
 * What differs between the modes: the operand size that goes without saying, where an instruction
 * has one; VEX.W and EVEX.W of general registers, which count in 64-bit mode only; and the bits of
 * VEX and EVEX that name registers above 7, which do not count elsewhere.
 */
#include "guest/ring3/encode.h"

#include "arch/bytes.h"

enum { LEGACY = 0, VEX2 = 0xc5, VEX3 = 0xc4, EVEX = 0x62 };
enum { PP_NONE, PP_66, PP_F3, PP_F2 };

struct parts {
    bool has_66, has_67;
    uint8_t segment; /* the override, 0 where there is none */
    uint8_t repeat, rex;
    uint8_t encoding;
    uint8_t payload[3]; /* behind the first byte of VEX or EVEX */
    uint8_t map, opcode, modrm, sib;
    bool has_modrm, memory, has_sib;
    const uint8_t *tail; /* the immediate */
    unsigned tail_bytes;
};

static unsigned pp(const struct parts *p)
{
    if (p->encoding != LEGACY)
        return p->payload[p->encoding == VEX2 ? 0 : 1] & 3u;
    return p->repeat == 0xf2 ? PP_F2 : p->repeat == 0xf3 ? PP_F3 : p->has_66 ? PP_66 : PP_NONE;
}

static unsigned payload_bytes(const struct parts *p)
{
    return p->encoding == LEGACY ? 0 : p->encoding == VEX2 ? 1 : p->encoding == VEX3 ? 2 : 3;
}

/* Returns where the opcode begins. LOCK is #UD: by 0. */
static unsigned take_prefixes(struct parts *p, const uint8_t *bytes, unsigned length,
                              enum insn_mode mode)
{
    for (unsigned i = 0; i < length; i++) {
        const uint8_t byte = bytes[i];
        const bool is_rex = mode == INSN_64 && (byte & 0xf0) == 0x40;
        if (is_rex) {
            p->rex = byte;
            continue;
        }
        switch (byte) {
        case 0x66: p->has_66 = true; break;
        case 0x67: p->has_67 = true; break;
        case 0xf2:
        case 0xf3: p->repeat = byte; break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65: p->segment = byte; break;
        case 0xf0: return length;
        default: return i;
        }
        p->rex = 0; /* counts only as the last one */
    }
    return length;
}

/* Bytes of SIB and displacement. */
static unsigned address_bytes(const struct parts *p, unsigned address_size, uint8_t sib)
{
    const unsigned mod = p->modrm >> 6, rm = p->modrm & 7;
    if (address_size == 2)
        return mod == 2 || (mod == 0 && rm == 6) ? 2 : mod;
    const bool no_base = mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5));
    return (rm == 4 ? 1u : 0u) + (mod == 2 || no_base ? 4 : mod);
}

static bool take_apart(struct parts *p, const uint8_t *bytes, unsigned length, enum insn_mode mode)
{
    unsigned at = take_prefixes(p, bytes, length, mode);
    if (at + 1 > length)
        return false;
    p->opcode = bytes[at++];
    const bool may_be_vector = mode == INSN_64 || (at < length && bytes[at] >= 0xc0);
    if (may_be_vector && (p->opcode == VEX2 || p->opcode == VEX3 || p->opcode == EVEX)) {
        p->encoding = p->opcode;
        if (p->rex != 0 || p->has_66 || p->repeat != 0 || at + payload_bytes(p) >= length)
            return false;
        for (unsigned i = 0; i < payload_bytes(p); i++)
            p->payload[i] = bytes[at++];
        p->map = p->encoding == VEX2   ? 1
                 : p->encoding == VEX3 ? p->payload[0] & 31
                                       : p->payload[0] & 7;
        p->opcode = bytes[at++];
    } else if (p->opcode == 0x0f && at < length) {
        p->map = 1;
        p->opcode = bytes[at++];
        if ((p->opcode == 0x38 || p->opcode == 0x3a) && at < length) {
            p->map = p->opcode == 0x38 ? 2 : 3;
            p->opcode = bytes[at++];
        }
    }
    p->has_modrm = (p->map != 1 || p->opcode != 0x77) && (p->map != 0 || p->opcode != 0x9b);
    if (p->has_modrm) {
        if (at >= length)
            return false;
        p->modrm = bytes[at++];
        p->memory = p->modrm < 0xc0;
    }
    if (p->memory) {
        const unsigned size = p->has_67 ? (mode == INSN_32 ? 2 : 4) : 2u << mode;
        p->has_sib = size != 2 && (p->modrm & 7) == 4;
        p->sib = p->has_sib && at < length ? bytes[at] : 0;
        at += address_bytes(p, size, p->sib);
    }
    if (at > length)
        return false;
    p->tail = bytes + at;
    p->tail_bytes = length - at;
    return p->tail_bytes <= 1;
}

/* Whether 66 is the operand size, and not a part of the opcode. */
static bool is_sized(const struct parts *p)
{
    switch (p->map) {
    case 0: return true;                            /* x87 */
    case 1: return p->opcode == 0xc7 && !p->memory; /* RDRAND */
    case 2: return (p->opcode & 0xfe) == 0xf0;      /* CRC32 */
    default: return false;
    }
}

/* Whether W is the size of a general register, and more than 32 bits are there in 64-bit mode
 * only. */
static bool w_is_general(const struct parts *p)
{
    const unsigned prefix = pp(p), op = p->opcode;
    const bool scalar = prefix == PP_F2 || prefix == PP_F3;
    switch (p->map) {
    case 1:
        return (prefix == PP_66 && (op == 0x6e || op == 0x7e)) ||
               (scalar && (op == 0x2a || op == 0x2c || op == 0x2d)) ||
               (scalar && p->encoding == EVEX && (op == 0x78 || op == 0x79 || op == 0x7b));
    case 2: return p->encoding == EVEX ? op == 0x7c : op >= 0xf2 && op <= 0xf7;
    case 3: /* 60 and 61: VPCMPESTRM and VPCMPESTRI have lengths in EAX and EDX */
        return op == 0x16 || op == 0x22 ||
               (p->encoding == VEX3 && (op == 0x60 || op == 0x61 || op == 0xf0));
    case 5:
        return scalar &&
               (op == 0x2a || op == 0x2c || op == 0x2d || op == 0x78 || op == 0x79 || op == 0x7b);
    default: return false;
    }
}

/* KMOV between an opmask and 64 bits of a general register, and what has tiles. */
static bool is_for_64_only(const struct parts *p)
{
    const unsigned op = p->opcode;
    if (p->encoding != VEX3)
        return false;
    if (p->map == 2)
        return op == 0x49 || op == 0x4b || op == 0x5c || op == 0x5e || op == 0x6c;
    return p->map == 1 && (op & 0xfe) == 0x92 && pp(p) == PP_F2 && (p->payload[1] & 0x80) != 0;
}

/* The immediate names a fourth register, by its upper half: VBLENDV, and what AMD has of FMA. */
static bool immediate_is_register(const struct parts *p)
{
    const unsigned op = p->opcode;
    return p->encoding == VEX3 && p->map == 3 &&
           ((op >= 0x48 && op < 0x4d) || (op >= 0x5c && op < 0x60) || (op & 0xe8) == 0x68);
}

/* Gathers and scatters. */
static bool has_indices(const struct parts *p)
{
    return p->memory && p->map == 2 && pp(p) == PP_66 && p->encoding != LEGACY &&
           ((p->opcode & ~3u) == 0x90 || (p->encoding == EVEX && (p->opcode & ~3u) == 0xa0));
}

/* The payload of VEX or EVEX as 64-bit code has it. False: #UD. */
static bool convert_payload(struct parts *p, enum insn_mode mode)
{
    enum { X = 0x40, B = 0x20, R_HIGH = 0x10, W = 0x80, V_TOP = 0x40, V_HIGH = 8 };
    if (p->encoding != VEX3 && p->encoding != EVEX)
        return true;
    if (p->memory)
        p->payload[0] |= has_indices(p) ? B : X | B; /* as they mean no register: set */
    if (mode == INSN_64)
        return true;
    if (is_for_64_only(p) || (p->encoding == EVEX && (p->payload[2] & V_HIGH) == 0))
        return false;
    p->payload[0] |= p->encoding == EVEX ? B | R_HIGH : B;
    p->payload[1] |= V_TOP;
    if (w_is_general(p))
        p->payload[1] &= (uint8_t)~W;
    return true;
}

static void put(struct ring3_code *code, unsigned byte)
{
    code->bytes[code->length++] = (uint8_t)byte;
}

static void put_opcode(struct ring3_code *out, const struct parts *p, enum insn_mode mode)
{
    if (p->encoding != LEGACY) {
        put(out, p->encoding);
        for (unsigned i = 0; i < payload_bytes(p); i++)
            put(out, p->payload[i]);
    } else {
        if (is_sized(p) ? (mode == INSN_16) != p->has_66 : p->has_66)
            put(out, 0x66);
        if (p->repeat != 0)
            put(out, p->repeat);
        if (p->rex != 0)
            put(out, p->memory ? p->rex & ~3u : p->rex);
        if (p->map != 0)
            put(out, 0x0f);
        if (p->map > 1)
            put(out, p->map == 2 ? 0x38 : 0x3a);
    }
    put(out, p->opcode);
}

static void put_immediate(struct ring3_code *out, const struct parts *p, enum insn_mode mode)
{
    if (p->tail_bytes != 0)
        put(out, mode != INSN_64 && immediate_is_register(p) ? p->tail[0] & 0x7fu : p->tail[0]);
}

bool ring3_encode(struct ring3_code *out, const uint8_t *bytes, unsigned length,
                  enum insn_mode mode, uint64_t at, uint64_t operand)
{
    enum { RM_SIB = 4, RM_RIP = 5, SCALE_8 = 0xc0, BASE_RAX = 0 };
    struct parts p = {.encoding = LEGACY};
    *out = (struct ring3_code){.length = 0};
    if (!take_apart(&p, bytes, length, mode) || !convert_payload(&p, mode))
        return false;
    put_opcode(out, &p, mode);
    if (has_indices(&p)) {
        if (!p.has_sib)
            return false;
        out->from_rax = true;
        put(out, (p.modrm & 0x38u) | RM_SIB);
        put(out, SCALE_8 | (p.sib & 0x38u) | BASE_RAX);
    } else if (p.memory) {
        put(out, (p.modrm & 0x38u) | RM_RIP);
        out->length += 4;
    } else if (p.has_modrm) {
        put(out, p.modrm);
    }
    put_immediate(out, &p, mode);
    if (p.memory && !out->from_rax) {
        const uint64_t distance = operand - (at + out->length);
        put_le(out->bytes + out->length - p.tail_bytes - 4, 4, (uint32_t)distance);
    }
    return true;
}

/* What has to do with registers above 7 without naming them: VZEROUPPER and VZEROALL, FXSAVE to
 * XSAVEOPT, XRSTORS to XSAVES. */
static bool has_all_registers(const struct parts *p)
{
    if (p->map != 1)
        return false;
    if (p->encoding != LEGACY)
        return p->opcode == 0x77;
    const unsigned reg = p->modrm >> 3 & 7;
    if (!p->memory || pp(p) != PP_NONE)
        return false;
    return p->opcode == 0xae ? reg < 2 || (reg > 3 && reg < 7) : p->opcode == 0xc7;
}

bool ring3_encode_flat(struct ring3_code *out, const uint8_t *bytes, unsigned length)
{
    enum { CS = 0x2e, FS = 0x64, GS = 0x65, MASKMOV = 0xf7, RM_SIB = 4, RM_ABSOLUTE = 5 };
    enum { NOT_REG = 0xc7, NO_BASE_NO_INDEX = 0x25 };
    struct parts p = {.encoding = LEGACY};
    *out = (struct ring3_code){.length = 0};
    if (!take_apart(&p, bytes, length, INSN_32) || !convert_payload(&p, INSN_32) ||
        has_all_registers(&p) || (has_indices(&p) && !p.has_sib))
        return false;
    const bool at_rdi = p.map == 1 && p.opcode == MASKMOV && p.has_modrm && !p.memory;
    if ((p.memory || at_rdi) && (p.has_67 || p.segment == CS))
        return false;
    if ((p.memory || at_rdi) && (p.segment == FS || p.segment == GS))
        put(out, p.segment);
    if (p.memory || at_rdi)
        put(out, 0x67);
    put_opcode(out, &p, INSN_32);
    const bool absolute = p.memory && (p.modrm & NOT_REG) == RM_ABSOLUTE;
    if (p.has_modrm)
        put(out, absolute ? p.modrm - RM_ABSOLUTE + RM_SIB : p.modrm);
    if (absolute)
        put(out, NO_BASE_NO_INDEX);
    if (p.memory)
        for (const uint8_t *at = p.tail - address_bytes(&p, 4, p.sib); at < p.tail; at++)
            put(out, *at);
    put_immediate(out, &p, INSN_32);
    return true;
}
