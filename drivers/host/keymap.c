/* SPDX-License-Identifier: BSD-2-Clause */
/* Two tables by scan code, the modifiers, and escape sequences for the cursor keys. */
#include "drivers/host/keymap.h"

#include <stddef.h>

#define RELEASED 0x80u
#define EXTENDED 0xe0u

enum { CONTROL = 0x1d, LEFT_SHIFT = 0x2a, RIGHT_SHIFT = 0x36, CAPS_LOCK = 0x3a };

/* Codes 0x01 to 0x39; 0 types nothing. */
static const char plain[] =
    "\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
    "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
_Static_assert(sizeof(plain) == 0x3a + 1 && sizeof(shifted) == sizeof(plain), "one for each code");

/* Cursor keys and their like, as a VT100 sends them; the keypad's share the codes. */
static const char *cursor_key(uint8_t code)
{
    switch (code) {
    case 0x47: return "\033[H";
    case 0x48: return "\033[A";
    case 0x49: return "\033[5~";
    case 0x4b: return "\033[D";
    case 0x4d: return "\033[C";
    case 0x4f: return "\033[F";
    case 0x50: return "\033[B";
    case 0x51: return "\033[6~";
    case 0x53: return "\033[3~";
    default: return NULL;
    }
}

const char *keymap_decode(struct keymap *map, uint8_t code)
{
    static char typed[2];
    if (code == EXTENDED) {
        map->extended = true;
        return NULL;
    }
    bool extended = map->extended, pressed = (code & RELEASED) == 0;
    map->extended = false;
    code &= (uint8_t)~RELEASED;
    if (code == CONTROL)
        map->control = pressed;
    else if ((code == LEFT_SHIFT || code == RIGHT_SHIFT) &&
             !extended) /* with 0xe0 they only frame other keys */
        map->shift = pressed;
    else if (code == CAPS_LOCK && pressed)
        map->caps = !map->caps;
    if (!pressed)
        return NULL;
    if (code >= sizeof(plain) - 1)
        return cursor_key(code);
    if (extended && code != 0x1c &&
        code != 0x35) /* of the second set only Enter and / type a character */
        return NULL;
    char c = plain[code];
    bool letter = c >= 'a' && c <= 'z';
    if (map->shift != (map->caps && letter))
        c = shifted[code];
    if (map->control && (c & 0x40) != 0)
        c &= 0x1f;
    typed[0] = c;
    return c != 0 ? typed : NULL;
}
