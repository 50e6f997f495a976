/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a flat program with a boot sector's signature, in real mode at 0:0x7c00, loaded whole. */
#pragma once

#include "mm/guestmem.h"
#include "vmx/boot_state.h"

/* Copies the file and fills in the state at entry; ERR_BAD_INPUT with a sentence in why. */
enum status flat_load(const struct guestmem *mem, const uint8_t *file, uint64_t size,
                      struct boot_state *state, char *why, size_t why_size);
