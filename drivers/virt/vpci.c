/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI bus. CONFIG_ADDRESS takes double words only, so a byte access at 0xcf9 is the chip set's
 * reset control register. */
#include "drivers/virt/vpci.h"

enum { CONFIG_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9, CONFIG_DATA = 0xcfc };
enum { RESET_CPU = 4 }; /* a rising edge resets; bit 1 (hard or soft) makes no difference */

static struct vpci_function *find(const struct vpci *pci, uint8_t devfn)
{
    for (uint32_t i = 0; i < pci->count; i++)
        if (pci->function[i]->devfn == devfn)
            return pci->function[i];
    return NULL;
}

/* The function that CONFIG_ADDRESS selects, if there is one: bit 31 enables, and the bus is 0. */
static struct vpci_function *selected(const struct vpci *pci)
{
    if ((pci->address & 0xffff0000) != 0x80000000)
        return NULL;
    return find(pci, (uint8_t)(pci->address >> 8));
}

static uint32_t bar_base(const struct vpci_function *f, unsigned bar)
{
    uint32_t value = vpci_get(f, VPCI_BAR0 + 4 * bar, 4);
    bool io = value & 1;
    if ((f->config[VPCI_COMMAND] & (io ? VPCI_COMMAND_IO : VPCI_COMMAND_MEMORY)) == 0)
        return VPCI_NOWHERE;
    return value & (io ? ~3u : ~15u);
}

static void tell_moved_bars(struct vpci_function *f)
{
    for (unsigned bar = 0; bar < VPCI_BARS; bar++) {
        if (f->writable[VPCI_BAR0 + 4 * bar + 3] == 0) /* not there */
            continue;
        uint32_t base = bar_base(f, bar);
        if (base == f->bar_base[bar])
            continue;
        f->bar_base[bar] = base;
        if (f->bar_moved != NULL)
            f->bar_moved(f->dev, bar, base);
    }
}

static void write_function(struct vpci_function *f, unsigned offset, unsigned bytes, uint32_t value)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t *kept = &f->config[offset + i], mask = f->writable[offset + i];
        *kept = (uint8_t)((*kept & ~mask) | ((value >> (8 * i)) & mask));
    }
    if (offset < VPCI_BAR0 + 4 * VPCI_BARS)
        tell_moved_bars(f);
    if (f->written != NULL)
        f->written(f->dev, offset, bytes);
}

void vpci_write(struct vpci *pci, uint8_t devfn, unsigned offset, unsigned bytes, uint32_t value)
{
    struct vpci_function *f = find(pci, devfn);
    if (f != NULL && offset % 4 + bytes <= 4 && offset < 256)
        write_function(f, offset, bytes, value);
}

/* The bus cuts at 0xcff, so no access leaves the double word. */
static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vpci *pci = dev;
    if (port == CONFIG_ADDRESS && bytes == 4)
        return pci->address;
    if (port == RESET_CONTROL && bytes == 1)
        return pci->reset_control;
    const struct vpci_function *f = port < CONFIG_DATA ? NULL : selected(pci);
    return f != NULL ? vpci_get(f, (pci->address & 0xfc) + (port & 3), bytes) : UINT32_MAX;
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
    } else if (port >= CONFIG_DATA) {
        struct vpci_function *f = selected(pci);
        if (f != NULL)
            write_function(f, (pci->address & 0xfc) + (port & 3), bytes, value);
    }
}

enum status vpci_add(struct vpci *pci, struct vpci_function *f, uint8_t devfn,
                     const struct vpci_register *rows, size_t count)
{
    if (find(pci, devfn) != NULL)
        return ERR_BAD_INPUT;
    if (pci->count == VPCI_MAX_FUNCTIONS)
        return ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        put_le(&f->config[rows[i].offset], rows[i].bytes, rows[i].value);
        put_le(&f->writable[rows[i].offset], rows[i].bytes, rows[i].writable);
    }
    f->devfn = devfn;
    for (unsigned bar = 0; bar < VPCI_BARS; bar++)
        f->bar_base[bar] = VPCI_NOWHERE;
    pci->function[pci->count++] = f;
    return OK;
}

enum status vpci_init(struct vpci *pci, struct bus *bus, struct power_line power)
{
    *pci = (struct vpci){.power = power};
    return bus_add_ports(
        bus, &(struct port_range){CONFIG_ADDRESS, CONFIG_DATA + 3, 4, pci, read_port, write_port});
}
