/* SPDX-License-Identifier: BSD-2-Clause */
/* The way of a packet and of its data (ATA/ATAPI-6, "PACKET command protocol"): by port, in blocks
 * of no more than the byte count that the host allows, or by the bus master. */
#include "drivers/virt/vata_mmc.h"

#include "arch/string.h"

enum { BY_DMA = 0x01 }; /* in Features */

/* What the host wants at most of a block: an even number, as no other can be told from the end. */
static uint32_t byte_count_limit(const struct vata_drive *drive)
{
    return (drive->lba[1][0] | (uint32_t)drive->lba[2][0] << 8) & ~1u;
}

static void end(struct vata *ata, struct vata_drive *drive, uint8_t error)
{
    drive->count[0] = ATAPI_TO_HOST | ATAPI_COMMAND;
    drive->error = error;
    if (error != 0)
        drive->status |= ATA_ERR;
    vata_interrupt(ata);
}

static void send(struct vata *ata, struct vata_drive *drive, const struct vata_answer *answer)
{
    const bool dma = (drive->features[0] & BY_DMA) != 0;
    const uint32_t limit = byte_count_limit(drive);
    if (!dma && limit == 0) {
        end(ata, drive, ATA_ABRT);
        return;
    }
    ata->transfer = (struct vata_transfer){
        .phase = dma ? VATA_DMA_IN : VATA_IN,
        .at = answer->at,
        .rest = answer->bytes,
        .block = dma ? answer->bytes : limit,
        .packet = true,
    };
    vata_block_begin(ata, !dma);
    if (dma)
        vata_dma_go(ata);
}

void vata_packet(struct vata *ata)
{
    struct vata_drive *drive = vata_selected(ata);
    struct vata_answer answer = {.at = ata->buffer};
    ata->transfer.phase = VATA_IDLE;
    drive->status = ATA_DRDY | ATA_DSC;
    memset(ata->buffer, 0, VATA_SECTOR);
    const uint32_t sense = vata_mmc_run(drive, ata->packet, &answer);
    if (sense == 0 && answer.bytes != 0)
        send(ata, drive, &answer);
    else
        end(ata, drive, (uint8_t)(sense >> 16 << 4)); /* the sense key */
}
