/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard's half of the PS/2 wire (IBM PS/2 Technical Reference, "Keyboard (101- and
 * 102-Key)"). Time does not pass here: an answer is there at once. */
#include "drivers/virt/vps2kbd.h"

enum { ACK = 0xfa, RESEND = 0xfe, SELF_TEST_PASSED = 0xaa, ID_1 = 0xab, ID_2 = 0x83 };
enum { BREAK = 0xf0, EXTENSION = 0xe0, SET3_LAST = 0x8f };
enum { SET_LEDS = 0xed, ECHO = 0xee, SCAN_SET = 0xf0, IDENTIFY = 0xf2, TYPEMATIC = 0xf3 };
enum { ENABLE = 0xf4, DISABLE = 0xf5, DEFAULTS = 0xf6, RESET = 0xff };
/* Of set 3, which may be given in any: how all keys speak, and how single ones do. */
enum { ALL_REPEAT = 0xf7, ALL_RELEASE = 0xf8, ALL_MAKE = 0xf9, ALL_REPEAT_RELEASE = 0xfa };
enum { KEYS_REPEAT = 0xfb, KEYS_RELEASE = 0xfc, KEYS_MAKE = 0xfd };

const uint8_t vps2kbd_set1_of[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

/* The code in set 3 of a key, by its code in set 1, without and with E0 before it; 0: it has none.
 */
static uint8_t set3_of(unsigned key)
{
    static const uint8_t plain[128] = {
        0x00, 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66,
        0x0d, 0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11,
        0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a,
        0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07,
        0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84,
        0x6b, 0x73, 0x74, 0x7c, 0x69, 0x72, 0x7a, 0x70, 0x71, 0x57, 0x00, 0x13, 0x56, 0x5e,
    };
    static const uint8_t extended[128] = {
        [0x1c] = 0x79, [0x1d] = 0x58, [0x35] = 0x77, [0x37] = 0x57, [0x38] = 0x39,
        [0x46] = 0x62, [0x47] = 0x6e, [0x48] = 0x63, [0x49] = 0x6f, [0x4b] = 0x61,
        [0x4d] = 0x6a, [0x4f] = 0x65, [0x50] = 0x60, [0x51] = 0x6d, [0x52] = 0x67,
        [0x53] = 0x64, [0x5b] = 0x8b, [0x5c] = 0x8c, [0x5d] = 0x8d,
    };
    return (key & KEY_EXTENDED) != 0 ? extended[key & 0x7f] : plain[key & 0x7f];
}

/* Whether a key of set 3 tells that it is released. (Whether it repeats makes no difference: none
 * is held.) */
static bool tells_release(const struct vps2kbd *kbd, uint8_t set3)
{
    return (kbd->releases[set3 / 8] >> set3 % 8 & 1) != 0;
}

static void set_release(struct vps2kbd *kbd, uint8_t set3, bool on)
{
    const uint8_t bit = (uint8_t)(1u << set3 % 8);
    uint8_t *byte = &kbd->releases[set3 / 8];
    *byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
}

static void set_all_releases(struct vps2kbd *kbd, bool on)
{
    for (unsigned i = 0; i < sizeof(kbd->releases); i++)
        kbd->releases[i] = on ? 0xff : 0;
}

/* In set 3 Caps Lock, both Shifts, the left Ctrl and the left Alt tell that they are released. */
static void set_defaults(struct vps2kbd *kbd)
{
    static const uint8_t held[] = {0x14, 0x12, 0x59, 0x11, 0x19};
    kbd->set = 2;
    kbd->key_count = 0;
    set_all_releases(kbd, false);
    for (unsigned i = 0; i < sizeof(held); i++)
        set_release(kbd, held[i], true);
}

void vps2kbd_reset(struct vps2kbd *kbd)
{
    *kbd = (struct vps2kbd){.scanning = true};
    set_defaults(kbd);
}

static void reply(struct vps2kbd *kbd, uint8_t byte)
{
    kbd->reply[kbd->reply_count++] = byte;
}

static void write_argument(struct vps2kbd *kbd, uint8_t command, uint8_t value)
{
    const bool of_keys = command >= KEYS_REPEAT && command <= KEYS_MAKE;
    if ((command == SCAN_SET && value > 3) || (of_keys && (value == 0 || value > SET3_LAST))) {
        reply(kbd, RESEND);
        return;
    }
    reply(kbd, ACK);
    if (of_keys) {
        set_release(kbd, value, command == KEYS_RELEASE);
        kbd->command = command; /* more keys may follow, until the next command */
        return;
    }
    if (command == SET_LEDS) {
        kbd->leds = value & 7;
    } else if (command == SCAN_SET && value == 0) {
        reply(kbd, kbd->set);
    } else if (command == SCAN_SET) {
        kbd->set = value;
        kbd->key_count = 0;
    } /* a typematic rate is for keys that are held, and none is */
}

static void write_command(struct vps2kbd *kbd, uint8_t byte)
{
    switch (byte) {
    case SET_LEDS:
    case SCAN_SET:
    case TYPEMATIC:
    case KEYS_REPEAT:
    case KEYS_RELEASE:
    case KEYS_MAKE:
        if (byte >= KEYS_REPEAT)
            kbd->key_count = 0;
        kbd->command = byte;
        reply(kbd, ACK);
        break;
    case ECHO: reply(kbd, ECHO); break;
    case IDENTIFY:
        reply(kbd, ACK);
        reply(kbd, ID_1);
        reply(kbd, ID_2);
        break;
    case ENABLE:
    case DISABLE:
    case DEFAULTS:
        kbd->scanning = byte == DEFAULTS ? kbd->scanning : byte == ENABLE;
        if (byte == ENABLE)
            kbd->key_count = 0;
        else
            set_defaults(kbd);
        reply(kbd, ACK);
        break;
    case RESET:
        vps2kbd_reset(kbd);
        reply(kbd, ACK);
        reply(kbd, SELF_TEST_PASSED);
        break;
    case RESEND: reply(kbd, kbd->last); break;
    case ALL_REPEAT:
    case ALL_RELEASE:
    case ALL_MAKE:
    case ALL_REPEAT_RELEASE:
        set_all_releases(kbd, byte == ALL_RELEASE || byte == ALL_REPEAT_RELEASE);
        kbd->key_count = 0;
        reply(kbd, ACK);
        break;
    default: reply(kbd, RESEND); break;
    }
}

void vps2kbd_write(struct vps2kbd *kbd, uint8_t byte)
{
    uint8_t command = kbd->command;
    kbd->command = 0;
    kbd->reply_count = 0; /* a new byte ends what was being said */
    if (command != 0 && byte < SET_LEDS)
        write_argument(kbd, command, byte);
    else
        write_command(kbd, byte);
}

bool vps2kbd_has_room(const struct vps2kbd *kbd)
{
    return kbd->scanning && kbd->key_count + VPS2KBD_LONGEST <= VPS2KBD_KEY_BYTES;
}

static void put(struct vps2kbd *kbd, uint8_t byte)
{
    kbd->keys[(kbd->key_head + kbd->key_count++) % VPS2KBD_KEY_BYTES] = byte;
}

/* One code for each key, without E0; most say nothing when they are released. */
static void put_set3(struct vps2kbd *kbd, unsigned key)
{
    const uint8_t code = set3_of(key);
    const bool released = (key & KEY_RELEASED) != 0;
    if (code == 0 || (released && !tells_release(kbd, code)))
        return;
    if (released)
        put(kbd, BREAK);
    put(kbd, code);
}

bool vps2kbd_key(struct vps2kbd *kbd, unsigned key)
{
    if (!vps2kbd_has_room(kbd))
        return false;
    if (kbd->set == 3) {
        put_set3(kbd, key);
        return true;
    }
    uint8_t code = key & 0x7f;
    if ((key & KEY_EXTENDED) != 0)
        put(kbd, EXTENSION);
    if (kbd->set == 1) {
        put(kbd, code | (key & KEY_RELEASED));
        return true;
    }
    if ((key & KEY_RELEASED) != 0)
        put(kbd, BREAK);
    uint8_t set2 = 0x7f; /* no such key: its code in set 1 is 0x54, that of Alt-SysRq */
    for (unsigned i = 1; i < sizeof(vps2kbd_set1_of); i++)
        if (vps2kbd_set1_of[i] == code)
            set2 = (uint8_t)i;
    put(kbd, code == 0x41 ? 0x83 : code == 0x54 ? 0x84 : set2); /* the two above 0x7f */
    return true;
}

int vps2kbd_next_reply(struct vps2kbd *kbd)
{
    if (kbd->reply_count == 0)
        return -1;
    kbd->last = kbd->reply[0];
    kbd->reply_count--;
    for (unsigned i = 0; i < kbd->reply_count; i++)
        kbd->reply[i] = kbd->reply[i + 1];
    return kbd->last;
}

int vps2kbd_next_key(struct vps2kbd *kbd)
{
    if (kbd->key_count == 0)
        return -1;
    kbd->last = kbd->keys[kbd->key_head];
    kbd->key_head = (uint8_t)((kbd->key_head + 1) % VPS2KBD_KEY_BYTES);
    kbd->key_count--;
    return kbd->last;
}
