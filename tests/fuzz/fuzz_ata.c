// link: drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
// link: drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that does anything to an ATA channel and its bus master, with descriptors of its own
 * making: it reaches its disks and its RAM, nothing beside them, never what is on a CD, and every
 * call ends. */
#include "drivers/virt/vata.h"

#include <stdlib.h>
#include <string.h>

enum { RAM = 0x20000, SECTORS = 72, SECOND_SECTORS = 4, DMA_PORTS = 0xc000 };

static struct bus bus;
static struct timers timers;
static struct guestmem mem;
static struct vata ata;
static uint8_t *disk, *second, *ram;

static uint64_t read_clock(void)
{
    return 1000;
}

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void start(bool both, const bool is_cd[2])
{
    if (ram == NULL) { /* exactly as large as promised, for the sanitizer */
        ram = malloc(RAM);
        disk = malloc(SECTORS * VATA_SECTOR);
        second = malloc(SECOND_SECTORS * VATA_SECTOR);
        require(ram != NULL && disk != NULL && second != NULL);
    }
    memset(&bus, 0, sizeof(bus));
    memset(&mem, 0, sizeof(mem));
    memset(ram, 0, RAM);
    memset(disk, 1, SECTORS * VATA_SECTOR);
    memset(second, 2, SECOND_SECTORS * VATA_SECTOR);
    timers = (struct timers){.read = read_clock, .hz = 1000, .next = TIMER_NEVER};
    require(guestmem_add(&mem, gpa(0), RAM, ram) == OK);
    const struct vata_image image[2] = {
        {.data = disk, .bytes = SECTORS * VATA_SECTOR, .is_cd = is_cd[0]},
        {.data = both ? second : NULL, .bytes = SECOND_SECTORS * VATA_SECTOR, .is_cd = is_cd[1]}};
    require(vata_init(&ata, 0, image, &mem, &bus, &timers, (struct irq_line){.set = NULL}) == OK);
    require(bus_add_ports(&bus, &(struct port_range){DMA_PORTS, DMA_PORTS + 7, 4, &ata,
                                                     vata_dma_read, vata_dma_write}) == OK);
}

/* What must hold between any two accesses. */
static void check(void)
{
    const struct vata_transfer *t = &ata.transfer;
    require((t->phase != VATA_IDLE) == ((vata_selected(&ata)->status & ATA_DRQ) != 0) ||
            !ata.decoded || vata_selected(&ata)->data == NULL);
    require(t->phase != VATA_PACKET || t->left <= VATA_PACKET_BYTES);
    require(t->phase == VATA_IDLE || (t->left > 0 && t->left <= 65536 * VATA_SECTOR));
}

/* Six bytes of input are one step: what, where, and a value. */
static void step(const uint8_t *data)
{
    static const uint16_t ports[] = {0x1f0, 0x1f0, 0x1f0, 0x1f1, 0x1f2, 0x1f3,
                                     0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6};
    uint16_t port = data[1] < 0xe0 ? ports[data[1] % (sizeof(ports) / sizeof(ports[0]))]
                                   : (uint16_t)(DMA_PORTS + (data[1] & 15));
    uint32_t value;
    memcpy(&value, data + 2, sizeof(value));
    unsigned bytes = 1u << (data[0] >> 4) % 3;
    switch (data[0] & 15) {
    case 0: timers_run(&timers, 1000); break;
    case 1: vata_enable(&ata, (value & 3) != 0, (value & 12) != 0); break;
    case 2: memcpy(ram + ((data[1] * 4u) & (RAM - 4)), &value, 4); break; /* a descriptor */
    case 3: /* a block or so of data */
        for (unsigned i = 0; i < 256; i++)
            bus_port_write(&bus, 0x1f0, 2, value);
        break;
    case 4: {
        uint8_t to[512];
        const struct port_string *string = bus_port_string(&bus, 0x1f0);
        if ((value & 1) != 0)
            string->read(string->dev, bytes, to, sizeof(to) / bytes);
        else
            string->write(string->dev, bytes, ram + (value & 0xff00), 512 / bytes);
        break;
    }
    case 5:
    case 6:
    case 7: {
        uint32_t got = bus_port_read(&bus, port, bytes);
        require(bytes == 4 || got >> (8 * bytes) == 0);
        break;
    }
    case 8: { /* a packet, most of whose fields are small */
        const uint8_t packet[VATA_PACKET_BYTES] = {data[1], data[2], 0, 0,       0,
                                                   data[3], 0,       0, data[4], data[5]};
        bus_port_write(&bus, 0x1f7, 1, 0xa0);
        for (unsigned i = 0; i < sizeof(packet); i += 2)
            bus_port_write(&bus, 0x1f0, 2, packet[i] | (uint32_t)packet[i + 1] << 8);
        break;
    }
    default: bus_port_write(&bus, port, bytes, value); break;
    }
    check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const bool is_cd[2] = {(data[0] & 2) != 0, (data[0] & 4) != 0};
    start(data[0] & 1, is_cd);
    for (size_t i = 1; i + 6 <= size && i < 6000; i += 6)
        step(data + i);
    for (size_t i = 0; is_cd[0] && i < SECTORS * VATA_SECTOR; i++)
        require(disk[i] == 1);
    for (size_t i = 0; is_cd[1] && i < SECOND_SECTORS * VATA_SECTOR; i++)
        require(second[i] == 2);
    return 0;
}
