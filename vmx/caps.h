/* SPDX-License-Identifier: BSD-2-Clause */
/* What this CPU's VMX can do: its capability MSRs, and how control words come from them. */
#pragma once

#include "arch/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A control word's allowed settings (SDM, appendix "VMX Capability Reporting Facility"). */
struct control_caps {
    uint32_t must_be_1;
    uint32_t may_be_1;
};

struct vmx_caps {
    uint64_t basic, misc, ept_vpid;
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    struct control_caps pin, proc, proc2, exit, entry; /* the "true" versions where there are any */
};

/* Pin-based VM-execution controls. */
#define PIN_EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING                (1u << 3)
#define PIN_VIRTUAL_NMIS               (1u << 5)
#define PIN_PREEMPTION_TIMER           (1u << 6)
#define PIN_POSTED_INTERRUPTS          (1u << 7)

/* Primary processor-based VM-execution controls. */
#define PROC_INTERRUPT_WINDOW  (1u << 2)
#define PROC_TSC_OFFSETTING    (1u << 3)
#define PROC_HLT_EXITING       (1u << 7)
#define PROC_MWAIT_EXITING     (1u << 10)
#define PROC_RDPMC_EXITING     (1u << 11)
#define PROC_CR3_LOAD_EXITING  (1u << 15)
#define PROC_CR3_STORE_EXITING (1u << 16)
#define PROC_TPR_SHADOW        (1u << 21)
#define PROC_NMI_WINDOW        (1u << 22)
#define PROC_UNCONDITIONAL_IO  (1u << 24)
#define PROC_MONITOR_TRAP      (1u << 27)
#define PROC_MSR_BITMAPS       (1u << 28)
#define PROC_MONITOR_EXITING   (1u << 29)
#define PROC_SECONDARY         (1u << 31)

/* Secondary processor-based VM-execution controls. */
#define PROC2_VIRTUALIZE_APIC_ACCESSES     (1u << 0)
#define PROC2_EPT                          (1u << 1)
#define PROC2_RDTSCP                       (1u << 3)
#define PROC2_VIRTUALIZE_X2APIC            (1u << 4)
#define PROC2_VPID                         (1u << 5)
#define PROC2_WBINVD_EXITING               (1u << 6)
#define PROC2_UNRESTRICTED_GUEST           (1u << 7)
#define PROC2_APIC_REGISTER_VIRTUALIZATION (1u << 8)
#define PROC2_VIRTUAL_INTERRUPT_DELIVERY   (1u << 9)
#define PROC2_PAUSE_LOOP_EXITING           (1u << 10)
#define PROC2_INVPCID                      (1u << 12)
#define PROC2_ENCLS_EXITING                (1u << 15)
#define PROC2_XSAVES                       (1u << 20)
#define PROC2_BUS_LOCK_DETECTION           (1u << 30)
#define PROC2_INSTRUCTION_TIMEOUT          (1u << 31)

/* Primary VM-exit controls. */
#define EXIT_SAVE_DEBUG            (1u << 2)
#define EXIT_HOST_64BIT            (1u << 9)
#define EXIT_ACKNOWLEDGE_INTERRUPT (1u << 15)
#define EXIT_SAVE_PAT              (1u << 18)
#define EXIT_LOAD_PAT              (1u << 19)
#define EXIT_SAVE_EFER             (1u << 20)
#define EXIT_LOAD_EFER             (1u << 21)
#define EXIT_LOAD_CET              (1u << 28)

/* VM-entry controls. */
#define ENTRY_LOAD_DEBUG  (1u << 2)
#define ENTRY_IA32E_GUEST (1u << 9)
#define ENTRY_LOAD_PAT    (1u << 14)
#define ENTRY_LOAD_EFER   (1u << 15)
#define ENTRY_LOAD_CET    (1u << 20)

/* IA32_VMX_EPT_VPID_CAP. */
#define EPTCAP_WALK_4          (1ull << 6)
#define EPTCAP_WB              (1ull << 14)
#define EPTCAP_2M              (1ull << 16)
#define EPTCAP_1G              (1ull << 17)
#define EPTCAP_INVEPT          (1ull << 20)
#define EPTCAP_INVEPT_ALL      (1ull << 26)
#define EPTCAP_INVVPID         (1ull << 32)
#define EPTCAP_INVVPID_ADDRESS (1ull << 40)
#define EPTCAP_INVVPID_SINGLE  (1ull << 41)
#define EPTCAP_INVVPID_ALL     (1ull << 42)

/* Reads the capability MSRs by read (0: unsupported), where CPUID has VMX. Pure but for read. */
void vmx_caps_read(struct vmx_caps *caps, uint64_t (*read)(uint32_t msr));

/* The checklist of what Nadir cannot run without. Calls missing() for each that the CPU lacks and
 * returns how many. Pure; called once at start before VMXON. */
unsigned vmx_caps_check(const struct vmx_caps *caps, void (*missing)(const char *what));

/* Takes out what a CPU of that signature (CPUID leaf 1, EAX) has by its errata better not: a
 * preemption timer that does not count right. Called after each vmx_caps_read(). Pure. */
void vmx_caps_mend(struct vmx_caps *caps, uint32_t signature);

/* Whether a CPU can run what was made for the boot CPU's capabilities: it has all of them that
 * Nadir has a use for, and demands nothing more. Hybrid CPUs differ in the rest. Pure. */
bool vmx_caps_cover(const struct vmx_caps *own, const struct vmx_caps *boot);

/* A control word: wanted bits that the CPU allows, plus those that it demands. *lost gets wanted
 * bits that it does not allow; the caller decides whether that is a fall-back or an error. */
uint32_t control_word(struct control_caps caps, uint32_t wanted, uint32_t *lost);

static inline bool control_allowed(struct control_caps caps, uint32_t bits)
{
    return (caps.may_be_1 & bits) == bits;
}

/* The size of VMCS and VMXON regions is at most a page; this is their revision identifier. */
static inline uint32_t vmx_revision(const struct vmx_caps *caps)
{
    return (uint32_t)caps->basic & 0x7fffffffu;
}

/* TSC ticks per tick of the preemption timer, as a shift. */
static inline unsigned vmx_preemption_shift(const struct vmx_caps *caps)
{
    return (unsigned)caps->misc & 31u;
}
