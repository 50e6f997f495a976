/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a Linux bzImage by the 64-bit entry of its boot protocol. */
#pragma once

#include "mm/guestmem.h"
#include "vmx/boot_state.h"

struct linux_image {
    const uint8_t *kernel; /* the bzImage file */
    uint64_t kernel_size;
    const uint8_t *ramdisk; /* ramdisk_size 0: none */
    uint64_t ramdisk_size;
    const char *cmdline;
    uint64_t memory_bytes; /* of the guest, laid out as guest/layout.h says */
    uint64_t rsdp;         /* guest-physical */
};

/* Whether the file claims to be a Linux kernel (it may still be malformed). */
bool linux_recognize(const uint8_t *file, uint64_t size);

/* Checks the kernel, puts it with ramdisk, command line, zero page, GDT and page tables into guest
 * memory and fills in the state at entry. Pure but for guest memory. A refusal leaves a sentence in
 * why: ERR_BAD_INPUT for the files, ERR_UNSUPPORTED for kernels we cannot start, ERR_NO_MEMORY
 * where the guest is too small. */
enum status linux_load(const struct guestmem *mem, const struct linux_image *image,
                       struct boot_state *state, char *why, size_t why_size);
