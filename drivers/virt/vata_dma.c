/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus master of the IDE function in Intel's 82371SB, PIIX3 ("Bus Master IDE Function
 * Protocol"), and ATA's DMA data protocol on the disk's side. */
#include "drivers/virt/vata.h"

enum { REG_COMMAND = 0, REG_STATUS = 2, REG_TABLE = 4 };
enum { START = 0x01, TO_MEMORY = 0x08 };
enum { ACTIVE = 0x01, FAILED = 0x02, INTERRUPT = 0x04, KEPT = 0x60 };
#define LAST_DESCRIPTOR (1u << 31)

#define PORTION 4096u /* bytes, in which it has no look at the clock */

/* The next region of memory; a descriptor is read once, and its length 0 stands for 64 KiB. */
static bool next_region(struct vata *ata)
{
    struct vata_dma *dma = &ata->dma;
    uint32_t descriptor[2];
    if (!guestmem_read(ata->mem, gpa(dma->next), descriptor, sizeof(descriptor)))
        return false;
    /* The table lies within 64 KiB: only the low half of the address counts. */
    dma->next = (dma->next & 0xffff0000) | ((dma->next + 8) & 0xffff);
    dma->region = descriptor[0] & ~1u;
    dma->region_left = descriptor[1] & 0xfffe;
    if (dma->region_left == 0)
        dma->region_left = 0x10000;
    dma->last = (descriptor[1] & LAST_DESCRIPTOR) != 0;
    return true;
}

/* Moves up to `bytes` between the disk and the region; false: that is no RAM. */
static bool move(struct vata *ata, uint32_t bytes)
{
    struct vata_transfer *t = &ata->transfer;
    gpa_t region = gpa(ata->dma.region);
    if (t->phase == VATA_DMA_IN ? !guestmem_write(ata->mem, region, t->at, bytes)
                                : !guestmem_read(ata->mem, region, t->at, bytes))
        return false;
    t->at += bytes;
    t->left -= bytes;
    ata->dma.region += bytes;
    ata->dma.region_left -= bytes;
    return true;
}

/* Both sides must be ready: the disk has a command for DMA, the bus master has been started in the
 * same direction. Where one has less than the other, that one waits, for ever if need be. */
void vata_dma_go(struct vata *ata)
{
    struct vata_transfer *t = &ata->transfer;
    struct vata_dma *dma = &ata->dma;
    enum vata_phase phase = dma->command & TO_MEMORY ? VATA_DMA_IN : VATA_DMA_OUT;
    const uint64_t start = timers_now(ata->timers);
    while ((dma->status & ACTIVE) != 0 && dma->enabled && t->phase == phase) {
        if (timers_work_is_over(ata->timers, start)) {
            timers_arm(ata->timers, &dma->timer, timers_now(ata->timers));
            return;
        }
        uint32_t bytes = t->left < dma->region_left ? (uint32_t)t->left : dma->region_left;
        bytes = bytes < PORTION ? bytes : PORTION;
        if (!(dma->region_left == 0 ? next_region(ata) : move(ata, bytes))) {
            dma->status = (uint8_t)((dma->status & ~ACTIVE) | FAILED);
            return;
        }
        if (dma->region_left == 0 && dma->last)
            dma->status &= (uint8_t)~ACTIVE;
        if (t->left == 0) {
            vata_data_end(ata);
            vata_interrupt(ata);
        }
    }
}

static void go_on(void *dev, uint64_t now)
{
    (void)now;
    vata_dma_go(dev);
}

uint32_t vata_dma_read(void *dev, uint16_t port, unsigned bytes)
{
    const struct vata_dma *dma = &((struct vata *)dev)->dma;
    uint64_t all = dma->command | (uint32_t)dma->status << 16 | (uint64_t)dma->table << 32;
    (void)bytes;
    return (uint32_t)(all >> 8 * (port & 7));
}

static void write_command(struct vata *ata, uint8_t value)
{
    struct vata_dma *dma = &ata->dma;
    uint8_t before = dma->command;
    dma->command = value & (START | TO_MEMORY);
    if ((value & START) == 0) {
        dma->status &= (uint8_t)~ACTIVE;
    } else if ((before & START) == 0) {
        dma->next = dma->table;
        dma->region_left = 0;
        dma->last = false;
        dma->status |= ACTIVE;
        vata_dma_go(ata);
    }
}

void vata_dma_write(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vata *ata = dev;
    struct vata_dma *dma = &ata->dma;
    for (unsigned offset = port & 7; bytes > 0; bytes--, offset++, value >>= 8) {
        uint8_t byte = (uint8_t)value;
        if (offset == REG_COMMAND) {
            write_command(ata, byte);
        } else if (offset == REG_STATUS) {
            dma->status &= (uint8_t) ~(byte & (FAILED | INTERRUPT));
            dma->status = (uint8_t)((dma->status & ~KEPT) | (byte & KEPT));
        } else if (offset >= REG_TABLE && offset < REG_TABLE + 4) {
            unsigned shift = 8 * (offset - REG_TABLE);
            dma->table = (dma->table & ~(0xffu << shift)) | (uint32_t)byte << shift;
            dma->table &= ~3u;
        }
    }
}

void vata_dma_init(struct vata *ata)
{
    ata->dma.timer = (struct timer){.deadline = TIMER_NEVER, .fire = go_on, .dev = ata};
    if (vata_has_drive(ata))
        timers_add(ata->timers, &ata->dma.timer);
}
