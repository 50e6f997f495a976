/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes what operand_table.c says of an opcode, then computes addresses at the guest's registers.
 */
#include "guest/cpu/operands.h"

#include "arch/x86.h"
#include "guest/cpu/decode_parse.h"
#include "guest/cpu/operand_table.h"

/* Whether without a prefix it is an instruction of MMX: it has registers of 8 bytes. */
static bool is_mmx(const struct opcode_at *o)
{
    if (o->encoding != LEGACY || o->prefix != NP)
        return false;
    return o->map != 1 || (o->opcode >= 0x60 && o->opcode != 0xc2 && o->opcode != 0xc6);
}

static unsigned size_of(unsigned size, const struct insn *in, const struct opcode_at *o)
{
    const unsigned operand = in->reg_bytes, vl = is_mmx(o) ? 8 : o->length;
    switch (size) {
    case OPSIZE: return operand;
    case BRANCH: return o->in_64 ? 8 : operand;
    case BY_W: return o->w ? 8 : 4;
    case GENERAL: return o->w && o->in_64 ? 8 : 4;
    case FAR: return operand + 2;
    case TABLE: return o->in_64 ? 10 : 6;
    case BOUNDS: return 2 * operand;
    case FENV: return operand == 2 ? 14 : 28;
    case FSAVE: return operand == 2 ? 94 : 108;
    case FXSAVE: return 512;
    case XSAVE:
    case XSAVEC:
    case XRSTOR: return 0;
    case VL: return vl;
    case VL2: return vl / 2;
    case VL4: return vl / 4;
    case VL8: return vl / 8;
    case VL_W: return o->w ? vl : vl / 2;
    case DUP: return vl == 16 ? 8 : vl;
    case KMASK: return o->prefix == P66 ? (o->w ? 4 : 1) : o->w ? 8 : 2;
    default: return size;
    }
}

static enum insn_area area_of(const struct operand_row *row)
{
    switch (row->size) {
    case FXSAVE: return row->flags & W ? AREA_FXSAVE : AREA_NONE;
    case XSAVE: return AREA_SAVE;
    case XSAVEC: return AREA_COMPACT;
    case XRSTOR: return AREA_RESTORE;
    default: return AREA_NONE;
    }
}

static bool is_compress(const struct opcode_at *o)
{
    return o->map == 2 &&
           (o->opcode == 0x62 || o->opcode == 0x63 || (o->opcode >= 0x88 && o->opcode <= 0x8b));
}

/* Bytes in memory of what a mask chooses from. */
static unsigned element_of(const struct opcode_at *o)
{
    static const uint8_t narrowed[8] = {1, 1, 1, 2, 2, 4}; /* VPMOV, by the opcode */
    if (o->map == 2 && o->opcode < 0x40 && o->prefix == PF3)
        return narrowed[o->opcode & 7];
    if (o->map == 2 && o->encoding == VEX) /* VMASKMOV; VPMASKMOV has W */
        return o->opcode < 0x40 ? (o->opcode & 1 ? 8 : 4) : o->w ? 8 : 4;
    if (o->map == 5 || (o->map == 3 && o->opcode == 0x1d))
        return 2;
    const bool bytes_or_words =
        (o->map == 1 && o->opcode >= 0x60 && o->prefix == PF2) || (o->map == 2 && o->opcode < 0x80);
    return (bytes_or_words ? 1u : 4u) << o->w;
}

static void set_mask(struct insn_operands *out, const struct parse *p, const struct opcode_at *o,
                     const struct operand_row *row)
{
    if ((row->flags & ELEMENTS) == 0)
        return;
    out->element = (uint8_t)element_of(o);
    if (o->encoding == EVEX && o->mask_reg != 0) {
        out->mask = is_compress(o) ? MASK_COMPRESS : MASK_K;
        out->mask_reg = o->mask_reg;
    } else if (o->encoding == VEX && o->map == 2) { /* VMASKMOV */
        out->mask = MASK_SIGNS;
        out->mask_reg = p->vvvv;
    }
}

/* VPGATHERDD to VGATHERQPD, and the scatters. */
static bool has_many(const struct opcode_at *o)
{
    return o->map == 2 && o->prefix == P66 &&
           (((o->opcode & ~3u) == 0x90 && o->encoding != LEGACY) ||
            ((o->opcode & ~3u) == 0xa0 && o->encoding == EVEX));
}

/* Their SIB, behind a ModRM that asks for one: its index is a vector register, of the length of all
 * indices, or of all elements, whichever are longer. False: #UD. */
static bool set_many(const struct parse *p, struct insn_operands *out, const struct opcode_at *o,
                     unsigned rm)
{
    if (rm != 4 || out->insn.addr_bytes == 2 || (o->encoding == EVEX && o->mask_reg == 0))
        return false;
    const unsigned sib = p->at < p->count ? p->bytes[p->at] : 0;
    out->index_reg = (uint8_t)((sib >> 3 & 7) | (p->rex & 2u) << 2 | o->index_high);
    out->index_bytes = o->opcode & 1 ? 8 : 4;
    out->element = (uint8_t)out->bytes;
    out->elements =
        (uint8_t)(o->length / (out->bytes > out->index_bytes ? out->bytes : out->index_bytes));
    out->mask = o->encoding == EVEX ? MASK_K : MASK_SIGNS;
    out->mask_reg = o->encoding == EVEX ? o->mask_reg : p->vvvv;
    return true;
}

/* The displacement of one byte counts in units of the operand (SDM, "Compressed Displacement"). */
static unsigned displacement_unit(const struct insn_operands *out, const struct opcode_at *o)
{
    if (o->encoding != EVEX)
        return 1;
    return is_compress(o) ? element_of(o) : out->bytes;
}

static bool decode_operand(struct parse *p, struct insn_operands *out, const struct opcode_at *o)
{
    struct insn *in = &out->insn;
    const uint8_t modrm = take_byte(p);
    const unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
    const struct operand_row row = operand_row(o, reg);
    const bool segment_set = in->segment != INSN_NO_REG;
    const bool fp16 = o->map >= 5 || (o->map == 3 && o->prefix == NP);
    const bool maskmov = o->map == 1 && o->opcode == 0xf7 && o->encoding != EVEX && mod == 3;
    if (row.size == HIDDEN || ((row.flags & NO64) != 0 && p->mode == INSN_64) ||
        (mod == 3 && !maskmov))
        return false;
    out->bytes = (uint16_t)size_of(row.size, in, o);
    if (o->broadcast)
        out->bytes = o->w ? 8 : fp16 && (row.flags & ELEMENT_W) == 0 ? 2 : 4;
    out->area = area_of(&row);
    out->reads = (row.flags & R) != 0 && !maskmov;
    out->writes = (row.flags & W) != 0 || maskmov;
    in->reg = (uint8_t)(reg | (p->rex & 4u) << 1);
    out->to_es = o->map == 2 && o->opcode == 0xf8;
    if ((row.flags & PUSH) != 0) {
        out->stack = STACK_PUSH;
        out->stack_bytes = (uint8_t)(row.size == FAR ? 2 * in->reg_bytes : size_of(BRANCH, in, o));
    }
    if (maskmov) { /* DS:rDI, in the bytes that the other register says */
        in->base = 7;
        out->element = 1;
        out->mask = MASK_SIGNS;
        in->reg_bytes = (uint8_t)out->bytes;
        out->mask_reg = (uint8_t)(rm | (in->reg_bytes > 8 ? (p->rex & 1u) << 3 : 0));
        in->segment = segment_set ? in->segment : SEG_DS;
        return true;
    }
    set_mask(out, p, o, &row);
    if (has_many(o) && !set_many(p, out, o, rm))
        return false;
    if (in->addr_bytes == 2)
        decode_memory_16(p, in, mod, rm);
    else
        decode_memory(p, in, mod, rm);
    if (out->elements != 0)
        in->index = INSN_NO_REG;
    if (mod == 1)
        in->disp *= (int64_t)displacement_unit(out, o);
    if (!segment_set)
        in->segment = in->base == 4 || in->base == 5 ? SEG_SS : SEG_DS;
    if ((row.flags & IMM8) != 0 || o->map == 3)
        p->at++;
    else if ((row.flags & IMMZ) != 0)
        p->at += in->reg_bytes == 2 ? 2 : 4;
    return true;
}

static const uint8_t prefix_of_pp[] = {NP, P66, PF3, PF2};

/* SDM, "The VEX Prefix". */
static bool decode_vex(struct parse *p, struct insn_operands *out, uint8_t byte)
{
    struct opcode_at o = {.encoding = VEX, .map = 1, .in_64 = p->mode == INSN_64};
    const uint8_t first = take_byte(p);
    uint8_t last = first;
    p->rex = first & 0x80 ? 0 : 4;
    if (byte == 0xc4) {
        o.map = first & 31;
        last = take_byte(p);
        p->rex |= ((first ^ 0xffu) >> 5 & 3u) | (last >> 4 & 8u);
    }
    if (p->mode != INSN_64)
        p->rex &= 8;
    p->vvvv = (uint8_t)((last ^ 0xffu) >> 3 & (p->mode == INSN_64 ? 15 : 7));
    o.w = (p->rex & 8) != 0;
    o.length = last & 4 ? 32 : 16;
    o.prefix = prefix_of_pp[last & 3];
    o.opcode = take_byte(p);
    out->insn.vex = true;
    out->insn.reg_bytes = (uint8_t)o.length;
    return o.map >= 1 && o.map <= 3 && decode_operand(p, out, &o);
}

/* SDM, "Instruction Format and EVEX". */
static bool decode_evex(struct parse *p, struct insn_operands *out)
{
    struct opcode_at o = {.encoding = EVEX, .in_64 = p->mode == INSN_64};
    const uint8_t p0 = take_byte(p), p1 = take_byte(p), p2 = take_byte(p);
    o.map = p0 & 7;
    p->rex = ((p0 ^ 0xffu) >> 5 & 7u) | (p1 >> 4 & 8u);
    if (p->mode != INSN_64)
        p->rex &= 8;
    o.w = (p1 & 0x80) != 0;
    o.prefix = prefix_of_pp[p1 & 3];
    o.length = 16u << (p2 >> 5 & 3);
    o.broadcast = (p2 & 0x10) != 0;
    o.mask_reg = p2 & 7;
    o.index_high = p2 & 8 ? 0 : 16;
    o.opcode = take_byte(p);
    return o.map >= 1 && o.map != 4 && o.map <= 6 && o.length <= 64 && decode_operand(p, out, &o);
}

/* What uses the stack and has no ModRM. */
enum { NEAR = 9, RETURN = 10, IMM_Z = 11, IMM_FAR = 12, IMM_ENTER = 13 };
static const struct stack_row {
    uint8_t first, last, stack;
    uint8_t parts;     /* of operand size; or NEAR: a return address, RETURN: what IRET takes */
    uint8_t immediate; /* bytes, or IMM_Z, IMM_FAR, IMM_ENTER */
} stack_rows[] = {
    {0x06, 0x06, STACK_PUSH, 1, 0},          {0x07, 0x07, STACK_POP, 1, 0},
    {0x0e, 0x0e, STACK_PUSH, 1, 0},          {0x16, 0x16, STACK_PUSH, 1, 0},
    {0x17, 0x17, STACK_POP, 1, 0},           {0x1e, 0x1e, STACK_PUSH, 1, 0},
    {0x1f, 0x1f, STACK_POP, 1, 0},           {0x50, 0x57, STACK_PUSH, 1, 0},
    {0x58, 0x5f, STACK_POP, 1, 0},           {0x60, 0x60, STACK_PUSH, 8, 0},
    {0x61, 0x61, STACK_POP, 8, 0},           {0x68, 0x68, STACK_PUSH, 1, IMM_Z},
    {0x6a, 0x6a, STACK_PUSH, 1, 1},          {0x9a, 0x9a, STACK_PUSH, 2, IMM_FAR},
    {0x9c, 0x9c, STACK_PUSH, 1, 0},          {0x9d, 0x9d, STACK_POP, 1, 0},
    {0xc2, 0xc2, STACK_POP, NEAR, 2},        {0xc3, 0xc3, STACK_POP, NEAR, 0},
    {0xc8, 0xc8, STACK_ENTER, 1, IMM_ENTER}, {0xc9, 0xc9, STACK_LEAVE, 1, 0},
    {0xca, 0xca, STACK_POP, 2, 2},           {0xcb, 0xcb, STACK_POP, 2, 0},
    {0xcf, 0xcf, STACK_POP, RETURN, 0},      {0xe8, 0xe8, STACK_PUSH, NEAR, IMM_Z},
};

static bool decode_stack(struct parse *p, struct insn_operands *out, uint8_t byte)
{
    const struct stack_row *r = stack_rows, *end = r + sizeof(stack_rows) / sizeof(stack_rows[0]);
    const bool in_64 = p->mode == INSN_64;
    const unsigned size = out->insn.reg_bytes;
    while (r < end && (byte < r->first || byte > r->last))
        r++;
    if (r == end)
        return false;
    out->stack = r->stack;
    switch (r->parts) {
    case 1: out->stack_bytes = (uint8_t)(in_64 && size == 4 ? 8 : size); break;
    case NEAR: out->stack_bytes = (uint8_t)(in_64 ? 8 : size); break;
    case RETURN: out->stack_bytes = (uint8_t)((in_64 ? 5 : 3) * size); break;
    default: out->stack_bytes = (uint8_t)(r->parts * size); break;
    }
    switch (r->immediate) {
    case IMM_Z: p->at += size == 2 && !(in_64 && r->parts == NEAR) ? 2 : 4; break;
    case IMM_FAR: p->at += size + 2; break;
    case IMM_ENTER:
        out->allocates = (uint16_t)take_signed(p, 2);
        out->levels = take_byte(p) & 31;
        break;
    default: p->at += r->immediate; break;
    }
    return true;
}

/* XLAT: DS:[rBX + AL] */
static bool decode_translation(struct insn_operands *out)
{
    out->implicit = out->reads = true;
    out->bytes = 1;
    if (out->insn.segment == INSN_NO_REG)
        out->insn.segment = SEG_DS;
    return true;
}

static bool decode_legacy(struct parse *p, struct insn_operands *out, uint8_t byte)
{
    struct opcode_at o = {.encoding = LEGACY,
                          .length = 16,
                          .w = (p->rex & 8) != 0,
                          .in_64 = p->mode == INSN_64,
                          .opcode = byte};
    o.prefix = p->repeat == INSN_REPNE  ? PF2
               : p->repeat == INSN_REPE ? PF3
               : p->prefixes & SIZE_66  ? P66
                                        : NP;
    if (byte != 0x0f)
        return byte == 0xd7 ? decode_translation(out)
                            : decode_stack(p, out, byte) || decode_operand(p, out, &o);
    o.map = 1;
    o.opcode = take_byte(p);
    if (o.opcode == 0x38 || o.opcode == 0x3a) {
        o.map = o.opcode == 0x38 ? 2 : 3;
        o.opcode = take_byte(p);
    } else if ((o.opcode & 0xf6) == 0xa0) { /* FS and GS */
        out->stack = o.opcode & 1 ? STACK_POP : STACK_PUSH;
        out->stack_bytes = p->mode == INSN_64 && out->insn.reg_bytes == 4 ? 8 : out->insn.reg_bytes;
        return true;
    }
    return decode_operand(p, out, &o);
}

static bool is_prefix(struct parse *p, uint8_t byte)
{
    if (p->mode == INSN_64 && (byte & 0xf0) == 0x40)
        return true;
    return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e ||
           (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 || byte == 0xf2 || byte == 0xf3;
}

/* The encoding, and what follows its first byte. Where the next byte could not be that of VEX or
 * EVEX, outside of 64-bit mode, it is the ModRM of LES, LDS or BOUND. */
static bool decode_rest(struct parse *p, struct insn_operands *out, uint8_t byte)
{
    const bool may_be_vector = p->mode == INSN_64 || (p->at < p->count && p->bytes[p->at] >= 0xc0);
    if ((byte & 0xfe) == 0xc4 && may_be_vector)
        return decode_vex(p, out, byte);
    if (byte == 0x62 && may_be_vector)
        return decode_evex(p, out);
    return decode_legacy(p, out, byte);
}

enum insn_result insn_decode_operands(struct insn_operands *out, const uint8_t *bytes,
                                      unsigned count, enum insn_mode mode)
{
    struct parse p = {
        .bytes = bytes, .count = count < INSN_MAX_BYTES ? count : INSN_MAX_BYTES, .mode = mode};
    *out = (struct insn_operands){.bytes = 0};
    out->insn.reg = out->insn.rm = INSN_NO_REG;
    out->insn.segment = out->insn.base = out->insn.index = INSN_NO_REG;
    struct insn *in = &out->insn;
    uint8_t byte = take_byte(&p);
    for (; is_prefix(&p, byte); byte = take_byte(&p)) {
        if ((byte & 0xf0) == 0x40)
            p.rex = byte;
        else
            note_prefix(&p, in, byte);
    }
    const bool short_operand = (mode == INSN_16) != ((p.prefixes & SIZE_66) != 0);
    in->reg_bytes = p.rex & 8 ? 8 : short_operand ? 2 : 4;
    in->addr_bytes = (uint8_t)(2u << mode);
    if (p.prefixes & ADDRESS_67)
        in->addr_bytes = mode == INSN_32 ? 2 : 4;
    const bool known = decode_rest(&p, out, byte);
    if (p.at > p.count)
        return p.count == INSN_MAX_BYTES ? INSN_TOO_LONG : INSN_TRUNCATED;
    in->length = (uint8_t)p.at;
    return known ? INSN_OK : INSN_UNKNOWN;
}

enum { AX, BX = 3, SP, BP };

static void add_range(unsigned segment, uint64_t offset, struct insn_range range,
                      struct insn_range *out, unsigned *count)
{
    if (range.bytes == 0)
        return;
    range.segment = (uint8_t)segment;
    range.offset = offset;
    out[(*count)++] = range;
}

static uint64_t address_mask(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : (1ull << 8 * bytes) - 1;
}

/* The old frame pointer and those of outer procedures, which are read at the old one, and the new
 * one; and where the stack ends then, which is touched (SDM, "ENTER"). */
static void add_enter(const struct insn_operands *o, const struct emulate_env *env, uint64_t mask,
                      struct insn_range *out, unsigned *count)
{
    const unsigned bytes = o->stack_bytes, pushed = (1u + o->levels) * bytes;
    const uint64_t top = env->gpr[SP] - pushed;
    add_range(SEG_SS, top & mask, (struct insn_range){.bytes = pushed, .write = true}, out, count);
    if (o->levels > 1) {
        const unsigned outer = (o->levels - 1u) * bytes;
        add_range(SEG_SS, (env->gpr[BP] - outer) & mask,
                  (struct insn_range){.bytes = outer, .read = true}, out, count);
    }
    add_range(SEG_SS, (top - o->allocates) & mask, (struct insn_range){.bytes = bytes}, out, count);
}

static void add_stack(const struct insn_operands *o, const struct emulate_env *env,
                      struct insn_range *out, unsigned *count)
{
    struct emulate_segment ss = {0, 0, ACCESS_DB};
    if (env->mode != INSN_64)
        env->segment(env->ctx, SEG_SS, &ss);
    const uint64_t mask = address_mask(env->mode == INSN_64 ? 8 : ss.access & ACCESS_DB ? 4 : 2);
    const bool push = o->stack == STACK_PUSH;
    uint64_t top = env->gpr[o->stack == STACK_LEAVE ? BP : SP];
    if (o->stack == STACK_ENTER) {
        add_enter(o, env, mask, out, count);
        return;
    }
    if (push)
        top -= o->stack_bytes;
    add_range(SEG_SS, top & mask,
              (struct insn_range){.bytes = o->stack_bytes, .read = !push, .write = push}, out,
              count);
}

/* The elements' highest bits of a vector register. */
static uint64_t signs(const struct insn_operands *o, const struct emulate_env *env)
{
    uint64_t value[4] = {0, 0, 0, 0}, chosen = 0;
    env->vector_read(env->ctx, &o->insn, o->mask_reg, value);
    const unsigned count = o->elements != 0 ? o->elements : o->bytes / o->element;
    for (unsigned i = 0; i < count; i++) {
        const unsigned bit = 8 * (i + 1) * o->element - 1;
        chosen |= (value[bit / 64] >> bit % 64 & 1) << i;
    }
    return chosen;
}

/* Whether the register with the mask can be read. The CPU has found that, unless the instruction
 * has been put there since. */
static bool has_mask(const struct insn_operands *o, const struct emulate_env *env)
{
    const uint64_t avx = XCR0_SSE | XCR0_AVX;
    if (o->mask == MASK_SIGNS && !o->insn.vex)
        return o->insn.reg_bytes > 8 || !env->x87_pending(env->ctx);
    return (env->cr4 & CR4_OSXSAVE) != 0 && (env->xcr0 & avx) == avx &&
           (o->mask == MASK_SIGNS || (env->xcr0 & XCR0_AVX512) != 0);
}

static struct insn_range operand_range(const struct insn_operands *o, const struct emulate_env *env,
                                       uint64_t (*mask_read)(void *ctx, unsigned, unsigned))
{
    struct insn_range range = {.bytes = o->bytes, .read = o->reads, .write = o->writes};
    if (o->mask == MASK_NONE)
        return range;
    if (!has_mask(o, env))
        return (struct insn_range){.bytes = 0};
    range.element = o->element;
    range.chosen =
        o->mask == MASK_SIGNS ? signs(o, env) : mask_read(env->ctx, o->mask_reg, o->element);
    if (o->mask == MASK_COMPRESS) { /* as many as are chosen, side by side */
        range.bytes = 0;
        for (unsigned i = 0; i < o->bytes / o->element; i++)
            range.bytes += range.chosen >> i & 1 ? o->element : 0u;
        range.element = 0;
    }
    return range;
}

/* Each element that is chosen, of a gather or a scatter. */
static void add_elements(const struct insn_operands *o, const struct emulate_env *env,
                         uint64_t (*mask_read)(void *ctx, unsigned, unsigned),
                         struct insn_range *out, unsigned *count)
{
    const struct insn *in = &o->insn;
    uint64_t index[8] = {0};
    if (!has_mask(o, env))
        return;
    const uint64_t chosen =
        o->mask == MASK_SIGNS ? signs(o, env) : mask_read(env->ctx, o->mask_reg, o->element);
    if (o->mask == MASK_SIGNS)
        env->vector_read(env->ctx, in, o->index_reg, index);
    else
        env->zmm_read(env->ctx, o->index_reg, index);
    for (unsigned i = 0; i < o->elements; i++) {
        const uint64_t by = o->index_bytes == 8
                                ? index[i]
                                : (uint64_t)(int64_t)(int32_t)(index[i / 2] >> i % 2 * 32);
        const uint64_t at = insn_address(in, env->gpr, env->rip) + (by << in->scale);
        if ((chosen >> i & 1) != 0)
            add_range(
                in->segment, at & address_mask(in->addr_bytes),
                (struct insn_range){
                    .bytes = o->bytes, .number = (uint8_t)i, .read = o->reads, .write = o->writes},
                out, count);
    }
}

/* Of the header of an area that is saved as it is the first part is read, too: bits of components
 * that are not saved stay (SDM, "Standard Form of XSAVE Area"). */
static void add_area(const struct insn_operands *o, uint64_t at, struct insn_range *out,
                     unsigned *count)
{
    const unsigned segment = o->insn.segment, header = 512, bits = 8, rest = header + bits;
    struct insn_range all = {.bytes = o->bytes, .read = o->reads, .write = o->writes};
    all.sparse = o->writes;
    if (o->area != AREA_SAVE) {
        add_range(segment, at, all, out, count);
        return;
    }
    all.bytes = header;
    add_range(segment, at, all, out, count);
    add_range(segment, at + header, (struct insn_range){.bytes = bits, .read = true, .write = true},
              out, count);
    all.bytes = o->bytes - rest;
    add_range(segment, at + rest, all, out, count);
}

unsigned insn_list_ranges(const struct insn_operands *o, const struct emulate_env *env,
                          uint64_t (*mask_read)(void *ctx, unsigned reg, unsigned element),
                          struct insn_range out[INSN_MAX_RANGES])
{
    unsigned count = 0;
    const struct insn *in = &o->insn;
    const uint64_t mask = address_mask(in->addr_bytes);
    if (o->elements != 0) {
        add_elements(o, env, mask_read, out, &count);
    } else if (o->bytes != 0) {
        const uint64_t at = o->implicit ? (env->gpr[BX] + (uint8_t)env->gpr[AX]) & mask
                                        : insn_address(in, env->gpr, env->rip);
        if (o->area != AREA_NONE)
            add_area(o, at, out, &count);
        else
            add_range(in->segment, at, operand_range(o, env, mask_read), out, &count);
    }
    if (o->to_es)
        add_range(SEG_ES, env->gpr[in->reg & 15] & mask,
                  (struct insn_range){.bytes = o->bytes, .write = true}, out, &count);
    if (o->stack != STACK_UNUSED)
        add_stack(o, env, out, &count);
    return count;
}

/* What the CPU does not get to is left out. */
unsigned insn_find_ranges(const struct insn_operands *o, const struct emulate_env *env,
                          uint64_t (*mask_read)(void *ctx, unsigned reg, unsigned element),
                          struct insn_range out[INSN_MAX_RANGES])
{
    unsigned found = 0;
    const unsigned count = insn_list_ranges(o, env, mask_read, out);
    for (unsigned i = 0; i < count; i++) {
        struct insn_range range = out[i];
        if (emulate_linear(env, range.segment, range.offset, range.bytes, range.write,
                           &range.linear) == 0)
            out[found++] = range;
    }
    return found;
}
