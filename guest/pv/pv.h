/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine for paravirtualised guests: kernels that know that they run on a hypervisor, and ask
 * it by hypercalls for what they may not do themselves (Xen's interface: xen.h). It needs neither
 * VT-x nor translation. The guest's kernel runs at CPL 3 as it is, in the root SHADOW_KERNEL of its
 * vCPU (mm/shadow.h), and its user code in SHADOW_USER, by page tables of its own.
 *
 * Page tables and the CPL alone keep the guest in its place. The guest's tables are never used by
 * the processor, so what is in them need not be trusted, but only be answered as Xen answers. A
 * domain has its RAM, and behind it a few pages that it shares with the hypervisor (struct
 * vm_domain); the devices of a PC are not there.
 *
 * One vCPU is one flow: run.c enters, and gives what comes back to traps.c (exceptions, and the
 * frames that the guest gets of them), hypercall.c and its parts, or privileged.c (instructions
 * that CPL 3 may not execute). Events from others (events.c, time.c) only set bits in memory that
 * the guest shares, and bits of pv_vcpu.asked, which say what the vCPU has to do before it goes on.
 */
#pragma once

#include "arch/cpu.h"
#include "guest/pv/engine.h"
#include "guest/pv/xen.h"
#include "guest/ring3/controls.h"
#include "guest/ring3/roots.h"
#include "guest/ring3/tlb.h"
#include "guest/vm/domain.h"
#include "guest/vm/vcpu.h"

/* What vcpu->stats counts. */
#define PV_EVENTS(X)                                         \
    X(PV_ATTENTION, CLASS_INTERRUPT, "attention")            \
    X(PV_TIMER, CLASS_TIMER, "timer")                        \
    X(PV_HOST_INTERRUPT, CLASS_INTERRUPT, "host_interrupt")  \
    X(PV_HYPERCALL, CLASS_SYSCALL, "hypercall")              \
    X(PV_PAGE_TABLES, CLASS_PAGE_TABLES, "page_table_calls") \
    X(PV_SYSCALL, CLASS_SYSCALL, "system_call")              \
    X(PV_IRET, CLASS_SYSCALL, "iret_call")                   \
    X(PV_EXCEPTION, CLASS_EXCEPTION, "exception")            \
    X(PV_PAGE_FAULT, CLASS_EXCEPTION, "guest_page_fault")    \
    X(PV_SHADOW, CLASS_PAGE_TABLES, "shadow_page_faults")    \
    X(PV_PRIVILEGED, CLASS_CPU, "privileged_instruction")    \
    X(PV_IO, CLASS_IO, "io_instruction")                     \
    X(PV_HALT, CLASS_IDLE, "block")

#define PV_EVENT_NUMBER(number, class, name) number,
enum pv_event { PV_EVENTS(PV_EVENT_NUMBER) PV_EVENT_COUNT };
#undef PV_EVENT_NUMBER

/* What else is counted: hypercalls by their names, and what they do in batches. */
#define PV_CALL_COUNTER(number, name) PV_CALL_##name,
enum pv_counter {
    XEN_CALLS(PV_CALL_COUNTER) PV_COUNT_CALLS, /* of any other number */
    PV_COUNT_NADIR,                            /* Nadir's own: guest/hypercall.h */
    PV_COUNT_UPDATES,                          /* entries written by mmu_update */
    PV_COUNT_MMUEXT,                           /* operations of mmuext_op */
    PV_COUNT_BATCHED,                          /* calls that were part of a multicall */
    PV_COUNT_UPCALLS,                          /* events delivered */
    PV_COUNT_TABLE_WRITES,                     /* leaf tables opened for the kernel's own writes */
    PV_COUNTED,                                /* the above in each vCPU; of the VM's shadow: */
    PV_SHADOW_FILLS = PV_COUNTED,              /* leaves made, */
    PV_SHADOW_VERIFIED,                        /* looked at anew, */
    PV_SHADOW_DROPS,                           /* all of them dropped */
    PV_COUNTERS
};
#undef PV_CALL_COUNTER

/* The guest's descriptors: more than these are refused. */
#define PV_DESCRIPTORS 512u

/* What is asked of a vCPU by others: bits of asked. */
enum pv_ask {
    PV_ASK_TIMER = 1, /* its timer has come */
    PV_ASK_FLUSH = 2, /* all translations go */
    PV_ASK_UP = 4,    /* VCPUOP_up */
    PV_ASK_NMI = 8,
    PV_ASK_DESCRIPTORS = 16, /* its GDT and LDT are read anew */
};

/* Why a vCPU does not run. */
enum pv_wait {
    PV_RUNS,
    PV_BLOCKED, /* until an event is pending */
    PV_POLLS,   /* or one of its ports is, or a time has come */
    PV_IS_DOWN, /* until VCPUOP_up */
};

#define PV_POLL_PORTS 16u
#define PV_NO_LEAF    0

struct pv_trap {
    uint64_t address; /* 0: none */
    uint8_t flags;    /* as in struct xen_trap_info */
};

struct pv_vcpu {
    struct vcpu vcpu;           /* first: pv_vcpu() */
    struct ring3_frame frame;   /* the guest's registers, where the processor takes them from */
    bool user;                  /* the guest is in user code */
    bool entered;               /* it may be in guest code: pv_flush_others(); atomic */
    uint8_t event;              /* what the exit is booked on */
    bool loaded_before;         /* the extended area holds a state */
    uint8_t wait;               /* enum pv_wait */
    bool up;                    /* for others: it is not PV_IS_DOWN, or soon will not be; atomic */
    bool initialised;           /* VCPUOP_initialise was called, or it is the first */
    bool info_moved;            /* VCPUOP_register_vcpu_info was called */
    uint8_t flush;              /* enum shadow_flush: what is to be flushed before the next entry */
    bool debug_armed;           /* DR7 has a breakpoint, so the debug registers are the guest's */
    uint32_t asked;             /* enum pv_ask; atomic */
    struct xen_vcpu_info *info; /* what it shares with the guest, in the VM's RAM */

    /* The CPU's state as the guest has it. */
    uint64_t kernel_cr3, user_cr3;  /* user_cr3 0: there are none; changed by pv_take_root() */
    bool has_unknown[SHADOW_ROOTS]; /* tables below the root may be unknown to mmu.c */
    uint64_t cr0, cr4, tsc_aux;
    uint64_t fs_base, kernel_gs_base, user_gs_base; /* those in use are in the CPU while loaded */
    uint16_t selector[4]; /* DS, ES, FS, GS while it is not loaded, or for failsafe */
    uint64_t dr[4], dr6, dr7;

    uint64_t callback[XEN_CALLBACKS];
    uint8_t callback_masks[XEN_CALLBACKS];
    uint64_t kernel_sp;
    bool in_nmi, nmi_pending, failsafe_due, vector_waits;

    /* What VCPUOP_initialise has asked for, which the vCPU takes over at VCPUOP_up. */
    struct pv_start *start;

    struct timer timer, poll_timer; /* the guest's: singleshot; the end of a poll */
    uint16_t virq_port[XEN_VIRQS];  /* 0: none; with the VM's lock */
    uint16_t polled[PV_POLL_PORTS], polled_count;
    uint64_t poll_until; /* TSC; TIMER_NEVER */
    bool polls;          /* others look at it: pv_event_set(); atomic */

    hpa_t extended;
    uint32_t extended_pages;
    uint64_t counted[PV_COUNTED];
    struct ring3_roots roots;
    struct ring3_controls controls;
    struct ring3_tlb tlb; /* the kernel's walks */
    /* pv_find_entry()'s last: linear address by 2 MiB, plus 1, or PV_NO_LEAF; and the table of
     * level 1. It is forgotten where the walks are. */
    uint64_t leaf_key;
    gpa_t leaf_table;

    /* What is large, and seldom looked at, is behind all that a system call touches: each page more
     * costs, where the CPU has lost its translations. */
    struct pv_trap trap[256];
    /* segments.c: descriptors as the processor gets them, of these frames of the guest's */
    unsigned gdt_count, ldt_count;
    gpa_t gdt_frame[2], ldt_frame; /* others look at them: pv_update_descriptor() */
    uint64_t gdt[PV_DESCRIPTORS];
    uint64_t *ldt; /* a page */
};

enum pv_port_kind {
    PV_PORT_FREE,
    PV_PORT_RESERVED,
    PV_PORT_UNBOUND,
    PV_PORT_VIRQ,
    PV_PORT_IPI,
    PV_PORT_CONSOLE
};

struct pv_port {
    uint8_t kind, vcpu, virq;
};
#define PV_PORTS 1024u /* of XEN_PORTS: no guest here needs more */

/* Of a VM: vm->engine_vm. The pages that it shares with the guest are in the VM's RAM. */
struct pv_vm {
    struct shadow *shadow;
    struct xen_shared_info *shared; /* in the VM's RAM; NULL before the first vCPU is loaded */
    struct xen_console *console;
    struct xen_store *store;
    uint32_t store_skip; /* bytes to come of a request that was answered; with the VM's lock */
    hpa_t m2p;           /* the array of frame numbers that the guest reads: space.c */
    uint64_t m2p_pages;
    uint64_t frames; /* of RAM */
    /* The first piece of RAM, with the bytes of the code map that are for its pages. */
    uint8_t *low, *low_code;
    uint64_t low_bytes;
    hpa_t written; /* of each frame that is a table: mmu.c */
    uint64_t written_pages;
    uint64_t flushed;              /* shadow.clock up to which all vCPUs have flushed all; atomic */
    uint64_t told;                 /* calls by number that were logged as unknown; atomic */
    struct pv_port port[PV_PORTS]; /* with the VM's lock */
};

static inline struct pv_vcpu *pv_vcpu(struct vcpu *vcpu)
{
    return (struct pv_vcpu *)vcpu;
}

static inline struct pv_vm *pv_vm(const struct vm *vm)
{
    return vm->engine_vm;
}

static inline struct pv_vm *pv_vm_of(const struct pv_vcpu *v)
{
    return v->vcpu.vm->engine_vm;
}

/* What the exit that is being handled is booked on, with the time that it takes. */
static inline void pv_book(struct pv_vcpu *v, enum pv_event event)
{
    v->event = (uint8_t)event;
}

/* The accounts of an exit. From pv_begin_exit() on, time is the hypervisor's; pv_end_exit() counts
 * the exit and its time as this event. */
static inline void pv_begin_exit(struct pv_vcpu *v)
{
    v->vcpu.tsc_exit = cpu_rdtsc();
}

static inline void pv_end_exit(struct pv_vcpu *v, unsigned event)
{
    v->vcpu.stats.count[event]++;
    v->vcpu.stats.tsc_root[event] += cpu_rdtsc() - v->vcpu.tsc_exit;
}

static inline void pv_count(struct pv_vcpu *v, unsigned counter, uint64_t more)
{
    v->counted[counter] += more;
}

/* A CPU accepts no other linear address. */
static inline bool pv_is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* The domain ends, as Xen's domain_crash() has it: by what it did itself. */
void pv_crash(struct pv_vcpu *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* run.c: engine->run(), and what the CPU has of the guest's registers while the vCPU is loaded. */
void pv_run(struct vcpu *vcpu);
void pv_load(struct vcpu *vcpu);
void pv_put(struct vcpu *vcpu);

/* state.c: the engine's functions on registers. */
void pv_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out);
void pv_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in);
void pv_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out);
void pv_view(struct vcpu *vcpu, struct emulate_context *out);

/*
 * space.c: the guest's linear memory. pv_read() and pv_write() copy with the rights of its kernel,
 * across pages; false: something of it is not mapped, not canonical or not RAM, and what has been
 * written of it is written. Loaded.
 */
enum status pv_space_create(struct pv_vcpu *v);
void pv_space_destroy(struct pv_vcpu *v);
bool pv_read(struct pv_vcpu *v, uint64_t linear, void *to, uint64_t bytes);
bool pv_write(struct pv_vcpu *v, uint64_t linear, const void *from, uint64_t bytes);
/* Where the hypervisor finds bytes of one page of RAM; NULL: as above, or they cross a page. What
 * is read there may change under the reader's eyes. */
void *pv_window(struct pv_vcpu *v, uint64_t linear, unsigned bytes, bool write);
/* The page of guest-physical memory that is mapped at an address of its kernel's; one beyond all
 * memory: none is. */
gpa_t pv_page_at(struct pv_vcpu *v, uint64_t linear);
/* Bytes of code at the guest's RIP, by the page tables of the code that runs: how many there are.
 */
unsigned pv_fetch(struct pv_vcpu *v, uint8_t *to, unsigned bytes);
/* Data, likewise by the page tables of the code that runs. */
bool pv_read_as(struct pv_vcpu *v, uint64_t linear, void *to, unsigned bytes);
/* The guest-physical address of the entry of level 1 for an address; false: there is none. */
bool pv_find_entry(struct pv_vcpu *v, uint64_t linear, gpa_t *out);
/* A page fault of the guest's: maps what its tables map, or delivers it. */
void pv_space_fault(struct pv_vcpu *v);
/* These are the root's page tables from the next flush on; 0: none. */
void pv_take_root(struct pv_vcpu *v, enum shadow_root root, gpa_t tables);
/* Translations go: before the next entry, and for the hypervisor's own reads at once. */
void pv_flush(struct pv_vcpu *v, enum shadow_flush what);
void pv_invalidate(struct pv_vcpu *v, uint64_t linear);
/* What pv_flush() has put off. */
void pv_space_flush_now(struct pv_vcpu *v);
/* Asks other vCPUs (a bit each) for something; none of them runs guest code any more that has not
 * done it when this returns. */
void pv_ask_others(struct pv_vcpu *v, uint64_t vcpus, enum pv_ask ask);
/* All their translations go. */
static inline void pv_flush_others(struct pv_vcpu *v, uint64_t vcpus)
{
    pv_ask_others(v, vcpus, PV_ASK_FLUSH);
}

/* traps.c: frames on the guest's kernel stack. error: NULL: the exception has none. */
void pv_exception(struct pv_vcpu *v, unsigned vector, const uint32_t *error);
void pv_inject(struct vcpu *vcpu, const struct event *event);
void pv_bounce_syscall(struct pv_vcpu *v);
void pv_bounce_syscall32(struct pv_vcpu *v);
/* The guest has made the call iret, and IRETQ has refused the frame that it gave. */
void pv_bad_return(struct pv_vcpu *v);
/* What waits and may come: an NMI, events. */
void pv_deliver_waiting(struct pv_vcpu *v);
static inline bool pv_event_waits(const struct pv_vcpu *v)
{
    const volatile struct xen_vcpu_info *info = v->info;
    return info->pending != 0 && info->mask == 0;
}
/* An exception that code at CPL 3 has met: the guest's own, or an instruction that is emulated. */
void pv_trap(struct pv_vcpu *v, unsigned vector);
/* From kernel to user code, and back: the root, and GS base. */
void pv_enter_user(struct pv_vcpu *v);
void pv_enter_kernel(struct pv_vcpu *v);

/* privileged.c: an instruction that has raised #GP or #UD, in kernel or user code. False: it is the
 * guest's exception. */
bool pv_emulate(struct pv_vcpu *v);
/* Emulates an IRET or RETF of 64-bit code from CPL 3 to CPL 3 that an emulator has executed with
 * the supervisor's rights, so that it met a page fault. False: the fault is of another instruction,
 * or the stack cannot be read. */
bool pv_emulate_far_return(struct pv_vcpu *v);

/* hypercall.c: SYSCALL of the guest's kernel. */
enum { ARG0 = RDI, ARG1 = RSI, ARG2 = RDX, ARG3 = R10, ARG4 = R8, ARG5 = R9 };
struct pv_call {
    uint64_t *gpr; /* the guest's registers: arguments are in ARG0 to ARG5 */
    bool lightly;  /* the call came by pv_answer() */
    bool again;    /* out: it is not done yet; it is called again, with gpr as it is now */
    bool fully;    /* out, with again: the next time by pv_hypercall() */
};
void pv_hypercall(struct pv_vcpu *v);
/* The same on the short way (arch/ring3.h) for calls that ask nothing of the shadow, as it counts
 * the vCPU among those that run. PV_ANSWERED: done, and something else is to be looked at before
 * the guest goes on. RING3_SYSCALL: what is left of the call is pv_hypercall()'s. */
ring3_answer_fn pv_answer;
#define PV_ANSWERED (RING3_SYSCALL32 + 1)
/* Those calls, a bit each: mmu_update, stack_switch, fpu_taskswitch, multicall, xen_version,
 * set_segment_base. iret would do, but leads to user code, and so out, nearly always. */
#define PV_LIGHT_CALLS (1ull << 1 | 1ull << 3 | 1ull << 5 | 1ull << 13 | 1ull << 17 | 1ull << 25)
/* Whether a call has worked for long enough, so that it goes on in another portion. */
bool pv_works_long(const struct pv_vcpu *v);

/* The calls, by the files that they are in. Each returns what the guest gets in RAX. */
typedef int64_t pv_call_fn(struct pv_vcpu *v, struct pv_call *call);
pv_call_fn pv_mmu_update, pv_update_va_mapping, pv_mmuext_op;            /* mmu.c */
pv_call_fn pv_set_gdt, pv_update_descriptor, pv_set_segment_base;        /* segments.c */
pv_call_fn pv_set_trap_table, pv_set_callbacks, pv_callback_op, pv_iret; /* traps.c */
pv_call_fn pv_stack_switch, pv_fpu_taskswitch, pv_set_debugreg, pv_get_debugreg;
pv_call_fn pv_event_channel_op, pv_event_channel_op_compat;              /* events.c */
pv_call_fn pv_vcpu_op, pv_sched_op, pv_sched_op_compat, pv_set_timer_op; /* vcpus.c */
pv_call_fn pv_memory_op, pv_xen_version, pv_grant_table_op;              /* domain.c */
pv_call_fn pv_console_io, pv_physdev_op;

/* vcpus.c. What VCPUOP_initialise has asked for becomes the state of this vCPU, which is loaded; or
 * is given back. */
void pv_start_take(struct pv_vcpu *v);
void pv_start_forget(struct pv_vcpu *v);
/* Whether what the vCPU waits for has come. */
bool pv_wait_is_over(struct pv_vcpu *v);
/* The vCPU runs again. */
void pv_wait_ends(struct pv_vcpu *v);

/* segments.c. Makes this CPU's descriptors the guest's, and its selectors; and takes them away. */
void pv_segments_load(struct pv_vcpu *v);
/* Whether code of that selector is 64-bit code. */
bool pv_is_code64(const struct pv_vcpu *v, uint64_t selector);
void pv_segments_put(struct pv_vcpu *v);
/* Reads its descriptors anew, as another vCPU has changed some. */
void pv_descriptors_changed(struct pv_vcpu *v);
int64_t pv_set_ldt(struct pv_vcpu *v, uint64_t linear, uint64_t count);
int64_t pv_read_gdt(struct pv_vcpu *v, const uint64_t *frames, uint64_t count);

/* CR0.TS, or what of CR4 user code can tell, has changed: run.c. */
void pv_controls_changed(struct pv_vcpu *v);

/* traps.c: the debug registers are the guest's while it has breakpoints. */
void pv_debug_load(struct pv_vcpu *v);
void pv_debug_put(struct pv_vcpu *v);

/* events.c. With the VM's lock held, from a CPU in the VM's page tables. */
void pv_event_set(struct vm *vm, unsigned port);
/* The same for a virtual interrupt of this vCPU, if it is bound; takes the lock. */
void pv_raise_virq(struct pv_vcpu *v, unsigned virq);
/* Has a vCPU look at what is asked or pending. From any CPU. */
void pv_wake(struct pv_vcpu *v);
bool pv_port_is_pending(const struct pv_vm *vm, unsigned port);
/* Tells the user of the ports that are pending, and why nothing comes of them. */
void pv_events_print(const struct vm *vm);

/* time.c */
uint64_t pv_time_now(const struct vm *vm);
/* The TSC at a system time; TIMER_NEVER where that is beyond all. */
uint64_t pv_time_tsc(const struct vm *vm, uint64_t ns);
void pv_time_write(const struct vm *vm, struct xen_time *out);
void pv_clock_write(const struct vm *vm);
void pv_timer_init(struct pv_vcpu *v);
void pv_timer_set(struct pv_vcpu *v, uint64_t ns); /* 0: off */

/* console.c. With the VM's lock held. */
/* Gives the user what the guest has written. False: he cannot take all of it now. */
bool pv_console_drain(struct vm *vm);
/* The same from a vCPU, which waits then; takes the lock. */
void pv_console_look(struct pv_vcpu *v);
bool pv_console_typed(struct vm *vm, uint8_t byte);

/* store.c: answers what the guest has asked; takes the VM's lock. */
void pv_store_look(struct pv_vcpu *v);
