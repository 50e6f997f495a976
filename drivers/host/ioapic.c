/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers of an IO-APIC, by an index and a window onto it. */
#include "drivers/host/ioapic.h"

#include <stdint.h>

enum { INDEX = 0, WINDOW = 4 }; /* in units of 4 bytes */
enum { VERSION = 1, REDIRECTION = 0x10 };
#define ENTRY_MASKED (1u << 16)

void ioapic_mask(hpa_t base)
{
    volatile uint32_t *reg = hpa_to_ptr(base);
    reg[INDEX] = VERSION;
    const uint32_t version = reg[WINDOW];
    if (version == UINT32_MAX || version == 0) /* nothing answers */
        return;
    for (uint32_t i = 0; i <= (version >> 16 & 0xff); i++) {
        reg[INDEX] = REDIRECTION + 2 * i;
        reg[WINDOW] = reg[WINDOW] | ENTRY_MASKED;
    }
}
