/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of a CD drive, each a function that finds what is to be answered. Their numbers lie
 * in packets and answers with the highest byte first. */
#include "drivers/virt/vata_mmc.h"

#include "arch/string.h"

#include <stddef.h>

enum { FRAMES = 75, SECONDS = 60, LEAD_IN = 2 * FRAMES };
enum { CD_SECTORS = 80 * SECONDS * FRAMES }; /* what is larger is a DVD */
enum { PROFILE_CD = 0x0008, PROFILE_DVD = 0x0010 };
enum { DATA_TRACK = 0x14, LEAD_OUT = 0xaa };
enum { NEW_DISC = 2, DISC_REMOVED = 3 };
enum { SPEED = 40 * 176 }; /* KiB a second, which somebody may show */

typedef uint32_t command_fn(struct vata_drive *drive, const uint8_t *packet,
                            struct vata_answer *answer);

static uint32_t get(const uint8_t *from, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | from[i];
    return value;
}

static void put(uint8_t *to, unsigned bytes, uint64_t value)
{
    for (unsigned i = bytes; i-- > 0; value >>= 8)
        to[i] = (uint8_t)value;
}

/* --- the drive --- */

static uint32_t succeed(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    (void)drive;
    (void)packet;
    (void)answer;
    return 0;
}

static uint32_t request_sense(struct vata_drive *drive, const uint8_t *packet,
                              struct vata_answer *answer)
{
    struct vata_cd *cd = &drive->cd;
    (void)packet;
    if (cd->sense == 0) {
        cd->sense = cd->attention;
        cd->attention = 0;
    }
    answer->at[0] = 0x70; /* of the last command */
    answer->at[2] = (uint8_t)(cd->sense >> 16);
    answer->at[7] = 10; /* more bytes */
    put(answer->at + 12, 2, cd->sense);
    answer->bytes = 18;
    return 0;
}

static uint32_t inquiry(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    static const uint8_t start[8] = {0x05, 0x80, 0, 0x21, 31}; /* a CD drive, removable, ATAPI */
    static const char names[] = "NADIR   CD-ROM          1   ";
    (void)drive;
    if ((packet[1] & 1) != 0 || packet[2] != 0) /* there are no pages of product data */
        return SENSE_BAD_FIELD;
    memcpy(answer->at, start, sizeof(start));
    memcpy(answer->at + sizeof(start), names, sizeof(names) - 1);
    answer->bytes = sizeof(start) + sizeof(names) - 1;
    return 0;
}

/* Whoever has the disc put in again is told of it as of a new one. */
static uint32_t start_stop(struct vata_drive *drive, const uint8_t *packet,
                           struct vata_answer *answer)
{
    struct vata_cd *cd = &drive->cd;
    /* The upper half asks for another power condition instead, and there is one only. */
    const bool moves = (packet[4] & 0xf2) == 2, open = (packet[4] & 1) == 0;
    (void)answer;
    if (!moves)
        return 0;
    if (open && cd->locked)
        return SENSE_LOCKED;
    if (open != cd->open) {
        cd->open = open;
        cd->event = open ? DISC_REMOVED : NEW_DISC;
        cd->attention = open ? 0 : SENSE_MEDIUM_CHANGED;
    }
    return 0;
}

static uint32_t prevent_removal(struct vata_drive *drive, const uint8_t *packet,
                                struct vata_answer *answer)
{
    (void)answer;
    drive->cd.locked = (packet[4] & 1) != 0;
    return 0;
}

static uint32_t mechanism_status(struct vata_drive *drive, const uint8_t *packet,
                                 struct vata_answer *answer)
{
    (void)packet;
    answer->at[1] = drive->cd.open ? 0x10 : 0;
    answer->at[5] = 1; /* a slot */
    answer->bytes = 8;
    return 0;
}

/* --- mode pages --- */

static uint32_t put_page(const struct vata_drive *drive, uint8_t *to, unsigned page)
{
    static const uint8_t error_recovery[12] = {0x01, 10, 0, 5};
    static const uint8_t device_parameters[8] = {0x0d, 6, 0, 0x0d, 0, SECONDS, 0, FRAMES};
    /* It reads CD-R, CD-RW and DVD-ROM; has a tray, which opens and is locked by commands. */
    static const uint8_t capabilities[20] = {0x2a, 18, 0x0b, 0, 0, 0, 0x29};
    switch (page) {
    case 0x01: memcpy(to, error_recovery, sizeof(error_recovery)); return sizeof(error_recovery);
    case 0x0d:
        memcpy(to, device_parameters, sizeof(device_parameters));
        return sizeof(device_parameters);
    case 0x2a:
        memcpy(to, capabilities, sizeof(capabilities));
        to[6] |= drive->cd.locked ? 0x02 : 0;
        put(to + 8, 2, SPEED);
        put(to + 14, 2, SPEED);
        return sizeof(capabilities);
    default: return 0;
    }
}

static uint32_t put_pages(const struct vata_drive *drive, const uint8_t *packet, uint8_t *to,
                          uint32_t *bytes)
{
    enum { ALL = 0x3f, CHANGEABLE = 1, SAVED = 3 };
    const unsigned page = packet[2] & ALL, which = packet[2] >> 6;
    *bytes = 0;
    if (which == SAVED)
        return SENSE_NO_SAVED_PAGES;
    for (unsigned i = 0; i < ALL; i++) {
        if (page != ALL && page != i)
            continue;
        const uint32_t more = put_page(drive, to + *bytes, i);
        if (which == CHANGEABLE && more != 0)
            memset(to + *bytes + 2, 0, more - 2);
        *bytes += more;
    }
    return *bytes != 0 ? 0 : SENSE_BAD_FIELD;
}

/* A data disc of 120 mm, or an open door. */
static uint8_t medium_type(const struct vata_drive *drive)
{
    return drive->cd.open ? 0x71 : 0x01;
}

static uint32_t mode_sense_6(struct vata_drive *drive, const uint8_t *packet,
                             struct vata_answer *answer)
{
    uint32_t bytes;
    const uint32_t sense = put_pages(drive, packet, answer->at + 4, &bytes);
    answer->at[0] = (uint8_t)(bytes + 3);
    answer->at[1] = medium_type(drive);
    answer->bytes = bytes + 4;
    return sense;
}

static uint32_t mode_sense_10(struct vata_drive *drive, const uint8_t *packet,
                              struct vata_answer *answer)
{
    uint32_t bytes;
    const uint32_t sense = put_pages(drive, packet, answer->at + 8, &bytes);
    put(answer->at, 2, bytes + 6);
    answer->at[2] = medium_type(drive);
    answer->bytes = bytes + 8;
    return sense;
}

/* --- what the drive is for --- */

static unsigned profile(const struct vata_drive *drive)
{
    return drive->sectors > CD_SECTORS ? PROFILE_DVD : PROFILE_CD;
}

/* The header of a feature and what follows it, of which there is room for one. */
static uint8_t *put_feature(uint8_t *to, unsigned code, unsigned flags, unsigned bytes)
{
    put(to, 2, code);
    to[2] = (uint8_t)flags;
    to[3] = (uint8_t)bytes;
    return to + 4 + bytes;
}

static uint32_t get_configuration(struct vata_drive *drive, const uint8_t *packet,
                                  struct vata_answer *answer)
{
    enum { CURRENT = 1, PERSISTENT = 2, ONE = 2, ONLY_CURRENT = 1, HEADER = 8 };
    const unsigned now = drive->cd.open ? 0 : profile(drive), asked = packet[1] & 3;
    const unsigned dvd = now == PROFILE_DVD, cd = now == PROFILE_CD;
    const struct {
        unsigned code, flags, bytes;
        uint8_t data[8];
    } features[] = {
        {0x0000,
         PERSISTENT | CURRENT,
         8,
         {0, PROFILE_DVD, (uint8_t)dvd, 0, 0, PROFILE_CD, (uint8_t)cd}},
        {0x0001, PERSISTENT | CURRENT, 4, {0, 0, 0, 2}}, /* core: ATAPI */
        {0x0003, PERSISTENT | CURRENT, 4, {0x29}},       /* removable: as in the mode page */
        {0x0010, dvd | cd, 8, {0, 0, VATA_CD_SECTOR >> 8, 0, 0, 1}}, /* random read, by one */
        {0x001e, cd, 4, {0}},                                        /* CD read */
        {0x001f, dvd, 4, {0}},                                       /* DVD read */
    };
    uint8_t *to = answer->at + HEADER;
    if (asked > ONE)
        return SENSE_BAD_FIELD;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const unsigned code = features[i].code, first = get(packet + 2, 2);
        if (asked == ONE
                ? code != first
                : code < first || (asked == ONLY_CURRENT && (features[i].flags & CURRENT) == 0))
            continue;
        memcpy(to + 4, features[i].data, features[i].bytes);
        to = put_feature(to, code, features[i].flags, features[i].bytes);
    }
    answer->bytes = (uint64_t)(to - answer->at);
    put(answer->at, 4, answer->bytes - 4);
    put(answer->at + 6, 2, now);
    return 0;
}

/* Of all that could happen only what happens to the disc is told, and only to who asks. */
static uint32_t get_event(struct vata_drive *drive, const uint8_t *packet,
                          struct vata_answer *answer)
{
    enum { MEDIA = 4, NONE = 0x80 };
    struct vata_cd *cd = &drive->cd;
    if ((packet[1] & 1) == 0) /* it cannot answer later */
        return SENSE_BAD_FIELD;
    answer->at[3] = 1 << MEDIA;
    if ((packet[4] & 1 << MEDIA) == 0) {
        answer->at[2] = NONE;
        answer->bytes = 4;
    } else {
        answer->at[2] = MEDIA;
        answer->at[4] = cd->event;
        answer->at[5] = cd->open ? 1 : 2; /* the tray is open; a disc is in */
        cd->event = 0;
        answer->bytes = 8;
    }
    put(answer->at, 2, answer->bytes - 2);
    return 0;
}

/* --- the disc --- */

static uint32_t read_capacity(struct vata_drive *drive, const uint8_t *packet,
                              struct vata_answer *answer)
{
    (void)packet;
    put(answer->at, 4, drive->sectors - 1);
    put(answer->at + 4, 4, VATA_CD_SECTOR);
    answer->bytes = 8;
    return 0;
}

static uint32_t read_sectors(const struct vata_drive *drive, uint32_t lba, uint32_t count,
                             struct vata_answer *answer)
{
    if (lba >= drive->sectors || count > drive->sectors - lba)
        return SENSE_BAD_LBA;
    answer->at = drive->data + (uint64_t)lba * VATA_CD_SECTOR;
    answer->bytes = (uint64_t)count * VATA_CD_SECTOR;
    return 0;
}

static uint32_t read_10(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    return read_sectors(drive, get(packet + 2, 4), get(packet + 7, 2), answer);
}

static uint32_t read_12(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    return read_sectors(drive, get(packet + 2, 4), get(packet + 6, 4), answer);
}

static uint32_t seek(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    (void)answer;
    return get(packet + 2, 4) < drive->sectors ? 0 : SENSE_BAD_LBA;
}

/* What is round the 2,048 bytes of a sector, an image does not have. */
static uint32_t read_cd(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    enum { USER_DATA = 0x10, MODE_1 = 2 };
    const unsigned kind = packet[1] >> 2 & 7;
    if (kind != 0 && kind != MODE_1)
        return SENSE_WRONG_SECTOR;
    if ((packet[9] != 0 && packet[9] != USER_DATA) || packet[10] != 0)
        return SENSE_BAD_FIELD;
    const uint32_t sense = read_sectors(drive, get(packet + 2, 4), get(packet + 6, 3), answer);
    if (packet[9] == 0)
        answer->bytes = 0;
    return sense;
}

/* A place of the disc: minute, second and frame, which begin two seconds before; or a number. */
static void put_place(uint8_t *to, uint64_t lba, bool msf)
{
    const uint64_t frame = lba + LEAD_IN, minute = frame / (SECONDS * FRAMES);
    if (!msf) {
        put(to, 4, lba);
        return;
    }
    to[1] = minute < UINT8_MAX ? (uint8_t)minute : UINT8_MAX;
    to[2] = (uint8_t)(frame / FRAMES % SECONDS);
    to[3] = (uint8_t)(frame % FRAMES);
}

static uint8_t *put_track(uint8_t *to, uint8_t number, uint64_t lba, bool msf)
{
    to[1] = DATA_TRACK;
    to[2] = number;
    put_place(to + 4, lba, msf);
    return to + 8;
}

/* Formats: 0, the tracks from a number on; 1, the sessions. SFF-8020i has the format elsewhere. */
static uint32_t read_toc(struct vata_drive *drive, const uint8_t *packet,
                         struct vata_answer *answer)
{
    const unsigned format = (packet[2] & 15) != 0 ? packet[2] & 15u : packet[9] >> 6;
    const bool msf = (packet[1] & 2) != 0;
    const uint8_t from = packet[6];
    uint8_t *to = answer->at + 4;
    if (format > 1 || (format == 0 && from > 1 && from != LEAD_OUT))
        return SENSE_BAD_FIELD;
    answer->at[2] = answer->at[3] = 1; /* first and last of tracks or sessions */
    if (format == 1 || from <= 1)
        to = put_track(to, 1, 0, msf);
    if (format == 0)
        to = put_track(to, LEAD_OUT, drive->sectors, msf);
    answer->bytes = (uint64_t)(to - answer->at);
    put(answer->at, 2, answer->bytes - 2);
    return 0;
}

static uint32_t read_disc_information(struct vata_drive *drive, const uint8_t *packet,
                                      struct vata_answer *answer)
{
    /* Finished, nothing may be added; a session, a track; for any use; no more places to write. */
    static const uint8_t facts[24] = {
        0, 32, 0x0e, 1, 1, 1, 1, 0x20, [16] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    (void)drive;
    if ((packet[1] & 7) != 0)
        return SENSE_BAD_FIELD;
    memcpy(answer->at, facts, sizeof(facts));
    answer->bytes = 34;
    return 0;
}

/* --- which is which --- */

enum { NEEDS_DISC = 1, NOT_KEPT = 2 /* by what the host is to be told first */ };

static const struct {
    command_fn *run; /* NULL: there is none */
    uint8_t flags;
    uint8_t limit_at, limit_bytes; /* where the packet says how many bytes it wants at most */
} commands[256] = {
    [0x00] = {succeed, NEEDS_DISC, 0, 0}, /* TEST UNIT READY */
    [0x03] = {request_sense, NOT_KEPT, 4, 1},
    [0x12] = {inquiry, NOT_KEPT, 3, 2},
    [0x1a] = {mode_sense_6, 0, 4, 1},
    [0x1b] = {start_stop, 0, 0, 0},
    [0x1e] = {prevent_removal, 0, 0, 0},
    [0x25] = {read_capacity, NEEDS_DISC, 0, 0},
    [0x28] = {read_10, NEEDS_DISC, 0, 0},
    [0x2b] = {seek, NEEDS_DISC, 0, 0},
    [0x43] = {read_toc, NEEDS_DISC, 7, 2},
    [0x46] = {get_configuration, NOT_KEPT, 7, 2},
    [0x4a] = {get_event, NOT_KEPT, 7, 2},
    [0x51] = {read_disc_information, NEEDS_DISC, 7, 2},
    [0x5a] = {mode_sense_10, 0, 7, 2},
    [0xa8] = {read_12, NEEDS_DISC, 0, 0},
    [0xbb] = {succeed, 0, 0, 0}, /* SET CD SPEED: as fast as it can, always */
    [0xbd] = {mechanism_status, 0, 8, 2},
    [0xbe] = {read_cd, NEEDS_DISC, 0, 0},
};

static uint32_t run(struct vata_drive *drive, const uint8_t *packet, struct vata_answer *answer)
{
    struct vata_cd *cd = &drive->cd;
    const uint8_t code = packet[0], flags = commands[code].flags;
    if (commands[code].run == NULL)
        return SENSE_BAD_COMMAND;
    if (cd->attention != 0 && (flags & NOT_KEPT) == 0) {
        const uint32_t attention = cd->attention;
        cd->attention = 0;
        return attention;
    }
    if (cd->open && (flags & NEEDS_DISC) != 0)
        return SENSE_NO_MEDIUM;
    return commands[code].run(drive, packet, answer);
}

uint32_t vata_mmc_run(struct vata_drive *drive, const uint8_t packet[VATA_PACKET_BYTES],
                      struct vata_answer *answer)
{
    const uint8_t code = packet[0];
    const uint32_t sense = run(drive, packet, answer);
    if (commands[code].limit_bytes != 0) {
        const uint32_t limit = get(packet + commands[code].limit_at, commands[code].limit_bytes);
        answer->bytes = answer->bytes < limit ? answer->bytes : limit;
    }
    drive->cd.sense = sense;
    return sense;
}
