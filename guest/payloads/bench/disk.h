/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows that need a disk: see disk.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool disk_is_there(void);
void rounds_ata_pio(uint32_t *stamps, uint64_t rounds);
void rounds_ata_dma(uint32_t *stamps, uint64_t rounds);
