/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's RAM as the hypervisor sees it: the only way in which guest memory is touched. */
#pragma once

#include "arch/addr.h"
#include "arch/nospec.h"
#include "arch/status.h"

#include <stdbool.h>
#include <stddef.h>

#define GUESTMEM_MAX_SLOTS 28

struct guestmem_slot {
    gpa_t base;
    uint64_t size;     /* bytes */
    uint8_t *host;     /* where reads find it here */
    uint8_t *writable; /* where writes do; NULL: the guest cannot write to it, as to ROM */
};

/* All zero = no memory. */
struct guestmem {
    uint32_t count;
    /* Bits that addresses lose on the way from a CPU: A20, while it is off. Who walks a guest's
     * page tables looks at it; copies do not, as DMA has all bits. */
    uint64_t absent;
    /* Told of each range that guestmem_write() and guestmem_zero() have written, behind that; for
     * an engine that has made something of the guest's code. NULL: nobody is. */
    void (*written)(void *ctx, gpa_t at, uint64_t bytes);
    void *written_ctx;
    struct guestmem_slot slot[GUESTMEM_MAX_SLOTS]; /* sorted by base */
};

/* Adds RAM at start. ERR_LIMIT: too many slots; ERR_BAD_INPUT: empty, overlapping, wraps. */
enum status guestmem_add(struct guestmem *mem, gpa_t base, uint64_t size, void *host);

/*
 * Puts other host memory into the place of the slot that begins at base, of its size: nothing is
 * copied. Who has found the old one goes on with that, which stays the guest's. What a guest does
 * to its own memory meanwhile is its affair.
 *
 * The race: CPU A, which has the VM's lock, puts ROM into the place of RAM. CPU B writes for
 * another vCPU, without that lock, and may look at the slot before, after or meanwhile. Were the
 * right to write a word beside the address, B could take the right of the RAM and the address of
 * the ROM, and write into that: so what B writes to is a word of its own, which is the right as
 * well, and which B loads once for each access (guestmem_slot_writable()). Reads have theirs, which
 * costs them nothing. B may read from the one memory and write to the other, as if A had come
 * between the two.
 */
void guestmem_replace(struct guestmem *mem, gpa_t base, void *host, bool read_only);

/* Copies, or writes zeros; false, and nothing is promised about the destination, where a byte of
 * the range is not RAM, or read-only and to be written. Ranges may cross slots that touch. The
 * guest may change its memory meanwhile: read what is to be checked once, into your own copy. */
bool guestmem_read(const struct guestmem *mem, gpa_t from, void *to, size_t bytes);
bool guestmem_write(const struct guestmem *mem, gpa_t to, const void *from, size_t bytes);
bool guestmem_zero(const struct guestmem *mem, gpa_t to, size_t bytes);

/* The slot of an address, or NULL: the last one that begins at or below it, or none. */
static inline const struct guestmem_slot *guestmem_slot(const struct guestmem *mem, gpa_t at)
{
    const struct guestmem_slot *s = mem->slot + mem->count;
    while (s > mem->slot)
        if (at.v >= (--s)->base.v)
            return at.v - s->base.v < s->size ? s : NULL;
    return NULL;
}

/* The slot's memory, as it is now, to read from. A volatile load is as much one load as a relaxed
 * atomic one; but behind the latter GCC takes all memory for changed, and loads the slot and its
 * caller's fields anew. */
static inline uint8_t *guestmem_slot_host(const struct guestmem_slot *slot)
{
    return *(uint8_t *const volatile *)&slot->host;
}

/* The same, to write to; NULL: the guest cannot. */
static inline uint8_t *guestmem_slot_writable(const struct guestmem_slot *slot)
{
    return *(uint8_t *const volatile *)&slot->writable;
}

/* Whether the guest has RAM there, and can write to it. To write, guestmem_writable_window() asks
 * and finds in one go: what this has answered is over before the next line. */
static inline bool guestmem_is_writable(const struct guestmem *mem, gpa_t at)
{
    const struct guestmem_slot *s = guestmem_slot(mem, at);
    return s != NULL && guestmem_slot_writable(s) != NULL;
}

/* Behind a write by a window of a running guest's memory: those are told who are of the others. */
static inline void guestmem_note_written(const struct guestmem *mem, gpa_t at, uint64_t bytes)
{
    if (mem->written != NULL)
        mem->written(mem->written_ctx, at, bytes);
}

/* A pointer to a whole range within one slot, or NULL. For loaders, before the guest runs, and for
 * single aligned accesses; never keep it for data that is checked and then used. */
static inline void *guestmem_window(const struct guestmem *mem, gpa_t base, size_t bytes)
{
    const struct guestmem_slot *s = guestmem_slot(mem, base);
    if (s == NULL || bytes > s->size - (base.v - s->base.v))
        return NULL;
    return guestmem_slot_host(s) + index_nospec(base.v - s->base.v, s->size);
}

/* The same, or NULL where the guest cannot write. */
static inline void *guestmem_writable_window(const struct guestmem *mem, gpa_t base, size_t bytes)
{
    const struct guestmem_slot *s = guestmem_slot(mem, base);
    if (s == NULL || bytes > s->size - (base.v - s->base.v))
        return NULL;
    uint8_t *host = guestmem_slot_writable(s);
    return host != NULL ? host + index_nospec(base.v - s->base.v, s->size) : NULL;
}
