/* SPDX-License-Identifier: BSD-2-Clause */
/* The few facts that the host takes from the firmware's ACPI tables. Pure: they are not trusted.
 * The loader reads the list of CPUs by it, too. */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1, ACPI_SPACE_PCI = 2 };

/* A register, in memory, a port or (on bus 0) a PCI function's configuration; address 0: none. */
struct acpi_register {
    uint8_t space; /* enum acpi_space */
    uint64_t address;
};

struct acpi_facts {
    uint16_t pm_timer_port; /* 0: none by port */
    uint64_t hpet;          /* host-physical, below 4 GiB; 0: none */
    struct acpi_register reset;
    uint8_t reset_value;
    /* Soft-off: SLP_TYP for PM1a and PM1b, or the one register of hardware-reduced ACPI. */
    bool has_soft_off; /* the DSDT has \_S5_ */
    uint8_t sleep_type_a, sleep_type_b;
    uint16_t pm1a_port, pm1b_port; /* PM1 control blocks; 0: none */
    struct acpi_register sleep_control;
    uint16_t smi_port; /* where acpi_enable hands the hardware over to ACPI mode; 0: it is there */
    uint8_t acpi_enable;
};

/* Copies memory of the host; false where there is none. */
typedef bool acpi_read_fn(hpa_t address, void *to, size_t length);

/* Follows RSDP, XSDT or RSDT to FADT, HPET and DSDT. Whatever is absent or malformed leaves its
 * fact at zero; false where there is no valid FADT. */
bool acpi_read_facts(hpa_t rsdp, acpi_read_fn *read, struct acpi_facts *out);

/* The APIC IDs of the CPUs that the MADT lists as enabled, at most `max`; returns how many it
 * lists. Where an ID stands both as APIC and as x2APIC it counts once. */
uint32_t acpi_list_cpus(hpa_t rsdp, acpi_read_fn *read, uint32_t *apic_id, uint32_t max);

/* The host-physical addresses of the IO-APICs that the MADT lists, the first `max` of them. */
uint32_t acpi_list_io_apics(hpa_t rsdp, acpi_read_fn *read, uint32_t *address, uint32_t max);
