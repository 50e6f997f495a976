/* SPDX-License-Identifier: BSD-2-Clause */
/* The page tables that a Xen PV domain starts with, in pages that are taken one by one. */
#pragma once

#include "guest/load/program.h"

/* A domain that is being built: what lies before `next` is in use. */
struct xen_build {
    struct program *p;
    uint64_t next; /* guest-physical, the start of a page */
};

/* Takes so many bytes of RAM, in whole pages, which are not zeroed. what: their name in the
 * refusal, as ERR_NO_MEMORY, where there are no more. */
enum status xen_take(struct xen_build *b, const char *what, uint64_t bytes, gpa_t *at);

/* The PML4, which has no entry yet, as the first of kernel_tables. */
enum status xen_tables_begin(struct xen_build *b);

/* Takes the tables that [va, va + bytes) lacks, and counts them in *t: level by level, so that
 * those of one are together. The range is canonical. */
enum status xen_tables_add(struct xen_build *b, struct xen_tables *t, uint64_t va, uint64_t bytes);

/* Maps pages at va to those from `at` on, page by page, in tables that are there: writable, but for
 * the kernel's tables themselves. */
void xen_tables_map(const struct xen_build *b, uint64_t va, gpa_t at, uint64_t pages);
