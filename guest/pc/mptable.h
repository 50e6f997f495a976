/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table: CPUs and interrupt wiring for kernels that do not read ACPI tables. */
#pragma once

#include "arch/status.h"

#include <stddef.h>
#include <stdint.h>

struct mptable_facts {
    uint32_t vcpus;     /* APIC IDs from 0 on, the first is the boot processor */
    uint32_t signature; /* CPUID leaf 1: EAX */
    uint32_t features;  /* and EDX */
};

/* Lays out the floating pointer (at the start) and the table in out, as they are to stand at
 * guest-physical base (16-byte-aligned, below 1 MiB). *used gets the bytes written. Pure.
 * ERR_LIMIT: capacity is too small; ERR_BAD_INPUT: impossible vcpus or base. */
enum status mptable_build(uint8_t *out, size_t capacity, uint32_t base,
                          const struct mptable_facts *facts, size_t *used);
