/* SPDX-License-Identifier: BSD-2-Clause */
/* An ATA channel of a PC (the first has ports 0x1f0-0x1f7 and 0x3f6, the second 0x170-0x177 and
 * 0x376) with up to two drives, and its half of the bus master of Intel's PIIX3. A drive is a disk
 * in the hypervisor's RAM, or a CD drive whose disc is there. Without any, each register reads as
 * 0, as in QEMU: who waits until nobody is busy goes on. Hidden here: registers, commands and
 * transfers as ATA/ATAPI-6 (T13/1410D) has them. Commands are done at once, so that BSY is only
 * seen during a reset and a DMA transfer. vata.c has the registers, vata_command.c the commands,
 * vata_packet.c those that a CD drive gets as packets, vata_mmc.c what they mean, and vata_dma.c
 * the bus master. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"
#include "mm/guestmem.h"

#define VATA_SECTOR       512u
#define VATA_MAX_MULTIPLE 16u
#define VATA_DRIVES       2u
#define VATA_CHANNELS     2u
#define VATA_CD_SECTOR    2048u
#define VATA_PACKET_BYTES 12u

/* Status and Error registers. */
enum { ATA_ERR = 0x01, ATA_DRQ = 0x08, ATA_DSC = 0x10, ATA_DRDY = 0x40, ATA_BSY = 0x80 };
enum { ATA_ABRT = 0x04, ATA_IDNF = 0x10 };

/* Interrupt Reason, which a CD drive has in the place of Sector Count. */
enum { ATAPI_COMMAND = 0x01, ATAPI_TO_HOST = 0x02 };
enum { ATAPI_RESET = 0x08 }; /* DEVICE RESET, a command that is taken in the midst of another */

/* What a CD drive has beside. */
struct vata_cd {
    uint32_t sense;     /* key, code, qualifier, a byte each, of the last command; 0: it was good */
    uint32_t attention; /* likewise: what the host is still to be told by a failing command */
    uint8_t event;      /* what happened to the disc, for who asks: GET EVENT STATUS NOTIFICATION */
    bool open;          /* the disc lies in the tray, outside */
    bool locked;        /* the tray does not open */
};

/* What one drive has of its own. Both hear what is written to the task file. */
struct vata_drive {
    _Alignas(64) uint8_t *data; /* NULL: no drive here. Aligned, so that an index is a shift */
    uint64_t sectors;
    bool packet; /* a CD drive: its sectors are VATA_CD_SECTOR bytes, and nothing writes there */
    struct vata_cd cd;
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

enum vata_phase { VATA_IDLE, VATA_PACKET, VATA_IN, VATA_OUT, VATA_DMA_IN, VATA_DMA_OUT };

/* The command whose data is on its way. */
struct vata_transfer {
    enum vata_phase phase;
    uint8_t *at;    /* where the next byte comes from or, for a sector, goes to */
    uint64_t left;  /* bytes until the end of this DRQ block */
    uint64_t rest;  /* behind it */
    uint64_t block; /* bytes to a DRQ block */
    bool packet;    /* a packet has asked for it: each block, and the end, interrupts */
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
    struct vata_drive drive[VATA_DRIVES];
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
    uint8_t packet[VATA_PACKET_BYTES];
    uint8_t buffer[VATA_SECTOR]; /* what a command answers, or a sector that is being written */
};

/* What is to be known of a drive; data NULL: none. The memory is the caller's; a disk's is changed
 * by the guest's writes, a CD's never. */
struct vata_image {
    void *data;
    uint64_t bytes; /* a multiple of 512; of a CD, 2,048 */
    bool is_cd;
};

/* Claims the ports of channel 0 or 1, at power-up with all enabled. ERR_BAD_INPUT: a second drive
 * without a first, or an odd size. */
enum status vata_init(struct vata *ata, unsigned channel,
                      const struct vata_image image[VATA_DRIVES], const struct guestmem *mem,
                      struct bus *bus, struct timers *timers, struct irq_line irq);

/* What the PCI function's command register and IDETIM switch on and off: the channel's ports, and
 * transfers by the bus master. Those of a channel without drives answer always. */
void vata_enable(struct vata *ata, bool decoded, bool bus_master);

/* The bus master's ports for this channel: 8 from a multiple of 8 on. */
uint32_t vata_dma_read(void *ata, uint16_t port, unsigned bytes);
void vata_dma_write(void *ata, uint16_t port, unsigned bytes, uint32_t value);

/* --- between the parts --- */

/* The drive that the Device register selects; its data is NULL where there is none. */
static inline struct vata_drive *vata_selected(struct vata *ata)
{
    return &ata->drive[ata->device >> 4 & 1];
}

static inline bool vata_has_drive(const struct vata *ata)
{
    return ata->drive[0].data != NULL;
}

void vata_command(struct vata *ata, uint8_t code); /* vata_command.c */
void vata_drive_reset(struct vata_drive *disk);

void vata_interrupt(struct vata *ata); /* vata.c: the selected drive has something to say */
void vata_update_irq(struct vata *ata);
void vata_block_begin(struct vata *ata, bool interrupt);
void vata_data_end(struct vata *ata);

void vata_packet(struct vata *ata); /* vata_packet.c: obeys the packet, which is there */

void vata_dma_init(struct vata *ata); /* vata_dma.c */
void vata_dma_go(struct vata *ata);
