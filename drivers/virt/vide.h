/* SPDX-License-Identifier: BSD-2-Clause */
/* The IDE function of Intel's PIIX3 (82371SB) at 00:01.1, in compatibility mode: it switches both
 * ATA channels on and off and says where their bus master answers. As in QEMU's, whose name this
 * chip set bears (vchipset.c), a channel decodes its ports from power-on, the second where it has a
 * drive: firmware for that one switches nothing on but I/O space. */
#pragma once

#include "drivers/virt/vata.h"
#include "drivers/virt/vpci.h"

#define VIDE_DEVFN  VPCI_DEVFN(1, 1)
#define VIDE_BMIBA  0x20 /* the bus master's 16 ports */
#define VIDE_IDETIM 0x40 /* of the first channel; the second's is behind it */
#define VIDE_DECODE 0x8000

struct vide {
    struct vpci_function function;
    struct vata ata[VATA_CHANNELS];
    struct bus *bus;
    uint16_t dma_base; /* 0: the bus master has no ports */
};

/* As at power-on: I/O space is off. image, irq: of each channel. ERR_BAD_INPUT as of vata_init().
 */
enum status vide_init(struct vide *ide, const struct vata_image image[VATA_CHANNELS][VATA_DRIVES],
                      const struct guestmem *mem, struct bus *bus, struct vpci *pci,
                      struct timers *timers, const struct irq_line irq[VATA_CHANNELS]);
