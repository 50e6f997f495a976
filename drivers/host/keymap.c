/* SPDX-License-Identifier: BSD-2-Clause */
/* Two tables by scan code, the modifiers, and escape sequences for the cursor keys. */
#include "drivers/host/keymap.h"

#include <stddef.h>

#define RELEASED 0x80u
#define EXTENDED 0xe0u

enum {
    KEYPAD_STAR = 0x37,
    CONTROL = 0x1d,
    LEFT_SHIFT = 0x2a,
    RIGHT_SHIFT = 0x36,
    ALT = 0x38,
    CAPS_LOCK = 0x3a
};

/* Codes 0x01 to 0x39; 0 types nothing. */
static const char plain[] =
    "\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
    "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
_Static_assert(sizeof(plain) == 0x3a + 1 && sizeof(shifted) == sizeof(plain), "one for each code");

/* Cursor and function keys and their like, as a VT220 sends them; the keypad's share the codes. */
static const char *cursor_key(uint8_t code)
{
    switch (code) {
    case 0x3b: return "\033OP";
    case 0x3c: return "\033OQ";
    case 0x3d: return "\033OR";
    case 0x3e: return "\033OS";
    case 0x3f: return "\033[15~";
    case 0x40: return "\033[17~";
    case 0x41: return "\033[18~";
    case 0x42: return "\033[19~";
    case 0x43: return "\033[20~";
    case 0x44: return "\033[21~";
    case 0x47: return "\033[H";
    case 0x48: return "\033[A";
    case 0x49: return "\033[5~";
    case 0x4b: return "\033[D";
    case 0x4d: return "\033[C";
    case 0x4f: return "\033[F";
    case 0x50: return "\033[B";
    case 0x51: return "\033[6~";
    case 0x52: return "\033[2~";
    case 0x53: return "\033[3~";
    case 0x57: return "\033[23~";
    case 0x58: return "\033[24~";
    default: return NULL;
    }
}

uint8_t keymap_find(char c, bool *shift)
{
    for (uint8_t code = 1; code < sizeof(plain) - 1 && c != '\0'; code++) {
        *shift = plain[code] != c;
        if (code != KEYPAD_STAR && (plain[code] == c || shifted[code] == c))
            return code;
    }
    *shift = false;
    return 0;
}

const char *keymap_decode(struct keymap *map, uint8_t code)
{
    static char typed[3]; /* Alt is an escape before the character */
    if (code == EXTENDED) {
        map->extended = true;
        return NULL;
    }
    bool extended = map->extended, pressed = (code & RELEASED) == 0;
    map->extended = false;
    code &= (uint8_t)~RELEASED;
    if (code == CONTROL)
        map->control = pressed;
    else if (code == ALT)
        map->alt = pressed;
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
    typed[0] = map->alt ? '\033' : c;
    typed[1] = map->alt ? c : '\0';
    return c != 0 ? typed : NULL;
}
