/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the device behind a port or an address, and splits what is too wide for it. */
#include "drivers/bus/bus.h"

#include "arch/string.h"

#include <stddef.h>

/* bytes: 1 to 8 */
static uint64_t mask_of(unsigned bytes)
{
    static const uint64_t mask[] = {
        [1] = UINT8_MAX,           [2] = UINT16_MAX,      [3] = 0xffffff,
        [4] = UINT32_MAX,          [5] = 0xffffffffffull, [6] = 0xffffffffffffull,
        [7] = 0xffffffffffffffull, [8] = UINT64_MAX};
    return mask[bytes];
}

enum status bus_add_ports(struct bus *bus, const struct port_range *range)
{
    if (range->first > range->last || (range->width != 1 && range->width != 2 && range->width != 4))
        return ERR_BAD_INPUT;
    for (uint32_t port = range->first; port <= range->last; port++)
        if (bus->port_owner[port] != 0)
            return ERR_BAD_INPUT;
    uint32_t i = 0;
    while (i < bus->port_count && bus->port[i].width != 0)
        i++;
    if (i == BUS_MAX_PORT_RANGES)
        return ERR_LIMIT;
    if (i == bus->port_count)
        bus->port_count++;
    bus->port[i] = *range;
    for (uint32_t port = range->first; port <= range->last; port++)
        bus->port_owner[port] = (uint8_t)(i + 1);
    return OK;
}

enum status bus_add_port_table(struct bus *bus, void *dev, const struct port_range *ranges,
                               unsigned count)
{
    enum status s = OK;
    for (unsigned i = 0; i < count && s == OK; i++) {
        struct port_range range = ranges[i];
        range.dev = dev;
        s = bus_add_ports(bus, &range);
    }
    return s;
}

void bus_remove_ports(struct bus *bus, const void *dev, uint16_t first)
{
    unsigned owner = bus->port_owner[first];
    if (owner == 0 || bus->port[owner - 1].first != first)
        return;
    const bool watched = bus->port[owner - 1].dev == &bus->watch.port[owner - 1];
    if (dev != (watched ? bus->watch.port[owner - 1].dev : bus->port[owner - 1].dev))
        return;
    for (uint32_t port = first; port <= bus->port[owner - 1].last; port++)
        bus->port_owner[port] = 0;
    bus->port[owner - 1].width = 0;
}

enum status bus_add_mmio(struct bus *bus, const struct mmio_range *range)
{
    if (range->first.v > range->last.v)
        return ERR_BAD_INPUT;
    for (uint32_t i = 0; i < bus->mmio_count; i++)
        if (range->first.v <= bus->mmio[i].last.v && bus->mmio[i].first.v <= range->last.v)
            return ERR_BAD_INPUT;
    if (bus->mmio_count == BUS_MAX_MMIO_RANGES)
        return ERR_LIMIT;
    bus->mmio[bus->mmio_count++] = *range;
    return OK;
}

/* The range that takes this access in one piece; NULL if it is unclaimed or has to be split. */
static inline const struct port_range *port_find(const struct bus *bus, uint16_t port,
                                                 unsigned bytes)
{
    unsigned owner = bus->port_owner[port];
    if (owner == 0)
        return NULL;
    const struct port_range *range = &bus->port[owner - 1];
    return bytes <= range->width && port + bytes - 1 <= range->last ? range : NULL;
}

/* A new address takes a free place, or wears all others down by one, until one is free. */
static void __attribute__((noinline)) note_miss(struct bus *bus, uint64_t at, bool memory)
{
    struct bus_miss *free = NULL;
    for (struct bus_miss *m = bus->miss; m < bus->miss + BUS_MISSES; m++) {
        if (m->count == 0) {
            free = m;
        } else if (m->at == at && m->memory == memory) {
            m->count++;
            return;
        }
    }
    if (free != NULL)
        *free = (struct bus_miss){at, 1, memory};
    for (unsigned i = 0; i < BUS_MISSES && free == NULL; i++)
        bus->miss[i].count--;
}

/* Whether nobody has any of these ports, which is said at once for all of them. (False for what
 * wraps at 64 KiB: that is split, and comes here again.) */
static inline bool ports_are_unclaimed(const struct bus *bus, uint16_t port, unsigned bytes)
{
    uint32_t owners;
    memcpy(&owners, &bus->port_owner[port], sizeof(owners));
    return (owners & mask_of(bytes)) == 0 && port + bytes <= UINT16_MAX + 1u;
}

/* An access that no device takes whole: apart, as the others are the usual ones and short. */
static uint32_t __attribute__((noinline)) read_split(struct bus *bus, uint16_t port, unsigned bytes)
{
    if (ports_are_unclaimed(bus, port, bytes)) {
        note_miss(bus, port, false);
        return (uint32_t)mask_of(bytes);
    }
    const unsigned half = bytes / 2; /* ports wrap at 64 KiB, as the address lines do */
    const uint32_t low = bus_port_read(bus, port, half);
    return low | bus_port_read(bus, (uint16_t)(port + half), half) << (8 * half);
}

static void __attribute__((noinline))
write_split(struct bus *bus, uint16_t port, unsigned bytes, uint32_t value)
{
    if (ports_are_unclaimed(bus, port, bytes))
        return;
    const unsigned half = bytes / 2;
    bus_port_write(bus, port, half, value);
    bus_port_write(bus, (uint16_t)(port + half), half, value >> (8 * half));
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned bytes)
{
    const struct port_range *range = port_find(bus, port, bytes);
    if (range != NULL && range->read != NULL)
        return range->read(range->dev, port, bytes) & (uint32_t)mask_of(bytes);
    if (range == NULL && bytes != 1)
        return read_split(bus, port, bytes);
    note_miss(bus, port, false);
    return (uint32_t)mask_of(bytes);
}

void bus_port_write(struct bus *bus, uint16_t port, unsigned bytes, uint32_t value)
{
    const struct port_range *range = port_find(bus, port, bytes);
    if (range == NULL && bytes > 1)
        write_split(bus, port, bytes, value);
    else if (range != NULL && range->write != NULL)
        range->write(range->dev, port, bytes, value & (uint32_t)mask_of(bytes));
}

enum status bus_add_string(struct bus *bus, const struct port_string *string)
{
    if (bus->string_count == BUS_MAX_STRINGS)
        return ERR_LIMIT;
    bus->string[bus->string_count++] = *string;
    return OK;
}

const struct port_string *bus_port_string(const struct bus *bus, uint16_t port)
{
    for (uint32_t i = 0; i < bus->string_count; i++)
        if (bus->string[i].port == port)
            return &bus->string[i];
    return NULL;
}

/* Device memory is never split: an access that leaves its range hits nothing. */
static const struct mmio_range *mmio_find(const struct bus *bus, gpa_t at, unsigned bytes)
{
    const struct mmio_range *end = bus->mmio + bus->mmio_count;
    for (const struct mmio_range *range = bus->mmio; range < end; range++)
        if (at.v >= range->first.v && at.v <= range->last.v)
            return bytes - 1 <= range->last.v - at.v ? range : NULL;
    return NULL;
}

bool bus_mmio_is_plain(const struct bus *bus, gpa_t page, void **memory)
{
    *memory = NULL;
    for (const struct mmio_range *r = bus->mmio; r < bus->mmio + bus->mmio_count; r++) {
        if (r->first.v > page.v + PAGE_SIZE - 1 || r->last.v < page.v)
            continue;
        if (r->memory == NULL)
            return false;
        *memory = (uint8_t *)r->memory + (page.v - r->first.v);
    }
    return true;
}

uint64_t bus_mmio_read(struct bus *bus, gpa_t at, unsigned bytes)
{
    const struct mmio_range *range = mmio_find(bus, at, bytes);
    if (range == NULL || range->read == NULL) {
        note_miss(bus, at.v, true);
        return mask_of(bytes);
    }
    return range->read(range->dev, at, bytes) & mask_of(bytes);
}

void bus_mmio_write(struct bus *bus, gpa_t at, unsigned bytes, uint64_t value)
{
    const struct mmio_range *range = mmio_find(bus, at, bytes);
    if (range != NULL && range->write != NULL)
        range->write(range->dev, at, bytes, value & mask_of(bytes));
}
