/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory type that the MTRRs give to host-physical addresses, from their raw values. */
#pragma once

#include "arch/addr.h"

#define MTRR_MAX_VARIABLE 32
#define MTRR_FIXED_COUNT  11

/* Encodings shared by MTRRs, PAT and EPT. MIXED: the range has more than one type. */
enum memory_type { MEMORY_UC, MEMORY_WC, MEMORY_WT = 4, MEMORY_WP, MEMORY_WB, MEMORY_MIXED = 255 };

struct mtrr_variable {
    uint64_t base, mask; /* IA32_MTRR_PHYSBASEn, IA32_MTRR_PHYSMASKn */
};

struct mtrr_state {
    uint64_t capability;              /* IA32_MTRRCAP */
    uint64_t default_type;            /* IA32_MTRR_DEF_TYPE */
    uint64_t fixed[MTRR_FIXED_COUNT]; /* 0x250, 0x258, 0x259, 0x268 to 0x26f */
    struct mtrr_variable variable[MTRR_MAX_VARIABLE];
    uint32_t variable_count; /* IA32_MTRRCAP.VCNT, at most MTRR_MAX_VARIABLE */
    uint32_t phys_bits;      /* MAXPHYADDR */
};

/* Reads the MTRRs of this CPU (all UC where it has none). At start, ring 0: mm/host_cpu.c. */
void mtrr_read(struct mtrr_state *out);

/* The type at an address that is below `limit`, and up to where (at most `limit`) it is surely the
 * same. */
enum memory_type mtrr_run(const struct mtrr_state *mtrr, hpa_t at, hpa_t limit, hpa_t *end);

/* The effective type of [base, base + bytes), MEMORY_MIXED where it is not the same all over. */
enum memory_type mtrr_range_type(const struct mtrr_state *mtrr, hpa_t base, uint64_t bytes);
