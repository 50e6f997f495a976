/* SPDX-License-Identifier: BSD-2-Clause */
/* VM exits: the basic reasons, what handlers answer, and the handlers that exit.c's table names. */
#pragma once

#include "arch/cpu.h"
#include "arch/fault.h"
#include "guest/vm/vcpu.h"
#include "vmx/insn.h"

/* SDM, appendix "Basic Exit Reasons". */
enum exit_reason {
    REASON_EXCEPTION_OR_NMI = 0,
    REASON_EXTERNAL_INTERRUPT = 1,
    REASON_TRIPLE_FAULT = 2,
    REASON_INIT = 3,
    REASON_SIPI = 4,
    REASON_INTERRUPT_WINDOW = 7,
    REASON_NMI_WINDOW = 8,
    REASON_TASK_SWITCH = 9,
    REASON_CPUID = 10,
    REASON_GETSEC = 11,
    REASON_HLT = 12,
    REASON_INVD = 13,
    REASON_INVLPG = 14,
    REASON_RDPMC = 15,
    REASON_RDTSC = 16,
    REASON_RSM = 17,
    REASON_VMCALL = 18,
    REASON_VMCLEAR = 19,
    REASON_VMLAUNCH = 20,
    REASON_VMPTRLD = 21,
    REASON_VMPTRST = 22,
    REASON_VMREAD = 23,
    REASON_VMRESUME = 24,
    REASON_VMWRITE = 25,
    REASON_VMXOFF = 26,
    REASON_VMXON = 27,
    REASON_CR_ACCESS = 28,
    REASON_MOV_DR = 29,
    REASON_IO = 30,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_ENTRY_GUEST_STATE = 33,
    REASON_ENTRY_MSR_LOADING = 34,
    REASON_MWAIT = 36,
    REASON_MONITOR_TRAP_FLAG = 37,
    REASON_MONITOR = 39,
    REASON_PAUSE = 40,
    REASON_ENTRY_MACHINE_CHECK = 41,
    REASON_TPR_BELOW_THRESHOLD = 43,
    REASON_APIC_ACCESS = 44,
    REASON_VIRTUALIZED_EOI = 45,
    REASON_GDTR_IDTR = 46,
    REASON_LDTR_TR = 47,
    REASON_EPT_VIOLATION = 48,
    REASON_EPT_MISCONFIGURATION = 49,
    REASON_INVEPT = 50,
    REASON_RDTSCP = 51,
    REASON_PREEMPTION_TIMER = 52,
    REASON_INVVPID = 53,
    REASON_WBINVD = 54,
    REASON_XSETBV = 55,
    REASON_APIC_WRITE = 56,
    REASON_RDRAND = 57,
    REASON_INVPCID = 58,
    REASON_VMFUNC = 59,
    REASON_ENCLS = 60,
    REASON_RDSEED = 61,
    REASON_PML_FULL = 62,
    REASON_XSAVES = 63,
    REASON_XRSTORS = 64,
    REASON_PCONFIG = 65,
    REASON_SPP = 66,
    REASON_UMWAIT = 67,
    REASON_TPAUSE = 68,
    REASON_LOADIWKEY = 69,
    REASON_ENCLV = 70,
    REASON_ENQCMD_PASID = 72,
    REASON_ENQCMDS_PASID = 73,
    REASON_BUS_LOCK = 74,
    REASON_INSTRUCTION_TIMEOUT = 75,
    REASON_SEAMCALL = 76,
    REASON_TDCALL = 77,
};

/* Handles the exit that has just happened (the VMCS is current) for its basic reason, including the
 * step over the instruction. The end of the VM is asked for with vm_end_request(). */
void exit_dispatch(struct vcpu *vcpu, uint32_t reason);

/* The SDM's name of a basic exit reason in lower case with underscores; never NULL. */
const char *exit_reason_name(unsigned reason);

/* A handler takes everything from the vCPU and the VMCS; one file per family. */
typedef enum exit_action exit_handler(struct vcpu *vcpu);

exit_handler exit_cpuid;
exit_handler exit_cr_access;
exit_handler exit_xsetbv;
exit_handler exit_io;
exit_handler exit_rdmsr, exit_wrmsr;
exit_handler exit_ept_violation, exit_ept_misconfiguration, exit_apic_access;
exit_handler exit_monitor_trap;
exit_handler exit_apic_write, exit_virtualized_eoi, exit_tpr_below_threshold;
exit_handler exit_exception_or_nmi, exit_external_interrupt, exit_triple_fault;
exit_handler exit_vmcall, exit_hlt;
exit_handler exit_task_switch;

/* A 32-bit write zeroes the upper half of the register, as the CPU does. */
static inline void set_eax_edx(struct vcpu *vcpu, uint64_t value)
{
    vcpu->regs.gpr[RAX] = (uint32_t)value;
    vcpu->regs.gpr[RDX] = value >> 32;
}

static inline uint64_t get_edx_eax(const struct vcpu *vcpu)
{
    return vcpu->regs.gpr[RDX] << 32 | (uint32_t)vcpu->regs.gpr[RAX];
}

/* CS.L in the access-rights format. It counts in IA-32e mode only. */
#define ACCESS_LONG (1u << 13)

static inline bool exit_from_64bit_mode(void)
{
    return (vmread(VMCS_GUEST_CS_ACCESS) & ACCESS_LONG) != 0 &&
           (vmread(VMCS_GUEST_EFER) & EFER_LMA) != 0;
}

/* #GP(0): what an illegal MSR, XCR or control-register value gives. */
static inline enum exit_action exit_general_protection(struct vcpu *vcpu)
{
    vcpu_inject_exception_error(vcpu, VECTOR_GENERAL_PROTECTION, 0);
    return EXIT_SAME;
}

/* Translations cached under the old paging bits or the old CR3 must go (exit_cr.c). */
void exit_flush_tlb(const struct vcpu *vcpu);

/* Loads the PDPTE registers from where CR3 points; false: a reserved bit is set (exit_cr.c). */
bool exit_load_pdptes(const struct vcpu *vcpu);

/* An iteration of a string instruction is done and the instruction is not: what ends at each
 * instruction's end ends here, and a single-step is due. RIP stays. */
void exit_iteration_done(void);

/* Lets the CPU execute the current instruction, or deliver the queued event, with a copy of the
 * page of a guest-physical address: read-only memory that it wants to write to, ones where neither
 * memory nor a device is, or with a device's own page that is plain memory (exit_rom.c). */
enum exit_action exit_step_on_copy(struct vcpu *vcpu, uint64_t address);

/* Opens the MSRs that live in the VMCS or the local APIC of a vCPU in the VM's table (exit_msr.c);
 * called by vcpu_create(), once. */
enum status exit_msr_open(struct vm *vm);
