/* SPDX-License-Identifier: BSD-2-Clause */
/* Arithmetic and its flags (SDM, volume 2, the operation of each instruction). */
#include "guest/cpu/alu.h"

/* A 128-bit number needs no function of the compiler's library to be multiplied or shifted. */
typedef unsigned __int128 wide;

static uint64_t result_flags(uint64_t result, unsigned bytes)
{
    static const uint16_t odd_parity = 0x6996; /* of each nibble */
    uint64_t flags = odd_parity >> ((result ^ result >> 4) & 15) & 1 ? 0 : RFLAGS_PF;
    if ((result & mask_of(bytes)) == 0)
        flags |= RFLAGS_ZF;
    if (result >> (bytes * 8 - 1) & 1)
        flags |= RFLAGS_SF;
    return flags;
}

uint64_t alu(unsigned op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *flags)
{
    uint64_t carry_in = (op == INSN_ADC || op == INSN_SBB) && (*flags & RFLAGS_CF);
    uint64_t result, overflow = 0, set = 0;
    switch (op) {
    case INSN_ADD:
    case INSN_ADC:
        result = (a + b + carry_in) & mask_of(bytes);
        set = result < a || (carry_in && result == a) ? RFLAGS_CF : 0;
        overflow = (a ^ result) & (b ^ result);
        set |= (a ^ b ^ result) & RFLAGS_AF;
        break;
    case INSN_SUB:
    case INSN_SBB:
    case INSN_CMP:
        result = (a - b - carry_in) & mask_of(bytes);
        set = a < b || (carry_in && a == b) ? RFLAGS_CF : 0;
        overflow = (a ^ b) & (a ^ result);
        set |= (a ^ b ^ result) & RFLAGS_AF;
        break;
    case INSN_OR: result = a | b; break;
    case INSN_XOR: result = a ^ b; break;
    default: result = a & b; break;
    }
    if (overflow >> (bytes * 8 - 1) & 1)
        set |= RFLAGS_OF;
    set_flags(flags, ARITHMETIC_FLAGS, set | result_flags(result, bytes));
    return result;
}

/* --- shifts --- */

static uint64_t rotate(unsigned op, uint64_t a, unsigned count, unsigned bytes, uint64_t *flags)
{
    const unsigned bits = bytes * 8, left = count % bits;
    const bool to_left = op == INSN_ROL;
    uint64_t result = a;
    if (left != 0)
        result = to_left ? a << left | a >> (bits - left) : a >> left | a << (bits - left);
    result &= mask_of(bytes);
    const uint64_t top = result >> (bits - 1) & 1, next = result >> (bits - 2) & 1;
    const uint64_t carry = to_left ? result & 1 : top;
    const uint64_t overflow = to_left ? top ^ carry : top ^ next;
    set_flags(flags, RFLAGS_CF | RFLAGS_OF, (carry ? RFLAGS_CF : 0) | (overflow ? RFLAGS_OF : 0));
    return result;
}

/* Through the carry flag: a bit at a time, 63 at most. */
static uint64_t rotate_carry(unsigned op, uint64_t a, unsigned count, unsigned bytes,
                             uint64_t *flags)
{
    const unsigned bits = bytes * 8;
    uint64_t carry = *flags & RFLAGS_CF ? 1 : 0;
    for (unsigned left = count % (bits + 1); left != 0; left--) {
        const uint64_t out = op == INSN_RCL ? a >> (bits - 1) & 1 : a & 1;
        a = op == INSN_RCL ? a << 1 | carry : a >> 1 | carry << (bits - 1);
        a &= mask_of(bytes);
        carry = out;
    }
    const uint64_t top = a >> (bits - 1) & 1, next = a >> (bits - 2) & 1;
    const uint64_t overflow = op == INSN_RCL ? top ^ carry : top ^ next;
    set_flags(flags, RFLAGS_CF | RFLAGS_OF, (carry ? RFLAGS_CF : 0) | (overflow ? RFLAGS_OF : 0));
    return a;
}

/* The flags of a shift that is none by 0. */
static uint64_t shifted(uint64_t result, bool carry, bool overflow, unsigned bytes, uint64_t *flags)
{
    result &= mask_of(bytes);
    set_flags(flags, ARITHMETIC_FLAGS,
              result_flags(result, bytes) | (carry ? RFLAGS_CF : 0) | (overflow ? RFLAGS_OF : 0));
    return result;
}

uint64_t alu_shift(unsigned op, uint64_t a, unsigned count, unsigned bytes, uint64_t *flags)
{
    const unsigned bits = bytes * 8;
    count &= bytes == 8 ? 63 : 31;
    if (count == 0)
        return a;
    if (op == INSN_ROL || op == INSN_ROR)
        return rotate(op, a, count, bytes, flags);
    if (op == INSN_RCL || op == INSN_RCR)
        return rotate_carry(op, a, count, bytes, flags);
    const uint64_t extended = op == INSN_SAR ? sign_extend(a, bytes) : a;
    if (op == INSN_SHL || op == INSN_SAL) {
        const uint64_t result = count < 64 ? a << count : 0;
        const bool carry = count <= bits && (a >> (bits - count) & 1) != 0;
        return shifted(result, carry, (result >> (bits - 1) & 1) != carry, bytes, flags);
    }
    if (op == INSN_SAR) {
        const int64_t signed_value = (int64_t)extended;
        return shifted((uint64_t)(signed_value >> count), (signed_value >> (count - 1) & 1) != 0,
                       false, bytes, flags);
    }
    return shifted(a >> count, (a >> (count - 1) & 1) != 0, (a >> (bits - 1) & 1) != 0, bytes,
                   flags);
}

/* A count beyond the operand, which 16 bits alone can have, takes from the bits of b again, and
 * then from those of a, as CPUs do. */
uint64_t alu_shift_double(unsigned op, uint64_t a, uint64_t b, unsigned count, unsigned bytes,
                          uint64_t *flags)
{
    const unsigned bits = bytes * 8;
    count &= bytes == 8 ? 63 : 31;
    if (count == 0)
        return a;
    uint64_t result = a, carry = 0;
    for (unsigned i = 0; i < count; i++) {
        if (op == INSN_SHLD) {
            carry = result >> (bits - 1) & 1;
            const uint64_t in = b >> (bits - 1) & 1;
            b = (b << 1 | (bits == 16 ? carry : 0)) & mask_of(bytes);
            result = (result << 1 | in) & mask_of(bytes);
        } else {
            carry = result & 1;
            const uint64_t in = b & 1;
            b = b >> 1 | (bits == 16 ? carry << 15 : 0);
            result = result >> 1 | in << (bits - 1);
        }
    }
    return shifted(result, carry != 0, ((a ^ result) >> (bits - 1) & 1) != 0, bytes, flags);
}

/* --- multiplication and division --- */

uint64_t alu_multiply(unsigned op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *high,
                      uint64_t *flags)
{
    const unsigned bits = bytes * 8;
    wide product = (wide)a * b;
    if (op == INSN_IMUL) {
        const __int128 x = (int64_t)sign_extend(a, bytes), y = (int64_t)sign_extend(b, bytes);
        product = (wide)(x * y);
    }
    const uint64_t low = (uint64_t)product & mask_of(bytes);
    *high = (uint64_t)(product >> bits) & mask_of(bytes);
    const uint64_t sign = op == INSN_IMUL && low >> (bits - 1) & 1 ? mask_of(bytes) : 0;
    set_flags(flags, RFLAGS_CF | RFLAGS_OF, *high == sign ? 0 : RFLAGS_CF | RFLAGS_OF);
    return low;
}

/* high < divisor: so the quotient fits. */
static uint64_t divide_unsigned(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *remainder)
{
    uint64_t quotient;
    __asm__("divq %4"
            : "=a"(quotient), "=d"(*remainder)
            : "a"(low), "d"(high), "r"(divisor)
            : "cc");
    return quotient;
}

bool alu_divide(unsigned op, uint64_t *high, uint64_t *low, uint64_t divisor, unsigned bytes)
{
    const unsigned bits = bytes * 8;
    const bool is_signed = op == INSN_IDIV;
    wide dividend = (wide)*high << bits | *low;
    bool negative = is_signed && *high >> (bits - 1) & 1;
    const bool negative_divisor = is_signed && divisor >> (bits - 1) & 1;
    if (negative) {
        if (bits < 64) /* the sign of a dividend of less than 128 bits */
            dividend |= ~(wide)0 << 2 * bits;
        dividend = 0 - dividend;
    }
    if (negative_divisor)
        divisor = (0 - divisor) & mask_of(bytes);
    if (divisor == 0 || (dividend >> 64) >= divisor)
        return false;
    uint64_t remainder;
    uint64_t quotient =
        divide_unsigned((uint64_t)(dividend >> 64), (uint64_t)dividend, divisor, &remainder);
    const bool minus = negative != negative_divisor;
    const uint64_t most = is_signed ? (mask_of(bytes) >> 1) + minus : mask_of(bytes);
    if (quotient > most)
        return false;
    *low = (minus ? 0 - quotient : quotient) & mask_of(bytes);
    *high = (negative ? 0 - remainder : remainder) & mask_of(bytes);
    return true;
}

/* --- bits --- */

static unsigned ones_of(uint64_t v)
{
    unsigned count = 0;
    for (; v != 0; v &= v - 1)
        count++;
    return count;
}

uint64_t alu_scan(unsigned op, uint64_t value, uint64_t old, unsigned bytes, uint64_t *flags)
{
    const unsigned bits = bytes * 8;
    const bool zero = value == 0;
    uint64_t result;
    switch (op) {
    case INSN_POPCNT:
        set_flags(flags, ARITHMETIC_FLAGS, zero ? RFLAGS_ZF : 0);
        return ones_of(value);
    case INSN_TZCNT:
    case INSN_LZCNT:
        if (zero)
            result = bits;
        else if (op == INSN_TZCNT)
            result = (unsigned)__builtin_ctzll(value);
        else
            result = (unsigned)__builtin_clzll(value) - (64 - bits);
        set_flags(flags, RFLAGS_CF | RFLAGS_ZF,
                  (zero ? RFLAGS_CF : 0) | (result == 0 ? RFLAGS_ZF : 0));
        return result;
    default:
        set_flags(flags, RFLAGS_ZF, zero ? RFLAGS_ZF : 0);
        if (zero)
            return old;
        return op == INSN_BSF ? (unsigned)__builtin_ctzll(value)
                              : 63 - (unsigned)__builtin_clzll(value);
    }
}

/* --- decimals --- */

/* DAA and DAS. */
static uint8_t adjust_packed(bool subtract, uint8_t al, uint64_t *flags)
{
    const uint8_t old = al;
    const bool carry = (*flags & RFLAGS_CF) != 0;
    uint64_t set = 0;
    if ((al & 15) > 9 || (*flags & RFLAGS_AF) != 0) {
        set = RFLAGS_AF;
        if (subtract ? al < 6 : al > 0xff - 6)
            set |= RFLAGS_CF;
        al = (uint8_t)(subtract ? al - 6 : al + 6);
        if (carry)
            set |= RFLAGS_CF;
    }
    if (old > 0x99 || carry) {
        al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
        set |= RFLAGS_CF;
    } else if (!subtract) {
        set &= ~(uint64_t)RFLAGS_CF;
    }
    set_flags(flags, ARITHMETIC_FLAGS & ~(uint64_t)RFLAGS_OF, set | result_flags(al, 1));
    return al;
}

/* AAA and AAS. */
static uint16_t adjust_unpacked(bool subtract, uint16_t ax, uint64_t *flags)
{
    const bool adjust = (ax & 15) > 9 || (*flags & RFLAGS_AF) != 0;
    if (adjust)
        ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
    set_flags(flags, RFLAGS_AF | RFLAGS_CF, adjust ? RFLAGS_AF | RFLAGS_CF : 0);
    return ax & 0xff0f;
}

bool alu_decimal(unsigned op, unsigned base, uint64_t *rax, uint64_t *flags)
{
    uint16_t ax = (uint16_t)*rax;
    const uint8_t al = (uint8_t)ax, ah = (uint8_t)(ax >> 8);
    switch (op) {
    case INSN_DAA:
    case INSN_DAS: ax = (uint16_t)((ax & 0xff00) | adjust_packed(op == INSN_DAS, al, flags)); break;
    case INSN_AAA:
    case INSN_AAS: ax = adjust_unpacked(op == INSN_AAS, ax, flags); break;
    case INSN_AAM:
        if ((base & 0xff) == 0)
            return false;
        ax = (uint16_t)((unsigned)al / (base & 0xff) << 8 | (unsigned)al % (base & 0xff));
        break;
    default: ax = (uint8_t)(al + ah * (base & 0xff)); break; /* AAD */
    }
    if (op == INSN_AAM || op == INSN_AAD)
        set_flags(flags, ARITHMETIC_FLAGS, result_flags((uint8_t)ax, 1));
    set_part(rax, 2, ax);
    return true;
}

bool alu_condition(unsigned condition, uint64_t flags)
{
    const bool cf = (flags & RFLAGS_CF) != 0, zf = (flags & RFLAGS_ZF) != 0;
    const bool less = ((flags & RFLAGS_SF) != 0) != ((flags & RFLAGS_OF) != 0);
    bool holds = false;
    switch (condition >> 1 & 7) {
    case 0: holds = (flags & RFLAGS_OF) != 0; break;
    case 1: holds = cf; break;
    case 2: holds = zf; break;
    case 3: holds = cf || zf; break;
    case 4: holds = (flags & RFLAGS_SF) != 0; break;
    case 5: holds = (flags & RFLAGS_PF) != 0; break;
    case 6: holds = less; break;
    default: holds = less || zf; break;
    }
    return holds != ((condition & 1) != 0);
}
