/* SPDX-License-Identifier: BSD-2-Clause */
/* A PCI bus with only Intel's 440FX host bridge at 00:00.0. CONFIG_ADDRESS takes double words only,
 * so a byte access at 0xcf9 is the chip set's reset control register. */
#include "drivers/virt/vpci.h"

enum { CONFIG_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9, CONFIG_DATA = 0xcfc };
enum { RESET_CPU = 4 }; /* a rising edge resets; bit 1 (hard or soft) makes no difference */

/* Configuration space of the host bridge, a double word at a time. */
static uint32_t bridge_read(const struct vpci *pci, unsigned offset)
{
    switch (offset) {
    case 0x00: return 0x12378086; /* 82441FX */
    case 0x04: return pci->command;
    case 0x08: return 0x06000002; /* class: host bridge; revision 2 */
    default: return 0;            /* header type 0, no base addresses, no interrupt */
    }
}

/* Is there a device of that address? Mechanism #1: bit 31 enables; bus, device, function 0. */
static bool bridge_selected(const struct vpci *pci)
{
    return (pci->address & 0xffffff00) == 0x80000000;
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vpci *pci = dev;
    if (port == CONFIG_ADDRESS && bytes == 4)
        return pci->address;
    if (port == RESET_CONTROL && bytes == 1)
        return pci->reset_control;
    if (port < CONFIG_DATA || !bridge_selected(pci))
        return UINT32_MAX;
    return bridge_read(pci, pci->address & 0xfc) >> (8 * (port & 3));
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vpci *pci = dev;
    if (port == CONFIG_ADDRESS && bytes == 4) {
        pci->address = value & 0x80fffffc; /* the reserved bits are hard-wired to 0 */
    } else if (port == RESET_CONTROL && bytes == 1) {
        if (value & ~(uint32_t)pci->reset_control & RESET_CPU)
            power_line_request(&pci->power, VM_RESET, 0, "reset register 0xcf9");
        pci->reset_control = value & 2;
    } else if (port >= CONFIG_DATA && bridge_selected(pci)) {
        unsigned offset = (pci->address & 0xfc) + (port & 3);
        if (offset == 4) /* SERR# enable is in the high byte, which reads as 0 here */
            pci->command = (uint16_t)(0x0006 | (value & 0x0040));
    }
}

void vpci_reset(struct vpci *pci)
{
    pci->address = 0;
    pci->reset_control = 0;
    pci->command = 0x0006; /* memory space and bus master are hard-wired to 1 */
}

enum status vpci_init(struct vpci *pci, struct bus *bus, struct power_line power)
{
    *pci = (struct vpci){.power = power};
    vpci_reset(pci);
    return bus_add_ports(
        bus, &(struct port_range){CONFIG_ADDRESS, CONFIG_DATA + 3, 4, pci, read_port, write_port});
}
