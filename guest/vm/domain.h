/* SPDX-License-Identifier: BSD-2-Clause */
/* What an engine for paravirtualised guests needs to know of a domain, beside its memory and the
 * state that it starts in: where the loader has put what both share. */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;

/* The ports that a domain finds bound at its start (struct xen_start_info). */
#define DOMAIN_CONSOLE_PORT 1u
#define DOMAIN_GRANT_PAGES  4u

struct vm_domain {
    uint64_t pages;            /* of RAM, from 0 on: frame numbers below this are the domain's */
    gpa_t shared_info, grants; /* behind the RAM: a page, and DOMAIN_GRANT_PAGES */
    gpa_t console, store;      /* a page each */
    gpa_t tables;              /* the page tables that it starts on: the PML4 */
    uint64_t epoch;            /* time of day when the host's TSC was 0: seconds since 1970 (UTC) */

    /* Its console, all with the VM's lock held. out(): so many bytes are taken, fewer than asked
     * where the user's side has no room now. The engine's own, set when its first vCPU is loaded:
     * drain() gives the rest away then, and false if there is still no room; typed(): a byte comes
     * in, or false: there is no room; print(): tells the user which events wait. */
    size_t (*out)(struct vm *vm, const char *text, size_t bytes);
    bool (*drain)(struct vm *vm);
    bool (*typed)(struct vm *vm, uint8_t byte);
    void (*print)(const struct vm *vm);
};
