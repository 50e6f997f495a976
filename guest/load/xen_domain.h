/* SPDX-License-Identifier: BSD-2-Clause */
/* A Xen PV domain as the loader leaves it: what the engine that runs it must know. */
#pragma once

#include "arch/addr.h"

/* Selectors of 64-bit code and flat data that each such kernel finds in its GDT. */
#define XEN_KERNEL_CS 0xe033u
#define XEN_KERNEL_SS 0xe02bu

/* start_info names it as bound to the console, which is the engine's to do. */
#define XEN_CONSOLE_PORT 1u
#define XEN_SHARED_VCPUS 32 /* of so many vCPUs shared_info has the state of events */
#define XEN_VCPU_INFO    64 /* bytes of each, from the page's start on */

/* Linear addresses that belong to the hypervisor; a kernel that wants them cannot be started. */
#define XEN_HOLE_FIRST 0xffff800000000000ull
#define XEN_HOLE_LAST  0xffff87ffffffffffull

/* RAM is [0, memory_bytes), without the holes of a PC. Behind it, where the kernel cannot take
 * it for RAM, whoever makes the domain adds pages: shared_info, here, and its table of grants. */
#define XEN_GRANT_PAGES  4
#define XEN_BEHIND_PAGES (1 + XEN_GRANT_PAGES)
static inline gpa_t xen_shared_info_at(uint64_t memory_bytes)
{
    return gpa((memory_bytes + PAGE_SIZE_2M - 1) & ~(PAGE_SIZE_2M - 1));
}

/* Page tables that lie one behind the other, those of a higher level first. */
struct xen_tables {
    gpa_t first;
    uint32_t count[5]; /* by level: [4] of PML4, [1] of those with the leaves; [0] is not used */
};

static inline uint64_t xen_table_pages(const struct xen_tables *t)
{
    return (uint64_t)t->count[4] + t->count[3] + t->count[2] + t->count[1];
}

struct xen_domain {
    uint64_t pages; /* of RAM */
    /* [0, mapped_bytes) of RAM is mapped from virt_base on, writable but for kernel_tables. Leaves
     * have no U, as Linux writes them: all of these tables' root is for the kernel. */
    uint64_t virt_base, mapped_bytes;
    gpa_t start_info, store, console, shared_info, grants;
    gpa_t hypercall_page;            /* filled in; 0: the kernel has none */
    struct xen_tables kernel_tables; /* the first is CR3's */
    struct xen_tables p2m_tables; /* more of them, not mapped: for a p2m list with its own place */
};
