/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments for user code that the processor runs as it is: it finds its own selectors, since the
 * real GDT and LDT have, at the guest's indices, what of the guest's tables code at CPL 3 can use.
 * They are compared with the guest's at each entry, so nobody has to watch those being written.
 *
 * Not in them is what is not marked as accessed in the guest's, as the processor would mark it in
 * the wrong table; and code segments but the one that is being executed, so that SYSCALL, which
 * forgets CS, need not save it. Who loads these takes a fault, and the software CPU does the load.
 * (SYSRET marks nothing: what CS and SS hold is in the tables marked or not.)
 *
 * A register holds what was loaded before; its hidden part may be another than what the tables say
 * by now. Then the processor cannot be given it (64-bit code uses none of DS, ES and SS, so there
 * it can): ring3_segments_prepare() says no, and the software CPU goes on.
 */
#pragma once

#include "arch/ring3.h"
#include "arch/status.h"
#include "guest/cpu/state.h"

/* Of each table, the first ones are looked at. */
#define RING3_DESCRIPTORS 512u

struct ring3_descriptors {
    unsigned count;                   /* those behind are 0 */
    uint64_t seen[RING3_DESCRIPTORS]; /* the guest's, which the real ones were made of */
};

struct ring3_segments {
    uint64_t *gdt;        /* the CPU's, while the vCPU is loaded */
    uint64_t *ldt;        /* a page */
    bool long_mode;       /* what they were made for */
    uint16_t code, stack; /* and for which CS and SS, without RPL; 0: none */
    uint32_t ldt_used;    /* bytes of the LDT that the CPU has */
    bool known;           /* what follows is what is in the CPU's registers: DS, ES, FS, GS */
    bool bases_known;
    uint16_t loaded[4];
    uint16_t wanted[4]; /* by ring3_segments_prepare() */
    /* In 64-bit code that depends on the tables and on the six selectors alone: those that it was
     * chosen for, while neither has changed. */
    bool chosen;
    uint16_t chosen_for[6];
    uint64_t fs_base, gs_base;
    struct ring3_descriptors global, local;
    uint64_t now[RING3_DESCRIPTORS]; /* a copy of a table */
};

/* A page for its LDT. ERR_NO_MEMORY. */
enum status ring3_segments_create(struct ring3_segments *segments);
void ring3_segments_destroy(struct ring3_segments *segments);

/* The vCPU is loaded on this CPU, whose real GDT has nothing of a guest's; or is put away: then it
 * has nothing any more. */
void ring3_segments_attach(struct ring3_segments *segments);
void ring3_segments_detach(struct ring3_segments *segments);

/* Reads the guest's linear memory with the rights of the system, and leaves no trace: false where
 * that is not simply RAM. */
typedef bool ring3_look_fn(void *ctx, uint64_t linear, void *to, unsigned bytes);

/* Makes the real tables what the guest's are now. False: CPL 3 cannot have these segments. */
bool ring3_segments_prepare(struct ring3_segments *segments, const struct cpu_state *state,
                            ring3_look_fn *look, void *ctx);
/* Behind it: DS, ES, FS, GS and their bases are in the CPU, but for CS and SS, which IRETQ loads.
 * False: they could not be loaded. Else CPL 3 finds none of the host's own selectors (desc.h) until
 * ring3_segments_store(). */
bool ring3_segments_load(struct ring3_segments *segments, const struct cpu_state *state);
/* FS and GS base alone, for code at CPL 3 that does without selectors of its own. */
bool ring3_segments_load_bases(struct ring3_segments *segments, uint64_t fs, uint64_t gs);
/* After CPL 3 has run: what it has changed of them is in *state. ss: the selector that it has left;
 * bases: it may have written FS and GS base by themselves (CR4.FSGSBASE). */
void ring3_segments_store(struct ring3_segments *segments, struct cpu_state *state, uint16_t ss,
                          bool bases);

/* Is told what such code has made of GS base. */
static inline void ring3_segments_note_gs(struct ring3_segments *segments, uint64_t gs)
{
    segments->gs_base = gs;
}

/* What stands in the real table for a descriptor of the guest's; 0: nothing. Pure. */
enum ring3_holder { RING3_HELD_BY_CS = 1, RING3_HELD_BY_SS = 2 }; /* a set */
uint64_t ring3_descriptor(uint64_t guest, bool long_mode, unsigned held_by);
