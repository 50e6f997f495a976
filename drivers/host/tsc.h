/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast this machine's time-stamp counter runs. */
#pragma once

#include "drivers/host/acpi.h"

/* Ticks per second, by what clockrate.h makes of all that tells it here; logs who did. 0 where
 * nobody knows. Each timer that must be asked takes 50 ms. Boot CPU, once, interrupts off, after
 * the switch to own page tables. */
uint64_t tsc_measure_hz(const struct acpi_facts *acpi);
