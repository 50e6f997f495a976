/* SPDX-License-Identifier: BSD-2-Clause */
/* The device by which kernels test a machine's interrupt lines and its accesses to devices. */
#include "drivers/virt/vtestdev.h"

#include "arch/bytes.h"

enum { PORT_LATCH = 0xe0, PORT_LINES = 0x2000 };

static uint32_t read_latch(void *dev, uint16_t port, unsigned bytes)
{
    return (uint32_t)get_le(((struct vtestdev *)dev)->latch + (port - PORT_LATCH), bytes);
}

static void write_latch(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    /* At most 4, which the compiler does not know. */
    put_le(((struct vtestdev *)dev)->latch + (port - PORT_LATCH), bytes & 7, value);
}

static void write_line(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    const struct irq_line *lines = &((const struct vtestdev *)dev)->lines;
    (void)bytes;
    if (lines->set != NULL)
        lines->set(lines->chip, port - PORT_LINES, value != 0);
}

static uint64_t read_memory(void *dev, gpa_t at, unsigned bytes)
{
    return get_le(((struct vtestdev *)dev)->memory + (at.v - VTESTDEV_MEMORY), bytes);
}

static void write_memory(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    put_le(((struct vtestdev *)dev)->memory + (at.v - VTESTDEV_MEMORY), bytes, value);
}

enum status vtestdev_init(struct vtestdev *dev, struct bus *bus, struct irq_line lines)
{
    const struct port_range latch = {
        PORT_LATCH, PORT_LATCH + sizeof(dev->latch) - 1, 4, dev, read_latch, write_latch};
    const struct port_range line = {PORT_LINES, PORT_LINES + VTESTDEV_LINES - 1, 1, dev, NULL,
                                    write_line};
    const struct mmio_range memory = {.first = gpa(VTESTDEV_MEMORY),
                                      .last = gpa(VTESTDEV_MEMORY + VTESTDEV_MEMORY_BYTES - 1),
                                      .dev = dev,
                                      .read = read_memory,
                                      .write = write_memory,
                                      .memory = dev->memory};
    dev->lines = lines;
    enum status s = bus_add_ports(bus, &latch);
    if (s == OK)
        s = bus_add_ports(bus, &line);
    return s == OK ? bus_add_mmio(bus, &memory) : s;
}
