/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's IO-APICs, of which nothing is wanted but silence. */
#pragma once

#include "arch/addr.h"

/* Masks all its inputs: what the firmware left open would interrupt a guest's CPU for nobody. In
 * memory that is mapped. Boot CPU, once for each. */
void ioapic_mask(hpa_t base);
