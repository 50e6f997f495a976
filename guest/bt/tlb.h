/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks of a guest's page tables that are kept, as a CPU keeps them: to be forgotten wherever a
 * guest may count on that (SDM, "Invalidation of TLBs and Paging-Structure Caches"). */
#pragma once

#include "arch/addr.h"
#include "guest/cpu/guestwalk.h"

#define BT_TLB_ENTRIES 256u /* of each kind of access; a power of two */

/* key: page number of the linear address, with BT_TLB_USER for what CPL 3 may do; 0: none (page 0
 * has BT_TLB_USED, too). */
#define BT_TLB_USED 1ull
#define BT_TLB_USER 2ull

struct bt_tlb_entry {
    uint64_t key;
    uint8_t *host; /* of the page's first byte; NULL: it is not RAM, or cannot be written */
    gpa_t page;
};

struct bt_tlb {
    struct bt_tlb_entry entry[3][BT_TLB_ENTRIES]; /* by enum walk_access */
};

static inline uint64_t bt_tlb_key(uint64_t linear, bool user)
{
    return (linear & ~(PAGE_SIZE - 1)) | BT_TLB_USED | (user ? BT_TLB_USER : 0);
}

static inline struct bt_tlb_entry *bt_tlb_slot(struct bt_tlb *tlb, enum walk_access access,
                                               uint64_t linear)
{
    return &tlb->entry[access][linear / PAGE_SIZE % BT_TLB_ENTRIES];
}

static inline void bt_tlb_flush(struct bt_tlb *tlb)
{
    for (unsigned access = 0; access < 3; access++)
        for (unsigned i = 0; i < BT_TLB_ENTRIES; i++)
            tlb->entry[access][i].key = 0;
}
