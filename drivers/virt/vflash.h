/* SPDX-License-Identifier: BSD-2-Clause */
/* A flash chip, 8 bits wide, with Intel's basic command set (Intel 28F320J3A data sheet, "Device
 * Commands"): read array, identifier and status; program a byte; erase a block. No CFI query, write
 * buffer or block locks: who needs these finds out by the status, which then tells an error.
 * One thing is QEMU's and not the data sheet's: clearing the status clears "ready" too, until the
 * next program or erase. UEFI firmware for virtual machines tells flash from RAM and ROM by just
 * that. */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>
#include <stdint.h>

#define VFLASH_BLOCK \
    0x1000u /* bytes that one erase clears: what firmware's variable drivers take */

struct vflash {
    gpa_t base;      /* of the first byte; aligned to a block */
    uint64_t bytes;  /* a whole number of blocks */
    uint8_t *memory; /* the array: what is read in array mode */
    /* In array mode the guest may read the memory directly; in the others each read is to come
     * here. Told at each change. */
    void (*mode_changed)(void *ctx, bool array);
    void *ctx;

    uint8_t command; /* the last one, that says what a read returns or the next write means */
    uint8_t status;
};

/* base to ctx are filled in; starts in array mode, without saying so. */
void vflash_init(struct vflash *flash);

/* For a struct mmio_range. An access inside it that is wider than a byte is that many, in order. */
uint64_t vflash_read(void *flash, gpa_t at, unsigned bytes);
void vflash_write(void *flash, gpa_t at, unsigned bytes, uint64_t value);
