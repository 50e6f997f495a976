/* SPDX-License-Identifier: BSD-2-Clause */
/* The serial port, which says by interrupt that it has sent what it was given, and the keyboard, of
 * which the controller plays the keys. */
#include "guest/payloads/tests/course32/kernel.h"

#define COM1     0x3f8u
#define FIFO     16u
#define RING     1024u
#define KEY_RING 16u
enum { IER_SENT = 2, LSR_SENT = 0x20, LSR_ALL_SENT = 0x40 };
enum {
    KBC_DATA = 0x60,
    KBC_COMMAND = 0x64,
    KBC_FULL = 1,
    KBC_BUSY = 2,
    KBC_CONFIGURE = 0x60,
    KBC_PLAY = 0xd2
};

static struct lock lock, key_lock;
static char ring[RING];
static volatile uint32_t taken, sent; /* bytes, of all time */
static uint8_t keys[KEY_RING];
static uint32_t typed, read;

static void keyboard_send(uint8_t command, uint8_t data)
{
    while ((port_in(KBC_COMMAND) & KBC_BUSY) != 0)
        ;
    port_out(KBC_COMMAND, command);
    while ((port_in(KBC_COMMAND) & KBC_BUSY) != 0)
        ;
    port_out(KBC_DATA, data);
}

void console_init(void)
{
    static const uint8_t values[][2] = {{1, 0}, {3, 0x80}, {0, 1},  {1, 0},
                                        {3, 3}, {2, 7},    {4, 0xb}};
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        port_out((uint16_t)(COM1 + values[i][0]), values[i][1]);
    while ((port_in(KBC_COMMAND) & KBC_FULL) != 0)
        (void)port_in(KBC_DATA);
    keyboard_send(KBC_CONFIGURE, 0x61); /* IRQ1, no mouse, scan codes of set 1 */
}

static void send_some(void)
{
    if ((port_in(COM1 + 5) & LSR_SENT) == 0)
        return;
    for (unsigned i = 0; i < FIFO && sent != taken; i++, sent++)
        port_out(COM1, (uint8_t)ring[sent % RING]);
}

void console_interrupt(void)
{
    lock_take(&lock);
    (void)port_in(COM1 + 2);
    send_some();
    if (sent == taken)
        port_out(COM1 + 1, 0);
    process_wake(&sent);
    lock_give(&lock);
}

void console_send(const char *text, uint32_t bytes)
{
    lock_take(&lock);
    for (uint32_t i = 0; i < bytes; i++) {
        while (taken - sent == RING)
            process_sleep(&sent, &lock);
        ring[taken++ % RING] = text[i];
        if (taken - sent == 1)
            port_out(COM1 + 1, IER_SENT); /* an interrupt comes at once, if nothing is under way */
    }
    lock_give(&lock);
}

/* What is left, without interrupts. */
void console_drain(void)
{
    port_out(COM1 + 1, 0);
    while (sent != taken)
        send_some();
    while ((port_in(COM1 + 5) & LSR_ALL_SENT) == 0)
        ;
}

void keyboard_interrupt(void)
{
    lock_take(&key_lock);
    while ((port_in(KBC_COMMAND) & KBC_FULL) != 0) {
        keys[typed++ % KEY_RING] = port_in(KBC_DATA);
        process_wake(&typed);
    }
    lock_give(&key_lock);
}

/* Has the controller give a byte as if the keyboard had sent it. */
void keyboard_type(uint8_t code)
{
    keyboard_send(KBC_PLAY, code);
}

uint8_t keyboard_read(void)
{
    lock_take(&key_lock);
    while (read == typed)
        process_sleep(&typed, &key_lock);
    const uint8_t key = keys[read++ % KEY_RING];
    lock_give(&key_lock);
    return key;
}
