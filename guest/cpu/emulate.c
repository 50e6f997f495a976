/* SPDX-License-Identifier: BSD-2-Clause */
/* Carries out a decoded instruction: memory first; registers and flags once nothing can fail. */
#include "guest/cpu/emulate.h"

#include "arch/x86.h"
#include "guest/cpu/alu.h"
#include "guest/cpu/emulate_parts.h"

#include <stddef.h>

enum { AX, CX, DX, BX, SP, SI = 6, DI };

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

static bool is_protected(const struct emulate_env *env)
{
    return (env->cr0 & CR0_PE) != 0 && (*env->rflags & RFLAGS_VM) == 0;
}

/* Whether [offset, offset + bytes) may be used so. At the top of a segment of 4 GiB the CPU may
 * wrap: this one does. */
static bool segment_allows(const struct emulate_env *env, const struct emulate_segment *segment,
                           uint64_t offset, unsigned bytes, bool write)
{
    uint32_t access = segment->access;
    bool code = (access & ACCESS_CODE) != 0;
    if ((access & ACCESS_UNUSABLE) != 0)
        return false;
    /* In real mode a code segment stays what it was under protection, but may be written. */
    if (code ? write && is_protected(env) : write && (access & ACCESS_WRITABLE) == 0)
        return false;
    if (code && !write && (access & ACCESS_WRITABLE) == 0)
        return false;
    uint64_t last = offset + bytes - 1;
    if (!code && (access & ACCESS_EXPAND_DOWN) != 0)
        return offset > segment->limit && last <= (access & ACCESS_DB ? UINT32_MAX : UINT16_MAX);
    return last <= segment->limit || segment->limit == UINT32_MAX;
}

bool emulate_is_canonical(const struct emulate_env *env, uint64_t address)
{
    unsigned unused = env->cr4 & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

unsigned emulate_linear(const struct emulate_env *env, unsigned segment, uint64_t offset,
                        unsigned bytes, bool write, gva_t *linear)
{
    unsigned fault = segment == SEG_SS ? VECTOR_STACK_FAULT : VECTOR_GENERAL_PROTECTION;
    struct emulate_segment s = {0, 0, 0};
    if (env->mode != INSN_64 || segment >= SEG_FS)
        env->segment(env->ctx, (enum insn_segment)segment, &s);
    *linear = gva(s.base + offset);
    if (env->mode != INSN_64) {
        if (!segment_allows(env, &s, offset, bytes, write))
            return fault;
        linear->v &= UINT32_MAX;
    } else if (!emulate_is_canonical(env, linear->v) ||
               !emulate_is_canonical(env, linear->v + bytes - 1)) {
        return fault;
    }
    bool check = env->cpl == 3 && (*env->rflags & RFLAGS_AC) != 0 && (env->cr0 & CR0_AM) != 0;
    return check && bytes <= 8 && (linear->v & (bytes - 1)) != 0 ? VECTOR_ALIGNMENT_CHECK : 0;
}

bool emulate_reach(const struct emulate_env *env, unsigned segment, uint64_t offset, unsigned bytes,
                   bool write, bool aligned, struct emulate_operand *operand)
{
    gva_t linear;
    unsigned fault = emulate_linear(env, segment, offset, bytes, write, &linear);
    if (fault == 0 && aligned && (linear.v & (bytes - 1)) != 0)
        fault = VECTOR_GENERAL_PROTECTION;
    if (fault == 0)
        return env->translate(env->ctx, linear, bytes, write, operand);
    env->raise(env->ctx, fault);
    return false;
}

uint64_t insn_address(const struct insn *in, const uint64_t *gpr, uint64_t rip)
{
    uint64_t at = (uint64_t)in->disp;
    if (in->base == INSN_RIP)
        at += rip + in->length;
    else if (in->base != INSN_NO_REG)
        at += gpr[in->base & 15];
    if (in->index != INSN_NO_REG)
        at += gpr[in->index & 15] << in->scale;
    /* The bit offset in a register is signed and may point beyond the operand. */
    if (in->form == INSN_MEM_REG && in->op >= INSN_BT && in->op <= INSN_BTC) {
        int64_t bit = (int64_t)sign_extend(insn_get_reg(in, gpr), in->reg_bytes);
        int64_t bits = in->reg_bytes * 8;
        int64_t unit = bit >= 0 ? bit / bits : -((-(bit + 1)) / bits) - 1;
        at += (uint64_t)unit * in->reg_bytes;
    }
    return at & mask_of(in->addr_bytes);
}

/* What an operation makes of its operands. */
struct outcome {
    uint64_t mem;   /* to be written, if the operation does that */
    uint64_t reg;   /* to be written where writes_reg */
    uint64_t flags; /* RFLAGS afterwards */
    bool writes_reg, writes_rax;
};

static void operate_bit(const struct insn *in, uint64_t other, struct outcome *o)
{
    uint64_t bit = 1ull << (other & (in->mem_bytes * 8u - 1));
    o->flags = (o->flags & ~RFLAGS_CF) | (o->mem & bit ? RFLAGS_CF : 0);
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
    uint64_t mem = o->mem, carry = o->flags & RFLAGS_CF;
    switch (in->op) {
    case INSN_TEST: (void)alu(INSN_AND, mem, other, bytes, &o->flags); break;
    case INSN_NOT: o->mem = ~mem; break;
    case INSN_NEG: o->mem = alu(INSN_SUB, 0, mem, bytes, &o->flags); break;
    case INSN_INC:
    case INSN_DEC:
        o->mem = alu(in->op == INSN_INC ? INSN_ADD : INSN_SUB, mem, 1, bytes, &o->flags);
        o->flags = (o->flags & ~RFLAGS_CF) | carry;
        break;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: operate_bit(in, other, o); break;
    case INSN_XADD:
    case INSN_XCHG:
        o->mem = in->op == INSN_XCHG ? other : alu(INSN_ADD, mem, other, bytes, &o->flags);
        o->reg = mem;
        o->writes_reg = true;
        break;
    case INSN_CMPXCHG: /* writes memory either way, as the CPU does, but not a register */
        (void)alu(INSN_CMP, rax & mask_of(bytes), mem, bytes, &o->flags);
        o->writes_rax = (o->flags & RFLAGS_ZF) == 0;
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
        break;
    }
}

static uint64_t swap_bytes(uint64_t v, unsigned bytes)
{
    return __builtin_bswap64(v) >> (64 - bytes * 8);
}

/* MOV, MOVZX, MOVSX, MOVBE. */
static enum emulate_result move(const struct insn *in, const struct emulate_env *env)
{
    struct emulate_operand operand;
    uint64_t value = 0;
    if (!operand_reach(in, env, in->form != INSN_REG_MEM, &operand))
        return EMULATE_FAULT;
    if (in->form == INSN_REG_MEM) {
        value = operand_read(in, env, &operand);
        if (in->op == INSN_MOVSX)
            value = sign_extend(value, in->mem_bytes);
        else if (in->op == INSN_MOVBE)
            value = swap_bytes(value, in->mem_bytes);
        insn_set_reg(in, env->gpr, value);
        return EMULATE_DONE;
    }
    value = in->form == INSN_MEM_IMM ? in->imm : insn_get_reg(in, env->gpr);
    if (in->op == INSN_MOVBE)
        value = swap_bytes(value, in->mem_bytes);
    operand_write(in, env, &operand, value);
    return EMULATE_DONE;
}

/* One element of a string instruction; false: an exception has been raised. */
static bool string_step(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *rsi = &env->gpr[SI], *rdi = &env->gpr[DI], mask = mask_of(in->addr_bytes);
    bool source = in->op == INSN_MOVS || in->op == INSN_LODS || in->op == INSN_CMPS;
    bool destination = in->op != INSN_LODS, compares = in->op >= INSN_CMPS;
    struct emulate_operand from, to;
    if ((source &&
         !emulate_reach(env, in->segment, *rsi & mask, in->mem_bytes, false, false, &from)) ||
        (destination &&
         !emulate_reach(env, SEG_ES, *rdi & mask, in->mem_bytes, !compares, false, &to)))
        return false;
    uint64_t value = env->gpr[AX] & mask_of(in->mem_bytes), other = 0;
    if (source) {
        value = 0;
        env->read(env->ctx, &from, &value);
    }
    if (compares) {
        env->read(env->ctx, &to, &other);
        (void)alu(INSN_CMP, value, other, in->mem_bytes, env->rflags);
    } else if (destination) {
        env->write(env->ctx, &to, &value);
    } else {
        set_part(&env->gpr[AX], in->mem_bytes, value);
    }
    uint64_t step = *env->rflags & RFLAGS_DF ? 0 - (uint64_t)in->mem_bytes : in->mem_bytes;
    if (source)
        set_part(rsi, in->addr_bytes, *rsi + step);
    if (destination)
        set_part(rdi, in->addr_bytes, *rdi + step);
    return true;
}

/* MOVS, STOS, LODS, CMPS, SCAS. After each element the registers are what the CPU would leave on a
 * fault. With TF there is a trap after each. */
static enum emulate_result __attribute__((noinline))
string(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *rcx = &env->gpr[CX], mask = mask_of(in->addr_bytes);
    unsigned most = env->one_step || (*env->rflags & RFLAGS_TF) != 0 ? 1 : EMULATE_MAX_REPEATS;
    if (in->op > INSN_SCAS) /* INS or OUTS: never exits for its memory, so the code has changed */
        return EMULATE_FAULT;
    for (unsigned n = 0; n < most; n++) {
        if (in->rep && (*rcx & mask) == 0)
            return EMULATE_DONE;
        if (n != 0 && env->goes_on != NULL && !env->goes_on(env->ctx))
            return EMULATE_REPEAT;
        if (!string_step(in, env))
            return EMULATE_FAULT;
        if (!in->rep)
            return EMULATE_DONE;
        set_part(rcx, in->addr_bytes, *rcx - 1);
        bool equal = (*env->rflags & RFLAGS_ZF) != 0;
        if (in->op >= INSN_CMPS && equal != (in->rep == INSN_REPE))
            return EMULATE_DONE;
    }
    return *rcx & mask ? EMULATE_REPEAT : EMULATE_DONE;
}

/* PUSH and POP, with the stack's width in bytes. */
static enum emulate_result __attribute__((noinline))
stack(const struct insn *in, const struct emulate_env *env)
{
    unsigned width = 8, bytes = in->mem_bytes;
    if (env->mode != INSN_64) {
        struct emulate_segment ss;
        env->segment(env->ctx, SEG_SS, &ss);
        width = ss.access & ACCESS_DB ? 4 : 2;
    }
    bool push = in->op == INSN_PUSH;
    uint64_t old = env->gpr[SP], value = 0, top = push ? old - bytes : old;
    struct emulate_operand operand, slot;
    bool ok = !push || in->form == INSN_IMM || operand_reach(in, env, false, &operand);
    ok = ok && emulate_reach(env, SEG_SS, top & mask_of(width), bytes, push, false, &slot);
    if (ok && push) /* RSP is pushed as it was */
        value = in->form == INSN_IMM ? in->imm : operand_read(in, env, &operand);
    set_part(&env->gpr[SP], width, push ? top : old + bytes);
    /* An address by way of RSP is that after the increment (SDM, "POP"). */
    ok = ok && (push || operand_reach(in, env, true, &operand));
    if (!ok) {
        env->gpr[SP] = old;
        return EMULATE_FAULT;
    }
    if (push) {
        env->write(env->ctx, &slot, &value);
    } else {
        env->read(env->ctx, &slot, &value);
        operand_write(in, env, &operand, value);
    }
    return EMULATE_DONE;
}

/* CMPXCHG8B and CMPXCHG16B; memory is written either way, as the CPU does. */
static enum emulate_result __attribute__((noinline))
compare_exchange_pair(const struct insn *in, const struct emulate_env *env)
{
    uint64_t *gpr = env->gpr, mask = mask_of(in->reg_bytes), pair[2] = {0, 0};
    struct emulate_operand operand;
    if (!operand_reach(in, env, true, &operand))
        return EMULATE_FAULT;
    env->read(env->ctx, &operand, pair);
    if (in->reg_bytes == 4) {
        pair[1] = pair[0] >> 32;
        pair[0] &= mask;
    }
    bool equal = pair[0] == (gpr[AX] & mask) && pair[1] == (gpr[DX] & mask);
    if (equal) {
        pair[0] = gpr[BX] & mask;
        pair[1] = gpr[CX] & mask;
        *env->rflags |= RFLAGS_ZF;
    } else {
        set_part(&gpr[AX], in->reg_bytes, pair[0]);
        set_part(&gpr[DX], in->reg_bytes, pair[1]);
        *env->rflags &= ~RFLAGS_ZF;
    }
    if (in->reg_bytes == 4)
        pair[0] |= pair[1] << 32;
    env->write(env->ctx, &operand, pair);
    return EMULATE_DONE;
}

/* SDM, the tables of "Exceptions" of SSE, AVX and MMX instructions: 0, or what is raised. */
static unsigned vector_fault(const struct insn *in, const struct emulate_env *env)
{
    bool off = (env->cr0 & CR0_EM) != 0 || (in->reg_bytes > 8 && (env->cr4 & CR4_OSFXSR) == 0);
    if (in->vex) /* CR0.EM and CR4.OSFXSR don't count there */
        off = !is_protected(env) || (env->cr4 & CR4_OSXSAVE) == 0 ||
              (env->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX);
    if (off)
        return VECTOR_INVALID_OPCODE;
    if ((env->cr0 & CR0_TS) != 0)
        return VECTOR_DEVICE_NOT_AVAILABLE;
    return in->reg_bytes == 8 && env->x87_pending(env->ctx) ? VECTOR_X87_ERROR : 0;
}

/* Moves between memory and MMX, SSE and AVX registers. */
static enum emulate_result __attribute__((noinline))
move_vector(const struct insn *in, const struct emulate_env *env)
{
    uint64_t value[4] = {0, 0, 0, 0};
    bool load = in->form == INSN_REG_MEM, upper = in->op == INSN_VMOVH;
    struct emulate_operand operand;
    unsigned fault = vector_fault(in, env);
    if (fault != 0)
        env->raise(env->ctx, fault);
    if (fault != 0 || !operand_reach(in, env, !load, &operand))
        return EMULATE_FAULT;
    if (!load) {
        env->vector_read(env->ctx, in, in->reg, value);
        env->write(env->ctx, &operand, value + upper);
        return EMULATE_DONE;
    }
    if (in->op != INSN_VMOV) {
        env->vector_read(env->ctx, in, in->reg2, value);
        value[2] = value[3] = 0; /* VEX: what is above 128 bits */
    }
    env->read(env->ctx, &operand, value + upper);
    env->vector_write(env->ctx, in, value);
    return EMULATE_DONE;
}

/* Everything that reads, computes and writes; kept apart so that moves do not pay for its frame. */
static enum emulate_result __attribute__((noinline))
compute(const struct insn *insn, const struct emulate_env *env)
{
    struct outcome o = {.flags = *env->rflags};
    struct emulate_operand operand;
    uint64_t other = insn->imm & mask_of(insn->mem_bytes);
    bool writes = insn->form != INSN_REG_MEM && insn->op != INSN_CMP && insn->op != INSN_TEST &&
                  insn->op != INSN_BT;
    if (insn->form == INSN_MEM_REG || insn->form == INSN_REG_MEM)
        other = insn_get_reg(insn, env->gpr);
    if (!operand_reach(insn, env, writes, &operand))
        return EMULATE_FAULT;
    o.mem = operand_read(insn, env, &operand);
    operate(insn, other, env->gpr[AX], &o);
    if (o.writes_reg)
        insn_set_reg(insn, env->gpr, o.reg);
    if (o.writes_rax)
        set_part(&env->gpr[AX], insn->mem_bytes, o.reg);
    writes = writes && !(o.writes_rax && insn->rm != INSN_NO_REG);
    if (writes) /* last: of XADD of a register with itself the sum remains */
        operand_write(insn, env, &operand, o.mem);
    *env->rflags = o.flags;
    return EMULATE_DONE;
}

enum emulate_result insn_emulate(const struct insn *insn, const struct emulate_env *env)
{
    switch (insn->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
    case INSN_MOVBE: return move(insn, env);
    case INSN_PUSH:
    case INSN_POP: return stack(insn, env);
    case INSN_CMPXCHG_PAIR: return compare_exchange_pair(insn, env);
    case INSN_VMOV:
    case INSN_VMOVH:
    case INSN_VMOVL: return move_vector(insn, env);
    default:
        if (insn->form == INSN_STRING)
            return string(insn, env);
        return insn->op >= INSN_ROL ? integer_emulate(insn, env) : compute(insn, env);
    }
}
