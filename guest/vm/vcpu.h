/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual CPU, whatever executes it: its registers, what it waits for, what is asked of it, and
 * what its exits have in common under each engine. */
#pragma once

#include "guest/cpu/event.h"
#include "guest/cpu/state.h"
#include "guest/vm/vlapic.h"
#include "guest/vm/vm.h"
#include "mm/mtrr.h"

/* In the hardware's order. The RSP slot is the emulator's only: RSP is the engine's. */
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

/* What the guest has its CPU do (SDM, "Activity State"): written by the vCPU's own CPU alone.
 * Whether and where a vCPU runs is its run state: enum vcpu_state (runqueue.h). One that is not
 * active is not entered: its CPU sleeps, or runs another one. */
enum vcpu_activity {
    ACTIVITY_ACTIVE,
    ACTIVITY_HLT, /* executed HLT and waits for an interrupt; the two behind it wait for one, too */
    ACTIVITY_FROZEN,      /* at an x87 instruction, by an error: until an interrupt (vcpu_x87.c) */
    ACTIVITY_SLEEP,       /* by a hypercall: until an interrupt, or its time (hypercall.c) */
    ACTIVITY_WAIT_FOR_IO, /* wrote to a device that cannot take more: goes on by vm_io_ready() */
    ACTIVITY_WAIT_FOR_SIPI, /* after INIT, and from the start on but for the boot processor */
    ACTIVITY_COUNT,
};

/* What other CPUs ask of a vCPU: bits of requests. SIPI's vector is in its bits 15:8. */
enum {
    REQUEST_NMI = 1,
    REQUEST_NMI_AGAIN = 2,
    REQUEST_NMIS = REQUEST_NMI | REQUEST_NMI_AGAIN,
    REQUEST_INIT = 4,
    REQUEST_SIPI = 8,
    REQUEST_DUMP = 32,       /* prints where it stands */
    REQUEST_STEP = 64,       /* its own: step.unfinished */
    REQUEST_UNHALT = 128,    /* its HLT ends; it stands until there is one */
    REQUESTS_ARE_TAKEN = 16, /* the vCPU is about it: what it does next is not known yet */
};

/* An instruction that the CPU executes by itself on pages of its own: step.h, and what it is about
 * in step_parts.h. */
struct step {
    uint32_t count;           /* pages that are shown */
    uint32_t pieces;          /* what is known of its operands */
    struct step_parts *parts; /* NULL: it has never stepped */
    uint64_t next_rip;        /* behind the instruction */
    bool unfinished;          /* step_continue() is to be called before the next entry */
};

/* What vcpu_x87.c knows of an error that is pending with CR0.NE = 0. */
struct vcpu_x87 {
    bool asserted;    /* FERR# */
    bool masked;      /* IGNNE#: errors are masked for one instruction; before, the word was: */
    uint16_t control; /* the control word of the x87 unit */
};

#define VCPU_MTRR_PAIRS 8u
struct vcpu_mtrr {
    uint64_t default_type, fixed[MTRR_FIXED_COUNT]; /* as in struct mtrr_state */
    uint64_t variable[2 * VCPU_MTRR_PAIRS];         /* base and mask of each pair */
};

#define VCPU_NO_APIC_FRAME UINT64_MAX /* off, or in x2APIC mode */

struct vcpu {
    struct guest_regs regs;
    uint64_t spec_control;       /* IA32_SPEC_CTRL, as the guest has written it */
    bool spec_control_open;      /* it does so without exits: each exit brings the value here */
    uint8_t spec_control_writes; /* that did exit */
    uint32_t index;              /* from 0: the boot processor */
    struct vm *vm;
    const struct engine *engine;
    struct run_vcpu run;    /* its run queue's part of it */
    struct run_alarm alarm; /* runs the timer of its local APIC while it is not loaded */
    struct timers timers;   /* that timer, and the one below: when the CPU has to leave the guest */
    struct timer host_timer; /* when the CPU has to look at its run queue */
    uint8_t phys_bits;       /* MAXPHYADDR, as its CPUID says */
    /* The engine's: the CPU delivers interrupts from the APIC's page by itself (virtual-interrupt
     * delivery; before vlapic_init()), and takes posted ones (from the first load on). */
    bool assisted, posting;
    uint32_t apic_id;    /* the initial one: index */
    uint64_t apic_frame; /* the page number of its local APIC's registers; VCPU_NO_APIC_FRAME */
    /* Interrupts, events, requests or the VM's end: to be looked at before the next entry. It stays
     * while the vCPU has no CPU. Others set it by vcpu_kick(), and while it is loaded by an
     * interrupt of its CPU (struct cpu: attention). */
    bool attention;
    uint8_t nmis_pending; /* one that would be delivered now, and one latched behind it */
    enum vcpu_activity activity;
    bool halted_open;     /* interrupts end its HLT; true while it does not halt */
    bool halted_nmi;      /* NMIs end its HLT */
    bool halted_trap;     /* it ends at once: a debug trap, an UNHALT, its time to sleep is over */
    bool event_waits;     /* or by the engine's own event (guest/pv/events.c); atomic */
    uint32_t requests;    /* atomic */
    struct event event;   /* for the next entry */
    uint32_t insn_length; /* the decoder's, for EXIT_NEXT_DECODED */
    uint64_t tsc_exit;    /* host TSC when the current exit came, plus the time in HLT since */
    uint64_t tsc_blocked; /* since when it waits, 0: it does not */
    uint64_t tsc_waited[ACTIVITY_COUNT]; /* host TSC ticks in all, by what it waited for */
    bool yields;                         /* its turn is to go to another one: PAUSE in a loop */
    uint8_t began; /* what its engine books the first entry of a run on: STATS_... */

    uint32_t memory_seen; /* vm->memory_changes, when cached translations were last dropped */
    /* An instruction that cannot be emulated is tried again for a while: exit_memory.c. */
    uint64_t unknown_at;    /* accesses (below) at the last instruction that could not be */
    uint64_t unknown_since; /* host TSC, since when none in between could be */
    uint32_t unknown_tries; /* how often that has been so since then */
    uint64_t accesses;      /* instructions on device memory so far */
    uint64_t xcr0;
    uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
    uint64_t tsc_adjust; /* IA32_TSC_ADJUST as the guest sees it */
    uint64_t misc_enable;
    struct vcpu_mtrr mtrr;
    struct vcpu_pv pv;

    struct vlapic apic;
    struct step step;
    struct vcpu_x87 x87;
    struct undelivered first;        /* what led to event, while that is an exception */
    bool started;                    /* has been loaded with a state to begin with */
    const struct cpu_state *initial; /* NULL: as after reset */
    /* Of hypercalls: sends call_vector to it, and ends its sleep. fire is NULL: not in use yet, and
     * not among timers. */
    struct timer call_timer, sleep_timer;
    uint8_t call_vector;
    struct vcpu_stats stats;
};

/* Gives a vCPU that the engine has made its number and its run queue, before vlapic_init(). The
 * VM's CPUID table, clock, share and CPUs are known. */
void vcpu_init(struct vcpu *vcpu, struct vm *vm, uint32_t index);

/* Whose local APIC it is. */
static inline struct vcpu *vlapic_vcpu(const struct vlapic *apic)
{
    return (struct vcpu *)((uintptr_t)apic - offsetof(struct vcpu, apic));
}

/* What a local APIC tells its vCPU. IRR, ISR, TPR, TMR, LINT0's entry or the mode have changed: to
 * be looked at before the next entry. On its home CPU. */
void vcpu_interrupts_changed(struct vcpu *vcpu);
/* A vector stands in its struct posted, or the 8259 asks. silent: it is among the requests, so the
 * vCPU may take it without an exit. From any CPU, as are those below. later: where several of a VM
 * are told something, who of them is to be woken is added there, as a bit, for vcpu_kick_all()
 * behind that; NULL: it is woken now. */
void vcpu_posted(struct vcpu *vcpu, bool silent, uint64_t *later);
void vcpu_request_nmi(struct vcpu *vcpu, uint64_t *later);
void vcpu_request_init(struct vcpu *vcpu, uint64_t *later); /* leads to vlapic_reset() */
void vcpu_request_sipi(struct vcpu *vcpu, unsigned vector, uint64_t *later);
void vcpu_request_unhalt(struct vcpu *vcpu);

/* The last step of making one, with its local APIC. state: in which it starts, which stays
 * where it is; NULL: it waits for SIPI. */
void vcpu_set_initial(struct vcpu *vcpu, const struct cpu_state *state);

/* Opens the MSRs that live in a vCPU in the VM's table; once per VM. */
enum status vcpu_msr_open(struct vm *vm);

/* Its MTRRs as firmware leaves them, which is how vcpu_init() does, and as after a reset: off. */
void vcpu_mtrr_set_up(struct vcpu *vcpu);
void vcpu_mtrr_power_on(struct vcpu *vcpu);
/* Their part of vcpu_msr_open(). */
enum status vcpu_mtrr_open(struct vm *vm);
/* Likewise those about speculation, as CPUID shows them. */
enum status vcpu_speculation_open(struct vm *vm);

/* Frees its memory. It is loaded nowhere. */
void vcpu_destroy(struct vcpu *vcpu);

/* Makes it the vCPU of this CPU: the one before is put away. */
void vcpu_load(struct vcpu *vcpu);

/* Takes what is loaded off this CPU. */
void vcpu_put_away(void);

/* Behind the VM's end, for one that has its CPU's turn: it never runs again. */
void vcpu_stop(struct vcpu *vcpu);

/* Runs the timer of its local APIC if it is due. On its home CPU. */
void vcpu_run_timer(struct vcpu *vcpu, uint64_t now);

static inline struct vcpu *vcpu_of_run(struct run_vcpu *run)
{
    return (struct vcpu *)((uint8_t *)run - offsetof(struct vcpu, run));
}

/* For the engine, before an entry: runs timers that are due, does what has been asked for, waits
 * while it halts. The vCPU is loaded; not with the VM's lock held. */
enum vcpu_prepared {
    PREPARED_LEAVE, /* the engine is to return: the turn is over, the vCPU blocked, the VM ended */
    PREPARED_ENTER, /* nothing has changed that the guest would see */
    PREPARED_LOOK,  /* before it enters, the engine looks at interrupts, events and mappings */
};
enum vcpu_prepared vcpu_prepare(struct vcpu *vcpu);

/* Whether there is something to do for it: it runs, or would wake. On its home CPU, loaded or not.
 */
bool vcpu_is_ready(struct vcpu *vcpu);

/* Of one that halts, or is frozen: whether one of these requests, or an NMI, ends that. */
static inline bool vcpu_ends_halt(const struct vcpu *vcpu, enum vcpu_activity activity,
                                  uint32_t requests)
{
    if ((requests & REQUEST_UNHALT) != 0 && activity == ACTIVITY_HLT)
        return true;
    return ((requests & REQUEST_NMI) != 0 || vcpu->nmis_pending != 0) && vcpu->halted_nmi;
}

/* Whether it runs, or anything but an interrupt (a request, the end of its being held) would make
 * it run. From any CPU. */
static inline bool vcpu_is_wanted(const struct vcpu *vcpu)
{
    /* Requests first: they are taken before the vCPU's state changes. */
    const uint32_t requests = __atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST);
    const enum vcpu_activity activity = __atomic_load_n(&vcpu->activity, __ATOMIC_SEQ_CST);
    if (activity == ACTIVITY_ACTIVE || (requests & (REQUEST_INIT | REQUESTS_ARE_TAKEN)) != 0)
        return true;
    if (activity == ACTIVITY_WAIT_FOR_SIPI)
        return (requests & REQUEST_SIPI) != 0;
    if (activity == ACTIVITY_WAIT_FOR_IO)
        return !__atomic_load_n(&vcpu->vm->io_waits, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&vcpu->event_waits, __ATOMIC_SEQ_CST))
        return true;
    if ((requests & (REQUEST_NMI | REQUEST_UNHALT)) == 0 && vcpu->nmis_pending == 0)
        return vcpu->halted_trap;
    return vcpu->halted_trap || vcpu_ends_halt(vcpu, activity, requests);
}

/* Makes it look at its requests and posted interrupts soon. From any CPU. */
void vcpu_kick(struct vcpu *vcpu);

/* The same for each vCPU of a VM whose bit is set; for less than one by one. */
void vcpu_kick_all(struct vm *vm, uint64_t which);

/* Asks it to print its registers and what it does, soon; it goes on. From any CPU. */
void vcpu_request_dump(struct vcpu *vcpu);

/* Whether that has been asked for. From any CPU. */
static inline bool vcpu_dump_is_wanted(const struct vcpu *vcpu)
{
    return (__atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST) & REQUEST_DUMP) != 0;
}

/* Prints its registers and what it does. The vCPU is loaded. */
void vcpu_dump(struct vcpu *vcpu);
static inline void vcpu_dump_if_asked(struct vcpu *vcpu)
{
    if (vcpu_dump_is_wanted(vcpu))
        vcpu_dump(vcpu);
}

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
 * rules ("Conditions for Generating a Double Fault") combine both; a triple fault ends the VM. In
 * real mode the error code is left out. */
void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector);
void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error);

/* Ends the VM: the delivery of what stands in vcpu->first has led to a triple fault at RIP. */
void vcpu_triple_fault(struct vcpu *vcpu);

/* Queues #PF for an address, with CR2. */
void vcpu_inject_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error);

/* Queues the #DB that these causes make, with DR6, DR7 and IA32_DEBUGCTL as its delivery leaves
 * them. */
void vcpu_inject_debug(struct vcpu *vcpu, uint64_t causes);

/* #GP(0): what an illegal MSR, XCR or control-register value gives. */
static inline enum exit_action vcpu_general_protection(struct vcpu *vcpu)
{
    vcpu_inject_exception_error(vcpu, 13, 0);
    return EXIT_SAME;
}

/* Prints registers, code, stack and callers of *state, which is the vCPU's, for a bad end of the VM
 * or vcpu_request_dump(). The VM's memory is there still; the vCPU need not be loaded. */
void vcpu_print(const struct vcpu *vcpu, const struct cpu_state *state);

/* Prints what led to a triple fault in *state (vcpu->first), and why it could not be delivered;
 * nothing where that is not known. As above. */
void vcpu_print_undelivered(const struct vcpu *vcpu, const struct cpu_state *state);

/*
 * Instructions, as each engine's exits find them: registers in vcpu->regs, RIP at the instruction.
 * All: the vCPU is loaded, the VM's lock is not held.
 */

/* The vCPU does nothing until an interrupt. What ends that, as the state that the interrupt finds
 * says: RFLAGS.IF is set, NMIs are not blocked, a debug trap is pending. */
static inline void vcpu_wait_for_interrupt(struct vcpu *vcpu, enum vcpu_activity activity,
                                           bool open, bool nmi, bool trap)
{
    vcpu->activity = (uint8_t)activity;
    vcpu->halted_nmi = nmi;
    vcpu->halted_trap = trap;
    __atomic_store_n(&vcpu->halted_open, open, __ATOMIC_SEQ_CST); /* see all_stuck(), sched.c */
    vcpu->attention = true;
}

/* HLT. The state is that behind the instruction. */
static inline enum exit_action vcpu_halt(struct vcpu *vcpu, bool open, bool nmi, bool trap)
{
    vcpu_wait_for_interrupt(vcpu, ACTIVITY_HLT, open, nmi, trap);
    return EXIT_NEXT;
}

/* #MF of a guest whose CR0.NE is 0, at the instruction that waits for errors: asserts FERR#, and
 * freezes it until an interrupt, or lets it pass where IGNNE# says so. open, nmi: RFLAGS.IF is set,
 * NMIs are not blocked. */
enum exit_action vcpu_x87_error(struct vcpu *vcpu, bool open, bool nmi);
/* Behind each step of the guest, from engine->watch() on. */
void vcpu_x87_stepped(struct vcpu *vcpu);
/* VMCALL. cpl: of the caller, 0 to 3. */
enum exit_action vcpu_hypercall(struct vcpu *vcpu, unsigned cpl);
/* CPUID: vcpu_cpuid() answers where nothing depends on the vCPU's state or ECX, which is the common
 * and short way. False: vcpu_cpuid_dynamic() does, with CR4 as the guest has it. */
static inline bool vcpu_cpuid(struct vcpu *vcpu)
{
    uint64_t *gpr = vcpu->regs.gpr;
    const struct cpuid_entry *e = cpuid_table_first(&vcpu->vm->cpuid, (uint32_t)gpr[RAX]);
    if (e->dynamic != 0)
        return false;
    gpr[RAX] = e->eax;
    gpr[RBX] = e->ebx;
    gpr[RCX] = e->ecx;
    gpr[RDX] = e->edx;
    return true;
}
enum exit_action __attribute__((noinline)) vcpu_cpuid_dynamic(struct vcpu *vcpu, uint64_t cr4);
enum exit_action vcpu_rdmsr(struct vcpu *vcpu);
enum exit_action vcpu_wrmsr(struct vcpu *vcpu);
enum exit_action vcpu_xsetbv(struct vcpu *vcpu);

/* A task switch that the CPU has found and checked the gate or descriptor of (SDM, "Treatment of
 * Task Switches"). source: enum task_source; selector: of the new task's TSS; insn_length: of the
 * instruction, for what comes by one. An event that is being delivered is in vcpu->event. */
enum exit_action vcpu_task_switch(struct vcpu *vcpu, unsigned source, uint16_t selector,
                                  unsigned insn_length);

_Static_assert(offsetof(struct vcpu, regs) == 0 && offsetof(struct vcpu, spec_control) == 16 * 8 &&
                   offsetof(struct vcpu, spec_control_open) == 17 * 8,
               "assembly counts on 16 registers in the hardware's order, and these two behind");
