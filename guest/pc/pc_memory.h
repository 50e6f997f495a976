/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of a virtual PC: RAM of the host's, where a PC has it, mapped by the engine. */
#pragma once

#include "guest/pc/pc.h"

/* Maps pc->ram; where there is none yet, it is taken, zeroed. On failure, pc_memory_free() gives
 * back what was taken. ERR_BAD_INPUT: 0 or absurdly much. */
enum status pc_memory_create(struct pc *pc, uint64_t mib, const struct engine_facts *facts);
void pc_memory_free(struct pc_ram *ram, uint32_t *count);
