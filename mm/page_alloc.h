/* SPDX-License-Identifier: BSD-2-Clause */
/* The physical page allocator: every frame belongs to the hypervisor, to one guest, or is free. */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"

#include <stddef.h>

#define PAGE_ALLOC_MAX_RANGES 256

/* A stretch of RAM: base in bytes (host-physical, page-aligned), length in pages of 4 KiB. */
struct page_range {
    uint64_t base, pages;
};

/* Takes over the free RAM, sorted or not, none overlapping; what lies below 1 MiB is left out.
 * Called once at start (and by each test). ERR_LIMIT: more than PAGE_ALLOC_MAX_RANGES ranges;
 * ERR_BAD_INPUT: they overlap, are misaligned or run over the end of the address space. */
enum status page_alloc_init(const struct page_range *ranges, size_t count);

/* Contiguous zeroed pages for the hypervisor itself, from the lowest fitting address up, so that
 * they stay clear of the guests' large blocks. align_pages is a power of two. Any CPU, any time;
 * freed by page_free() with the same (or a part of the) range. */
enum status page_alloc(uint64_t pages, uint64_t align_pages, hpa_t *out);
void page_free(hpa_t base, uint64_t pages);

/* The same for a guest's RAM: zeroed, from the top down, not counted as the hypervisor's. Zeroing
 * many GiB takes a second: between() is called behind each MiB, with no lock held; it may be NULL.
 * What the guest has left there is zeroed when it is freed, too, in the same way. */
enum status page_alloc_guest(uint64_t pages, uint64_t align_pages, void (*between)(void),
                             hpa_t *out);
void page_free_guest(hpa_t base, uint64_t pages, void (*between)(void));

/* Bytes that page_alloc() has given out (guests' page tables included), and bytes still free. */
uint64_t page_alloc_used_by_hypervisor(void);
uint64_t page_alloc_free_bytes(void);
