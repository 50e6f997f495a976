/* SPDX-License-Identifier: BSD-2-Clause */
/* One sector read from the first ATA disk, by REP INSW and by the bus master; interrupts are off at
 * the disk, so that its status is polled. */
#include "guest/payloads/bench/disk.h"

#include "guest/lib/cpu.h"

enum { DATA = 0x1f0, COUNT = 0x1f2, LBA = 0x1f3, DEVICE = 0x1f6, COMMAND = 0x1f7, CONTROL = 0x3f6 };
enum { BUSY_OR_DATA = 0x88, READ_SECTORS = 0x20, READ_DMA = 0xc8 };
enum { BUS_MASTER = 0, BUS_MASTER_STATUS = 2, BUS_MASTER_TABLE = 4 };
#define PCI_COMMAND    0x80000904u /* 00:01.1 */
#define PCI_BUS_MASTER 0x80000920u /* BMIBA */

static uint8_t sector[512] __attribute__((aligned(512)));
static uint32_t descriptor[2] __attribute__((aligned(8)));

bool disk_is_there(void)
{
    return port_in8(COMMAND) == 0x50;
}

static void send(uint8_t command)
{
    port_out8(COUNT, 1);
    for (uint16_t i = 0; i < 3; i++)
        port_out8(LBA + i, i == 0);
    port_out8(DEVICE, 0x40);
    port_out8(COMMAND, command);
}

void rounds_ata_pio(uint32_t *stamps, uint64_t rounds)
{
    port_out8(CONTROL, 2);
    for (uint64_t i = 0; i <= rounds; i++) {
        void *to = sector;
        uint64_t words = sizeof(sector) / 2;
        stamps[i] = (uint32_t)rdtsc();
        send(READ_SECTORS);
        while ((port_in8(COMMAND) & BUSY_OR_DATA) != 8)
            ;
        __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(DATA) : "memory");
    }
}

void rounds_ata_dma(uint32_t *stamps, uint64_t rounds)
{
    port_out32(0xcf8, PCI_COMMAND);
    port_out16(0xcfc, port_in16(0xcfc) | 5); /* ports, and to be master of the bus */
    port_out32(0xcf8, PCI_BUS_MASTER);
    uint16_t base = port_in16(0xcfc) & 0xfff0;
    port_out8(CONTROL, 2);
    descriptor[0] = (uint32_t)(uintptr_t)sector;
    descriptor[1] = 1u << 31 | sizeof(sector);
    port_out32(base + BUS_MASTER_TABLE, (uint32_t)(uintptr_t)descriptor);
    for (uint64_t i = 0; i <= rounds; i++) {
        stamps[i] = (uint32_t)rdtsc();
        send(READ_DMA);
        port_out8(base + BUS_MASTER, 9);
        while ((port_in8(base + BUS_MASTER_STATUS) & 1) != 0)
            ;
        port_out8(base + BUS_MASTER, 8);
        (void)port_in8(COMMAND);
    }
}
