/* SPDX-License-Identifier: BSD-2-Clause */
/* What an EPT says of one address, read from its tables as the CPU would. */
#pragma once

#include "vmx/ept.h"

#include <stddef.h>

/* False where not mapped. host and perms may be NULL. */
static inline bool ept_lookup(const struct ept *ept, gpa_t guest, hpa_t *host, unsigned *perms)
{
    const uint64_t address = 0x000ffffffffff000ull;
    const uint64_t *table = hpa_to_ptr(ept->root);
    for (uint64_t size = 1ull << 39;; size >>= 9) {
        uint64_t entry = table[guest.v / size % 512];
        if (guest.v >> 48 != 0 || (entry & 7) == 0)
            return false;
        if (size == PAGE_SIZE || (entry & 0x80) != 0) {
            if (host != NULL)
                *host = hpa((entry & address & ~(size - 1)) | guest.v % size);
            if (perms != NULL) /* the tables above the leaves allow all */
                *perms = (unsigned)(entry & 7);
            return true;
        }
        table = hpa_to_ptr(hpa(entry & address));
    }
}
