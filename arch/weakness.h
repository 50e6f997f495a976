/* SPDX-License-Identifier: BSD-2-Clause */
/* The faults of CPUs that a hostile guest could use: which ones a CPU has, and what is done. Pure:
 * the lists of models are here, and no instruction that needs a CPU. What no CPU enumerates, and
 * only microcode mends (Reptar, branch privilege injection), is not among them. */
#pragma once

#include "arch/x86.h"

#include <stdbool.h>
#include <stddef.h>

enum weakness {
    WEAKNESS_BOUNDS,        /* Spectre v1: an index that a branch has refused is used nonetheless */
    WEAKNESS_TARGETS,       /* Spectre v2: targets of indirect branches, as a guest has taught */
    WEAKNESS_RETURNS,       /* of RET, by what a guest left on the return stack; RETBleed */
    WEAKNESS_HISTORY,       /* BHI: targets chosen by a guest's history of branches */
    WEAKNESS_SELECTION,     /* ITS: targets of branches in the lower half of a cache line */
    WEAKNESS_STORE_BYPASS,  /* SSB: a load overtakes the store before it */
    WEAKNESS_MELTDOWN,      /* memory of a more privileged mode in the same page tables */
    WEAKNESS_L1TF,          /* what lies in the first-level cache, by a page that is not present */
    WEAKNESS_MDS,           /* what stands in the buffers of loads and stores */
    WEAKNESS_TSX_ABORT,     /* TAA: the same, by a transaction that aborts */
    WEAKNESS_MMIO_STALE,    /* the same, by accesses to a device */
    WEAKNESS_REGISTER_FILE, /* RFDS: what stood in registers before */
    WEAKNESS_GATHER,        /* GDS, "Downfall" */
    WEAKNESS_RANDOM,        /* SRBDS: another CPU's random numbers */
    WEAKNESS_PAGE_SIZE,     /* iTLB multihit: a guest's page sizes stop the machine */
    WEAKNESS_COUNT
};

/* Whose CPU it is, by the first four letters of CPUID leaf 0 (EBX). */
enum weakness_maker { MAKER_OTHER, MAKER_INTEL, MAKER_AMD };

/* What a decision goes by. Of others than Intel's only what is enumerated counts; and AMD's do not
 * have what leaks by a fault or an assist: Meltdown, L1TF, MDS. */
struct weakness_cpu {
    enum weakness_maker maker;
    uint32_t family, model, stepping;
    bool speculates; /* false: a CPU of in-order design; weakness_identify() sets it */
    bool avx;
    uint32_t leaf7_ebx, leaf7_edx, leaf7_2_edx;
    uint64_t known;      /* IA32_ARCH_CAPABILITIES, 0: there is none */
    bool threads_shared; /* two VMs may run on the threads of one core at a time */
};

enum weakness_state { WEAKNESS_ABSENT, WEAKNESS_MENDED, WEAKNESS_OPEN };

/* What is to be done on this CPU. */
struct weakness_measures {
    bool barrier;          /* IBPB where one VM follows another */
    bool thunks;           /* indirect branches by way of RET (retpolines) */
    bool own_entry;        /* the entry and the exit that do the six below */
    bool fill_returns;     /* after each exit */
    bool clear_history;    /* likewise: branches of the guest's choose no target */
    bool clear_registers;  /* likewise: no value of the guest's is there to be used by mistake */
    bool flush_l1d;        /* before each entry */
    bool clear_buffers;    /* likewise, by VERW */
    bool rewrite_control;  /* IA32_SPEC_CTRL written at each exit, even if it is right */
    uint64_t spec_control; /* what it is in root mode */
    bool tsx_off;          /* by IA32_TSX_CTRL */
    bool microcode_on;     /* what microcode does is on, by IA32_MCU_OPT_CTRL */
    bool small_pages;      /* of 4 KiB in the EPT */
    bool reads_supervisor; /* Meltdown: CPL 3 is not to run in tables that map what it may not read
                            */
};

struct weakness_verdict {
    enum weakness_state state;
    const char *how; /* in few words what mends it, or what would; NULL: absent */
};

/* Its maker from CPUID leaf 0, EBX, family, model and stepping from leaf 1, EAX, and what follows
 * from them. */
void weakness_identify(struct weakness_cpu *cpu, uint32_t maker, uint32_t signature);

/* Decides: a verdict for each weakness, and all measures together. */
void weakness_decide(const struct weakness_cpu *cpu,
                     struct weakness_verdict verdict[WEAKNESS_COUNT],
                     struct weakness_measures *measures);

/* What IA32_ARCH_CAPABILITIES may tell a guest: weaknesses, but no switch that is the host's. The
 * page sizes of a guest harm nobody once Nadir has seen to that. */
uint64_t weakness_told_to_guests(const struct weakness_cpu *cpu);

#define WEAKNESS_TEXT 480 /* bytes that any list fits into, and a line of the log holds */

/* Lists those of one state: "MDS, TAA (VERW at entries), SSB (...)". Returns the length, 0: none.
 */
size_t weakness_list(const struct weakness_verdict verdict[WEAKNESS_COUNT],
                     enum weakness_state state, char *out, size_t size);
