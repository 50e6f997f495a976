/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables that differ from a VM's EPT in a few pages, for one vCPU and one instruction: only
 * the tables on the way to those pages are its own, all others are shared. */
#pragma once

#include "vmx/ept.h"

/* The root, and three tables on the way to each of more pages than a step has, by two addresses
 * each where A20 is off. Their names stand in a page of their own. */
#define EPT_OVERLAY_MAX (1 + 3 * 2 * 50)
_Static_assert(EPT_OVERLAY_MAX * sizeof(hpa_t) <= PAGE_SIZE, "one page");

/* All zero: none. */
struct ept_overlay {
    uint32_t count;
    hpa_t *table; /* its own, the root first; while there are any */
};

/* Makes the page at guest this host page, with perms, on top of the EPT whose root is named; once
 * for each page. What the EPT below has at the others is copied now, where they share a table with
 * it, and is followed elsewhere. ERR_NO_MEMORY; ERR_LIMIT: too many pages. The caller drops what is
 * cached of its root. With the VM's lock held. */
enum status ept_overlay_show(struct ept_overlay *overlay, hpa_t root, gpa_t guest, hpa_t host,
                             unsigned perms);

/* Gives its tables back, when no VMCS names them any more. */
void ept_overlay_drop(struct ept_overlay *overlay);
