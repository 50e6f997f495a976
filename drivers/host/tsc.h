/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast this machine's time-stamp counter runs. */
#pragma once

#include <stdint.h>

/* Ticks per second, measured in some 25 ms against the PIT, or else the ACPI PM timer (its port, 0:
 * none), or else believed from CPUID; logs which. 0 where none of them tells. Boot CPU, once,
 * interrupts off. */
uint64_t tsc_measure_hz(uint16_t pm_timer_port);
