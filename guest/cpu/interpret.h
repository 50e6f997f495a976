/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The software CPU: executes the instruction at CS:RIP, whichever it is, with all checks that the
 * SDM asks for, on a register file, with callbacks for memory and for what is the virtual PC's
 * policy. Pure.
 *
 * An engine's loop is: deliver what is pending, by interpret_deliver(); else interpret_one().
 */
#pragma once

#include "guest/cpu/emulate.h"
#include "guest/cpu/segment.h"
#include "guest/cpu/system.h"

/* What struct cpu_state has not. */
struct interpret_registers {
    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t xcr0, tsc_aux;
    uint32_t pkru;
};

/* What CPUID shows, of instructions that no bit of CR4 or EFER stands for. */
enum interpret_feature {
    INTERPRET_RDTSCP = 1 << 0,
    INTERPRET_RDPID = 1 << 1,
    INTERPRET_INVPCID = 1 << 2,
    INTERPRET_SMAP = 1 << 3, /* CLAC and STAC */
    INTERPRET_SERIALIZE = 1 << 4,
    INTERPRET_MONITOR = 1 << 5,
    INTERPRET_XGETBV_1 = 1 << 6, /* XGETBV with ECX = 1 */
    INTERPRET_AMD = 1 << 7,      /* the vendor is AMD: SYSCALL, SYSENTER */
    INTERPRET_VMMCALL = 1 << 8,  /* AMD's VMCALL, which Linux takes where the vendor is AMD */
};

/* Instructions that have been decoded, by RIP, and found again by their bytes: so there is nothing
 * to be done when code changes. More than half of an instruction's time is its decoding. */
struct interpret_entry {
    uint64_t bytes[2]; /* zeros behind the instruction's */
    struct insn insn;
    struct compute compute;
    uint8_t kind, mode, length; /* length 0: none */
};
#define INTERPRET_ENTRIES 1024
struct interpret_cache {
    struct interpret_entry entry[INTERPRET_ENTRIES];
};

/* A decoded instruction, for interpret_known(). */
struct interpret_known {
    struct insn insn;
    uint8_t kind, length;
};

struct interpret_env;

/* What the engine does. Each gets the struct interpret_env, also where its type is void *. Those
 * that return bool return false after they have raised an exception. */
struct interpret_calls {
    /* Bytes of code, within a page, at a linear address: 16, unless a page or a segment ends. */
    bool (*fetch)(struct interpret_env *env, uint64_t linear, uint8_t *to, unsigned bytes);
    /* 1 to 32 bytes of data at a linear address, for the CPL that is (SMAP: AC counts). In 64-bit
     * mode the address is canonical, else below 4 GiB. What is translated can be read and written
     * without fail. */
    bool (*translate)(void *env, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out);
    /* The same for what the CPU does by itself, user or not: descriptor tables, TSS, stacks of
     * other levels. */
    bool (*translate_as)(struct interpret_env *env, gva_t linear, unsigned bytes, bool write,
                         bool user, struct emulate_operand *out);
    /* translate_as() with read() or write(), at once. False: nothing has been done, and nothing is
     * said of the address, which need not be canonical. NULL: there is no such short way. */
    bool (*read_quickly)(struct interpret_env *env, uint64_t linear, void *to, unsigned bytes,
                         bool user);
    bool (*write_quickly)(struct interpret_env *env, uint64_t linear, const void *from,
                          unsigned bytes, bool user);
    void (*read)(void *env, const struct emulate_operand *operand, void *to);
    void (*write)(void *env, const struct emulate_operand *operand, const void *from);
    /* What a LOCK is for: writes, at once, where memory still holds what has been read. False: it
     * does not, and nothing is written. NULL: there is no other CPU. Each exchange() follows one
     * read_locked() of the same operand, without anything in between that can fail. */
    void (*read_locked)(struct interpret_env *env, const struct emulate_operand *operand, void *to);
    bool (*exchange)(struct interpret_env *env, const struct emulate_operand *operand,
                     const void *old, const void *new);
    /* An exception; error is 0 where it has no error code. */
    void (*raise)(struct interpret_env *env, unsigned vector, uint32_t error);

    /* The rest is asked for once privilege has been checked, and what of the instruction's own
     * checks needs no policy. Ports: 1, 2 or 4 bytes. */
    bool (*port_in)(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t *value);
    bool (*port_out)(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t value);
    /* Whether an instruction with REP goes on at once, behind an element that may have been a
     * device's; else it is taken up again. NULL: it does. */
    bool (*goes_on)(struct interpret_env *env);
    /* EAX, EBX, ECX, EDX. */
    bool (*cpuid)(struct interpret_env *env, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
    /* But for those that are in struct interpret_registers or cpu_state alone: FS_BASE, GS_BASE,
     * KERNEL_GS_BASE, STAR to FMASK, TSC_AUX and SYSENTER's. */
    bool (*rdmsr)(struct interpret_env *env, uint32_t msr, uint64_t *value);
    bool (*wrmsr)(struct interpret_env *env, uint32_t msr, uint64_t value);
    /* CR0 (also LMSW and CLTS), CR3, CR4, CR8: checks the value, and puts it into the state. */
    bool (*write_cr)(struct interpret_env *env, unsigned number, uint64_t value);
    bool (*read_cr8)(struct interpret_env *env, uint64_t *value);
    bool (*write_xcr0)(struct interpret_env *env, uint64_t value);
    void (*invlpg)(struct interpret_env *env, uint64_t linear);
    void (*flush_tlb)(struct interpret_env *env); /* INVPCID: of all contexts, global pages too */
    uint64_t (*rdtsc)(struct interpret_env *env);
    /* VMCALL, at any CPL. False: a part is done, and it is to be executed again. */
    bool (*hypercall)(struct interpret_env *env);
};

/* Set up by interpret_init(), but for extra, features and cache, which are the engine's to set. */
struct interpret_env {
    struct cpu_state *state; /* all of it is always up to date, in both directions */
    struct interpret_registers extra;
    unsigned features; /* enum interpret_feature */
    const struct interpret_calls *calls;
    void *ctx;                     /* the engine's own */
    struct interpret_cache *cache; /* NULL, or at first all zero */

    /* The instruction that interpret_one() has executed last, or has given back. */
    uint8_t bytes[16];
    uint8_t length;
    struct compute compute;   /* with INTERPRET_COMPUTE */
    const struct insn *insn;  /* else */
    struct task_request task; /* with INTERPRET_TASK: whole, with next_eip */

    /* From here on for interpret.c and its parts alone. */
    struct insn decoded;
    uint8_t kind; /* of the instruction: interpret_note() */
    struct emulate_env integer;
    struct segment_env segments;
    uint64_t target;      /* of a near branch */
    uint64_t flags;       /* RFLAGS when the instruction began; TF: a single step is due */
    uint32_t blocked;     /* BLOCKED_BY_STI, BLOCKED_BY_MOV_SS: as it began */
    uint8_t seen[16];     /* what an instruction with LOCK has read */
    bool missed;          /* its exchange has failed */
    uint32_t breakpoints; /* of data and ports, that it has hit, as in DR6 */
    bool watches;         /* whether there are such */
};

enum interpret_result {
    INTERPRET_DONE,    /* RIP has moved; or it has not, for an exception has been raised, or the
                          instruction is to go on (REP), or to be tried again (LOCK) */
    INTERPRET_HALT,    /* the same, behind a HLT (or MWAIT) */
    INTERPRET_TASK,    /* a task switch is to be done: env->task */
    INTERPRET_COMPUTE, /* a processor is to execute env->bytes; then interpret_computed() */
};

void interpret_init(struct interpret_env *env, struct cpu_state *state,
                    const struct interpret_calls *calls, void *ctx);

/* One instruction, or EMULATE_MAX_REPEATS iterations of a REP. What it leaves in pending_debug, the
 * next call raises as #DB before anything else, unless MOV SS blocks it. */
enum interpret_result interpret_one(struct interpret_env *env);

/* The instruction that interpret_one() has carried out last. False: there was none, or one that has
 * to be fetched each time. */
bool interpret_note(const struct interpret_env *env, struct interpret_known *out);

/* As interpret_one(), but the instruction at CS:RIP is known, and has no breakpoint or trap before
 * it. */
enum interpret_result interpret_known(struct interpret_env *env,
                                      const struct interpret_known *known);

/* SYSCALL, which is at CS:RIP, by itself. */
#define SYSCALL_BYTES 2
void interpret_syscall(struct interpret_env *env);

/*
 * The short way for system instructions that go by general registers, RIP and flags alone, and end
 * behind themselves or with an exception: of the rest of the state they, and the calls that they
 * make, ask no more than what is the same all the time between a call of interpret_settle() and
 * the last of interpret_light(), nor change it. The code is at CPL 0, without single steps,
 * breakpoints, and the shadows of STI and MOV SS. False: an exception has been raised.
 */
void interpret_settle(struct interpret_env *env);
bool interpret_light(struct interpret_env *env, const struct interpret_known *known);

/* Whether interpret_one() would raise #DB for what has gone before: it comes before NMIs and
 * interrupts. */
static inline bool interpret_has_debug_trap(const struct interpret_env *env)
{
    return env->state->pending_debug != 0 &&
           (env->state->interruptibility & BLOCKED_BY_MOV_SS) == 0;
}

/* A processor has executed what INTERPRET_COMPUTE gave back: RIP, RF, the shadows of STI and MOV
 * SS, and a single step, as behind any other instruction. */
void interpret_computed(struct interpret_env *env);

/* Delivers an event (in the VMCS's format; for #DB, DR6 and DR7 have been written, as raise() finds
 * them): with RF as it is to be saved, and with NMIs blocked behind an NMI. INTERPRET_DONE: the
 * handler is next; or an exception has been raised meanwhile, which the caller makes one with the
 * event (event_combine()), and *fault is true. Else INTERPRET_TASK. */
enum interpret_result interpret_deliver(struct interpret_env *env, const struct event *event,
                                        bool *fault);
