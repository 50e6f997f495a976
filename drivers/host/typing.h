/* SPDX-License-Identifier: BSD-2-Clause */
/* What a terminal sends, back to keys that go down and up on a PC keyboard: the way of keymap.h,
 * the other way round. Pure; it hides escape sequences. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A key is its set 1 code, with these. */
enum { TYPED_RELEASED = 0x80, TYPED_EXTENDED = 0x100 };

/* All zero: nothing has been typed. */
struct typing {
    enum { TYPING_PLAIN, TYPING_ESCAPE, TYPING_SHORT, TYPING_LONG, TYPING_LINUX } state;
    uint64_t since; /* when the escape came */
    uint32_t parameter[2], parameters;
    uint8_t count; /* keys that wait: each character makes 8 at most */
    uint16_t keys[16];
};

/* No key waits, and no time will make one. */
static inline bool typing_is_idle(const struct typing *t)
{
    return t->count == 0 && t->state == TYPING_PLAIN;
}

/* A byte has come at a time (any clock). What waits must have been taken. Bytes that no key of a
 * US keyboard types, UTF-8 among them, make nothing. */
void typing_byte(struct typing *t, uint8_t byte, uint64_t now);

/* Time has passed: an escape that nothing has followed for `patience` was the key Esc. */
void typing_tick(struct typing *t, uint64_t now, uint64_t patience);

/* The next key, or -1. */
int typing_next(struct typing *t);
