/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest's page tables say of one linear address: what a walk of them finds
 * (guest/cpu/guestwalk.h), and what its shadow is made of (mm/shadow.h). */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>

struct guest_translation {
    gpa_t at;             /* where the address itself leads */
    uint64_t bytes;       /* of the page that it is in: 4 KiB to 1 GiB; 4 GiB with paging off */
    uint64_t perms;       /* PTE_W and PTE_U, where all levels have them; PTE_NX, where one has */
    uint64_t top;         /* where the way began: PML4E, PDPTE register, or CR3 under 32-bit paging;
                           * 0 with paging off */
    uint8_t pat;          /* the leaf's bits PAT, PCD, PWT: the memory type's number in IA32_PAT */
    bool global;          /* CR4.PGE, and the leaf has G */
    bool accessed, dirty; /* the flags: of all levels, of the leaf */
};
