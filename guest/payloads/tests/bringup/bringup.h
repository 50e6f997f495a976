/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of this kernel share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The value of a line KEY=VALUE of the module, or what was given where there is none. */
uint64_t setting(const char *key, uint64_t otherwise);

/* fw_cfg (tables.c). */
uint64_t fwcfg_number(uint16_t key, unsigned bytes);

/* The machine as fw_cfg and ACPI describe it. */
void check_fwcfg(void);
void check_acpi(void);

/* Starts all CPUs and sends interrupts among them (cpus.c). */
void check_cpus(void);

/* The IO-APIC and the test device (lines.c). */
void check_lines(void);

/* The local APIC in all its modes (modes.c). */
void check_apic_modes(void);

static inline uint64_t peek(uint64_t at, unsigned bytes)
{
    uint64_t value = 0;
    const volatile uint8_t *p = (const volatile uint8_t *)at;
    __asm__("" : "+r"(p)); /* lest gcc thinks that there is nothing so far down */
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}
