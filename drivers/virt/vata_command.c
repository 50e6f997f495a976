/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of an ATA disk (ATA/ATAPI-6, "Command descriptions"): the general feature set,
 * power management, 48-bit addresses and multi-word DMA; and those few of a CD drive, most of whose
 * own come as packets. There is no write cache to turn on, and no Ultra DMA, which the PIIX3 cannot
 * do. */
#include "drivers/virt/vata.h"

#include "arch/bytes.h"
#include "arch/string.h"

#include <stddef.h>

enum { WRITE = 1, EXT = 2, MULTIPLE = 4, DMA = 8 };
enum { ANY = 16, CD = 32 }; /* who has the command: a CD drive, too, or that alone; else a disk */
enum { USES_LBA = 0x40 };   /* in the Device register */
enum { IDENTIFY = 0xec, READ_SECTORS = 0x20, OVERLAP = 0x02 };
enum { IDLE_POWER = 0xff, STANDBY_POWER = 0x00, DIAGNOSTIC_PASSED = 1 };
enum { MAX_CYLINDERS = 16383, HEADS = 16, TRACK_SECTORS = 63, MAX_LBA28 = 0x0fffffff };

typedef void command_fn(struct vata *ata, struct vata_drive *disk);

static void done(struct vata *ata)
{
    vata_interrupt(ata);
}

static void fail(struct vata *ata, struct vata_drive *disk, uint8_t error)
{
    disk->error = error;
    disk->status |= ATA_ERR;
    vata_interrupt(ata);
}

static void check(struct vata *ata, struct vata_drive *disk, bool good)
{
    if (good)
        done(ata);
    else
        fail(ata, disk, ATA_ABRT);
}

/* --- where a command points --- */

static uint32_t triple(const struct vata_drive *disk, unsigned old)
{
    return disk->lba[0][old] | (uint32_t)disk->lba[1][old] << 8 | (uint32_t)disk->lba[2][old] << 16;
}

/* The first sector by the registers; UINT64_MAX for a cylinder, head or sector that is not there.
 */
static uint64_t address(const struct vata *ata, const struct vata_drive *disk)
{
    if ((ata->flags & EXT) != 0)
        return triple(disk, 0) | (uint64_t)triple(disk, 1) << 24;
    uint32_t head = ata->device & 15;
    if ((ata->device & USES_LBA) != 0)
        return triple(disk, 0) | head << 24;
    uint32_t sector = disk->lba[0][0], cylinder = triple(disk, 0) >> 8;
    if (sector == 0 || sector > disk->track_sectors || head >= disk->heads ||
        cylinder >= disk->cylinders)
        return UINT64_MAX;
    return ((uint64_t)cylinder * disk->heads + head) * disk->track_sectors + sector - 1;
}

static void set_lba(struct vata *ata, struct vata_drive *disk, uint64_t lba)
{
    for (unsigned i = 0; i < 3; i++) {
        disk->lba[i][0] = (uint8_t)(lba >> 8 * i);
        if ((ata->flags & EXT) != 0)
            disk->lba[i][1] = (uint8_t)(lba >> (24 + 8 * i));
    }
    if ((ata->flags & EXT) == 0)
        ata->device = (uint8_t)((ata->device & 0xf0) | (lba >> 24 & 15));
}

static uint32_t sector_count(const struct vata *ata, const struct vata_drive *disk)
{
    if ((ata->flags & EXT) == 0)
        return disk->count[0] != 0 ? disk->count[0] : 256;
    uint32_t count = disk->count[0] | (uint32_t)disk->count[1] << 8;
    return count != 0 ? count : 65536;
}

/* The sectors that the registers name, all of them; false: the command has failed with IDNF, the
 * registers telling the first that is not there. */
static bool range(struct vata *ata, struct vata_drive *disk, uint64_t *lba, uint32_t *count)
{
    *lba = address(ata, disk);
    *count = sector_count(ata, disk);
    if (*lba < disk->sectors && *count <= disk->sectors - *lba)
        return true;
    if (*lba < disk->sectors && ((ata->flags & EXT) != 0 || (ata->device & USES_LBA) != 0))
        set_lba(ata, disk, disk->sectors);
    fail(ata, disk, ATA_IDNF);
    return false;
}

/* --- data --- */

static void transfer(struct vata *ata, struct vata_drive *disk)
{
    static const enum vata_phase phases[] = {VATA_IN, VATA_OUT, VATA_DMA_IN, VATA_DMA_OUT};
    struct vata_transfer *t = &ata->transfer;
    uint64_t lba;
    uint32_t count;
    if ((ata->flags & MULTIPLE) != 0 && disk->multiple == 0) {
        fail(ata, disk, ATA_ABRT);
        return;
    }
    if (!range(ata, disk, &lba, &count))
        return;
    *t = (struct vata_transfer){
        .phase = phases[(ata->flags & DMA ? 2 : 0) + (ata->flags & WRITE ? 1 : 0)],
        .at = disk->data + lba * VATA_SECTOR,
        .rest = (uint64_t)count * VATA_SECTOR,
        .block = VATA_SECTOR * (uint64_t)(ata->flags & DMA        ? count
                                          : ata->flags & MULTIPLE ? disk->multiple
                                                                  : 1),
    };
    vata_block_begin(ata, t->phase == VATA_IN);
    if ((ata->flags & DMA) != 0)
        vata_dma_go(ata);
}

static void verify(struct vata *ata, struct vata_drive *disk)
{
    uint64_t lba;
    uint32_t count;
    if (range(ata, disk, &lba, &count))
        done(ata);
}

/* SEEK and RECALIBRATE went with ATA-5 and ATA-4; small systems still send them. */
static void seek(struct vata *ata, struct vata_drive *disk)
{
    if (address(ata, disk) < disk->sectors)
        done(ata);
    else
        fail(ata, disk, ATA_IDNF);
}

/* What asks for nothing that is not so already: a flush, a spin-up. */
static void succeed(struct vata *ata, struct vata_drive *disk)
{
    (void)disk;
    done(ata);
}

static void read_native_max(struct vata *ata, struct vata_drive *disk)
{
    uint64_t last = disk->sectors - 1;
    set_lba(ata, disk, (ata->flags & EXT) == 0 && last > MAX_LBA28 ? MAX_LBA28 : last);
    done(ata);
}

/* --- identity --- */

/* Two characters to a word, the first in its high byte. */
static void put_swapped(uint8_t *words, const char *text, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        words[i ^ 1] = *text != '\0' ? (uint8_t)*text : ' ';
        text += *text != '\0';
    }
}

struct identify_word {
    uint8_t at;
    uint16_t value;
};

/* What is the same for every disk; words that are not named are zero. */
static const struct identify_word disk_identity[] = {
    {0, 0x0040},                      /* an ATA disk, not removable */
    {47, 0x8000 | VATA_MAX_MULTIPLE}, /* READ and WRITE MULTIPLE */
    {49, 0x2b00},                     /* standard standby timer, IORDY, LBA, DMA */
    {50, 0x4000},
    {51, 0x0200}, /* PIO mode 2, and below what words 64-68 say */
    {53, 0x0003}, /* words 54-58 and 64-70 hold */
    {64, 0x0003}, /* PIO modes 3 and 4 */
    {65, 120},    /* nanoseconds a word, by multi-word DMA and by PIO */
    {66, 120},
    {67, 120},
    {68, 120},
    {80, 0x0078}, /* ATA-3 to ATA/ATAPI-6 */
    {82, 0x4008}, /* supported: NOP, power management; */
    {83, 0x7400}, /* FLUSH CACHE and its EXT, 48-bit addresses */
    {84, 0x4000},
    {85, 0x4008}, /* and enabled */
    {86, 0x3400},
    {87, 0x4000},
};

/* And for a CD drive. */
static const struct identify_word cd_identity[] = {
    {0, 0x85c0},  /* removable, of CD-ROM's kind; takes packets of 12 bytes, within 50 us */
    {49, 0x0b00}, /* IORDY, LBA, DMA */
    {53, 0x0002}, /* words 64-70 hold */
    {64, 0x0003}, {65, 120},    {66, 120},    {67, 120},
    {68, 120},    {80, 0x0078}, {82, 0x4218}, /* supported: NOP, DEVICE RESET, PACKET, power
                                                 management; */
    {83, 0x4000}, {84, 0x4000}, {85, 0x4218}, /* and enabled */
    {87, 0x4000},
};

static void put_word(uint8_t *data, unsigned at, uint64_t value)
{
    put_le(data + (size_t)2 * at, 2, value);
}

static void put_double(uint8_t *data, unsigned at, uint64_t value)
{
    put_le(data + (size_t)2 * at, 4, value);
}

/* The translation after power-up: what ATA-5 and the BIOSes agree on. */
static void default_geometry(struct vata_drive *disk)
{
    bool small = disk->sectors < HEADS * TRACK_SECTORS;
    disk->heads = small ? 1 : HEADS;
    disk->track_sectors =
        disk->sectors < TRACK_SECTORS ? (uint8_t)disk->sectors : (uint8_t)TRACK_SECTORS;
    uint64_t cylinders = disk->sectors / ((uint64_t)disk->heads * disk->track_sectors);
    disk->cylinders = cylinders < MAX_CYLINDERS ? (uint16_t)cylinders : MAX_CYLINDERS;
}

static void identify_begin(uint8_t *data, const struct identify_word *words, size_t count)
{
    memset(data, 0, VATA_SECTOR);
    for (size_t i = 0; i < count; i++)
        put_word(data, words[i].at, words[i].value);
}

static void identify_end(struct vata *ata, const struct vata_drive *drive)
{
    uint8_t *data = ata->buffer;
    put_word(data, 63, 0x0007u | (uint64_t)drive->dma_mode << 8);
    /* Hardware reset result: numbered by jumper, diagnostics passed; the first saw the second. */
    put_word(data, 93,
             drive != &ata->drive[0]      ? 0x4b00
             : ata->drive[1].data != NULL ? 0x403b
                                          : 0x400b);
    data[VATA_SECTOR - 2] = 0xa5; /* there is a checksum */
    put_checksum(data, VATA_SECTOR, VATA_SECTOR - 1);
    ata->transfer = (struct vata_transfer){
        .phase = VATA_IN, .at = data, .rest = VATA_SECTOR, .block = VATA_SECTOR};
    vata_block_begin(ata, true);
}

static void identify(struct vata *ata, struct vata_drive *disk)
{
    unsigned number = disk != &ata->drive[0];
    uint8_t *data = ata->buffer;
    struct vata_drive fresh = *disk;
    default_geometry(&fresh);
    identify_begin(data, disk_identity, sizeof(disk_identity) / sizeof(disk_identity[0]));
    put_word(data, 1, fresh.cylinders);
    put_word(data, 3, fresh.heads);
    put_word(data, 6, fresh.track_sectors);
    put_swapped(data + 2 * 10, number == 0 ? "NADIR0" : "NADIR1", 20);
    put_swapped(data + 2 * 23, "1", 8);
    put_swapped(data + 2 * 27, "Nadir RAM disk", 40);
    put_word(data, 54, disk->cylinders);
    put_word(data, 55, disk->heads);
    put_word(data, 56, disk->track_sectors);
    put_double(data, 57, (uint64_t)disk->cylinders * disk->heads * disk->track_sectors);
    if (disk->multiple != 0)
        put_word(data, 59, 0x100u | disk->multiple);
    put_double(data, 60, disk->sectors < MAX_LBA28 ? disk->sectors : MAX_LBA28);
    put_double(data, 100, disk->sectors);
    put_double(data, 102, disk->sectors >> 32);
    identify_end(ata, disk);
}

static void identify_packet(struct vata *ata, struct vata_drive *drive)
{
    uint8_t *data = ata->buffer;
    identify_begin(data, cd_identity, sizeof(cd_identity) / sizeof(cd_identity[0]));
    put_swapped(data + 2 * 10, "NADIR2", 20);
    put_swapped(data + 2 * 23, "1", 8);
    put_swapped(data + 2 * 27, "Nadir CD-ROM", 40);
    identify_end(ata, drive);
}

/* --- packets --- */

/* Asks for the packet. Commands that overlap are not for this drive. */
static void packet(struct vata *ata, struct vata_drive *drive)
{
    if ((drive->features[0] & OVERLAP) != 0) {
        fail(ata, drive, ATA_ABRT);
        return;
    }
    ata->transfer = (struct vata_transfer){.phase = VATA_PACKET, .left = VATA_PACKET_BYTES};
    drive->count[0] = ATAPI_COMMAND;
    drive->status |= ATA_DRQ;
}

/* "DEVICE RESET": as by a software reset, this drive alone, and without an interrupt. */
static void device_reset(struct vata *ata, struct vata_drive *drive)
{
    ata->transfer.phase = VATA_IDLE;
    drive->cd.locked = false;
    vata_drive_reset(drive);
}

/* --- settings --- */

static void initialize_parameters(struct vata *ata, struct vata_drive *disk)
{
    uint32_t heads = (ata->device & 15) + 1u, sectors = disk->count[0];
    disk->heads = (uint8_t)heads;
    disk->track_sectors = (uint8_t)sectors;
    uint64_t cylinders = sectors != 0 ? disk->sectors / (heads * sectors) : 0;
    disk->cylinders = cylinders < UINT16_MAX ? (uint16_t)cylinders : UINT16_MAX;
    check(ata, disk, sectors != 0);
}

static void set_multiple(struct vata *ata, struct vata_drive *disk)
{
    unsigned count = disk->count[0];
    bool good = count <= VATA_MAX_MULTIPLE && (count & (count - 1)) == 0;
    disk->multiple = good ? (uint8_t)count : 0; /* a count that cannot be turns it off */
    check(ata, disk, good);
}

/* "Set transfer mode": the mode of DMA is told by IDENTIFY, that of PIO by nobody. */
static bool set_mode(struct vata_drive *disk)
{
    unsigned mode = disk->count[0] & 7;
    switch (disk->count[0] >> 3) {
    case 0: return mode == 0;
    case 1: return mode <= 4;
    case 4:
        if (mode <= 2)
            disk->dma_mode = (uint8_t)(1 << mode);
        return mode <= 2;
    default: return false;
    }
}

static void set_features(struct vata *ata, struct vata_drive *disk)
{
    bool good = true;
    switch (disk->features[0]) {
    case 0x03: good = set_mode(disk); break;
    case 0x66: disk->keeps = true; break;
    case 0xcc: disk->keeps = false; break;
    default: good = false; break;
    }
    check(ata, disk, good);
}

static void standby(struct vata *ata, struct vata_drive *disk)
{
    disk->power = STANDBY_POWER;
    done(ata);
}

static void idle(struct vata *ata, struct vata_drive *disk)
{
    disk->power = IDLE_POWER;
    done(ata);
}

static void sleep(struct vata *ata, struct vata_drive *disk)
{
    disk->asleep = true;
    done(ata);
}

static void check_power(struct vata *ata, struct vata_drive *disk)
{
    disk->count[0] = disk->power;
    done(ata);
}

static const struct {
    command_fn *run; /* NULL: aborted */
    uint8_t flags;
} commands[256] = {
    [ATAPI_RESET] = {device_reset, CD},
    [0x10] = {succeed, 0}, /* RECALIBRATE */
    [READ_SECTORS] = {transfer, 0},
    [0x21] = {transfer, 0},
    [0x24] = {transfer, EXT},
    [0x25] = {transfer, EXT | DMA},
    [0x27] = {read_native_max, EXT},
    [0x29] = {transfer, EXT | MULTIPLE},
    [0x30] = {transfer, WRITE},
    [0x31] = {transfer, WRITE},
    [0x34] = {transfer, WRITE | EXT},
    [0x35] = {transfer, WRITE | EXT | DMA},
    [0x39] = {transfer, WRITE | EXT | MULTIPLE},
    [0x40] = {verify, 0},
    [0x41] = {verify, 0},
    [0x42] = {verify, EXT},
    [0x70] = {seek, 0},
    [0x91] = {initialize_parameters, 0},
    [0xa0] = {packet, CD},
    [0xa1] = {identify_packet, CD},
    [0xc4] = {transfer, MULTIPLE},
    [0xc5] = {transfer, WRITE | MULTIPLE},
    [0xc6] = {set_multiple, 0},
    [0xc8] = {transfer, DMA},
    [0xc9] = {transfer, DMA},
    [0xca] = {transfer, WRITE | DMA},
    [0xcb] = {transfer, WRITE | DMA},
    [0xe0] = {standby, ANY}, /* at once, and after a time that never comes */
    [0xe1] = {idle, ANY},
    [0xe2] = {standby, ANY},
    [0xe3] = {idle, ANY},
    [0xe5] = {check_power, ANY},
    [0xe6] = {sleep, ANY},
    [0xe7] = {succeed, 0}, /* FLUSH CACHE */
    [0xea] = {succeed, 0}, /* and its EXT */
    [IDENTIFY] = {identify, 0},
    [0xef] = {set_features, ANY},
    [0xf8] = {read_native_max, 0},
};

static void set_pair(uint8_t pair[2], uint8_t value)
{
    pair[0] = value;
    pair[1] = 0;
}

/* "Signature and persistence": by it software tells the kinds of drives apart. */
static void signature(struct vata_drive *drive)
{
    set_pair(drive->count, 1);
    set_pair(drive->lba[0], 1);
    set_pair(drive->lba[1], drive->packet ? 0x14 : 0);
    set_pair(drive->lba[2], drive->packet ? 0xeb : 0);
    drive->error = DIAGNOSTIC_PASSED;
    drive->status = drive->packet ? 0 : ATA_DRDY | ATA_DSC;
}

void vata_drive_reset(struct vata_drive *disk)
{
    if (disk->data == NULL) {
        disk->status = 0;
        return;
    }
    if (!disk->keeps) {
        disk->multiple = 0;
        disk->dma_mode = 0;
        default_geometry(disk);
    }
    disk->asleep = false;
    disk->power = IDLE_POWER;
    signature(disk);
}

/* Both disks do this one, whichever is selected; the first speaks. */
static void diagnose(struct vata *ata)
{
    ata->device = 0;
    for (unsigned i = 0; i < VATA_DRIVES; i++) {
        ata->drive[i].irq = false;
        if (ata->drive[i].data != NULL)
            signature(&ata->drive[i]);
    }
    vata_interrupt(ata);
}

void vata_command(struct vata *ata, uint8_t code)
{
    struct vata_drive *disk = vata_selected(ata);
    if (code == 0x90 && vata_has_drive(ata)) {
        diagnose(ata);
        return;
    }
    if (disk->data == NULL || (disk->asleep && code != ATAPI_RESET))
        return;
    disk->irq = false;
    vata_update_irq(ata);
    disk->status = ATA_DRDY | ATA_DSC;
    disk->error = 0;
    const uint8_t flags = commands[code].flags;
    if (disk->packet && (code == IDENTIFY || code == READ_SECTORS)) {
        signature(disk); /* whoever took it for a disk sees what it is */
        disk->status = ATA_DRDY | ATA_DSC;
    }
    if (commands[code].run == NULL || (disk->packet ? (flags & (ANY | CD)) == 0 : flags == CD)) {
        fail(ata, disk, ATA_ABRT);
        return;
    }
    if (code < 0xe0) /* those above move no data of the medium */
        disk->power = IDLE_POWER;
    ata->flags = flags;
    commands[code].run(ata, disk);
}
