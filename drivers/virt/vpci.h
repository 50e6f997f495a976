/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI bus 0 by configuration mechanism #1 (ports 0xcf8-0xcff), and the reset control register 0xcf9
 * among them. Knows no device: each adds its function, a configuration space with write masks, and
 * hears of what the guest changes there. (PCI Local Bus Specification, "Configuration Space") */
#pragma once

#include "arch/bytes.h"
#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"

#include <stddef.h>

#define VPCI_MAX_FUNCTIONS     16
#define VPCI_BARS              6
#define VPCI_DEVFN(device, fn) ((uint8_t)((device) << 3 | (fn)))

enum vpci_offset {
    VPCI_COMMAND = 0x04,
    VPCI_CLASS = 0x08, /* with the revision in the lowest byte */
    VPCI_HEADER_TYPE = 0x0e,
    VPCI_BAR0 = 0x10,
    VPCI_SUBSYSTEM = 0x2c,
    VPCI_INTERRUPT_LINE = 0x3c,
};
enum { VPCI_COMMAND_IO = 1, VPCI_COMMAND_MEMORY = 2, VPCI_COMMAND_MASTER = 4 };

/* A register at power-on, and the bits of it that the guest can write. A base address register
 * needs no more than that: its low bits say port or memory and stay; the mask is ~(size - 1); size
 * <= 2 GiB, 32-bit. A port BAR of 16 bytes is {VPCI_BAR0, 4, 1, 0xfffffff0}. */
struct vpci_register {
    uint8_t offset, bytes; /* bytes: 1, 2 or 4, little-endian */
    uint32_t value, writable;
};

/* One function. The device that it belongs to holds it, fills in dev and the callbacks (each may be
 * NULL), and gives it to vpci_add(); afterwards it may read config, and write what changes by
 * itself (status bits). */
struct vpci_function {
    void *dev;
    /* The guest has written here; config holds what has become of it. */
    void (*written)(void *dev, unsigned offset, unsigned bytes);
    /* Where BAR number bar answers from now on: told when that changes, be it by its address or by
     * the command register. VPCI_NOWHERE: not at all. Any address may come, one that is in use by
     * others too, as guests write all ones to learn the size. */
    void (*bar_moved)(void *dev, unsigned bar, uint32_t base);

    uint8_t config[256];
    uint8_t writable[256];
    uint8_t devfn;
    uint32_t bar_base[VPCI_BARS]; /* as last told */
};
#define VPCI_NOWHERE UINT32_MAX

struct vpci {
    uint32_t address; /* CONFIG_ADDRESS */
    uint8_t reset_control;
    uint32_t count;
    struct vpci_function *function[VPCI_MAX_FUNCTIONS];
    struct power_line power;
};

enum status vpci_init(struct vpci *pci, struct bus *bus, struct power_line power);

/* Adds a function at start, in its power-on state: the rows, zero elsewhere. ERR_BAD_INPUT: devfn
 * is taken; ERR_LIMIT: too many. */
enum status vpci_add(struct vpci *pci, struct vpci_function *function, uint8_t devfn,
                     const struct vpci_register *rows, size_t count);

/* A write as the guest's own, callbacks included: what firmware sets, for guests without firmware.
 * value's bytes from offset on, inside a double word. No such function: dropped. */
void vpci_write(struct vpci *pci, uint8_t devfn, unsigned offset, unsigned bytes, uint32_t value);

/* A register as it stands; its bytes lie inside a double word. */
static inline uint32_t vpci_get(const struct vpci_function *f, unsigned offset, unsigned bytes)
{
    return (uint32_t)get_le(&f->config[offset], bytes);
}
