/* SPDX-License-Identifier: BSD-2-Clause */
/* VM exits: the basic reasons, what handlers answer, and the handlers that exit.c's table names. */
#pragma once

#include "arch/x86.h"
#include "guest/vm/engine.h"
#include "vmx/insn.h"
#include "vmx/state.h"
#include "vmx/vcpu.h"

/* SDM, appendix "Basic Exit Reasons". Each is an event that vcpu->stats counts. */
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
    EXIT_REASON_COUNT = 78,
};

/* Handles the exit that has just happened (the VMCS is current) for its basic reason, including the
 * step over the instruction. The end of the VM is asked for with vm_end_request(). */
void exit_dispatch(struct vcpu *vcpu, uint32_t reason);

/* The SDM's name of a basic exit reason in lower case with underscores; never NULL. */
const char *exit_reason_name(unsigned reason);
/* Of one below EXIT_REASON_COUNT. */
enum event_class exit_reason_class(unsigned reason);

/* A handler takes everything from the vCPU and the VMCS; one file per family. */
typedef enum exit_action exit_handler(struct vcpu *vcpu);

exit_handler exit_cr_access;
exit_handler exit_io;
exit_handler exit_ept_violation, exit_ept_misconfiguration, exit_apic_access;
exit_handler exit_apic_write, exit_virtualized_eoi, exit_tpr_below_threshold;
/* A machine check while the guest ran or was entered: ends the VM, unless it is another CPU's, or
 * panics where the host cannot go on either. */
void exit_machine_check(struct vcpu *vcpu);
exit_handler exit_exception_or_nmi, exit_external_interrupt, exit_triple_fault;
exit_handler exit_bus_lock, exit_instruction_timeout;
/* The guest has locked the bus, which stops all CPUs for a while: another vCPU gets the turn. */
void exit_note_bus_lock(struct vcpu *vcpu);

/* The step that the vCPU is about (guest/vm/step.h), if any, is over: its instruction has been
 * executed, has faulted, or is carried out by a handler. */
void exit_end_step(struct vcpu *vcpu);

/* What struct emulate_context says of RFLAGS, RSP and breakpoints back into the VMCS, after a
 * handler in guest/vm/ has worked with it; if ctx->changed. */
void exit_take_context(const struct emulate_context *ctx);
