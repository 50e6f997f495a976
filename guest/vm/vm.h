/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual machine, whatever executes it. guest/pc/ builds the PC around it. */
#pragma once

#include "arch/spinlock.h"
#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/msi.h"
#include "drivers/bus/timers.h"
#include "guest/cpu/cpuid_table.h"
#include "guest/cpu/event.h"
#include "guest/cpu/msr_table.h"
#include "guest/cpu/state.h"
#include "guest/vm/clock.h"
#include "guest/vm/engine.h"
#include "guest/vm/runqueue.h"
#include "guest/vm/stats.h"
#include "guest/vm/vcpu_pv.h"
#include "mm/guestmem.h"

#define VM_APIC_PAGE_GPA     0xfee00000ull /* where local APICs are, unless moved */
#define VM_MAX_HYPERCALLS    12
#define VM_MAX_VCPUS         64
#define VMCALL_UNKNOWN       (-1000) /* the results that are not a hypercall's own: guest/hypercall.h */
#define VMCALL_NOT_PERMITTED (-1) /* not at CPL 0 */

struct cpu;
struct vcpu;
struct vm_domain;

/* What a handler of an exit answers. A handler never writes RIP: the engine's dispatcher does. */
enum exit_action {
    EXIT_NEXT,         /* emulated: step over the instruction */
    EXIT_NEXT_DECODED, /* the same, by vcpu->insn_length: the engine knows no length */
    EXIT_SAME,         /* enter again where it was: retry, or an event has been queued */
    EXIT_ITERATION, /* a part of a REP is done: RIP stays, but what ends at each instruction's end
                     * ends here (SDM, "Repeated String Operations") */
};

/* A hypercall, from the guest's kernel: ends with vcpu_return() of its result. */
typedef enum exit_action hypercall_fn(struct vcpu *vcpu);

struct vm {
    const char *name;
    unsigned index;  /* from 0 */
    unsigned log;    /* what is said of it: log_line_of() */
    uint64_t number; /* of this life: no VM has had it before. From 1 */
    const struct engine *engine;
    void *engine_vm;

    struct vm_domain *domain; /* of one that is paravirtualised (guest/vm/domain.h), or NULL */
    struct guestmem mem;
    hpa_t root; /* of the host's page tables that have it: guestspace_enter() */
    struct bus bus;
    struct msi_source ioapic;
    struct ferr_line ferr; /* of all its vCPUs: there is one error latch */
    struct cpuid_table cpuid;
    struct msr_table msrs;
    uint64_t xcr0_allowed; /* what XSETBV may set; 0 without XSAVE. Agrees with CPUID leaf 0xd. */
    uint64_t cr4_allowed;  /* what CR4 may have, by CPUID and engine */
    uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES, where CPUID shows it */
    uint64_t memory_bytes;
    bool interpreted; /* the engine bt carries each instruction out in software, for tests */
    bool checked;     /* or compares its translations with that */
    bool from_reset; /* its firmware comes first: x87 as after RESET (FCW 0x40), not after FNINIT */
    uint32_t request_count;  /* of NMI, INIT and SIPI; atomic */
    uint32_t memory_changes; /* how often vm_memory_changed() was called; atomic */
    hypercall_fn *hypercall[VM_MAX_HYPERCALLS]; /* as KVM numbers them; NULL: unknown */
    hypercall_fn *own_hypercall;                /* those of other numbers; NULL: unknown */
    /* A byte for the user, from a hypercall. With the lock held; NULL: there is no console. */
    void (*console_out)(struct vm *vm, uint8_t byte);

    /* A debugger's: an instruction has been stepped, or INT3 met (enum debug_stop). True: the vCPU
     * stays in front of it; false: the guest's own. NULL: there is none. Loaded. */
    bool (*debug_stop)(struct vcpu *vcpu, unsigned stop);

    /* Prints how its devices stand, for vcpu_request_dump() and a bad end; NULL: there are none to
     * tell of. *state is a vCPU's. With the lock held, or behind the end. */
    void (*dump)(struct vm *vm, const struct cpu_state *state);
    struct spinlock dump_lock; /* of whoever prints where a vCPU stands */

    struct vcpu *vcpu[VM_MAX_VCPUS];
    uint32_t vcpu_count;

    struct spinlock lock; /* over bus, devices, APIC registers and timers: vm_lock() */
    /* Taken by each LOCK that software makes for a guest with more than one instruction, from its
     * read to its write; vm_lock() may be taken inside. */
    struct spinlock locked_access;
    struct timers timers;   /* its devices'; the clock is the host's TSC */
    uint64_t alarm_armed;   /* the deadline that the alarm below has */
    struct run_alarm alarm; /* runs the timers; lives with vCPU 0 */
    struct run_queues *queues;
    struct run_share share; /* of CPU time */
    struct run_cpus cpus;   /* where its vCPUs may run */
    uint32_t cpu_count;     /* how many CPUs it can use at a time: for the accounts */

    bool io_waits; /* a device can take no more: vCPUs in ACTIVITY_WAIT_FOR_IO wait for
                      vm_io_ready() */

    enum vm_end end; /* VM_RUNS until somebody asked for the end */
    bool end_claimed;
    uint32_t end_code;
    struct vcpu *end_vcpu; /* whose exit asked for it, or the first */
    char end_why[160];
    struct cpu_state end_state; /* of end_vcpu, if the end is a crash */
    uint32_t running;           /* vCPUs that have not stopped behind the end; atomic */
    /* The last of them has: the VM can be destroyed. On the CPU where that was, with no vCPU loaded
     * and no lock held; sched_lend() is to be called behind each portion of long work. */
    void (*stopped)(struct vm *vm);
    void *owner; /* of stopped() */
    /* Host TSC at the first turn of vCPU 0 (of a VM that has not had it: at vm_start()), and at the
     * end; 0: not yet. */
    uint64_t tsc_first_entry, tsc_end;
    uint64_t tsc_offset; /* that its vCPUs start with: see there */
    struct vm_clock clock;
    uint64_t epoch; /* the time of day when the host's TSC was 0: seconds since 1970 (UTC) */
};

/* A VM of one vCPU does without the lock: its devices are used by the CPU that is the home of that
 * vCPU alone, in its exits, or where its alarm is fired. A vCPU whose alarm is being fired does not
 * move (guest/vm/runqueue.h). */
void vm_lock_shared(struct vm *vm);
void vm_unlock_shared(struct vm *vm);

/* The devices' next deadline has changed: their alarm follows. With the lock held. */
void vm_arm_alarm(struct vm *vm);

/* The alarm's fire(): runs the timers of the VM that dev is, and returns the next deadline. */
uint64_t vm_run_timers(void *dev, uint64_t now);

/* Lets a complete VM run; its `stopped` is set, and its alarms are armed: vm_arm_alarm(), for the
 * first time. From any CPU. */
void vm_start(struct vm *vm);

/* Around every call of a device, its timers included: bus accesses, APIC registers. Not nested. */
static inline void vm_lock(struct vm *vm)
{
    if (vm->vcpu_count > 1)
        vm_lock_shared(vm);
}

static inline void vm_unlock(struct vm *vm)
{
    if (__builtin_expect(vm->timers.next != vm->alarm_armed, 0))
        vm_arm_alarm(vm);
    if (vm->vcpu_count > 1)
        vm_unlock_shared(vm);
}

static inline bool vm_has_ended(const struct vm *vm)
{
    return __atomic_load_n(&vm->end, __ATOMIC_ACQUIRE) != VM_RUNS;
}

/* From a device, for the vCPU whose access this is: it stops behind the access until
 * vm_io_ready(). Other vCPUs of the VM run on. Both with the VM's lock held. */
void vm_wait_for_io(struct vm *vm);
void vm_io_ready(struct vm *vm);

/* The engine's mappings have been changed: before a vCPU is entered again, what its CPU has cached
 * of them is dropped, and those that run are made to leave for that soon. From any CPU. */
void vm_memory_changed(struct vm *vm);

/* Switches the gate of address line 20 for all vCPUs, from their next entries on. Fits struct
 * a20_line; with the VM's lock held, or before it runs. */
void vm_set_a20(void *vm, bool on);

/* Asks for the VM's end after the current exit, of all its vCPUs; the first request wins. From any
 * CPU. Fits struct power_line. */
void vm_end_request(void *vm, enum vm_end end, uint32_t code, const char *why);
void vm_end_format(struct vm *vm, enum vm_end end, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
