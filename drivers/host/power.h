/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of the host: power-off and reset. */
#pragma once

#include "arch/addr.h"
#include "drivers/host/acpi.h"

/* Remembers the ways. reset_system: physical address of UEFI's ResetSystem, 0: none; efi_cr3: page
 * tables under which it is called, with the firmware's runtime regions at their physical addresses
 * and our high half; acpi: copied, NULL: there is none. Before it has run, power_off() and
 * power_reset() do without. */
void power_init(uint64_t reset_system, hpa_t efi_cr3, const struct acpi_facts *acpi);

/* The rate of the clock by which ResetSystem is given up, if it hangs. Boot CPU, after
 * lapic_timer_init(). */
void power_set_tsc_hz(uint64_t hz);

/* Reads memory for acpi_read_facts(); false where the physmap has none. */
bool power_read_memory(hpa_t address, void *to, size_t length);

/* Stop all other CPUs, let the console drain, and end. Any CPU, in a panic too; VMX off or on. */
_Noreturn void power_off(void);
_Noreturn void power_reset(void);
