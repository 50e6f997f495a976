/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Places in translated code where the processor has stopped before: which instruction of the
 * guest's is there, decoded, and which block is behind it. So an instruction that is the software
 * CPU's is found, fetched and decoded once, not each time that translated code comes to it.
 *
 * A site is of the block that its code is in: when that is dead (cache.h), it is none any more. It
 * is found by the address of the code, which is not written to again before all blocks are dropped.
 */
#pragma once

#include "guest/bt/cache.h"
#include "guest/cpu/interpret.h"

#include <stddef.h>

#define BT_SITES 512u

struct bt_site {
    uint64_t at;          /* the code's address; 0: none */
    uint64_t pc;          /* of the instruction, in the guest */
    uint32_t block, next; /* that it is in, and that is behind it; next: or BT_NONE */
    uint16_t spilled;     /* as struct translate_insn has it */
    bool light;           /* bt_site_is_light() */
    struct interpret_known known;
};

struct bt_sites {
    struct bt_site site[BT_SITES];
    /* The place that has been left last for the software CPU; block BT_NONE: not to be noted. */
    uint64_t at, pc;
    uint32_t block;
    uint16_t spilled;
};

/* All of them, with the blocks. */
void bt_sites_drop(struct bt_sites *sites);

/* The software CPU is about to carry out the instruction there. No instruction that is behind STI
 * is noted, as what blocks interrupts is more than a site tells. */
static inline void bt_sites_leave(struct bt_sites *sites, const struct bt_cache *cache, uint64_t at,
                                  const struct bt_block *block, const struct translate_insn *insn)
{
    sites->at = at;
    sites->pc = block->pc + insn->guest;
    sites->block = insn->shadow ? BT_NONE : (uint32_t)(block - cache->block);
    sites->spilled = insn->spilled;
}

/* It has. */
void bt_sites_note(struct bt_sites *sites, const struct interpret_env *env);

static inline struct bt_site *bt_sites_entry(struct bt_sites *sites, uint64_t at)
{
    return &sites->site[(at ^ at >> 9) % BT_SITES];
}

/* NULL: nothing is known of that address. */
static inline struct bt_site *bt_sites_find(struct bt_sites *sites, const struct bt_cache *cache,
                                            uint64_t at)
{
    struct bt_site *site = bt_sites_entry(sites, at);
    return site->at == at && !cache->block[site->block].dead ? site : NULL;
}

/* Whether it goes the short way, interpret_light(): beside general registers, RIP and flags it
 * needs nothing that translated code keeps elsewhere, and changes nothing that translated code is
 * entered with. MSRs from BT_LIGHT_MSRS on do: EFER, and bases of segments. */
#define BT_LIGHT_MSRS 0xc0000080u
bool bt_site_is_light(const struct interpret_known *known);
