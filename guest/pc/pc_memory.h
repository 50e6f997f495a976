/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of a virtual PC: RAM of the host's, where a PC has it, mapped by the engine. */
#pragma once

#include "guest/pc/pc.h"

/* Maps pc->memory; where there is none yet, it is taken, zeroed. On failure, pc_memory_free() gives
 * back what was taken. ERR_BAD_INPUT: 0 or absurdly much. It is to be touched between calls of
 * guestspace_enter(). */
enum status pc_memory_create(struct pc *pc, uint64_t mib, const struct engine_facts *facts);

/* Takes frames for the VM, maps them in its page tables for the host, and zeroes them. Where it
 * cannot map them, *ram is set nonetheless. */
enum status pc_memory_take(struct pc_memory *memory, struct pc_ram *ram, uint64_t pages,
                           uint64_t align_pages);

/* Zeroes all, and gives it back, with those page tables: no CPU is in them. */
void pc_memory_free(struct pc_memory *memory);
