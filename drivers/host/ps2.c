/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8042's keyboard port (IBM PC AT Technical Reference, "Keyboard Controller"). */
#include "drivers/host/ps2.h"
#include "arch/cpu.h"
#include "drivers/host/keymap.h"

#include <stddef.h>
#include <stdint.h>

enum { DATA = 0x60, STATUS = 0x64 };
enum { OUTPUT_FULL = 1 << 0, INPUT_FULL = 1 << 1, FROM_MOUSE = 1 << 5 };
enum { READ_CONFIG = 0x20, WRITE_CONFIG = 0x60, ENABLE_KEYBOARD = 0xae };
enum { ENABLE_SCANNING = 0xf4 }; /* to the keyboard itself, which answers */
enum { CONFIG_INTERRUPTS = 3, CONFIG_KEYBOARD_OFF = 1 << 4, CONFIG_TRANSLATE = 1 << 6 };
enum { PATIENCE = 10000 }; /* reads of the status: a port read takes a microsecond or so */

static bool present;
static struct keymap map;

static bool wait_for(uint8_t mask, uint8_t value)
{
    for (unsigned i = 0; i < PATIENCE; i++) {
        if ((cpu_in8(STATUS) & mask) == value)
            return true;
    }
    return false;
}

static bool send(uint16_t port, uint8_t byte)
{
    if (!wait_for(INPUT_FULL, 0))
        return false;
    cpu_out8(port, byte);
    return true;
}

bool ps2_init(void)
{
    if (cpu_in8(STATUS) == 0xff) /* nobody drives the bus */
        return false;
    for (unsigned i = 0; i < 16 && (cpu_in8(STATUS) & OUTPUT_FULL) != 0; i++)
        (void)cpu_in8(DATA);
    if (!send(STATUS, READ_CONFIG) || !wait_for(OUTPUT_FULL, OUTPUT_FULL))
        return false;
    unsigned config = cpu_in8(DATA);
    config = (config & ~(unsigned)(CONFIG_INTERRUPTS | CONFIG_KEYBOARD_OFF)) | CONFIG_TRANSLATE;
    present =
        send(STATUS, WRITE_CONFIG) && send(DATA, (uint8_t)config) && send(STATUS, ENABLE_KEYBOARD);
    /* Firmware that has not used its keyboard has left it off. One that is not there says nothing.
     */
    if (present && send(DATA, ENABLE_SCANNING) && wait_for(OUTPUT_FULL, OUTPUT_FULL))
        (void)cpu_in8(DATA);
    return present;
}

const char *ps2_read(void)
{
    if (!present)
        return NULL;
    for (unsigned i = 0; i < 16; i++) { /* releases and prefixes type nothing: look on */
        uint8_t status = cpu_in8(STATUS);
        if ((status & OUTPUT_FULL) == 0)
            return NULL;
        uint8_t byte = cpu_in8(DATA);
        const char *text = (status & FROM_MOUSE) == 0 ? keymap_decode(&map, byte) : NULL;
        if (text != NULL)
            return text;
    }
    return NULL;
}
