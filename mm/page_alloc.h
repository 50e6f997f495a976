/* SPDX-License-Identifier: BSD-2-Clause */
/* The physical page allocator: every frame belongs to the hypervisor, to one guest, or is free. */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"

#include <stdbool.h>
#include <stddef.h>

#define PAGE_ALLOC_MAX_RANGES 512

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

/* The same for a guest's RAM: from the top down, not counted as the hypervisor's, and not zeroed,
 * as it is not mapped: guestspace_zero() does that (mm/guestspace.h), for a new owner and before it
 * is freed. */
enum status page_alloc_guest(uint64_t pages, uint64_t align_pages, hpa_t *out);
void page_free_guest(hpa_t base, uint64_t pages);

/*
 * The physmap holds no memory of guests: in blocks of 2 MiB a frame is either the hypervisor's, and
 * mapped, or it is for guests, and is not. A block goes over from guests to the hypervisor when
 * that needs more, and never back: so no mapping is ever taken away while the machine runs, and no
 * CPU has to forget one. From here on set_mapped() is called for what goes over, with the
 * allocator's lock held; and now, with false, for all that is free for guests. Boot CPU, before
 * another runs and before any guest has memory.
 */
typedef void page_map_fn(hpa_t base, uint64_t pages, bool mapped);
void page_alloc_unmap_guests(page_map_fn *set_mapped);

/* Bytes that page_alloc() has given out (guests' page tables included), and bytes still free. */
uint64_t page_alloc_used_by_hypervisor(void);
uint64_t page_alloc_free_bytes(void);
