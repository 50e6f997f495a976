/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes the instructions that decode.h leaves out: those of the system and of segments, far
 * transfers, ports; and of what only computes (x87, MMX, SSE, AVX and the like), which is left to a
 * processor, as much as it takes to let it. Pure. */
#pragma once

#include "guest/cpu/decode.h"

/* Operations, in the op of struct insn. Where a segment, control or debug register is an operand,
 * reg is its number. */
enum {
    SYSTEM_MOV_FROM_SEGMENT = INSN_OPS,
    SYSTEM_MOV_TO_SEGMENT,
    SYSTEM_PUSH_SEGMENT,
    SYSTEM_POP_SEGMENT,
    SYSTEM_LOAD_FAR, /* LDS and its like: the segment register is reg2 */
    /* INSN_IMM: to selector disp, offset imm; INSN_MEM: to what stands in memory, offset first. */
    SYSTEM_JMP_FAR,
    SYSTEM_CALL_FAR,
    SYSTEM_RET_FAR, /* imm: bytes dropped */
    SYSTEM_IRET,
    SYSTEM_INT, /* imm: the vector */
    SYSTEM_INT1,
    SYSTEM_INT3,
    SYSTEM_INTO,
    SYSTEM_BOUND,
    SYSTEM_ARPL,
    SYSTEM_LAR,
    SYSTEM_LSL,
    SYSTEM_SLDT, /* in the order of ModRM.reg */
    SYSTEM_STR,
    SYSTEM_LLDT,
    SYSTEM_LTR,
    SYSTEM_VERR,
    SYSTEM_VERW,
    SYSTEM_SGDT, /* likewise */
    SYSTEM_SIDT,
    SYSTEM_LGDT,
    SYSTEM_LIDT,
    SYSTEM_SMSW,
    SYSTEM_LMSW,
    SYSTEM_INVLPG,
    SYSTEM_MOV_FROM_CR, /* in the order of their opcodes */
    SYSTEM_MOV_FROM_DR,
    SYSTEM_MOV_TO_CR,
    SYSTEM_MOV_TO_DR,
    SYSTEM_CLTS,
    SYSTEM_INVPCID,
    SYSTEM_HLT,
    SYSTEM_CLI,
    SYSTEM_STI,
    SYSTEM_CLAC,
    SYSTEM_STAC,
    SYSTEM_IN, /* INSN_IMM: port imm; INSN_NONE: port DX */
    SYSTEM_OUT,
    SYSTEM_CPUID,
    SYSTEM_WRMSR, /* in the order of their opcodes */
    SYSTEM_RDTSC,
    SYSTEM_RDMSR,
    SYSTEM_RDPMC,
    SYSTEM_RDTSCP,
    SYSTEM_RDPID,
    SYSTEM_XGETBV,
    SYSTEM_XSETBV,
    SYSTEM_RDFSBASE, /* in the order of ModRM.reg */
    SYSTEM_RDGSBASE,
    SYSTEM_WRFSBASE,
    SYSTEM_WRGSBASE,
    SYSTEM_SWAPGS,
    SYSTEM_SYSCALL,
    SYSTEM_SYSRET,
    SYSTEM_SYSENTER,
    SYSTEM_SYSEXIT,
    SYSTEM_INVD,
    SYSTEM_WBINVD,
    SYSTEM_SERIALIZE,
    SYSTEM_RDPKRU,
    SYSTEM_WRPKRU,
    SYSTEM_MONITOR,
    SYSTEM_MWAIT,
    SYSTEM_VMCALL,
    SYSTEM_VMMCALL,
    SYSTEM_OPS
};

/* As insn_decode(). INSN_UNDEFINED: #UD, whatever the state of the CPU; among others the rest of
 * VMX, SMX and SGX, and RSM. INSN_UNKNOWN: not an instruction of the above. */
enum insn_result system_decode(struct insn *out, const uint8_t *bytes, unsigned count,
                               enum insn_mode mode);

/* What has to be there for such an instruction (SDM, the tables of "Exceptions"). */
enum compute_class {
    COMPUTE_GENERAL, /* nothing: CRC32, RDRAND, PAUSE, fences */
    COMPUTE_X87,
    COMPUTE_WAIT,
    COMPUTE_FXSAVE,
    COMPUTE_XSAVE,
    COMPUTE_MMX,
    COMPUTE_SSE,
    COMPUTE_VEX_GENERAL, /* of general registers: BMI */
    COMPUTE_AVX,
    COMPUTE_AVX512,
};

struct compute {
    uint8_t length, class; /* enum compute_class */
    bool memory;           /* ModRM names an operand in memory; see guest/cpu/operands.h */
};

/*
 * An instruction that is none of decode.h's and none of the above. Whether its opcode is one, and
 * whether the CPU has it, the processor decides. INSN_UNKNOWN: not within its opcodes.
 *
 * INSN_UNDEFINED also for what no guest's CPUID shows and is more than computing: shadow stacks,
 * processor trace, HRESET, Key Locker, XSAVES, SSE4A, and what is of memory but no plain read or
 * write (RAO-INT, CMPccXADD). A guest that uses other instructions without a look at CPUID, which
 * hides them, has them where the host has, as on a CPU by VT-x, which has controls for a few alone:
 * they do to the guest's registers and memory what they do anywhere.
 */
enum insn_result compute_decode(struct compute *out, const uint8_t *bytes, unsigned count,
                                enum insn_mode mode);

struct emulate_env;

/* The exception that comes before all others of such an instruction (SDM, the tables of
 * "Exceptions"): a feature is not there, or switched off. 0: none. Of env, what a CPU's mode is:
 * CR0, CR4, XCR0, RFLAGS. */
unsigned compute_missing(const struct emulate_env *env, unsigned compute_class);
