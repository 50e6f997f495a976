/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of a domain's page tables: which of its pages are some, so that its kernel may
 * write to them (space.c), though they are read-only to it. */
#pragma once

#include "guest/pv/pv.h"

/* The kernel's array of frame numbers, in the window (mm/host_paging.h). */
#define PV_M2P_BASE HOST_WINDOW_BASE

/* In a page's byte of the code map (mm/shadow.h), where bits 2 to 7 are the engine's: times the
 * level of the table that it is, 1 to 4; and whether the guest has pinned it. */
#define PV_TABLE_LEVEL  4u
#define PV_TABLE_PINNED 32u

/* When a table was written last, for struct shadow_table. */
uint64_t pv_table_written(struct pv_vm *own, gpa_t at);
/* The kernel may write to it by itself, through a page that the table at `by` maps read-only, until
 * it flushes all. False: it is no table. */
bool pv_open_table(struct pv_vm *own, gpa_t at, gpa_t by);
/* guestmem.written, of the struct pv_vm: the hypervisor has written to the guest's memory, as
 * Nadir's own calls do to entries of its tables. */
void pv_memory_written(void *own, gpa_t at, uint64_t bytes);
/* Those that the domain starts on. */
void pv_tables_begin(struct pv_vm *own, const struct vm *vm);
