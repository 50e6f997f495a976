/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI tables that describe the virtual PC to its guest. */
#pragma once

#include "arch/status.h"

#include <stddef.h>
#include <stdint.h>

/* Lays out RSDP (at the start), RSDT, XSDT, FADT, FACS, MADT and the given DSDT in out, as they are
 * to stand at guest-physical base (64-byte-aligned, below 4 GiB). pm_base: vpm's first port. *used
 * gets the bytes written. Pure. ERR_LIMIT: capacity is too small; ERR_BAD_INPUT: impossible vcpus,
 * base or DSDT. */
enum status acpi_build(uint8_t *out, size_t capacity, uint32_t base, uint16_t pm_base,
                       uint32_t vcpus, const uint8_t *dsdt, size_t dsdt_size, size_t *used);
