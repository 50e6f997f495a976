/* SPDX-License-Identifier: BSD-2-Clause */
/* Sequences as xterm, VT220 and the Linux console send them (ECMA-48: CSI parameters letter). */
#include "drivers/host/typing.h"
#include "drivers/host/keymap.h"

#include <stddef.h>

enum { ESCAPE = 0x1b, CODE_ESCAPE = 0x01, CODE_TAB = 0x0f, CODE_F1 = 0x3b };
enum { SHIFT = 1, ALT = 2, CONTROL = 4 }; /* a sequence's second parameter is 1 more */
#define E(code) (TYPED_EXTENDED | (code))

static const uint8_t modifier_code[3] = {0x2a, 0x38, 0x1d};

/* By the first parameter of CSI n ~. */
static const uint16_t numbered[] = {
    [1] = E(0x47), [2] = E(0x52), [3] = E(0x53), [4] = E(0x4f), [5] = E(0x49),
    [6] = E(0x51), [7] = E(0x47), [8] = E(0x4f), [11] = 0x3b,   [12] = 0x3c,
    [13] = 0x3d,   [14] = 0x3e,   [15] = 0x3f,   [17] = 0x40,   [18] = 0x41,
    [19] = 0x42,   [20] = 0x43,   [21] = 0x44,   [23] = 0x57,   [24] = 0x58,
};

/* By the letter of CSI or SS3, from A on: cursor keys, End, Home, F1 to F4. */
static const uint16_t lettered[] = {
    E(0x48), E(0x50), E(0x4d), E(0x4b), 0, E(0x4f), 0,    E(0x47), 0,    0,
    0,       0,       0,       0,       0, 0x3b,    0x3c, 0x3d,    0x3e,
};

static void put(struct typing *t, unsigned key)
{
    if (t->count < sizeof(t->keys) / sizeof(t->keys[0]))
        t->keys[t->count++] = (uint16_t)key;
}

static void press(struct typing *t, unsigned key, unsigned modifiers)
{
    if (key == 0)
        return;
    for (unsigned i = 0; i < 3; i++)
        if ((modifiers & 1u << i) != 0)
            put(t, modifier_code[i]);
    put(t, key);
    put(t, key | TYPED_RELEASED);
    for (unsigned i = 3; i-- > 0;)
        if ((modifiers & 1u << i) != 0)
            put(t, modifier_code[i] | TYPED_RELEASED);
}

static void press_character(struct typing *t, uint8_t byte, unsigned modifiers)
{
    bool shift = false;
    uint8_t code = 0;
    if (byte == '\n' || byte == '\b') /* for Enter and Backspace terminals differ */
        byte = byte == '\n' ? '\r' : 0x7f;
    if (byte < 0x80)
        code = keymap_find((char)byte, &shift);
    if (code == 0 && byte < 0x20) { /* Ctrl and the key of byte + 0x40 */
        modifiers |= CONTROL;
        char letter = (char)(byte + 0x40);
        code = keymap_find(letter >= 'A' && letter <= 'Z' ? (char)(letter + 0x20) : letter, &shift);
    }
    press(t, code, modifiers | (shift ? SHIFT : 0));
}

/* The end of a sequence. */
static void press_sequence(struct typing *t, uint8_t last)
{
    const unsigned first = t->parameter[0];
    const unsigned modifiers = t->parameter[1] != 0 ? (t->parameter[1] - 1) & 7 : 0;
    const bool letter = last >= 'A' && last < 'A' + sizeof(lettered) / sizeof(lettered[0]);
    if (t->state == TYPING_LINUX)
        press(t, letter && last <= 'E' ? CODE_F1 + last - 'A' : 0, 0);
    else if (last == '~')
        press(t, first < sizeof(numbered) / sizeof(numbered[0]) ? numbered[first] : 0, modifiers);
    else if (last == 'Z')
        press(t, CODE_TAB, SHIFT);
    else if (letter)
        press(t, lettered[last - 'A'], modifiers);
}

static void continue_sequence(struct typing *t, uint8_t byte)
{
    if (t->state == TYPING_LONG && byte >= '0' && byte <= '9') {
        uint32_t *p = &t->parameter[t->parameters];
        *p = *p < 1000 ? *p * 10 + (byte - '0') : *p;
    } else if (t->state == TYPING_LONG && byte == ';') {
        t->parameters = 1;
    } else if (t->state == TYPING_LONG && byte == '[') {
        t->state = TYPING_LINUX;
    } else if (byte >= 0x40) {
        press_sequence(t, byte);
        t->state = TYPING_PLAIN;
    } else if (byte < 0x20) { /* no sequence after all */
        t->state = TYPING_PLAIN;
        press_character(t, byte, 0);
    }
}

void typing_byte(struct typing *t, uint8_t byte, uint64_t now)
{
    if (t->state == TYPING_PLAIN && byte != ESCAPE) {
        press_character(t, byte, 0);
    } else if (byte == ESCAPE) {
        if (t->state == TYPING_ESCAPE)
            press(t, CODE_ESCAPE, 0);
        t->state = TYPING_ESCAPE;
        t->since = now;
    } else if (t->state == TYPING_ESCAPE && (byte == '[' || byte == 'O')) {
        t->state = byte == '[' ? TYPING_LONG : TYPING_SHORT;
        t->parameter[0] = t->parameter[1] = t->parameters = 0;
    } else if (t->state == TYPING_ESCAPE) {
        t->state = TYPING_PLAIN;
        press_character(t, byte, ALT);
    } else {
        continue_sequence(t, byte);
    }
}

void typing_tick(struct typing *t, uint64_t now, uint64_t patience)
{
    if (t->state == TYPING_PLAIN || now - t->since < patience)
        return;
    if (t->state == TYPING_ESCAPE)
        press(t, CODE_ESCAPE, 0);
    t->state = TYPING_PLAIN;
}

int typing_next(struct typing *t)
{
    if (t->count == 0)
        return -1;
    const int key = t->keys[0];
    t->count--;
    for (unsigned i = 0; i < t->count; i++)
        t->keys[i] = t->keys[i + 1];
    return key;
}
