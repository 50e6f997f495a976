/* SPDX-License-Identifier: BSD-2-Clause */
/* PIIX3's IDE function by its data sheet; what sets the speed of a cable is kept and means nothing.
 */
#include "drivers/virt/vide.h"

enum { BMIBA_BAR = 4, BMIBA_PORTS = 16 };

static const struct vpci_register rows[] = {
    {0x00, 4, 0x70108086, 0},
    {VPCI_COMMAND, 2, 0, VPCI_COMMAND_IO | VPCI_COMMAND_MASTER},
    {0x06, 2, 0x0280, 0},
    {VPCI_CLASS, 4, 0x01018000, 0}, /* IDE, bus master, compatibility mode */
    {0x0d, 1, 0, 0xf0},             /* latency timer */
    {VIDE_BMIBA, 4, 1, 0xfffffff0},
    {VIDE_IDETIM, 4, VIDE_DECODE, 0xffffffff}, /* both channels' */
    {0x44, 1, 0, 0xff},                        /* second disks' timing */
};

static void written(void *dev, unsigned offset, unsigned bytes)
{
    struct vide *ide = dev;
    uint32_t command = vpci_get(&ide->function, VPCI_COMMAND, 2);
    bool decode = (vpci_get(&ide->function, VIDE_IDETIM, 2) & VIDE_DECODE) != 0;
    (void)offset;
    (void)bytes;
    vata_enable(&ide->ata, decode && (command & VPCI_COMMAND_IO) != 0,
                (command & VPCI_COMMAND_MASTER) != 0);
}

/* An address that others have, or above the ports, leaves the bus master without any. */
static void bar_moved(void *dev, unsigned bar, uint32_t base)
{
    struct vide *ide = dev;
    (void)bar;
    if (ide->dma_base != 0)
        bus_remove_ports(ide->bus, &ide->ata, ide->dma_base);
    ide->dma_base = 0;
    if (base == 0 || base > UINT16_MAX)
        return;
    const struct port_range range = {
        (uint16_t)base, (uint16_t)(base + BMIBA_PORTS - 1), 4, &ide->ata, vata_dma_read,
        vata_dma_write};
    if (bus_add_ports(ide->bus, &range) == OK)
        ide->dma_base = range.first;
}

enum status vide_init(struct vide *ide, const struct vata_image image[VATA_DISKS],
                      const struct guestmem *mem, struct bus *bus, struct vpci *pci,
                      struct timers *timers, struct irq_line irq)
{
    ide->function = (struct vpci_function){.dev = ide, .written = written, .bar_moved = bar_moved};
    ide->bus = bus;
    ide->dma_base = 0;
    enum status s = vata_init(&ide->ata, image, mem, bus, timers, irq);
    if (s == OK)
        s = vpci_add(pci, &ide->function, VIDE_DEVFN, rows, sizeof(rows) / sizeof(rows[0]));
    if (s == OK)
        written(ide, 0, 0);
    return s;
}
