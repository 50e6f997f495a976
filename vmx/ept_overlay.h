/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables that differ from a VM's EPT in a few pages, for one vCPU and one instruction: only
 * the tables on the way to those pages are its own, all others are shared. */
#pragma once

#include "vmx/ept.h"

/* The root, and three tables on the way to each of so many pages. */
#define EPT_OVERLAY_PAGES 8
#define EPT_OVERLAY_MAX   (1 + 3 * EPT_OVERLAY_PAGES)

/* All zero: none. */
struct ept_overlay {
    uint32_t count;
    hpa_t table[EPT_OVERLAY_MAX]; /* its own, the root first */
};

/* Makes the page at guest this host page, with perms, on top of the EPT whose root is named; once
 * for each page. What the EPT below has at the others is copied now, where they share a table with
 * it, and is followed elsewhere. ERR_NO_MEMORY; ERR_LIMIT: too many pages; ERR_BAD_INPUT: part of a
 * larger page. The caller drops what is cached of its root. With the VM's lock held. */
enum status ept_overlay_show(struct ept_overlay *overlay, hpa_t root, gpa_t guest, hpa_t host,
                             unsigned perms);

/* Gives its tables back, when no VMCS names them any more. */
void ept_overlay_drop(struct ept_overlay *overlay);
