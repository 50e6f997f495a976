/* SPDX-License-Identifier: BSD-2-Clause */
/* The simplest guest program: a file that a BIOS would start as a boot sector, of any length. */
#include "guest/flat.h"
#include "arch/log.h"
#include "guest/layout.h"

#define FLAT_MAX (0x9f000u - LAYOUT_BOOT_SECTOR)

enum status flat_load(const struct guestmem *mem, const uint8_t *file, uint64_t size,
                      struct boot_state *state, char *why, size_t why_size)
{
    if (size < 512 || file[510] != 0x55 || file[511] != 0xaa) {
        format_text(why, why_size, "neither a Linux bzImage nor a boot-sector image");
        return ERR_BAD_INPUT;
    }
    if (size > FLAT_MAX || !guestmem_write(mem, gpa(LAYOUT_BOOT_SECTOR), file, size)) {
        format_text(why, why_size, "a boot-sector image may have %llu bytes at most, this has %lu",
                    FLAT_MAX, size);
        return ERR_BAD_INPUT;
    }
    *state = boot_state_real_mode(LAYOUT_BOOT_SECTOR);
    return OK;
}
