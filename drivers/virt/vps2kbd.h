/* SPDX-License-Identifier: BSD-2-Clause */
/* A PS/2 keyboard: its commands, scan-code sets 1, 2 and 3, and the bytes that wait for the 8042.
 * It hides how a key is said in a set. Pure state, no wires: those are vi8042's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VPS2KBD_KEY_BYTES 64
#define VPS2KBD_LONGEST   3 /* E0 F0 code */

/* A key going down or up: its set 1 code (0x01 to 0x7f), and these. */
enum { KEY_RELEASED = 0x80, KEY_EXTENDED = 0x100 /* E0 before it */ };

/* Set 2 code to set 1 code, for codes below 0x80: what the 8042 translates by. */
extern const uint8_t vps2kbd_set1_of[128];

struct vps2kbd {
    uint8_t set; /* scan-code set, 1 to 3 */
    bool scanning;
    uint8_t leds;    /* bits: scroll lock, num lock, caps lock */
    uint8_t command; /* whose argument is due; 0: none */
    uint8_t last;    /* what was sent last, for "resend" */
    uint8_t reply_count;
    uint8_t reply[4];
    uint8_t releases[0x90 / 8]; /* by codes of set 3: keys that tell that they are released */
    uint8_t key_head, key_count;
    uint8_t keys[VPS2KBD_KEY_BYTES];
};

/* As after power-on: set 2, scanning, nothing held. */
void vps2kbd_reset(struct vps2kbd *kbd);

/* A byte from the controller: a command or its argument. Answers wait for vps2kbd_next_reply(). */
void vps2kbd_write(struct vps2kbd *kbd, uint8_t byte);

/* Whether vps2kbd_key() would take any key now: never while the guest has scanning off. */
bool vps2kbd_has_room(const struct vps2kbd *kbd);

/* A key goes down or up; false, and nothing done, where there is no room. */
bool vps2kbd_key(struct vps2kbd *kbd, unsigned key);

/* The next byte of an answer, or of a key, or -1. Answers go first. */
int vps2kbd_next_reply(struct vps2kbd *kbd);
int vps2kbd_next_key(struct vps2kbd *kbd);
