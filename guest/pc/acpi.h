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

/* The same for firmware that finds the place itself and then goes by acpi_loader_script(): pointers
 * count from the start of out, and what has pointers has no checksum yet. The RSDP, the first
 * ACPI_RSDP_BYTES, is a file of its own to firmware. */
#define ACPI_RSDP_BYTES 36
enum status acpi_build_unplaced(uint8_t *out, size_t capacity, uint16_t pm_base, uint32_t vcpus,
                                const uint8_t *dsdt, size_t dsdt_size, size_t *used);

/* The commands, in the format of QEMU's etc/table-loader, that place these tables: the whole as the
 * file etc/acpi/tables, the RSDP as etc/acpi/rsdp. */
#define ACPI_SCRIPT_BYTES (16 * 128)
void acpi_loader_script(uint8_t out[ACPI_SCRIPT_BYTES]);
