/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual CPU: its registers outside the VMCS, its run loop, how an event is queued for it. */
#pragma once

#include "guest/cpu/state.h"
#include "guest/vm/intc.h"
#include "guest/vm/vm.h"

/* In the hardware's order. The RSP slot is unused: RSP is in the VMCS. */
enum gpr {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    GPR_COUNT
};

struct guest_regs {
    uint64_t gpr[GPR_COUNT];
};

/* What a vCPU is doing. One that waits, halts or is held is not entered: the host's CPU sleeps, or
 * runs another vCPU of the seat. */
enum vcpu_activity {
    VCPU_RUNS,
    VCPU_HALTED,         /* executed HLT and waits for an interrupt */
    VCPU_HELD,           /* wrote to a device that cannot take more: goes on by vm_release() */
    VCPU_WAITS_FOR_SIPI, /* after INIT, and from the start on but for the boot processor */
};

/* What other CPUs ask of a vCPU: bits of requests. SIPI's vector is in its bits 15:8. */
enum {
    REQUEST_NMI = 1,
    REQUEST_NMI_AGAIN = 2,
    REQUEST_NMIS = REQUEST_NMI | REQUEST_NMI_AGAIN,
    REQUEST_INIT = 4,
    REQUEST_SIPI = 8,
    REQUESTS_ARE_TAKEN = 16, /* the vCPU is about it: what it does next is not known yet */
};

/* How far the VMCS has come. The last is told to vmx_enter() after each other user of the stack. */
enum vcpu_launch { LAUNCH_NEEDED = 0, LAUNCH_DONE = 1, LAUNCH_DONE_STACK_MOVED = 3 };

/* The registers that neither the VMCS nor struct guest_regs holds: they stay in the CPU, and are
 * saved here (and in the XSAVE area) only while another vCPU has it (vcpu_switch.c). */
struct vcpu_saved {
    uint64_t msr[6];
    uint64_t dr[4], dr6, cr2;
};

/* Pages of ROM that one instruction writes to, while it does (exit_rom.c): a descriptor, a stack,
 * page tables. */
#define ROM_STEP_PAGES 4
struct rom_step {
    uint32_t count;
    uint64_t guest[ROM_STEP_PAGES];
    hpa_t copy[ROM_STEP_PAGES]; /* 0: not needed yet */
};

#define VCPU_NO_APIC_FRAME UINT64_MAX /* off, or in x2APIC mode */

struct vcpu {
    struct guest_regs regs;
    struct vm *vm;
    struct vm_seat *seat;
    struct timers *timers; /* the seat's: when the CPU has to leave the guest */
    uint8_t phys_bits;     /* MAXPHYADDR, as its CPUID says */
    bool posting;          /* the CPU takes posted interrupts by itself */
    uint16_t vpid;
    uint32_t index;      /* from 0: the boot processor */
    uint32_t apic_id;    /* the initial one: index */
    uint64_t apic_frame; /* the page number of its local APIC's registers; VCPU_NO_APIC_FRAME */
    uint8_t launch;      /* enum vcpu_launch */
    /* Interrupts, events, requests or the VM's end: to be looked at before the next entry. Others
     * set it by vcpu_kick(). */
    bool attention;
    uint8_t nmis_pending; /* one that would be delivered now, and one latched behind it */
    uint8_t activity;     /* enum vcpu_activity */
    bool halted_open;     /* what ends VCPU_HALTED: interrupts, */
    bool halted_nmi;      /* NMIs, */
    bool halted_trap;     /* a pending debug trap. The first is true while it runs. */
    uint32_t requests;    /* atomic */
    bool assisted; /* the CPU delivers interrupts from the APIC page (virtual-interrupt delivery) */

    uint32_t insn_length; /* the decoder's, for EXIT_NEXT_DECODED */
    uint64_t tsc_exit;    /* host TSC when the current exit came, plus the time in HLT since */
    uint32_t event; /* VM-entry interruption information to be used at the next entry; 0 = none */
    uint32_t event_error; /* its error code and instruction length */
    uint32_t event_length;

    uint32_t proc, proc2; /* control words as they stand in the VMCS */
    uint32_t tpr_threshold;
    uint64_t eoi_exit[4];   /* the EOI-exit bitmap as it stands there */
    uint32_t ept_seen;      /* the VM's ept_changes at its last INVEPT */
    uint64_t unknown_at;    /* how many accesses had been emulated at the last that could not be, */
    uint64_t unknown_since; /* and since when none in between could be: host TSC, */
    uint32_t unknown_tries; /* and how often since */
    uint64_t xcr0;
    uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
    uint64_t tsc_adjust; /* IA32_TSC_ADJUST as the guest sees it */
    uint64_t misc_enable;

    struct intc intc; /* its local APIC; the device fills it in */
    hpa_t vmcs;
    hpa_t msr_bitmap;
    struct rom_step rom_step;
    hpa_t xsave_area; /* one page, where the seat has several vCPUs */
    bool loaded_once; /* the VMCS has been filled in, and the registers beside it */
    const struct boot_state *boot;
    struct vcpu_saved saved;
    struct vcpu_stats stats;
};

/* Gives a zeroed vCPU its number and its seat, before its local APIC is made. The VM's seat_count
 * is known. */
static inline void vcpu_place(struct vcpu *vcpu, struct vm *vm, uint32_t index)
{
    vcpu->vm = vm;
    vcpu->index = vcpu->apic_id = index;
    vcpu->seat = vm_seat_of(vm, index);
    vcpu->seat->vcpu_count++;
    vcpu->timers = &vcpu->seat->timers;
    vcpu->attention = true;
    vcpu->apic_frame = VM_APIC_PAGE_GPA / PAGE_SIZE;
    vm->vcpu[index] = vcpu;
    vm->vcpu_count++;
}

/* The wires from a local APIC to a vCPU, but for the vCPU itself. */
struct vcpu_line vcpu_line(void);

/* Makes a placed vCPU of a VM whose tables, EPT and intc are filled in. state: the architectural
 * state in which it starts, which stays where it is; NULL: it waits for SIPI. */
enum status vcpu_create(struct vcpu *vcpu, const struct boot_state *state);

/* Frees its memory. No CPU has its VMCS any more: vcpu_put_away() was called on its seat's CPU. */
void vcpu_destroy(struct vcpu *vcpu);

/* Makes it the vCPU of this CPU, its seat's: VMCS and registers, those of the one before saved. */
void vcpu_load(struct vcpu *vcpu);

/* Takes a seat's vCPUs off this CPU at the VM's end: VMCLEAR, and no translation stays cached. */
void vcpu_put_away(struct vm *vm, struct vm_seat *seat);

/* Debug registers and CR2 of the loaded vCPU as after INIT. */
void vcpu_reset_debug(void);

/* Runs the loaded vCPU until the VM ends, its turn is over, or it has nothing to do while its seat
 * has others. */
void vcpu_run(struct vcpu *vcpu);

/* Whether there is something to do for it: it runs, or would wake. On its seat's CPU, loaded or
 * not. */
bool vcpu_is_ready(struct vcpu *vcpu);

/* Whether anything but an interrupt would make it run. From any CPU. */
bool vcpu_is_wanted(const struct vcpu *vcpu);

/* Makes it look at its requests and posted interrupts soon. From any CPU. */
void vcpu_kick(struct vcpu *vcpu);

/* Does what its requests ask for. The vCPU is loaded. */
void vcpu_take_requests(struct vcpu *vcpu);

/* What EDX holds after reset and INIT: the family, model and stepping that its CPUID tells. */
static inline uint32_t vcpu_signature(const struct vcpu *vcpu)
{
    return cpuid_table_find(&vcpu->vm->cpuid, 1, 0)->eax;
}

/* Ends a hypercall with its result. */
static inline enum exit_action vcpu_return(struct vcpu *vcpu, int64_t result)
{
    vcpu->regs.gpr[RAX] = (uint64_t)result;
    return EXIT_NEXT;
}

/* Queues an exception for the next entry. If another event was interrupted by this exit, the SDM's
 * rules ("Conditions for Generating a Double Fault") combine both; a triple fault ends the VM. */
void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector);
void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error);

/* Prints the guest's registers, for a bad end of the VM or vm_show(). The VMCS is current. */
void vcpu_dump(const struct vcpu *vcpu);

/* After vmx_enter() did not enter: prints the VM-instruction error or the exit reason in words,
 * re-runs the SDM's entry checks in software and prints every rule that is broken; ends the VM.
 * failed: what vmx_enter() returned. */
void vcpu_report_failed_entry(struct vcpu *vcpu, unsigned failed);

_Static_assert(offsetof(struct vcpu, regs) == 0 && sizeof(struct guest_regs) == 16 * 8,
               "vmenter.asm counts on 16 registers in the hardware's order");
