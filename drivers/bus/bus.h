/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports and device memory of one VM. Unclaimed addresses read all ones and drop writes. */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"

#include <stdbool.h>
#include <stdint.h>

#define BUS_MAX_PORT_RANGES 64
#define BUS_MAX_MMIO_RANGES 8
#define BUS_MAX_STRINGS     4

struct port_range {
    uint16_t first, last; /* inclusive */
    uint8_t
        width; /* widest access (1, 2, 4 bytes) that it takes; wider ones come split, low first */
    void *dev;
    uint32_t (*read)(void *dev, uint16_t port, unsigned bytes);              /* NULL: all ones */
    void (*write)(void *dev, uint16_t port, unsigned bytes, uint32_t value); /* NULL: dropped */
};

struct mmio_range {
    gpa_t first, last; /* inclusive */
    void *dev;
    uint64_t (*read)(void *dev, gpa_t at, unsigned bytes); /* bytes: 1, 2, 4 or 8 */
    void (*write)(void *dev, gpa_t at, unsigned bytes, uint64_t value);
    /* The range, whole pages, as memory, where it does nothing but keep what is written: what the
     * emulator does not know may then work on it by itself. NULL for others. */
    void *memory;
};

/* A port that moves the elements of INS and OUTS many at a time, as if one after the other; beside
 * its port_range. bytes: of an element. */
struct port_string {
    uint16_t port;
    void *dev;
    void (*read)(void *dev, unsigned bytes, uint8_t *to, unsigned count);
    void (*write)(void *dev, unsigned bytes, const uint8_t *from, unsigned count);
};

/* Reads where nothing answers, of those addresses that are read most: for a guest that waits there
 * for ever. count is never more than the number of reads, and an address that more than a fifth of
 * all such reads goes to is among them. */
#define BUS_MISSES 4
struct bus_miss {
    uint64_t at;
    uint64_t count; /* 0: free */
    bool memory;    /* else a port */
};

/*
 * Reads that devices do answer, while somebody looks: bus_watch_begin() puts itself between the bus
 * and the devices, so that otherwise nothing is counted, and nothing costs.
 */
struct bus_read {
    uint64_t at;
    uint64_t count;          /* since its device was written to; 0: free */
    uint64_t all_of, any_of; /* bits that each answer had; that some answer had */
    const void *dev;
    bool memory; /* else a port */
};

struct bus_kept { /* of a range that is watched */
    struct bus *bus;
    void *dev;
    union {
        struct {
            uint32_t (*read)(void *dev, uint16_t port, unsigned bytes);
            void (*write)(void *dev, uint16_t port, unsigned bytes, uint32_t value);
        } port;
        struct {
            uint64_t (*read)(void *dev, gpa_t at, unsigned bytes);
            void (*write)(void *dev, gpa_t at, unsigned bytes, uint64_t value);
        } mmio;
    };
};

struct bus_watch {
    bool on;
    struct bus_kept port[BUS_MAX_PORT_RANGES], mmio[BUS_MAX_MMIO_RANGES];
    struct bus_read read[BUS_MISSES];
    uint64_t written_at, written; /* the write before */
};

struct bus {
    uint8_t port_owner[65536 + 3]; /* index into port + 1; 0 = unclaimed. Four are read at a time */
    struct port_range port[BUS_MAX_PORT_RANGES]; /* width 0: a gap that a removed one has left */
    struct mmio_range mmio[BUS_MAX_MMIO_RANGES];
    uint32_t port_count, mmio_count;
    struct port_string string[BUS_MAX_STRINGS];
    uint32_t string_count;
    struct bus_miss miss[BUS_MISSES];
    struct bus_watch watch;
};

/* Claim a range. ERR_LIMIT: the table is full; ERR_BAD_INPUT: overlapping or malformed. */
enum status bus_add_ports(struct bus *bus, const struct port_range *range);
enum status bus_add_mmio(struct bus *bus, const struct mmio_range *range);
/* Ranges of one device, whose dev is left NULL there. */
enum status bus_add_port_table(struct bus *bus, void *dev, const struct port_range *ranges,
                               unsigned count);
enum status bus_add_string(struct bus *bus, const struct port_string *string);

/* Gives back the range of ports that begins at first, if there is one of this device. */
void bus_remove_ports(struct bus *bus, const void *dev, uint16_t first);

/* Whether the CPU may access a page by itself: no device answers there, and it reads as ones
 * (*memory is NULL), or it is a device's memory. */
bool bus_mmio_is_plain(const struct bus *bus, gpa_t page, void **memory);

/* One access by the guest, of 1, 2, 4 bytes (memory: or 8); upper bits of a read are zero. */
uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned bytes);
void bus_port_write(struct bus *bus, uint16_t port, unsigned bytes, uint32_t value);
/* What moves strings there; NULL: they go one by one. */
const struct port_string *bus_port_string(const struct bus *bus, uint16_t port);
uint64_t bus_mmio_read(struct bus *bus, gpa_t at, unsigned bytes);
void bus_mmio_write(struct bus *bus, gpa_t at, unsigned bytes, uint64_t value);

/* From here on reads are counted, and to here: bus_watch_end() returns BUS_MISSES of them, or NULL
 * if nobody has begun. */
void bus_watch_begin(struct bus *bus);
const struct bus_read *bus_watch_end(struct bus *bus);
