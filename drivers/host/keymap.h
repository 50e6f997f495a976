/* SPDX-License-Identifier: BSD-2-Clause */
/* Scan codes of a PC keyboard (set 1) to what a terminal would send, US layout. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KEYMAP_MAX 5

/* All zero: no key is held. */
struct keymap {
    bool shift, control, alt, caps, extended; /* extended: the byte before was 0xe0 */
};

/* What one byte of the keyboard types: a string of 1 to KEYMAP_MAX bytes that is valid until the
 * next call, or NULL. */
const char *keymap_decode(struct keymap *map, uint8_t code);

/* The key that types a character, alone or with shift; 0 where none does. */
uint8_t keymap_find(char c, bool *shift);
