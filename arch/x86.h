/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of the model-specific registers, ascending, by the SDM's names. */
#pragma once

#include <stdint.h>

/* IA32_PAT is left at its reset value by the host (write-back, write-through, UC-, UC, twice). */
#define PAT_RESET_VALUE 0x0007040600070406ull

enum msr {
    MSR_IA32_P5_MC_ADDR = 0x0,
    MSR_IA32_P5_MC_TYPE = 0x1,
    MSR_IA32_TIME_STAMP_COUNTER = 0x10,
    MSR_IA32_PLATFORM_ID = 0x17,
    MSR_IA32_APIC_BASE = 0x1b,
    MSR_IA32_FEATURE_CONTROL = 0x3a,
    MSR_IA32_TSC_ADJUST = 0x3b,
    MSR_IA32_PRED_CMD = 0x49,
    MSR_IA32_BIOS_UPDT_TRIG = 0x79,
    MSR_IA32_BIOS_SIGN_ID = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_IA32_MTRRCAP = 0xfe,
    MSR_IA32_ARCH_CAPABILITIES = 0x10a,
    MSR_IA32_FLUSH_CMD = 0x10b,
    MSR_IA32_SYSENTER_CS = 0x174,
    MSR_IA32_SYSENTER_ESP = 0x175,
    MSR_IA32_SYSENTER_EIP = 0x176,
    MSR_IA32_MCG_CAP = 0x179,
    MSR_IA32_MCG_STATUS = 0x17a,
    MSR_IA32_MISC_ENABLE = 0x1a0,
    MSR_IA32_DEBUGCTL = 0x1d9,
    MSR_IA32_MTRR_PHYSBASE0 = 0x200, /* pairs of base and mask, up to 0x213 */
    MSR_IA32_MTRR_PHYSMASK0 = 0x201,
    MSR_IA32_MTRR_FIX64K_00000 = 0x250,
    MSR_IA32_MTRR_FIX16K_80000 = 0x258,
    MSR_IA32_MTRR_FIX16K_A0000 = 0x259,
    MSR_IA32_MTRR_FIX4K_C0000 = 0x268, /* eight in all */
    MSR_IA32_MTRR_FIX4K_F8000 = 0x26f,
    MSR_IA32_PAT = 0x277,
    MSR_IA32_MTRR_DEF_TYPE = 0x2ff,
    MSR_IA32_VMX_BASIC = 0x480,
    MSR_IA32_VMX_PINBASED_CTLS = 0x481, /* PROCBASED, EXIT, ENTRY follow */
    MSR_IA32_VMX_MISC = 0x485,
    MSR_IA32_VMX_CR0_FIXED0 = 0x486,
    MSR_IA32_VMX_CR0_FIXED1 = 0x487,
    MSR_IA32_VMX_CR4_FIXED0 = 0x488,
    MSR_IA32_VMX_CR4_FIXED1 = 0x489,
    MSR_IA32_VMX_PROCBASED_CTLS2 = 0x48b,
    MSR_IA32_VMX_EPT_VPID_CAP = 0x48c,
    MSR_IA32_VMX_TRUE_PINBASED_CTLS = 0x48d, /* the same three follow */
    MSR_IA32_TSC_DEADLINE = 0x6e0,
    MSR_IA32_X2APIC_BASE = 0x800, /* the register at offset n of the page is 0x800 + n / 16 */
    MSR_IA32_X2APIC_TPR = 0x808,
    MSR_IA32_X2APIC_EOI = 0x80b,
    MSR_IA32_X2APIC_ICR = 0x830,
    MSR_IA32_X2APIC_SELF_IPI = 0x83f,
    MSR_IA32_X2APIC_LAST = 0x8ff,
    MSR_IA32_XSS = 0xda0,
    MSR_IA32_EFER = 0xc0000080,
    MSR_IA32_STAR = 0xc0000081,
    MSR_IA32_LSTAR = 0xc0000082,
    MSR_IA32_CSTAR = 0xc0000083,
    MSR_IA32_FMASK = 0xc0000084,
    MSR_IA32_FS_BASE = 0xc0000100,
    MSR_IA32_GS_BASE = 0xc0000101,
    MSR_IA32_KERNEL_GS_BASE = 0xc0000102,
    MSR_IA32_TSC_AUX = 0xc0000103,
};

/* IA32_MISC_ENABLE: fast strings on, no branch trace storage and no PEBS; then what acts on CPUID,
 * "limit CPUID maxval" and "XD bit disable". */
#define MISC_ENABLE_RESET      (1ull << 0 | 1ull << 11 | 1ull << 12)
#define MISC_ENABLE_FEW_LEAVES (1ull << 22)
#define MISC_ENABLE_NO_XD      (1ull << 34)
