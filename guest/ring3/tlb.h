/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks of a guest's page tables that are kept, as a CPU keeps them: to be forgotten wherever a
 * guest may count on that (SDM, "Invalidation of TLBs and Paging-Structure Caches"). Guests flush
 * often, and use few of the entries in between: so a flush touches none, but makes all keys be of
 * an older generation.
 */
#pragma once

#include "arch/addr.h"
#include "guest/cpu/guestwalk.h"

#define RING3_TLB_ENTRIES 256u /* of each kind of access; a power of two */

/* key: page number of the linear address; with RING3_TLB_USER for what CPL 3 may do;
 * RING3_TLB_USED; and in between the generation. 0: none. */
#define RING3_TLB_USED             1ull
#define RING3_TLB_USER             2ull
#define RING3_TLB_GENERATION       4ull
#define RING3_TLB_GENERATIONS_MASK 0xffcull

struct ring3_tlb_entry {
    uint64_t key;
    uint8_t *host; /* of the page's first byte; NULL: it is not RAM, or cannot be written */
    gpa_t page;
};

struct ring3_tlb {
    uint64_t generation; /* in the place that it has in a key */
    uint64_t large;      /* of each GiB, modulo 64: a walk in it may be of a page above 4 KiB */
    struct ring3_tlb_entry entry[3][RING3_TLB_ENTRIES]; /* by enum walk_access */
};

static inline uint64_t ring3_tlb_key(const struct ring3_tlb *tlb, uint64_t linear, bool user)
{
    return (linear & ~(PAGE_SIZE - 1)) | tlb->generation | RING3_TLB_USED |
           (user ? RING3_TLB_USER : 0);
}

static inline struct ring3_tlb_entry *ring3_tlb_slot(struct ring3_tlb *tlb, enum walk_access access,
                                                     uint64_t linear)
{
    return &tlb->entry[access][linear / PAGE_SIZE % RING3_TLB_ENTRIES];
}

static inline void ring3_tlb_flush(struct ring3_tlb *tlb)
{
    tlb->generation = (tlb->generation + RING3_TLB_GENERATION) & RING3_TLB_GENERATIONS_MASK;
    tlb->large = 0;
    if (tlb->generation != 0)
        return;
    for (unsigned access = 0; access < 3; access++)
        for (unsigned i = 0; i < RING3_TLB_ENTRIES; i++)
            tlb->entry[access][i].key = 0;
}

static inline uint64_t ring3_tlb_gib(uint64_t linear)
{
    return 1ull << (linear >> 30 & 63);
}

/* A walk to a page of so many bytes is kept. */
static inline void ring3_tlb_note(struct ring3_tlb *tlb, uint64_t linear, uint64_t bytes)
{
    if (bytes > PAGE_SIZE)
        tlb->large |= bytes > 1ull << 30 ? UINT64_MAX : ring3_tlb_gib(linear);
}

/* Keeps what a walk has found. */
static inline struct ring3_tlb_entry *ring3_tlb_keep(struct ring3_tlb *tlb,
                                                     const struct guestmem *mem, uint64_t linear,
                                                     enum walk_access access, bool user,
                                                     const struct guest_translation *found)
{
    struct ring3_tlb_entry *entry = ring3_tlb_slot(tlb, access, linear);
    const gpa_t page = gpa(found->at.v & ~(PAGE_SIZE - 1));
    ring3_tlb_note(tlb, linear, found->bytes);
    *entry = (struct ring3_tlb_entry){
        .key = ring3_tlb_key(tlb, linear, user),
        .host = access == WALK_WRITE ? guestmem_writable_window(mem, page, PAGE_SIZE)
                                     : guestmem_window(mem, page, PAGE_SIZE),
        .page = page,
    };
    return entry;
}

/* INVLPG. An entry is of 4 KiB, whatever the size of the guest's page: where there may be others of
 * the same page, all go. */
static inline void ring3_tlb_invalidate(struct ring3_tlb *tlb, uint64_t linear)
{
    if ((tlb->large & ring3_tlb_gib(linear)) != 0) {
        ring3_tlb_flush(tlb);
        return;
    }
    for (unsigned access = 0; access < 3; access++)
        ring3_tlb_slot(tlb, (enum walk_access)access, linear)->key = 0;
}
