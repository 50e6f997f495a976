/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's page walk in software: what its CPU would do with a linear address. */
#pragma once

#include "mm/guest_translation.h"
#include "mm/guestmem.h"

/* Page-fault error code (SDM, "Page-Fault Exceptions"). */
enum page_fault { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16 };
enum { PF_KEY = 32 };

enum walk_access { WALK_READ, WALK_WRITE, WALK_FETCH };

/* The state of the vCPU that decides; a copy, so that one is made per exit and used for all. */
struct guest_paging {
    uint64_t cr0, cr3, cr4, efer;
    uint64_t rflags;   /* AC, for SMAP */
    uint8_t cpl;       /* 0 to 3 */
    bool implicit;     /* a system access (GDT, TSS…): supervisor whatever the CPL, AC ignored */
    bool peek;         /* for somebody who looks on: accessed and dirty flags stay as they are */
    uint8_t phys_bits; /* the guest's MAXPHYADDR */
    uint32_t pkru;     /* 0 unless CR4.PKE */
    const uint64_t *pdpte; /* the four PDPTE registers, under PAE paging; else not used */
};

/* Translates one linear address (canonical: the caller's duty; not for a range that crosses a
 * page). Sets accessed and dirty flags as the CPU would. False: #PF with *error_code, CR2 = linear.
 * Paging entries outside of RAM read as all ones. */
bool guestwalk_translate(const struct guestmem *mem, const struct guest_paging *paging,
                         gva_t linear, enum walk_access access, gpa_t *out, uint32_t *error_code);

/* The same, for who keeps what is found (mm/shadow.h): accessed and dirty flags are in memory when
 * this returns, whatever other CPUs of the guest do. */
bool guestwalk_examine(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                       enum walk_access access, struct guest_translation *out,
                       uint32_t *error_code);
/* What the tables say, whoever asks: no access right is looked at, and no flag set. False: nothing,
 * or a reserved bit. And how the way to an address begins: guest_translation.top. */
bool guestwalk_look(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                    struct guest_translation *out);
/* Where the tables have the entry for an address at their lowest level, which need not be present.
 * False: they do not go down so far. */
bool guestwalk_find_entry(const struct guestmem *mem, const struct guest_paging *paging,
                          gva_t linear, gpa_t *at);
uint64_t guestwalk_top(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear);

#define GUESTWALK_FETCH_BYTES 15 /* the longest instruction */

/* The bytes of an instruction of 64-bit code, in few instructions. False: not so simple; then
 * guestwalk_read() says what there is. */
bool guestwalk_fetch(const struct guestmem *mem, const struct guest_paging *paging, gva_t rip,
                     uint8_t to[GUESTWALK_FETCH_BYTES]);

/* Reads RAM at a linear address, across pages. Returns the bytes read: fewer than asked where a
 * page faults (*error_code, *fault_at) or is not RAM (*error_code = 0). access is WALK_READ or
 * WALK_FETCH. */
size_t guestwalk_read(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                      enum walk_access access, void *to, size_t bytes, uint32_t *error_code,
                      gva_t *fault_at);
