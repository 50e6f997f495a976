/* SPDX-License-Identifier: BSD-2-Clause */
/* Building the handoff's list of memory regions; pure, so that it is tested on the host. */
#pragma once

#include "boot/handoff.h"

/* Appends a region; calls come in order of base. Merges with its neighbour, clips overlaps, keeps
 * page 0 out of free memory. When the list is full, the smallest free region is forgotten. */
void regions_add(struct handoff *h, uint64_t base, uint64_t pages, enum region_kind kind);

/* The highest free page below 640 KiB, where a CPU can start in real mode; 0 where there is none.
 */
uint64_t regions_low_page(const struct handoff *h);
