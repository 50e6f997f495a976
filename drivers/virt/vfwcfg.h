/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's firmware configuration device (its docs/specs/fw_cfg): items by number, files by name,
 * read byte by byte or by DMA. Selector at port 0x510, data at 0x511; the address of a DMA
 * descriptor, big-endian, at 0x514. Knows none of the items but the signature, the feature word and
 * the directory of files; no item can be written. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"
#include "mm/guestmem.h"

#include <stddef.h>

#define VFWCFG_MAX_ITEMS 12
#define VFWCFG_MAX_FILES 12
#define VFWCFG_NAME      56 /* bytes of a file's name, with its terminator */

/* Numbers of items that are not files. */
enum vfwcfg_key {
    VFWCFG_SIGNATURE = 0x00,
    VFWCFG_FEATURES = 0x01,
    VFWCFG_RAM_BYTES = 0x03,
    VFWCFG_CPUS = 0x05,
    VFWCFG_BOOT_MENU = 0x0e,
    VFWCFG_MAX_CPUS = 0x0f,
    VFWCFG_DIRECTORY = 0x19,
    VFWCFG_FIRST_FILE = 0x20,
};

struct vfwcfg_item {
    uint16_t key;
    uint64_t small; /* what data may point to */
    const uint8_t *data;
    uint64_t bytes;
};

/* As the guest reads it: big-endian. */
struct vfwcfg_entry {
    uint8_t bytes[4], key[2], reserved[2];
    char name[VFWCFG_NAME];
};

struct vfwcfg {
    struct vfwcfg_item item[VFWCFG_MAX_ITEMS + VFWCFG_MAX_FILES];
    uint32_t items;
    struct {
        uint8_t count[4];
        struct vfwcfg_entry entry[VFWCFG_MAX_FILES];
    } directory;
    uint32_t files;
    const struct vfwcfg_item *selected; /* NULL: no such item */
    uint64_t offset;                    /* of the next byte in it */
    const struct guestmem *mem;
    uint32_t dma_high; /* of the next descriptor's address */
    struct {           /* the transfer that goes on, while the timer is armed */
        gpa_t descriptor, to;
        uint32_t control;
        uint64_t left; /* bytes */
    } dma;
    struct timers *timers;
    struct timer timer;
    struct work_line work;
    /* Called before a file is read from its start, for those whose text depends on what the guest
     * has set up. May be NULL. */
    void (*refresh)(void *ctx);
    void *ctx;
};

/* A long transfer goes on by a timer; the CPU that has asked for it waits meanwhile, as nothing
 * else is known to guests. */
enum status vfwcfg_init(struct vfwcfg *f, struct bus *bus, const struct guestmem *mem,
                        struct timers *timers, struct work_line work);

/* Whether a transfer goes on. */
static inline bool vfwcfg_is_busy(const struct vfwcfg *f)
{
    return f->timer.deadline != TIMER_NEVER;
}

/* Adds an item at start: a little-endian number of 1 to 8 bytes; a file, whose data stays where it
 * is. The caller stays below the limits; a name that is too long is cut. */
void vfwcfg_add_number(struct vfwcfg *f, uint16_t key, uint64_t value, unsigned bytes);
void vfwcfg_add_file(struct vfwcfg *f, const char *name, const void *data, uint64_t bytes);
void vfwcfg_add_file_number(struct vfwcfg *f, const char *name, uint64_t value, unsigned bytes);
