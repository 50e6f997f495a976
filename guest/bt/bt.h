/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine for machines without VT-x: binary translation. Nothing of a guest is ever run by the
 * processor at CPL 0. Its user code is run at CPL 3 as it is (direct.h); its kernel code, in 64-bit
 * code and 32-bit code with flat segments, as a translation, at CPL 3 as well (translate.h: what
 * that is; cache.h: which there are; code.h: while they are right; translated.c: how they run;
 * site.h: where they stop for the software CPU; check.h: each compared with it, for tests). All
 * else, and each instruction that the processor refuses there, is carried out by the software CPU
 * of guest/cpu/, on struct cpu_state; of that the processor computes what has to do with vector and
 * x87 registers (guest/ring3/).
 *
 * What the processor reaches of the guest's memory is in shadow page tables (space.h). The software
 * CPU goes by struct guestmem and the VM's bus, and keeps its walks (guest/ring3/tlb.h).
 */
#pragma once

#include "arch/cpu.h"
#include "guest/bt/check.h"
#include "guest/bt/code.h"
#include "guest/bt/direct.h"
#include "guest/bt/space.h"
#include "guest/cpu/interpret.h"
#include "guest/ring3/tlb.h"
#include "guest/ring3/window.h"
#include "guest/vm/linear.h"
#include "guest/vm/vcpu.h"

/* What vcpu->stats counts: the common work of exits, as under VT-x, and the engine's own. Carrying
 * out instructions is the guest's own time. */
#define BT_EVENTS(X)                                      \
    X(BT_ATTENTION, CLASS_INTERRUPT, "attention")         \
    X(BT_TIMER, CLASS_TIMER, "timer")                     \
    X(BT_EXCEPTION, CLASS_EXCEPTION, "exception")         \
    X(BT_INTERRUPT, CLASS_INTERRUPT, "interrupt")         \
    X(BT_CPUID, CLASS_CPU, "cpuid")                       \
    X(BT_RDMSR, CLASS_CPU, "rdmsr")                       \
    X(BT_WRMSR, CLASS_CPU, "wrmsr")                       \
    X(BT_CONTROL, CLASS_CPU, "control_register_accesses") \
    X(BT_IO, CLASS_IO, "io_instruction")                  \
    X(BT_DEVICE_MEMORY, CLASS_MMIO, "device_memory")      \
    X(BT_HLT, CLASS_IDLE, "hlt")                          \
    X(BT_HYPERCALL, CLASS_SYSCALL, "hypercall")           \
    X(BT_TASK_SWITCH, CLASS_CPU, "task_switch")           \
    X(BT_XSETBV, CLASS_CPU, "xsetbv")                     \
    X(BT_COMPUTED, CLASS_TRANSLATE, "executed_singly")    \
    X(BT_SHADOW, CLASS_PAGE_TABLES, "shadow_page_faults") \
    X(BT_TRANSLATE, CLASS_TRANSLATE, "translations")      \
    X(BT_DIRECT, CLASS_SYSCALL, "user_code")

#define BT_EVENT_NUMBER(number, class, name) number,
enum bt_event { BT_EVENTS(BT_EVENT_NUMBER) BT_EVENT_COUNT };
#undef BT_EVENT_NUMBER

/*
 * What else is counted: how the engine does its work. A VM's accounts have the sum of its vCPUs.
 * interpreted: instructions that the software CPU has taken, with those that the processor has then
 * carried out alone (event executed_singly). cache_entries, direct_entries: to translated code, and
 * to the guest's own at CPL 3. blocks, instructions, bytes_in, bytes_out: translated, the guest's
 * code and what it has become. lookups_missed: indirect branches whose target was not in the
 * look-up table; links: other branches, led to their block. flushes: all translations dropped;
 * code_pages_dropped: those of one page. shadow_fills: leaves of shadow tables made; shadow_drops:
 * all of them dropped; sweeps: they were gone through, to make a page with code read-only. checked:
 * instructions whose translation was compared with the software CPU (check.h); unchecked: blocks
 * that were not.
 */
#define BT_COUNTERS(X)                        \
    X(BT_INTERPRETED, "interpreted")          \
    X(BT_CACHE_ENTRIES, "cache_entries")      \
    X(BT_DIRECT_ENTRIES, "direct_entries")    \
    X(BT_BLOCKS, "blocks")                    \
    X(BT_INSTRUCTIONS, "instructions")        \
    X(BT_BYTES_IN, "bytes_in")                \
    X(BT_BYTES_OUT, "bytes_out")              \
    X(BT_LOOKUPS_MISSED, "lookups_missed")    \
    X(BT_LINKS, "links")                      \
    X(BT_FLUSHES, "flushes")                  \
    X(BT_PAGES_DROPPED, "code_pages_dropped") \
    X(BT_SHADOW_FILLS, "shadow_fills")        \
    X(BT_SHADOW_DROPS, "shadow_drops")        \
    X(BT_SWEEPS, "sweeps")                    \
    X(BT_CHECKED, "checked")                  \
    X(BT_UNCHECKED, "unchecked")

#define BT_COUNTER_NUMBER(number, name) number,
enum bt_counter { BT_COUNTERS(BT_COUNTER_NUMBER) BT_COUNTER_COUNT };
#undef BT_COUNTER_NUMBER

/* Of a VM: vm->engine_vm. */
struct bt_vm {
    struct shadow *shadow; /* NULL: there is none */
};

struct bt_vcpu {
    struct vcpu vcpu; /* first: bt_vcpu() */
    /* All registers; and the frame of code of the guest's that runs at CPL 3. The general registers
     * are in both: the processor takes them from where the software CPU has them. vcpu.regs, where
     * common code has them, is filled in for it. */
    union {
        struct cpu_state state;
        struct {
            uint8_t before_gpr[offsetof(struct cpu_state, gpr)];
            struct ring3_frame frame;
        };
    };
    uint64_t high[8];            /* R8 to R15, while 32-bit code runs as a translation */
    struct interpret_env env;    /* the software CPU, whose registers these are */
    struct bt_code *code;        /* NULL: nothing is translated */
    struct bt_code *code_memory; /* that, or what was made of it: bt_code_create() */
    struct bt_check *check;      /* NULL: what is translated is not compared */
    /* The instruction at CS:RIP, where bt_run_translated() has left it to the software CPU; NULL:
     * it is to be fetched. */
    const struct interpret_known *known;
    bool something_waits; /* for RFLAGS.IF, IRET, or the end of a shadow: bt_choose_event() */
    bool x87_again;       /* the instruction has met an x87 error, and is to be carried out anew */
    bool locked_access;   /* vm->locked_access is held: from bt_read_locked() to bt_exchange() */
    bool watched;         /* vcpu_x87_stepped() is called behind each instruction */
    bool filled;          /* has been loaded before: the extended area holds a state */
    hpa_t extended, decoded; /* decoded: struct interpret_cache */
    uint32_t extended_pages;
    uint64_t counted[BT_COUNTER_COUNT]; /* those that nobody else counts: counters.c */
    /* Instructions in a row, with the host's interrupts off: since when (host TSC); and whether
     * that is long enough. */
    uint64_t batch_since;
    bool batch_is_over;
    struct bt_space space;
    struct bt_direct direct;
    struct ring3_tlb tlb;
    struct ring3_window window; /* where the processor executes what only computes */
};

/* What each way between user code and kernel code looks at is in two pages: one more costs as much
 * as many instructions, as CR3 is loaded there, and leaves the CPU without translations. For the
 * same reason the functions of these ways are "hot", which puts them next to one another. */
_Static_assert(offsetof(struct bt_vcpu, direct.segments.global.seen[16]) <= 2 * PAGE_SIZE,
               "as said");
_Static_assert(offsetof(struct bt_vcpu, frame) + offsetof(struct ring3_frame, gpr) ==
                       offsetof(struct bt_vcpu, state.gpr) &&
                   sizeof(struct cpu_state) == offsetof(struct cpu_state, gpr) + 16 * 8,
               "the general registers are in both, and nothing else is");

static inline struct bt_vcpu *bt_vcpu(struct vcpu *vcpu)
{
    return (struct bt_vcpu *)vcpu;
}

/* What a walk of the guest's page tables goes by now, for user code or as the system. */
static inline struct guest_paging bt_paging(const struct bt_vcpu *v, bool user)
{
    const struct cpu_state *s = &v->state;
    return (struct guest_paging){
        .cr0 = s->cr0,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .efer = s->efer,
        .rflags = s->rflags,
        .cpl = user ? 3 : 0,
        .phys_bits = v->vcpu.phys_bits,
        .pdpte = s->pdpte,
    };
}

/* All vCPUs of a VM, for vcpu_kick_all(), but for that one (NULL: none). */
static inline uint64_t bt_others(const struct vm *vm, const struct vcpu *but)
{
    const uint64_t all = UINT64_MAX >> (64 - vm->vcpu_count);
    return but == NULL ? all : all & ~(1ull << but->index);
}

/* The common work of an exit begins, and is booked when it is done. */
static inline void bt_exit_begin(struct bt_vcpu *v)
{
    v->vcpu.tsc_exit = cpu_rdtsc();
}

static inline void bt_exit_end(struct bt_vcpu *v, enum bt_event event)
{
    const uint64_t now = cpu_rdtsc();
    v->vcpu.stats.count[event]++;
    v->vcpu.stats.tsc_root[event] += now - v->vcpu.tsc_exit;
    if (now - v->batch_since > WORK_TICKS)
        v->batch_is_over = true;
}

/* One more, or several, of what the engine counts. */
static inline void bt_count(struct bt_vcpu *v, enum bt_counter counter, uint64_t more)
{
    v->counted[counter] += more;
}

/* counters.c: engine->counter_name() and engine->counter(). */
const char *bt_counter_name(unsigned counter);
uint64_t bt_counter(const struct vm *vm, unsigned counter);

/* run.c: engine->run(). */
void bt_run(struct vcpu *vcpu);

/* translated.c: whether the code that is next is kernel code that can run as a translation; and
 * runs it, until the vCPU is asked for something, or (then true) an instruction is the software
 * CPU's, which is to be carried out before anything else. There is no event to be delivered. */
bool bt_translates(const struct bt_vcpu *v);
bool bt_run_translated(struct bt_vcpu *v);

/* state.c: the engine's functions on registers. Translations go with what they depend on. */
void bt_get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out);
void bt_set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in);
void bt_get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out);
void bt_flush_tlb(struct vcpu *vcpu);
void bt_view(struct vcpu *vcpu, struct emulate_context *out);

/* events.c: engine->inject(). */
void bt_inject(struct vcpu *vcpu, const struct event *event);
/* Decides what comes to the guest next, by the SDM's priorities, and puts it into vcpu->event. */
void bt_choose_event(struct bt_vcpu *v);
static inline bool bt_takes_interrupts(const struct bt_vcpu *v)
{
    return (v->state.rflags & RFLAGS_IF) != 0 &&
           (v->state.interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) == 0;
}
static inline bool bt_takes_nmis(const struct bt_vcpu *v)
{
    return (v->state.interruptibility & (BLOCKED_BY_NMI | BLOCKED_BY_MOV_SS)) == 0;
}
/* Delivers vcpu->event, if there is one. What that has raised, or a task switch has left, is there
 * then to be delivered next. */
void bt_deliver(struct bt_vcpu *v);

/* memory.c: callbacks of the software CPU about memory. bt_look(): bytes within a page, as the CPU
 * reads its tables, but false where that would be a page fault, or is not RAM. */
bool bt_look(void *vcpu, uint64_t linear, void *to, unsigned bytes);
bool bt_fetch(struct interpret_env *env, uint64_t linear, uint8_t *to, unsigned bytes);
bool bt_translate(void *env, gva_t linear, unsigned bytes, bool write, struct emulate_operand *out);
bool bt_translate_as(struct interpret_env *env, gva_t linear, unsigned bytes, bool write, bool user,
                     struct emulate_operand *out);
bool bt_read_quickly(struct interpret_env *env, uint64_t linear, void *to, unsigned bytes,
                     bool user);
bool bt_write_quickly(struct interpret_env *env, uint64_t linear, const void *from, unsigned bytes,
                      bool user);
void bt_read(void *env, const struct emulate_operand *operand, void *to);
void bt_write(void *env, const struct emulate_operand *operand, const void *from);
void bt_read_locked(struct interpret_env *env, const struct emulate_operand *operand, void *to);
bool bt_exchange(struct interpret_env *env, const struct emulate_operand *operand, const void *old,
                 const void *new);

/* policy.c: what the software CPU calls, all of it. */
extern const struct interpret_calls bt_calls;

/* Whether the guest is in user code that the processor can run as it is. */
static inline bool bt_is_direct(const struct bt_vcpu *v)
{
    return segment_cpl(&v->state) == 3 && v->space.exists && v->direct.detour == 0 && !v->watched &&
           !v->x87_again && !v->vcpu.attention && v->vcpu.event.info == 0 &&
           bt_direct_fits(&v->state);
}

/* compute.c: has the processor execute the instruction in env. */
void bt_compute(struct bt_vcpu *v);
