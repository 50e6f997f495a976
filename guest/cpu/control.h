/* SPDX-License-Identifier: BSD-2-Clause */
/* What writes to CR0, CR4, IA32_EFER and XCR0 check and change, as software: the same under each
 * engine. Pure but for the PDPTEs, which are read from guest memory. */
#pragma once

#include "guest/cpu/cpuid_table.h"
#include "mm/guestmem.h"

/* What the rules look at; the first three are changed by a write that is allowed. */
struct control_state {
    uint64_t cr0, cr4, efer;
    uint64_t cr3;
    bool cs_long;    /* CS.L, whatever the mode */
    bool tss_is_286; /* TR holds a 16-bit TSS */
};

/* What a write leads to: a set of these. */
enum control_effect {
    CONTROL_FAULT = 1 << 0,       /* #GP(0): nothing has been changed */
    CONTROL_LOAD_PDPTES = 1 << 1, /* control_read_pdptes(), and #GP(0) if that says no */
    CONTROL_FLUSH_TLB = 1 << 2,   /* SDM, "Operations that Invalidate TLBs..." */
};

/* MOV to CR0, CLTS, LMSW and MOV to CR4 (SDM, "MOV—Move to/from Control Registers"). Where PDPTEs
 * are to be loaded and are bad, *state as it was before is what holds. cr4_allowed: what
 * control_cr4_allowed() said. */
unsigned control_write_cr0(struct control_state *state, uint64_t value);
unsigned control_write_cr4(struct control_state *state, uint64_t value, uint64_t cr4_allowed);

/* WRMSR of IA32_EFER; LMA in value is ignored. */
unsigned control_write_efer(struct control_state *state, uint64_t value, uint64_t efer_allowed);

/* Whether XSETBV may set XCR0 so (SDM, "XSAVE-Supported Features and State Components"). allowed:
 * what CPUID shows. */
bool control_xcr0_is_valid(uint64_t value, uint64_t allowed);

/* The bits of CR4 and IA32_EFER that a guest with this CPUID may set. no_xd: IA32_MISC_ENABLE hides
 * execute-disable. */
uint64_t control_cr4_allowed(const struct cpuid_table *cpuid);
uint64_t control_efer_allowed(const struct cpuid_table *cpuid, bool no_xd);

/* The PDPTEs from where CR3 points (SDM, "PDPTE Registers"); false: not in RAM, or a reserved bit
 * is set. phys_bits: MAXPHYADDR. */
bool control_read_pdptes(const struct guestmem *mem, uint64_t cr3, unsigned phys_bits,
                         uint64_t pdpte[4]);
