/* SPDX-License-Identifier: BSD-2-Clause */
/* PIIX3's IDE function by its data sheet; what sets the speed of a cable is kept and means nothing.
 */
#include "drivers/virt/vide.h"

enum { BMIBA_BAR = 4, BMIBA_PORTS = 8 /* of each channel */ };

static const struct vpci_register rows[] = {
    {0x00, 4, 0x70108086, 0},
    {VPCI_COMMAND, 2, 0, VPCI_COMMAND_IO | VPCI_COMMAND_MASTER},
    {0x06, 2, 0x0280, 0},
    {VPCI_CLASS, 4, 0x01018000, 0}, /* IDE, bus master, compatibility mode */
    {0x0d, 1, 0, 0xf0},             /* latency timer */
    {VIDE_BMIBA, 4, 1, 0xfffffff0},
    {VIDE_IDETIM, 2, VIDE_DECODE, 0xffff},
    {VIDE_IDETIM + 2, 2, 0, 0xffff}, /* the second channel's */
    {0x44, 1, 0, 0xff},              /* second disks' timing */
};

static void written(void *dev, unsigned offset, unsigned bytes)
{
    struct vide *ide = dev;
    uint32_t command = vpci_get(&ide->function, VPCI_COMMAND, 2);
    (void)offset;
    (void)bytes;
    for (unsigned i = 0; i < VATA_CHANNELS; i++) {
        uint32_t timing = vpci_get(&ide->function, VIDE_IDETIM + 2 * i, 2);
        vata_enable(&ide->ata[i], (timing & VIDE_DECODE) != 0 && (command & VPCI_COMMAND_IO) != 0,
                    (command & VPCI_COMMAND_MASTER) != 0);
    }
}

static void remove_dma(struct vide *ide)
{
    for (unsigned i = 0; i < VATA_CHANNELS && ide->dma_base != 0; i++)
        bus_remove_ports(ide->bus, &ide->ata[i], (uint16_t)(ide->dma_base + BMIBA_PORTS * i));
    ide->dma_base = 0;
}

/* An address that others have, or above the ports, leaves the bus master without any. */
static void bar_moved(void *dev, unsigned bar, uint32_t base)
{
    struct vide *ide = dev;
    enum status s = OK;
    (void)bar;
    remove_dma(ide);
    if (base == 0 || base > UINT16_MAX)
        return;
    ide->dma_base = (uint16_t)base;
    for (unsigned i = 0; i < VATA_CHANNELS && s == OK; i++) {
        const uint16_t first = (uint16_t)(base + BMIBA_PORTS * i);
        s = bus_add_ports(ide->bus,
                          &(struct port_range){first, (uint16_t)(first + BMIBA_PORTS - 1), 4,
                                               &ide->ata[i], vata_dma_read, vata_dma_write});
    }
    if (s != OK)
        remove_dma(ide);
}

enum status vide_init(struct vide *ide, const struct vata_image image[VATA_CHANNELS][VATA_DRIVES],
                      const struct guestmem *mem, struct bus *bus, struct vpci *pci,
                      struct timers *timers, const struct irq_line irq[VATA_CHANNELS])
{
    enum status s = OK;
    ide->function = (struct vpci_function){.dev = ide, .written = written, .bar_moved = bar_moved};
    ide->bus = bus;
    ide->dma_base = 0;
    for (unsigned i = 0; i < VATA_CHANNELS && s == OK; i++)
        s = vata_init(&ide->ata[i], i, image[i], mem, bus, timers, irq[i]);
    if (s == OK)
        s = vpci_add(pci, &ide->function, VIDE_DEVFN, rows, sizeof(rows) / sizeof(rows[0]));
    if (s != OK)
        return s;
    if (image[1][0].data != NULL)
        put_le(&ide->function.config[VIDE_IDETIM + 2], 2, VIDE_DECODE);
    written(ide, 0, 0);
    return OK;
}
