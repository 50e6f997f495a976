/* SPDX-License-Identifier: BSD-2-Clause */
/* Carries out a decoded instruction: memory first; registers and flags once nothing can fail. */
#include "vmx/emulate.h"

#define FLAG_CF    (1u << 0)
#define FLAG_PF    (1u << 2)
#define FLAG_AF    (1u << 4)
#define FLAG_ZF    (1u << 6)
#define FLAG_SF    (1u << 7)
#define FLAG_DF    (1u << 10)
#define FLAG_OF    (1u << 11)
#define ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline uint64_t mask_of(unsigned bytes)
{
    static const uint64_t mask[9] = {
        [1] = UINT8_MAX, [2] = UINT16_MAX, [4] = UINT32_MAX, [8] = UINT64_MAX};
    return mask[bytes];
}

static uint64_t sign_extend(uint64_t value, unsigned bytes)
{
    uint64_t sign = 1ull << (bytes * 8 - 1);
    return (value ^ sign) - sign;
}

/* As registers are written: 4 bytes clear the upper half, 1 and 2 keep the rest. */
static void set_part(uint64_t *reg, unsigned bytes, uint64_t value)
{
    uint64_t kept = bytes >= 4 ? 0 : *reg & ~mask_of(bytes);
    *reg = kept | (value & mask_of(bytes));
}

uint64_t insn_get_reg(const struct insn *in, const uint64_t *gpr)
{
    uint64_t v = in->reg_high ? gpr[in->reg - 4] >> 8 : gpr[in->reg & 15];
    return v & mask_of(in->reg_bytes);
}

void insn_set_reg(const struct insn *in, uint64_t *gpr, uint64_t value)
{
    if (!in->reg_high) {
        set_part(&gpr[in->reg & 15], in->reg_bytes, value);
        return;
    }
    uint64_t *reg = &gpr[in->reg - 4];
    *reg = (*reg & ~0xff00ull) | (value & 0xff) << 8;
}

static uint64_t segment_base(const struct emulate_env *env, unsigned segment)
{
    if (env->mode == INSN_64 && segment < SEG_FS)
        return 0;
    return env->segment_base(env->ctx, (enum insn_segment)segment);
}

static uint64_t to_linear(const struct emulate_env *env, uint64_t base, uint64_t offset)
{
    return env->mode == INSN_64 ? base + offset : (base + offset) & 0xffffffff;
}

static uint64_t effective_address(const struct insn *in, const struct emulate_env *env)
{
    uint64_t at = (uint64_t)in->disp;
    if (in->form == INSN_STRING)
        at = env->gpr[in->op == INSN_STOS ? 7 : 6]; /* RDI, RSI */
    else if (in->base == INSN_RIP)
        at += env->rip + in->length;
    else if (in->base != INSN_NO_REG)
        at += env->gpr[in->base & 15];
    if (in->index != INSN_NO_REG)
        at += env->gpr[in->index & 15] << in->scale;
    /* The bit offset in a register is signed and may point beyond the operand. */
    if (in->form == INSN_MEM_REG && in->op >= INSN_BT && in->op <= INSN_BTC) {
        int64_t bit = (int64_t)sign_extend(insn_get_reg(in, env->gpr), in->reg_bytes);
        int64_t bits = in->reg_bytes * 8;
        int64_t unit = bit >= 0 ? bit / bits : -((-(bit + 1)) / bits) - 1;
        at += (uint64_t)unit * in->reg_bytes;
    }
    return at & mask_of(in->addr_bytes);
}

uint64_t insn_linear(const struct insn *insn, const struct emulate_env *env)
{
    return to_linear(env, segment_base(env, insn->segment), effective_address(insn, env));
}

static uint64_t result_flags(uint64_t result, unsigned bytes)
{
    static const uint16_t odd_parity = 0x6996; /* of each nibble */
    uint64_t flags = odd_parity >> ((result ^ result >> 4) & 15) & 1 ? 0 : FLAG_PF;
    if ((result & mask_of(bytes)) == 0)
        flags |= FLAG_ZF;
    if (result >> (bytes * 8 - 1) & 1)
        flags |= FLAG_SF;
    return flags;
}

/* ADD to CMP, and TEST as AND. Both operands are within bytes; *flags is the whole of RFLAGS. */
static uint64_t alu(unsigned op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *flags)
{
    uint64_t carry_in = (op == INSN_ADC || op == INSN_SBB) && (*flags & FLAG_CF);
    uint64_t result, overflow = 0, set = 0;
    switch (op) {
    case INSN_ADD:
    case INSN_ADC:
        result = (a + b + carry_in) & mask_of(bytes);
        set = result < a || (carry_in && result == a) ? FLAG_CF : 0;
        overflow = (a ^ result) & (b ^ result);
        set |= (a ^ b ^ result) & FLAG_AF;
        break;
    case INSN_SUB:
    case INSN_SBB:
    case INSN_CMP:
        result = (a - b - carry_in) & mask_of(bytes);
        set = a < b || (carry_in && a == b) ? FLAG_CF : 0;
        overflow = (a ^ b) & (a ^ result);
        set |= (a ^ b ^ result) & FLAG_AF;
        break;
    case INSN_OR: result = a | b; break;
    case INSN_XOR: result = a ^ b; break;
    default: result = a & b; break;
    }
    if (overflow >> (bytes * 8 - 1) & 1)
        set |= FLAG_OF;
    *flags = (*flags & ~(uint64_t)ARITHMETIC) | set | result_flags(result, bytes);
    return result;
}

/* What an operation makes of its operands. */
struct outcome {
    uint64_t mem;   /* to be written where writes_mem */
    uint64_t reg;   /* to be written where writes_reg */
    uint64_t flags; /* RFLAGS afterwards */
    bool writes_mem, writes_reg, writes_rax;
};

static void operate_bit(const struct insn *in, uint64_t other, struct outcome *o)
{
    uint64_t bit = 1ull << (other & (in->mem_bytes * 8u - 1));
    o->flags = (o->flags & ~(uint64_t)FLAG_CF) | (o->mem & bit ? FLAG_CF : 0);
    o->writes_mem = in->op != INSN_BT;
    if (in->op == INSN_BTS)
        o->mem |= bit;
    else if (in->op == INSN_BTR)
        o->mem &= ~bit;
    else
        o->mem ^= bit;
}

/* On entry o holds the memory operand and RFLAGS; other is the register or the immediate. */
static void operate(const struct insn *in, uint64_t other, uint64_t rax, struct outcome *o)
{
    unsigned bytes = in->mem_bytes;
    uint64_t mem = o->mem, carry = o->flags & FLAG_CF;
    switch (in->op) {
    case INSN_TEST: (void)alu(INSN_AND, mem, other, bytes, &o->flags); return;
    case INSN_NOT: o->mem = ~mem; break;
    case INSN_NEG: o->mem = alu(INSN_SUB, 0, mem, bytes, &o->flags); break;
    case INSN_INC:
    case INSN_DEC:
        o->mem = alu(in->op == INSN_INC ? INSN_ADD : INSN_SUB, mem, 1, bytes, &o->flags);
        o->flags = (o->flags & ~(uint64_t)FLAG_CF) | carry;
        break;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: operate_bit(in, other, o); return;
    case INSN_XADD:
    case INSN_XCHG:
        o->mem = in->op == INSN_XCHG ? other : alu(INSN_ADD, mem, other, bytes, &o->flags);
        o->reg = mem;
        o->writes_reg = true;
        break;
    case INSN_CMPXCHG: /* writes memory either way, as the CPU does */
        (void)alu(INSN_CMP, rax & mask_of(bytes), mem, bytes, &o->flags);
        o->writes_rax = (o->flags & FLAG_ZF) == 0;
        o->mem = o->writes_rax ? mem : other;
        o->reg = mem;
        break;
    default: /* ADD to CMP */
        if (in->form == INSN_REG_MEM) {
            o->reg = alu(in->op, other, mem, bytes, &o->flags);
            o->writes_reg = in->op != INSN_CMP;
            return;
        }
        o->mem = alu(in->op, mem, other, bytes, &o->flags);
        o->writes_mem = in->op != INSN_CMP;
        return;
    }
    o->writes_mem = true;
}

static uint64_t swap_bytes(uint64_t v, unsigned bytes)
{
    return __builtin_bswap64(v) >> (64 - bytes * 8);
}

/* MOV, MOVZX, MOVSX, MOVBE. */
static enum emulate_result move(const struct insn *in, const struct emulate_env *env)
{
    uint64_t linear = insn_linear(in, env), value;
    if (in->form == INSN_REG_MEM) {
        if (!env->read(env->ctx, linear, in->mem_bytes, &value))
            return EMULATE_FAULT;
        if (in->op == INSN_MOVSX)
            value = sign_extend(value, in->mem_bytes);
        else if (in->op == INSN_MOVBE)
            value = swap_bytes(value, in->mem_bytes);
        insn_set_reg(in, env->gpr, value);
        return EMULATE_DONE;
    }
    value =
        in->form == INSN_MEM_IMM ? in->imm & mask_of(in->mem_bytes) : insn_get_reg(in, env->gpr);
    if (in->op == INSN_MOVBE)
        value = swap_bytes(value, in->mem_bytes);
    return env->write(env->ctx, linear, in->mem_bytes, value) ? EMULATE_DONE : EMULATE_FAULT;
}

/* MOVS, STOS, LODS. After each element the registers are what the CPU would leave on a fault. */
static enum emulate_result __attribute__((noinline))
string(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *rcx = &env->gpr[1], *rsi = &env->gpr[6], *rdi = &env->gpr[7];
    uint64_t addr_mask = mask_of(in->addr_bytes);
    uint64_t step = *env->rflags & FLAG_DF ? 0 - (uint64_t)in->mem_bytes : in->mem_bytes;
    uint64_t from = in->op == INSN_STOS ? 0 : segment_base(env, in->segment);
    uint64_t to = in->op == INSN_LODS ? 0 : segment_base(env, SEG_ES);
    for (unsigned n = 0; n < EMULATE_MAX_REPEATS; n++) {
        if (in->rep && (*rcx & addr_mask) == 0)
            return EMULATE_DONE;
        uint64_t value = env->gpr[0] & mask_of(in->mem_bytes);
        if (in->op != INSN_STOS &&
            !env->read(env->ctx, to_linear(env, from, *rsi & addr_mask), in->mem_bytes, &value))
            return EMULATE_FAULT;
        if (in->op == INSN_LODS)
            set_part(&env->gpr[0], in->mem_bytes, value);
        else if (!env->write(env->ctx, to_linear(env, to, *rdi & addr_mask), in->mem_bytes, value))
            return EMULATE_FAULT;
        if (in->op != INSN_STOS)
            set_part(rsi, in->addr_bytes, *rsi + step);
        if (in->op != INSN_LODS)
            set_part(rdi, in->addr_bytes, *rdi + step);
        if (!in->rep)
            return EMULATE_DONE;
        set_part(rcx, in->addr_bytes, *rcx - 1);
    }
    return *rcx & addr_mask ? EMULATE_REPEAT : EMULATE_DONE;
}

/* Everything that reads, computes and writes; kept apart so that moves do not pay for its frame. */
static enum emulate_result __attribute__((noinline))
compute(const struct insn *insn, const struct emulate_env *env)
{
    struct outcome o = {.flags = *env->rflags};
    uint64_t linear = insn_linear(insn, env), other = insn->imm & mask_of(insn->mem_bytes);
    if (insn->form == INSN_MEM_REG || insn->form == INSN_REG_MEM)
        other = insn_get_reg(insn, env->gpr);
    if (!env->read(env->ctx, linear, insn->mem_bytes, &o.mem))
        return EMULATE_FAULT;
    operate(insn, other, env->gpr[0], &o);
    if (o.writes_mem &&
        !env->write(env->ctx, linear, insn->mem_bytes, o.mem & mask_of(insn->mem_bytes)))
        return EMULATE_FAULT;
    if (o.writes_reg)
        insn_set_reg(insn, env->gpr, o.reg);
    if (o.writes_rax)
        set_part(&env->gpr[0], insn->mem_bytes, o.reg);
    *env->rflags = o.flags;
    return EMULATE_DONE;
}

enum emulate_result insn_emulate(const struct insn *insn, const struct emulate_env *env)
{
    if (insn->op >= INSN_MOV && insn->op <= INSN_MOVBE)
        return move(insn, env);
    return insn->form == INSN_STRING ? string(insn, env) : compute(insn, env);
}
