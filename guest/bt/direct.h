/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User code of the guest, run by the processor as it is, in the root for user code (space.h) and
 * with segments of its own (guest/ring3/segments.h). Whatever ends that, but for an interrupt of
 * the host's, a page that the shadow lacks, and exceptions that are plainly the guest's, is left to
 * the software CPU, which carries out the instruction where it has stopped: so it raises the
 * exception, does the system call, reaches the device, and no rule about these is written twice.
 *
 * What user code can tell from a CPU of its own: CPUID is the host's, where the host has no CPUID
 * faulting, and so are SGDT, SIDT, SLDT, STR and SMSW without UMIP. Instructions that the VM's
 * CPUID hides, but no bit of CR4 or XCR0 stands for, are executed. LAR, LSL, VERR and VERW know of
 * no descriptor that is not in the real tables (guest/ring3/segments.h says which are), and MOV
 * from DS, ES, FS or GS of none in 64-bit code that CPL 3 could not load. IRET does not end a
 * guest's blocking of NMIs there.
 */
#pragma once

#include "guest/cpu/segment.h"
#include "guest/ring3/controls.h"
#include "guest/ring3/segments.h"

struct bt_vcpu;

struct bt_direct {
    struct ring3_controls controls;
    unsigned detour; /* instructions that are interpreted before it is tried again */
    struct ring3_segments segments;
};

/* Whether code in that state, at CPL 3, can be run as it is: nothing is to happen behind each
 * instruction, and none of the flags that user code does not change without a fault differs. Pure.
 */
static inline bool bt_direct_fits(const struct cpu_state *s)
{
    const uint64_t flags = RFLAGS_IF | RFLAGS_TF | RFLAGS_VM;
    return (s->cr0 & CR0_PE) != 0 && (s->rflags & flags) == RFLAGS_IF &&
           (s->rflags & RFLAGS_IOPL) != RFLAGS_IOPL && (s->dr7 & DR7_ENABLED) == 0 &&
           (s->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) == 0 &&
           s->pending_debug == 0;
}

/* Exceptions without an error code that the guest's code raises by what the guest itself has in
 * registers, CR0 among them: it gets them as they are. */
static inline bool bt_direct_is_of_guest(unsigned vector)
{
    return vector == VECTOR_DIVIDE_ERROR || vector == VECTOR_DEVICE_NOT_AVAILABLE;
}

enum status bt_direct_create(struct bt_vcpu *v);
void bt_direct_destroy(struct bt_vcpu *v);
/* The vCPU is loaded, or put away: then the CPU's registers are the host's again. */
void bt_direct_load(struct bt_vcpu *v);
void bt_direct_put(struct bt_vcpu *v);

/* The same registers around translated kernel code, which sees CR0 and CR4 by what they do to the
 * instructions that only compute. */
void bt_direct_enter_kernel(struct bt_vcpu *v);
void bt_direct_leave_kernel(struct bt_vcpu *v);

/* Runs user code for which bt_is_direct() is true. True: something has come that the run loop is
 * to look at; false: the next instruction is the software CPU's, or kernel code. */
bool bt_direct_run(struct bt_vcpu *v);
