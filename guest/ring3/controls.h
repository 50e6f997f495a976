/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU's registers beside the frame that are a guest's own while its code runs at CPL 3: CR0 and
 * CR4 as far as such code can tell, whether SYSCALL is there, what RDTSCP shows. It hides which of
 * them are written when: each write is dear, and most values stay.
 */
#pragma once

#include "arch/x86.h"

#include <stdbool.h>
#include <stdint.h>

/* What of the host's CR0 and CR4 is the guest's. Those that the hypervisor itself, or an
 * instruction that is executed singly, goes by are put back by ring3_controls_leave();
 * RING3_CR0_STAYS and RING3_CR4_STAYS stay until the next vCPU. */
#define RING3_CR0_OF_GUEST (CR0_MP | CR0_EM | CR0_TS | CR0_AM)
#define RING3_CR0_STAYS    CR0_AM
#define RING3_CR4_OF_GUEST (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | CR4_TSD)
#define RING3_CR4_STAYS    (CR4_FSGSBASE | CR4_PCE | CR4_PKE)

struct ring3_controls {
    /* CR0 and CR4 of the host, and what is in them now; EFER.SCE is set; TSC_AUX, if it is known.
     */
    uint64_t host_cr0, host_cr4, cr0, cr4;
    bool system_calls;
    bool aux_known;
    uint64_t aux;
};

/* The vCPU is loaded, behind ring3_load(); or put away: then the CPU's registers are the host's
 * again. Where the CPU has CPUID faulting, CPUID is #GP at CPL 3 in between. */
void ring3_controls_load(struct ring3_controls *c);
void ring3_controls_put(struct ring3_controls *c);

/* Before code of the guest's: CR0 and CR4 are the guest's in RING3_CR0_OF_GUEST, and in
 * RING3_CR4_OF_GUEST and RING3_CR4_STAYS as cr4 says, whose other bits are 0. */
void ring3_controls_enter(struct ring3_controls *c, uint64_t cr0, uint64_t cr4);
/* Whether SYSCALL is an instruction, or #UD; what RDTSCP and RDPID show. */
void ring3_controls_allow_syscall(struct ring3_controls *c, bool allow);
void ring3_controls_set_aux(struct ring3_controls *c, uint64_t aux);
/* Behind it. */
void ring3_controls_leave(struct ring3_controls *c);
