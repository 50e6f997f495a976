/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI tables of a machine that starts warm in QEMU, which has no firmware to make them: where
 * its clocks are, and how it is switched off. */
#pragma once

#include <stdint.h>

#define PM_BASE 0x600u /* where rom.asm puts the chipset's power management */

/* Writes them to a zeroed page that is at the physical address `at`; the RSDP is its first byte. */
void acpi_fill(uint8_t *page, uint64_t at);
