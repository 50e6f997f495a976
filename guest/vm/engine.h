/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What executes the guests: the one interface between a virtual machine and its engine. guest/ and
 * drivers/ know nothing else of an engine; an engine knows nothing of devices, consoles and
 * configurations. boot/main.c names the engines there are.
 *
 * An engine embeds struct vcpu as the first member of its own virtual CPU, and hangs what it needs
 * for a VM at vm->engine_vm. Where a function says "loaded", the vCPU is the calling CPU's, by
 * load(); interrupts of the host are off in all of them.
 */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"

#include <stdbool.h>
#include <stdint.h>

struct cpu_segment;
struct cpu_state;
struct cpu;
struct event;
struct emulate_context;
struct vcpu;
struct vm;

/* What a guest may do with a page of its physical memory. */
enum map_perms { MAP_R = 1, MAP_W = 2, MAP_X = 4, MAP_RW = 3, MAP_RX = 5, MAP_RWX = 7 };

/* What an engine can let a guest use on this machine, beside what its CPUID tells. */
struct engine_facts {
    bool rdtscp, invpcid, xsaves;
    /* TSX, and what reads and writes memory in one go (RAO-INT, CMPccXADD): the CPU itself executes
     * whatever is there. */
    bool tsx, atomics;
    bool threads_shared; /* told to probe(): two VMs may run on the threads of one core */
    /* IA32_SPEC_CTRL is switched between guest and host, and IA32_PRED_CMD takes orders; what
     * IA32_ARCH_CAPABILITIES tells a guest. */
    bool spec_control;
    uint64_t arch_capabilities;
    bool virtual_apic;    /* the CPU itself takes EOIs (struct vcpu: assisted) */
    bool pages_1g;        /* RAM is worth being aligned for pages of 1 GiB */
    uint64_t cr4_allowed; /* bits that a guest's CR4 can have at all */
    /* The host may use CET: guests do not meet it, and no RET is made to go elsewhere (return
     * thunks: where indirect calls go by RET, tracking sees none of them either). */
    bool host_cet;
};

/* The memory that an engine holds for a VM, for the accounts. */
struct engine_memory {
    uint64_t table_pages; /* 4 KiB each */
    uint64_t leaves[3];   /* mappings of 4 KiB, 2 MiB, 1 GiB */
};

/* What a debugger wants to see of a vCPU: engine->set_debug(). */
enum debug_stop {
    DEBUG_STEP = 1,       /* each instruction */
    DEBUG_BREAKPOINT = 2, /* INT3, before the guest does */
};

/* What an event is about, whatever an engine calls it: so that the accounts of a guest under two
 * engines can be laid side by side. */
enum event_class {
    CLASS_IO,          /* port I/O */
    CLASS_MMIO,        /* memory that is a device's, or nothing */
    CLASS_CPU,         /* CPUID, MSRs, control and debug registers, and what else is privileged */
    CLASS_PAGE_TABLES, /* translations of linear addresses: dropped, or made anew */
    CLASS_EXCEPTION,
    CLASS_INTERRUPT, /* interrupts of guest and host, the local APIC's registers that do not trap */
    CLASS_SYSCALL,   /* a guest's system calls, and hypercalls */
    CLASS_TIMER,
    CLASS_IDLE,      /* HLT, PAUSE and their like */
    CLASS_TRANSLATE, /* what the engine does to carry out instructions */
    CLASS_OTHER,
    CLASS_COUNT
};

struct engine {
    const char *name; /* as in nadir.cfg: "vtx" */

    /* Machine: once on the boot CPU, before all else: fills in *facts, or logs each thing that is
     * missing (ERR_UNSUPPORTED) or switched off (ERR_DENIED). */
    enum status (*probe)(struct engine_facts *facts);
    /* On each CPU, before a vCPU is loaded there; logs why not. Off: before power-off or reset,
     * harmless where it was not on. */
    enum status (*cpu_on)(struct cpu *cpu);
    void (*cpu_off)(void);

    /* VM: before its memory is mapped and its vCPUs are made; after they are gone. From any CPU. */
    enum status (*vm_create)(struct vm *vm);
    void (*vm_destroy)(struct vm *vm);

    /*
     * Memory: whole pages of 4 KiB, write-back. With the VM's lock held, or before it runs. What is
     * changed behind the back of a running VM is followed by one vm_memory_changed().
     * The bits in vm->mem.absent are not in any address that a vCPU reaches: a change of these,
     * too, is followed by vm_memory_changed(). What is mapped at such an address waits for their
     * return. map(): where nothing is mapped yet. protect(): perms 0 hides the range. redirect():
     * another host page at one that is mapped by itself. ERR_BAD_INPUT: not so; ERR_NO_MEMORY.
     */
    enum status (*map)(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms);
    enum status (*protect)(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms);
    enum status (*redirect)(struct vm *vm, gpa_t page, hpa_t host, unsigned perms);
    void (*memory)(const struct vm *vm, struct engine_memory *out);

    /* vCPU: allocates it zeroed, to be filled in by vcpu_init(); gives all back, of one that is
     * loaded nowhere. create() after the VM's tables (CPUID, MSRs) are complete. */
    enum status (*vcpu_create)(struct vm *vm, struct vcpu **out);
    void (*vcpu_destroy)(struct vcpu *vcpu);
    /* Makes it this CPU's, where none is loaded, with all of its state; and takes it off again,
     * after which any other CPU may load it. */
    void (*load)(struct vcpu *vcpu);
    void (*put)(struct vcpu *vcpu);
    /* Executes the guest. Before each entry that something has been asked for (vcpu->attention) or
     * is due, it calls vcpu_prepare(), and returns where that says so, or when the VM is at its
     * end. Loaded. */
    void (*run)(struct vcpu *vcpu);

    /* State, in parts (enum state_part): read what parts names into *out; write those from *in.
     * Translations that depend on what is written are dropped. Loaded. */
    void (*get_state)(struct vcpu *vcpu, unsigned parts, struct cpu_state *out);
    void (*set_state)(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in);
    /* The hidden part of one segment register, STATE_ES to STATE_TR. Loaded. */
    void (*get_segment)(struct vcpu *vcpu, unsigned number, struct cpu_segment *out);
    /* Drops cached translations of linear addresses. Loaded. */
    void (*flush_tlb)(struct vcpu *vcpu);
    /* The same for one address alone, which is canonical. NULL: flush_tlb() does. Loaded. */
    void (*invalidate)(struct vcpu *vcpu, gva_t linear);
    /* What an access to linear memory needs to know of the vCPU. Loaded. */
    void (*view)(struct vcpu *vcpu, struct emulate_context *out);

    /* An exception, which has been through the rules of double faults, becomes the event of the
     * next entry. The engine sets RFLAGS.RF, and what an event leaves behind whose delivery this
     * one has ended (an NMI: that NMIs are blocked). Loaded. */
    void (*inject)(struct vcpu *vcpu, const struct event *event);
    /* Mode or address of its local APIC have changed; its tsc_offset has. Loaded. */
    void (*apic_changed)(struct vcpu *vcpu);
    void (*tsc_changed)(struct vcpu *vcpu);
    /* From now on the guest reads and writes IA32_SPEC_CTRL without an exit, and each exit has the
     * value in vcpu->spec_control. Where engine_facts.spec_control is true. Loaded. */
    void (*open_spec_control)(struct vcpu *vcpu);
    /* For this vCPU alone, until its step is off: another host page at a page of guest-physical
     * memory, whatever others see there; once for each page. ERR_BAD_INPUT: part of a larger one;
     * ERR_LIMIT, ERR_NO_MEMORY. Loaded, with the VM's lock held. */
    enum status (*show)(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms);
    /* Runs one instruction, or one delivery of an event, with no interrupt before it, and calls
     * step_done() (guest/vm/step.h) then, or when it has to begin anew; off again without a call.
     * False: it cannot. Loaded. */
    bool (*step)(struct vcpu *vcpu, bool on);
    /* From now on vcpu_x87_stepped() is called behind each instruction and each delivery of an
     * event; interrupts come as ever. Or no more. False: it cannot. Loaded. */
    bool (*watch)(struct vcpu *vcpu, bool on);
    /* From now on vm->debug_stop is called for what stops (enum debug_stop) names, and for nothing
     * else. False: the engine cannot. Loaded. */
    bool (*set_debug)(struct vcpu *vcpu, unsigned stops);

    /* The events that vcpu->stats counts: below event_count, each with a name of lower-case
     * letters, never NULL, and a class. */
    unsigned event_count;
    const char *(*event_name)(unsigned event);
    enum event_class (*event_class)(unsigned event);
    /* What it counts beside events: below counter_count, with names likewise; of all of a VM's
     * vCPUs. Any CPU, and while the VM runs. Where counter_count is 0, the others are NULL. */
    unsigned counter_count;
    const char *(*counter_name)(unsigned counter);
    uint64_t (*counter)(const struct vm *vm, unsigned counter);
};
