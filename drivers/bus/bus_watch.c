/* SPDX-License-Identifier: BSD-2-Clause */
/* Which ports and addresses a guest polls though a device answers there: for some milliseconds the
 * bus leads here, and from here to the devices. What a guest polls in vain answers the same each
 * time, and it writes nothing meanwhile that could change that. */
#include "arch/string.h"
#include "drivers/bus/bus.h"

#include <stddef.h>

/* As for misses, a new address takes a free place, or wears all others down by one. */
static void note_read(const struct bus_kept *kept, uint64_t at, uint64_t value, bool memory)
{
    struct bus_watch *watch = &kept->bus->watch;
    struct bus_read *free = NULL;
    for (struct bus_read *r = watch->read; r < watch->read + BUS_MISSES; r++) {
        if (r->count == 0) {
            free = free == NULL ? r : free;
        } else if (r->at == at && r->memory == memory) {
            r->count++;
            r->all_of &= value;
            r->any_of |= value;
            return;
        }
    }
    if (free != NULL)
        *free = (struct bus_read){at, 1, value, value, kept->dev, memory};
    for (unsigned i = 0; i < BUS_MISSES && free == NULL; i++)
        watch->read[i].count--;
}

/* Who writes something new to a device does more than wait for it. Where it is only told again
 * which of its registers is to be read, as the clock's index is, that is waiting. */
static void note_write(const struct bus_kept *kept, uint64_t at, uint64_t value)
{
    struct bus_watch *watch = &kept->bus->watch;
    const bool again = watch->written_at == at && watch->written == value;
    watch->written_at = at;
    watch->written = value;
    for (struct bus_read *r = watch->read; r < watch->read + BUS_MISSES && !again; r++)
        if (r->dev == kept->dev)
            r->count = 0;
}

static uint32_t port_read(void *dev, uint16_t port, unsigned bytes)
{
    const struct bus_kept *kept = dev;
    const uint32_t value = kept->port.read(kept->dev, port, bytes);
    note_read(kept, port, value, false);
    return value;
}

static void port_write(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    const struct bus_kept *kept = dev;
    note_write(kept, port, value);
    kept->port.write(kept->dev, port, bytes, value);
}

static uint64_t mmio_read(void *dev, gpa_t at, unsigned bytes)
{
    const struct bus_kept *kept = dev;
    const uint64_t value = kept->mmio.read(kept->dev, at, bytes);
    note_read(kept, at.v, value, true);
    return value;
}

static void mmio_write(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    const struct bus_kept *kept = dev;
    note_write(kept, at.v, value);
    kept->mmio.write(kept->dev, at, bytes, value);
}

void bus_watch_begin(struct bus *bus)
{
    struct bus_watch *watch = &bus->watch;
    if (watch->on)
        return;
    memset(watch, 0, sizeof(*watch));
    watch->on = true;
    for (uint32_t i = 0; i < bus->port_count; i++) {
        struct port_range *r = &bus->port[i];
        watch->port[i] = (struct bus_kept){bus, r->dev, .port = {r->read, r->write}};
        r->dev = &watch->port[i];
        r->read = r->read != NULL ? port_read : NULL;
        r->write = r->write != NULL ? port_write : NULL;
    }
    for (uint32_t i = 0; i < bus->mmio_count; i++) {
        struct mmio_range *r = &bus->mmio[i];
        watch->mmio[i] = (struct bus_kept){bus, r->dev, .mmio = {r->read, r->write}};
        r->dev = &watch->mmio[i];
        r->read = r->read != NULL ? mmio_read : NULL;
        r->write = r->write != NULL ? mmio_write : NULL;
    }
}

/* A range that has come meanwhile, in the place of another one, leads to its device by itself. */
const struct bus_read *bus_watch_end(struct bus *bus)
{
    struct bus_watch *watch = &bus->watch;
    if (!watch->on)
        return NULL;
    watch->on = false;
    for (uint32_t i = 0; i < bus->port_count; i++) {
        struct port_range *r = &bus->port[i];
        if (r->dev == &watch->port[i]) {
            r->dev = watch->port[i].dev;
            r->read = watch->port[i].port.read;
            r->write = watch->port[i].port.write;
        }
    }
    for (uint32_t i = 0; i < bus->mmio_count; i++) {
        struct mmio_range *r = &bus->mmio[i];
        if (r->dev == &watch->mmio[i]) {
            r->dev = watch->mmio[i].dev;
            r->read = watch->mmio[i].mmio.read;
            r->write = watch->mmio[i].mmio.write;
        }
    }
    return watch->read;
}
