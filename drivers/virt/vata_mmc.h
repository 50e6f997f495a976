/* SPDX-License-Identifier: BSD-2-Clause */
/* What a CD drive does for a packet: the commands of SFF-8020i and of MMC-3 that read a disc with
 * one data track, which is all that an ISO image is. There is no sound, and nothing is written. */
#pragma once

#include "drivers/virt/vata.h"

/* Why a command fails, as struct vata_cd has it. */
enum {
    SENSE_NO_MEDIUM = 0x023a02, /* the tray is open */
    SENSE_BAD_COMMAND = 0x052000,
    SENSE_BAD_LBA = 0x052100,
    SENSE_BAD_FIELD = 0x052400,
    SENSE_NO_SAVED_PAGES = 0x053900,
    SENSE_LOCKED = 0x055302,
    SENSE_WRONG_SECTOR = 0x056400, /* of another kind than the track's */
    SENSE_MEDIUM_CHANGED = 0x062800,
};

/* What goes to the host. */
struct vata_answer {
    uint8_t *at; /* at first VATA_SECTOR zeros, for what is to be made up */
    uint64_t bytes;
};

/* Returns 0 with *answer filled in, or why it fails. */
uint32_t vata_mmc_run(struct vata_drive *drive, const uint8_t packet[VATA_PACKET_BYTES],
                      struct vata_answer *answer);
