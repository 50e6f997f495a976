/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of a domain's page tables: which of its pages are some, so that its kernel may
 * write to them (space.c), though they are read-only to it. */
#pragma once

#include "guest/pv/pv.h"

/* The kernel's array of frame numbers, in the window (mm/host_paging.h). */
#define PV_M2P_BASE HOST_WINDOW_BASE

/* In a page's byte of the code map (mm/shadow.h), where bits 2 to 7 are the engine's. */
#define PV_PAGE_IS_TABLE 4u

bool pv_is_table(const struct shadow *shadow, gpa_t at);
void pv_tables_note_initial(struct shadow *shadow, const struct vm_domain *domain);
