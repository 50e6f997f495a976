/* SPDX-License-Identifier: BSD-2-Clause */
/* The few facts that the host takes from the firmware's ACPI tables. Pure: they are not trusted. */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1, ACPI_SPACE_PCI = 2 };

struct acpi_facts {
    uint16_t pm_timer_port; /* 0: none by port */
    bool has_reset;
    uint8_t reset_space; /* enum acpi_space; for PCI: bus 0 */
    uint8_t reset_value;
    uint64_t reset_address;
};

/* Copies memory of the host; false where there is none. */
typedef bool acpi_read_fn(hpa_t address, void *to, size_t length);

/* Follows RSDP, XSDT or RSDT to the FADT. Whatever is absent or malformed leaves its fact at zero;
 * false where there is no valid FADT. */
bool acpi_read_facts(hpa_t rsdp, acpi_read_fn *read, struct acpi_facts *out);
