/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual PC without firmware: its loader finds out what kind of kernel nadir.cfg names, puts it
 * into memory, and leaves the tables that firmware would have left. */
#pragma once

#include "guest/pc/pc.h"

/* The PC has its memory and its CPUID table. Fills in pc->boot; a failure has its line in the log.
 */
enum status pc_program_load(struct pc *pc, const struct vm_config *config);

/* For the line about the VM's end: what may help a kernel that died of the segments that it was
 * started with; "" where nothing speaks for that. */
const char *pc_program_advice(const struct pc *pc);
