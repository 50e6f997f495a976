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
    mem->slot[i] = (struct guestmem_slot){base, size, host, 0};
    mem->count++;
    return OK;
}

void guestmem_set_read_only(struct guestmem *mem, gpa_t base, uint64_t bytes, bool read_only)
{
    for (uint32_t i = 0; i < mem->count; i++) {
        struct guestmem_slot *s = &mem->slot[i];
        if (base.v < s->base.v || base.v - s->base.v >= s->size)
            continue;
        for (uint64_t at = base.v - s->base.v, end = at + bytes; at < end; at += s->size / 64) {
            uint64_t bit = 1ull << (at / (s->size / 64) & 63);
            s->read_only = read_only ? s->read_only | bit : s->read_only & ~bit;
        }
    }
}

/* The part of [at, at + bytes) that lies in the slot of at; NULL where at is not RAM. */
static void *part(const struct guestmem *mem, uint64_t at, size_t bytes, size_t *length)
{
    const struct guestmem_slot *s = guestmem_slot(mem, gpa(at));
    if (s == NULL)
        return NULL;
    uint64_t offset = at - s->base.v;
    *length = bytes < s->size - offset ? bytes : s->size - offset;
    return s->host + index_nospec(offset, s->size);
}

bool guestmem_read(const struct guestmem *mem, gpa_t from, void *to, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        const void *p = part(mem, from.v + done, bytes - done, &n);
        if (p == NULL)
            return false;
        memcpy((uint8_t *)to + done, p, n);
    }
    return true;
}

/* The same as part(), for writing: ends with the 64th where some are read-only. */
static void *writable_part(const struct guestmem *mem, uint64_t at, size_t bytes, size_t *length)
{
    void *p = part(mem, at, bytes, length);
    if (p == NULL)
        return NULL;
    const struct guestmem_slot *s = guestmem_slot(mem, gpa(at));
    if (s->read_only == 0)
        return p;
    size_t left = (size_t)(s->size / 64 - (at - s->base.v) % (s->size / 64));
    if (*length > left)
        *length = left;
    return guestmem_slot_writable(s, gpa(at)) ? p : NULL;
}

bool guestmem_write(const struct guestmem *mem, gpa_t to, const void *from, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        void *p = writable_part(mem, to.v + done, bytes - done, &n);
        if (p == NULL)
            return false;
        memcpy(p, (const uint8_t *)from + done, n);
    }
    return true;
}

bool guestmem_zero(const struct guestmem *mem, gpa_t to, size_t bytes)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        void *p = writable_part(mem, to.v + done, bytes - done, &n);
        if (p == NULL)
            return false;
        memset(p, 0, n);
    }
    return true;
}
