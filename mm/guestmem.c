/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest RAM by slots: bounds are checked here and nowhere else. */
#include "mm/guestmem.h"
#include "arch/nospec.h"
#include "arch/string.h"

enum status guestmem_add(struct guestmem *mem, gpa_t base, uint64_t size, void *host)
{
    if (size == 0 || host == NULL || size > UINT64_MAX - base.v)
        return ERR_BAD_INPUT;
    uint32_t i = 0;
    while (i < mem->count && mem->slot[i].base.v < base.v)
        i++;
    if ((i > 0 && base.v - mem->slot[i - 1].base.v < mem->slot[i - 1].size) ||
        (i < mem->count && mem->slot[i].base.v - base.v < size))
        return ERR_BAD_INPUT;
    if (mem->count == GUESTMEM_MAX_SLOTS)
        return ERR_LIMIT;
    memmove(&mem->slot[i + 1], &mem->slot[i], (mem->count - i) * sizeof(mem->slot[0]));
    mem->slot[i] = (struct guestmem_slot){base, size, host, host};
    mem->count++;
    return OK;
}

void guestmem_replace(struct guestmem *mem, gpa_t base, void *host, bool read_only)
{
    for (struct guestmem_slot *s = mem->slot; s < mem->slot + mem->count; s++) {
        if (s->base.v != base.v)
            continue;
        __atomic_store_n(&s->host, host, __ATOMIC_RELAXED);
        __atomic_store_n(&s->writable, read_only ? NULL : host, __ATOMIC_RELAXED);
    }
}

/* The part of [at, at + bytes) that lies in the slot of at; NULL where at is not RAM, or read-only
 * and to be written. */
static inline uint8_t *__attribute__((always_inline))
part(const struct guestmem *mem, uint64_t at, size_t bytes, bool write, size_t *length)
{
    const struct guestmem_slot *s = guestmem_slot(mem, gpa(at));
    if (s == NULL)
        return NULL;
    uint8_t *host = write ? guestmem_slot_writable(s) : guestmem_slot_host(s);
    const uint64_t offset = at - s->base.v;
    if (host == NULL)
        return NULL;
    *length = bytes < s->size - offset ? bytes : s->size - offset;
    return host + index_nospec(offset, s->size);
}

bool guestmem_read(const struct guestmem *mem, gpa_t from, void *to, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        const void *p = part(mem, from.v + done, bytes - done, false, &n);
        if (p == NULL)
            return false;
        memcpy((uint8_t *)to + done, p, n);
    }
    return true;
}

bool guestmem_write(const struct guestmem *mem, gpa_t to, const void *from, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        void *p = part(mem, to.v + done, bytes - done, true, &n);
        if (p == NULL)
            return false;
        memcpy(p, (const uint8_t *)from + done, n);
    }
    guestmem_note_written(mem, to, bytes);
    return true;
}

bool guestmem_zero(const struct guestmem *mem, gpa_t to, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        void *p = part(mem, to.v + done, bytes - done, true, &n);
        if (p == NULL)
            return false;
        memset(p, 0, n);
    }
    guestmem_note_written(mem, to, bytes);
    return true;
}
