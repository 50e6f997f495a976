/* SPDX-License-Identifier: BSD-2-Clause */
/* Instruction decoder: bytes to a small struct, for the integer instructions (the system's and
 * those of segments left out) and for the moves of vector registers from and to memory. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define INSN_MAX_BYTES 15
#define INSN_NO_REG    0xff
#define INSN_RIP       16 /* as base: the address of the next instruction */

enum insn_mode { INSN_16, INSN_32, INSN_64 }; /* by CS.L and CS.D */

enum insn_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS }; /* the CPU's numbers */

/* What is done; the first eight in the order of the opcode's bits 5:3. */
enum { INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB, INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP };
enum { INSN_MOV = 8, INSN_MOVZX, INSN_MOVSX, INSN_MOVBE, INSN_TEST, INSN_XCHG, INSN_NOT, INSN_NEG };
enum { INSN_INC = 16, INSN_DEC, INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC, INSN_CMPXCHG, INSN_XADD };
enum { INSN_CMPXCHG_PAIR = 24, INSN_PUSH, INSN_POP }; /* the first is CMPXCHG8B and 16B */
/* Between memory and a vector register: all of it or its low end, its upper and lower quadword. */
enum { INSN_VMOV = 27, INSN_VMOVH, INSN_VMOVL };
enum { INSN_MOVS = 30, INSN_STOS, INSN_LODS, INSN_CMPS, INSN_SCAS, INSN_INS, INSN_OUTS };
/* Shifts and rotates, MUL to IDIV, in the order of ModRM.reg. The count of a shift is an immediate,
 * or in CL. IMUL_TO: with two or three operands. */
enum { INSN_ROL = 37, INSN_ROR, INSN_RCL, INSN_RCR, INSN_SHL, INSN_SHR, INSN_SAL, INSN_SAR };
enum { INSN_SHLD = 45, INSN_SHRD, INSN_MUL, INSN_IMUL, INSN_DIV, INSN_IDIV, INSN_IMUL_TO };
enum { INSN_BSF = 52, INSN_BSR, INSN_TZCNT, INSN_LZCNT, INSN_POPCNT, INSN_BSWAP, INSN_LEA };
enum { INSN_NOP = 59, INSN_CBW, INSN_CWD, INSN_LAHF, INSN_SAHF, INSN_SALC, INSN_XLAT };
enum { INSN_CLC = 66, INSN_STC, INSN_CMC, INSN_CLD, INSN_STD };
enum { INSN_DAA = 71, INSN_DAS, INSN_AAA, INSN_AAS, INSN_AAM, INSN_AAD };
enum { INSN_PUSHA = 77, INSN_POPA, INSN_PUSHF, INSN_POPF, INSN_ENTER, INSN_LEAVE };
/* With a condition of the CPU's (the low four bits of the opcode): SETcc, CMOVcc, Jcc. */
enum { INSN_SET = 83, INSN_CMOV, INSN_JCC };
/* Near ones; the target relative to the next instruction, or an operand. */
enum { INSN_JMP = 86, INSN_CALL, INSN_RET, INSN_LOOPNE, INSN_LOOPE, INSN_LOOP, INSN_JCXZ };
enum { INSN_OPS = 93 };

enum { INSN_REPNE = 1, INSN_REPE }; /* F2, F3 */

enum insn_form {
    INSN_MEM_REG, /* memory is the destination (or first operand), a register the source */
    INSN_REG_MEM, /* the other way round */
    INSN_MEM_IMM,
    INSN_MEM,    /* one operand */
    INSN_IMM,    /* an immediate alone */
    INSN_STRING, /* implicit operands, as INSN_NONE */
    INSN_NONE,
};

/* "Memory" is, for all but vectors, a register where rm names one. */
struct insn {
    uint8_t op;        /* INSN_ADD to INSN_JCXZ */
    uint8_t form;      /* enum insn_form */
    uint8_t length;    /* bytes */
    uint8_t mem_bytes; /* size of the memory operand: 1, 2, 4, 8, 16, 32 */
    uint8_t reg_bytes; /* of the register: as memory, but for MOVZX, MOVSX and vectors; MMX: 8 */
    uint8_t reg;       /* 0..15; INSN_NO_REG where there is none */
    bool reg_high;     /* reg 4..7 stands for AH CH DH BH */
    uint8_t rm;        /* 0..15; INSN_NO_REG: the operand is in memory */
    bool rm_high;
    uint8_t condition; /* of SETcc, CMOVcc, Jcc */
    bool by_cl;        /* the count of a shift is in CL */
    bool with_imm;     /* IMUL_TO: by the immediate, not by the register itself */
    uint8_t nesting;   /* ENTER's second immediate */
    bool lock;
    uint8_t rep;         /* before a string instruction: INSN_REPNE, INSN_REPE, 0 */
    bool vex;            /* AVX: what is not written of a vector register becomes 0 */
    bool aligned;        /* #GP unless the memory operand is aligned to its size */
    uint8_t reg2;        /* the register that VMOVLPS and VMOVHPS take the other quadword from */
    uint8_t segment;     /* enum insn_segment of the memory operand (of the source of MOVS) */
    uint8_t addr_bytes;  /* 2, 4, 8 */
    uint8_t base, index; /* registers, INSN_NO_REG, base also INSN_RIP */
    uint8_t scale;       /* shift count 0..3 */
    int64_t disp;        /* sign-extended; the whole address for MOV with moffs */
    uint64_t imm;        /* sign-extended to the operand's size and on to 64 bits */
};

enum insn_result {
    INSN_OK,
    INSN_TRUNCATED, /* needs more bytes than count */
    INSN_TOO_LONG,  /* beyond 15 bytes: #GP */
    INSN_UNDEFINED, /* #UD, as LOCK where it is not allowed */
    INSN_UNKNOWN,   /* not an instruction that this decoder knows */
};

/* Decodes one instruction from count bytes (15 at most count). *out is defined after INSN_OK. */
enum insn_result insn_decode(struct insn *out, const uint8_t *bytes, unsigned count,
                             enum insn_mode mode);

/* The same for an instruction that has touched device memory: INSN_UNKNOWN for what drivers do not
 * do with it, which the CPU is to execute (guest/cpu/operands.h). */
enum insn_result insn_decode_access(struct insn *out, const uint8_t *bytes, unsigned count,
                                    enum insn_mode mode);

/* The short way for nearly all that drivers do to devices, where the address is known without the
 * instruction: a MOV of 4 or 8 bytes between a register (not RSP) and [register + displacement] in
 * 64-bit code. Defines op, form, length, sizes and register alone. False: decode as usual. Looks at
 * 3 bytes of the 7 that it may have. */
bool insn_decode_mov(struct insn *out, const uint8_t *bytes);
