/* SPDX-License-Identifier: BSD-2-Clause */
/* The constants of the x86 architecture, each once, by the SDM's names; no instruction, so that
 * what is built for the development machine may include it. */
#pragma once

#include <stdint.h>

/* Control registers, EFER and RFLAGS. */
#define CR0_PE         (1ull << 0)
#define CR0_MP         (1ull << 1)
#define CR0_EM         (1ull << 2)
#define CR0_TS         (1ull << 3)
#define CR0_ET         (1ull << 4)
#define CR0_NE         (1ull << 5)
#define CR0_WP         (1ull << 16)
#define CR0_AM         (1ull << 18)
#define CR0_NW         (1ull << 29)
#define CR0_CD         (1ull << 30)
#define CR0_PG         (1ull << 31)
#define CR4_VME        (1ull << 0)
#define CR4_PVI        (1ull << 1)
#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PSE        (1ull << 4)
#define CR4_PAE        (1ull << 5)
#define CR4_MCE        (1ull << 6)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_VMXE       (1ull << 13)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)
#define CR4_PKE        (1ull << 22)
#define CR4_CET        (1ull << 23)
#define EFER_SCE       (1ull << 0)
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define EFER_NXE       (1ull << 11)
#define RFLAGS_CF      (1ull << 0)
#define RFLAGS_FIXED   (1ull << 1) /* always set */
#define RFLAGS_PF      (1ull << 2)
#define RFLAGS_AF      (1ull << 4)
#define RFLAGS_ZF      (1ull << 6)
#define RFLAGS_SF      (1ull << 7)
#define RFLAGS_TF      (1ull << 8)
#define RFLAGS_IF      (1ull << 9)
#define RFLAGS_DF      (1ull << 10)
#define RFLAGS_OF      (1ull << 11)
#define RFLAGS_IOPL    (3ull << 12)
#define RFLAGS_NT      (1ull << 14)
#define RFLAGS_RF      (1ull << 16)
#define RFLAGS_VM      (1ull << 17)
#define RFLAGS_AC      (1ull << 18)
#define RFLAGS_VIF     (1ull << 19)
#define RFLAGS_VIP     (1ull << 20)
#define RFLAGS_ID      (1ull << 21)
#define RFLAGS_DEFINED 0x3f7fd7ull

/* State components, in XCR0 and CPUID leaf 0xD. */
#define XCR0_X87    (1ull << 0)
#define XCR0_SSE    (1ull << 1)
#define XCR0_AVX    (1ull << 2)
#define XCR0_AVX512 (7ull << 5)
#define XCR0_PKRU   (1ull << 9)

/* Debug registers, IA32_DEBUGCTL, and what the VMCS has as pending debug exceptions. */
#define DR6_BREAKPOINTS 0xfull /* B0 to B3 */
#define DR6_BD          (1ull << 13)
#define DR6_BS          (1ull << 14)
#define DR6_BT          (1ull << 15)
/* Active low, and never reported here: a bus lock, a transaction that is debugged. */
#define DR6_SET_BY_DB         (1ull << 11 | 1ull << 16)
#define DR6_RESET             0xffff0ff0ull /* what is always set, as long as those two are */
#define DR6_WRITABLE          0xe00full
#define DR7_LOCAL             0x155ull /* L0 to L3 and LE */
#define DR7_ENABLED           0xffull  /* L0 to G3 */
#define DR7_GD                (1ull << 13)
#define DR7_RESET             0x400ull /* what is always set */
#define DR7_WRITABLE          0xffff23ffull
#define DEBUGCTL_BTF          (1ull << 1)
#define PENDING_DEBUG_ENABLED (1ull << 12) /* one of B0 to B3 that DR7 enables */
#define PENDING_DEBUG_BS      (1ull << 14)

/* Entries of page tables. */
#define PTE_P       (1ull << 0)
#define PTE_W       (1ull << 1)
#define PTE_U       (1ull << 2)
#define PTE_PWT     (1ull << 3)
#define PTE_PCD     (1ull << 4)
#define PTE_A       (1ull << 5)
#define PTE_D       (1ull << 6)
#define PTE_PS      (1ull << 7)  /* a large page */
#define PTE_G       (1ull << 8)  /* global */
#define PTE_PAT     (1ull << 12) /* of a large page */
#define PTE_ADDRESS 0x000ffffffffff000ull
#define PTE_NX      (1ull << 63)

/* Access rights of a segment as the VMCS holds them (SDM, "Guest Register State"): bits 23:8 of the
 * upper half of its descriptor, but for the limit. Without S, the type is a system segment's. */
#define ACCESS_TYPE        0xfu
#define ACCESS_ACCESSED    (1u << 0)
#define ACCESS_WRITABLE    (1u << 1) /* of code: readable */
#define ACCESS_EXPAND_DOWN (1u << 2) /* of code: conforming */
#define ACCESS_CODE        (1u << 3)
#define ACCESS_TSS_BUSY    (1u << 1)
#define ACCESS_TSS32       (1u << 3)
#define ACCESS_S           (1u << 4)
#define ACCESS_DPL_SHIFT   5
#define ACCESS_P           (1u << 7)
#define ACCESS_L           (1u << 13)
#define ACCESS_DB          (1u << 14)
#define ACCESS_G           (1u << 15)
#define ACCESS_UNUSABLE    (1u << 16)

static inline uint32_t access_dpl(uint32_t access)
{
    return access >> ACCESS_DPL_SHIFT & 3;
}

/* Whole ones. */
#define SEGMENT_CODE64   0xa09bu /* present, accessed, execute/read, L, G */
#define SEGMENT_CODE32   0xc09bu /* the same with D/B instead of L */
#define SEGMENT_DATA32   0xc093u /* present, accessed, read/write, D/B, G */
#define SEGMENT_CODE16   0x009bu /* the same with 64 KiB, as after reset */
#define SEGMENT_DATA16   0x0093u
#define SEGMENT_VM86     0x00f3u
#define SEGMENT_LDT      0x0082u
#define SEGMENT_TSS      0x0089u
#define SEGMENT_TSS_BUSY 0x008bu /* VM entry demands a busy TSS */
#define SEGMENT_UNUSABLE ACCESS_UNUSABLE

/* Exceptions by vector, and where those end. */
enum exception_vector {
    VECTOR_DIVIDE_ERROR = 0,
    VECTOR_DEBUG = 1,
    VECTOR_NMI = 2,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_BOUND_RANGE = 5,
    VECTOR_INVALID_OPCODE = 6,
    VECTOR_DEVICE_NOT_AVAILABLE = 7,
    VECTOR_DOUBLE_FAULT = 8,
    VECTOR_INVALID_TSS = 10,
    VECTOR_NOT_PRESENT = 11,
    VECTOR_STACK_FAULT = 12,
    VECTOR_GENERAL_PROTECTION = 13,
    VECTOR_PAGE_FAULT = 14,
    VECTOR_X87_ERROR = 16,
    VECTOR_ALIGNMENT_CHECK = 17,
    VECTOR_MACHINE_CHECK = 18,
    VECTOR_SIMD_ERROR = 19,
    VECTOR_VIRTUALIZATION = 20,
    VECTOR_CONTROL_PROTECTION = 21,
    VECTOR_FIRST_EXTERNAL = 32,
};

/* What CPUID returns, and features by leaf and register. */
struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};

#define CPUID_0_EBX_AMD               0x68747541u /* "Auth" */
#define CPUID_1_ECX_VMX               (1u << 5)
#define CPUID_1_ECX_PCID              (1u << 17)
#define CPUID_1_ECX_X2APIC            (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE      (1u << 24)
#define CPUID_1_ECX_XSAVE             (1u << 26)
#define CPUID_1_ECX_OSXSAVE           (1u << 27)
#define CPUID_1_ECX_AVX               (1u << 28)
#define CPUID_1_ECX_RDRAND            (1u << 30)
#define CPUID_1_ECX_HYPERVISOR        (1u << 31)
#define CPUID_1_EDX_VME               (1u << 1)
#define CPUID_1_EDX_DE                (1u << 2)
#define CPUID_1_EDX_PSE               (1u << 3)
#define CPUID_1_EDX_TSC               (1u << 4)
#define CPUID_1_EDX_PAE               (1u << 6)
#define CPUID_1_EDX_MCE               (1u << 7)
#define CPUID_1_EDX_APIC              (1u << 9)
#define CPUID_1_EDX_MTRR              (1u << 12)
#define CPUID_1_EDX_PGE               (1u << 13)
#define CPUID_1_EDX_PSE36             (1u << 17)
#define CPUID_1_EDX_FXSR              (1u << 24)
#define CPUID_1_EDX_SSE               (1u << 25)
#define CPUID_7_EBX_FSGSBASE          (1u << 0)
#define CPUID_7_EBX_TSC_ADJUST        (1u << 1)
#define CPUID_7_EBX_SMEP              (1u << 7)
#define CPUID_7_EBX_INVPCID           (1u << 10)
#define CPUID_7_EBX_RDSEED            (1u << 18)
#define CPUID_7_EBX_SMAP              (1u << 20)
#define CPUID_7_EBX_HLE               (1u << 4)
#define CPUID_7_EBX_RTM               (1u << 11)
#define CPUID_7_EBX_AVX512BW          (1u << 30)
#define CPUID_7_ECX_UMIP              (1u << 2)
#define CPUID_7_ECX_PKU               (1u << 3)
#define CPUID_7_ECX_OSPKE             (1u << 4)
#define CPUID_7_ECX_CET_SS            (1u << 7)
#define CPUID_7_ECX_LA57              (1u << 16)
#define CPUID_7_ECX_RDPID             (1u << 22)
#define CPUID_7_EDX_SERIALIZE         (1u << 14)
#define CPUID_7_EDX_TSXLDTRK          (1u << 16)
#define CPUID_7_EDX_CET_IBT           (1u << 20)
#define CPUID_7_EDX_IBRS              (1u << 26) /* and IBPB */
#define CPUID_7_EDX_SRBDS_CTRL        (1u << 9)
#define CPUID_7_EDX_MD_CLEAR          (1u << 10)
#define CPUID_7_EDX_STIBP             (1u << 27)
#define CPUID_7_EDX_FLUSH_L1D         (1u << 28)
#define CPUID_7_EDX_ARCH_CAPABILITIES (1u << 29)
#define CPUID_7_EDX_SSBD              (1u << 31)
#define CPUID_71_EAX_RAO_INT          (1u << 3)
#define CPUID_71_EAX_CMPCCXADD        (1u << 7)
#define CPUID_72_EDX_BHI_CTRL         (1u << 4) /* leaf 7, sub-leaf 2 */
#define CPUID_D1_EAX_XSAVEC           (1u << 1)
#define CPUID_D1_EAX_XGETBV1          (1u << 2)
#define CPUID_D1_EAX_XSAVES           (1u << 3)
#define CPUID_80000001_EDX_SYSCALL    (1u << 11)
#define CPUID_80000001_EDX_NX         (1u << 20)
#define CPUID_80000001_EDX_1G         (1u << 26)
#define CPUID_80000001_EDX_RDTSCP     (1u << 27)
#define CPUID_80000001_EDX_LM         (1u << 29)

/* Model-specific registers, ascending. */
enum msr {
    MSR_IA32_P5_MC_ADDR = 0x0,
    MSR_IA32_P5_MC_TYPE = 0x1,
    MSR_IA32_TIME_STAMP_COUNTER = 0x10,
    MSR_IA32_PLATFORM_ID = 0x17,
    MSR_IA32_APIC_BASE = 0x1b,
    MSR_IA32_FEATURE_CONTROL = 0x3a,
    MSR_IA32_TSC_ADJUST = 0x3b,
    MSR_IA32_SPEC_CTRL = 0x48,
    MSR_IA32_PRED_CMD = 0x49,
    MSR_IA32_BIOS_UPDT_TRIG = 0x79,
    MSR_IA32_BIOS_SIGN_ID = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MISC_FEATURES_ENABLES = 0x140,
    MSR_IA32_MTRRCAP = 0xfe,
    MSR_IA32_ARCH_CAPABILITIES = 0x10a,
    MSR_IA32_FLUSH_CMD = 0x10b,
    MSR_IA32_TSX_CTRL = 0x122,
    MSR_IA32_MCU_OPT_CTRL = 0x123,
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
    MSR_IA32_MC0_CTL = 0x400, /* a machine-check bank: control, status, address, misc; four each */
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
    MSR_IA32_U_CET = 0x6a0,
    MSR_IA32_S_CET = 0x6a2,
    MSR_IA32_PL0_SSP = 0x6a4,
    MSR_IA32_INTERRUPT_SSP_TABLE_ADDR = 0x6a8,
    MSR_IA32_TSC_DEADLINE = 0x6e0,
    MSR_IA32_X2APIC_BASE = 0x800, /* the register at offset n of the page is 0x800 + n / 16 */
    MSR_IA32_X2APIC_TPR = 0x808,
    MSR_IA32_X2APIC_EOI = 0x80b,
    MSR_IA32_X2APIC_ICR = 0x830,
    MSR_IA32_X2APIC_SELF_IPI = 0x83f,
    MSR_IA32_X2APIC_LAST = 0x8ff,
    MSR_IA32_XSS = 0xda0,
    MSR_HYPERV_TSC_FREQUENCY = 0x40000022,
    MSR_IA32_EFER = 0xc0000080,
    MSR_IA32_STAR = 0xc0000081,
    MSR_IA32_LSTAR = 0xc0000082,
    MSR_IA32_CSTAR = 0xc0000083,
    MSR_IA32_FMASK = 0xc0000084,
    MSR_IA32_FS_BASE = 0xc0000100,
    MSR_IA32_GS_BASE = 0xc0000101,
    MSR_IA32_KERNEL_GS_BASE = 0xc0000102,
    MSR_IA32_TSC_AUX = 0xc0000103,
    MSR_AMD_EVENT_SELECT_0 = 0xc0010000,
    MSR_AMD_COUNTER_3 = 0xc0010007,
    MSR_AMD_SYSCFG = 0xc0010010,
    MSR_AMD_HWCR = 0xc0010015,
    MSR_AMD_INTERRUPT_PENDING = 0xc0010055,
};

/* IA32_MISC_ENABLE: fast strings on, no branch trace storage and no PEBS; then what acts on CPUID,
 * "limit CPUID maxval" and "XD bit disable". */
#define MISC_ENABLE_RESET      (1ull << 0 | 1ull << 11 | 1ull << 12)
#define MISC_ENABLE_FEW_LEAVES (1ull << 22)
#define MISC_ENABLE_NO_XD      (1ull << 34)

#define APIC_BASE_BSP     (1ull << 8)
#define APIC_BASE_X2APIC  (1ull << 10)
#define APIC_BASE_ENABLE  (1ull << 11)
#define APIC_BASE_ADDRESS 0xffffff000ull

/* Registers of the local APIC by their offsets in its page (SDM, "Local APIC Register Address
 * Map"); ISR, TMR and IRR are the first of eight each, 0x10 apart. */
enum apic_register {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_APR = 0x90,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_RRD = 0xc0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_LVT_CMCI = 0x2f0,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_THERMAL = 0x330,
    APIC_LVT_PERF = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_INITIAL_COUNT = 0x380,
    APIC_CURRENT_COUNT = 0x390,
    APIC_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0,
};

#define APIC_XAPIC_EVERYBODY  255u /* as an ID: all CPUs */
#define APIC_SVR_ENABLE       (1u << 8)
#define APIC_LVT_MODE         (7u << 8) /* delivery mode */
#define APIC_LVT_SMI          (2u << 8)
#define APIC_LVT_PENDING      (1u << 12)
#define APIC_LVT_REMOTE_IRR   (1u << 14)
#define APIC_LVT_MASKED       (1u << 16)
#define APIC_LVT_TSC_DEADLINE (1u << 18)
#define APIC_ICR_PENDING      (1u << 12)
#define APIC_ICR_ASSERT       (1u << 14)

#define FEATURE_CONTROL_LOCK (1ull << 0)
#define FEATURE_CONTROL_VMX  (1ull << 2) /* VMX outside SMX operation */

/* IA32_ARCH_CAPABILITIES: what this CPU does not suffer from. */
#define ARCH_CAPABILITIES_RDCL_NO        (1ull << 0)
#define ARCH_CAPABILITIES_IBRS_ALL       (1ull << 1) /* enhanced IBRS */
#define ARCH_CAPABILITIES_RSBA           (1ull << 2) /* RET may be predicted as other branches */
#define ARCH_CAPABILITIES_SKIP_L1DFL     (1ull << 3)
#define ARCH_CAPABILITIES_SSB_NO         (1ull << 4)
#define ARCH_CAPABILITIES_MDS_NO         (1ull << 5)
#define ARCH_CAPABILITIES_PSCHANGE_MC_NO (1ull << 6)
#define ARCH_CAPABILITIES_TSX_CTRL       (1ull << 7) /* there is IA32_TSX_CTRL */
#define ARCH_CAPABILITIES_TAA_NO         (1ull << 8)
#define ARCH_CAPABILITIES_SBDR_SSDP_NO   (1ull << 13)
#define ARCH_CAPABILITIES_FBSDP_NO       (1ull << 14)
#define ARCH_CAPABILITIES_PSDP_NO        (1ull << 15)
#define ARCH_CAPABILITIES_RRSBA          (1ull << 19)
#define ARCH_CAPABILITIES_BHI_NO         (1ull << 20)
#define ARCH_CAPABILITIES_PBRSB_NO       (1ull << 24)
#define ARCH_CAPABILITIES_GDS_CTRL       (1ull << 25)
#define ARCH_CAPABILITIES_GDS_NO         (1ull << 26)
#define ARCH_CAPABILITIES_RFDS_NO        (1ull << 27)
#define ARCH_CAPABILITIES_RFDS_CLEAR     (1ull << 28)
#define ARCH_CAPABILITIES_ITS_NO         (1ull << 62)

/* IA32_S_CET: control-flow enforcement in supervisor mode. */
#define S_CET_SHADOW_STACK (1ull << 0)
#define S_CET_WRITE        (1ull << 1) /* WRSS may write to shadow stacks */
#define S_CET_ENDBRANCH    (1ull << 2)
#define S_CET_SUPPRESS     (1ull << 10)
#define S_CET_TRACKER      (1ull << 11) /* the next instruction has to be ENDBRANCH */

#define SPEC_CTRL_IBRS      (1ull << 0)
#define SPEC_CTRL_STIBP     (1ull << 1)
#define SPEC_CTRL_SSBD      (1ull << 2)
#define SPEC_CTRL_BHI_DIS_S (1ull << 10)
#define PRED_CMD_IBPB       (1ull << 0)
#define TSX_CTRL_RTM_OFF    (1ull << 0)
#define TSX_CTRL_HIDE       (1ull << 1) /* in CPUID */
#define MCU_OPT_SRBDS_OFF   (1ull << 0) /* RNGDS_MITG_DIS */
#define MCU_OPT_GDS_OFF     (1ull << 4) /* GDS_MITG_DIS */

/* IA32_MTRRCAP, IA32_MTRR_DEF_TYPE, IA32_MTRR_PHYSMASKn. */
#define MTRR_CAP_COUNT        0xffull /* variable ones */
#define MTRR_CAP_FIXED        (1ull << 8)
#define MTRR_CAP_WC           (1ull << 10)
#define MTRR_DEF_FIXED_ENABLE (1ull << 10)
#define MTRR_DEF_ENABLE       (1ull << 11)
#define MTRR_MASK_VALID       (1ull << 11)

/* IA32_PAT after reset: write-back, write-through, UC-, UC, twice. The host has write-combining in
 * the place of the first write-through. */
#define PAT_RESET_VALUE 0x0007040600070406ull
#define PAT_HOST_VALUE  0x0007040600070106ull
