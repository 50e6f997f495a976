/* SPDX-License-Identifier: BSD-2-Clause */
/* The first ATA channel of a PC (ports 0x1f0-0x1f7 and 0x3f6, IRQ 14) with up to two disks in the
 * hypervisor's RAM, and the bus master of Intel's PIIX3 beside it. Without any, each register reads
 * as 0, as in QEMU: who waits until nobody is busy goes on. Hidden here: registers, commands
 * and transfers as ATA/ATAPI-6 (T13/1410D) has them. Commands are done at once, so that BSY is only
 * seen during a reset and a DMA transfer. vata.c has the registers, vata_command.c the commands,
 * vata_dma.c the bus master. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"
#include "mm/guestmem.h"

#define VATA_SECTOR       512u
#define VATA_MAX_MULTIPLE 16u
#define VATA_DISKS        2u

/* Status and Error registers. */
enum { ATA_ERR = 0x01, ATA_DRQ = 0x08, ATA_DSC = 0x10, ATA_DRDY = 0x40, ATA_BSY = 0x80 };
enum { ATA_ABRT = 0x04, ATA_IDNF = 0x10 };

/* What one disk has of its own. Both hear what is written to the task file. */
struct vata_disk {
    uint8_t *data; /* NULL: no disk here */
    uint64_t sectors;
    uint8_t status, error;
    uint8_t features[2], count[2], lba[3][2]; /* [1]: what was written before, for 48 bits */
    uint16_t cylinders;                       /* the translation in use; 0: none */
    uint8_t heads, track_sectors;
    uint8_t multiple; /* sectors a block of READ and WRITE MULTIPLE; 0: not set */
    uint8_t dma_mode; /* bits 10:8 of IDENTIFY's word 63, moved down */
    uint8_t power;    /* what CHECK POWER MODE says */
    bool asleep;      /* only a reset wakes it */
    bool keeps;       /* its settings over a software reset: SET FEATURES 66h */
    bool irq;         /* an interrupt is pending */
};

enum vata_phase { VATA_IDLE, VATA_IN, VATA_OUT, VATA_DMA_IN, VATA_DMA_OUT };

/* The command whose data is on its way. */
struct vata_transfer {
    enum vata_phase phase;
    uint8_t *at;      /* where the next byte comes from or, for a sector, goes to */
    uint32_t left;    /* bytes until the end of this DRQ block */
    uint32_t sectors; /* behind it */
    uint32_t block;   /* sectors to a DRQ block */
};

struct vata_dma {
    uint8_t command, status;
    uint32_t table;       /* the register: guest-physical, of the descriptors */
    uint32_t next;        /* the descriptor to be read next */
    uint32_t region;      /* guest-physical */
    uint32_t region_left; /* bytes */
    bool last;            /* the region's descriptor had the end mark */
    bool enabled;         /* PCI lets it be bus master */
    struct timer timer;   /* goes on with a long transfer */
};

struct vata {
    struct vata_disk disk[VATA_DISKS];
    struct vata_transfer transfer;
    struct vata_dma dma;
    const struct guestmem *mem;
    struct timers *timers;
    struct irq_line irq;
    uint8_t device;  /* the Device register */
    uint8_t control; /* the Device Control register */
    uint8_t flags;   /* of the command: vata_command.c's own */
    bool decoded;    /* PCI lets the ports be seen */
    bool irq_high;
    uint8_t buffer[VATA_SECTOR]; /* IDENTIFY's data, or a sector that is being written */
};

/* What is to be known of a disk; data NULL: none. The memory is the caller's, and changed by the
 * guest's writes. */
struct vata_image {
    void *data;
    uint64_t bytes; /* a multiple of 512 */
};

/* Claims the ports, at power-up with all enabled. ERR_BAD_INPUT: a second disk without a first, or
 * an odd size. */
enum status vata_init(struct vata *ata, const struct vata_image image[VATA_DISKS],
                      const struct guestmem *mem, struct bus *bus, struct timers *timers,
                      struct irq_line irq);

/* What the PCI function's command register and IDETIM switch on and off: the channel's ports, and
 * transfers by the bus master. */
void vata_enable(struct vata *ata, bool decoded, bool bus_master);

/* The bus master's ports, 16 from a multiple of 16 on. The second half is the other channel's,
 * which has no disks: zeros. */
uint32_t vata_dma_read(void *ata, uint16_t port, unsigned bytes);
void vata_dma_write(void *ata, uint16_t port, unsigned bytes, uint32_t value);

/* --- between the parts --- */

/* The disk that the Device register selects; its data is NULL where there is none. */
static inline struct vata_disk *vata_selected(struct vata *ata)
{
    return &ata->disk[ata->device >> 4 & 1];
}

static inline bool vata_has_disk(const struct vata *ata)
{
    return ata->disk[0].data != NULL;
}

void vata_command(struct vata *ata, uint8_t code); /* vata_command.c */
void vata_disk_reset(struct vata_disk *disk);

void vata_interrupt(struct vata *ata); /* vata.c: the selected disk has something to say */
void vata_update_irq(struct vata *ata);
void vata_block_begin(struct vata *ata, bool interrupt);
void vata_data_end(struct vata *ata);

void vata_dma_init(struct vata *ata); /* vata_dma.c */
void vata_dma_go(struct vata *ata);
