/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of an ATA channel and programmed data transfer (ATA/ATAPI-6: "I/O register
 * descriptions", "PIO data-in command protocol", "PIO data-out command protocol"). */
#include "drivers/virt/vata.h"

#include "arch/bytes.h"
#include "arch/string.h"

enum { COMMAND_BLOCK = 0x1f0, SECOND_BELOW = 0x80, CONTROL = 0x206, IS_CONTROL = 0x200 };
enum { DATA, FEATURES, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, COMMAND }; /* and their reads: */
enum { ERROR = FEATURES, STATUS = COMMAND };
enum { NIEN = 0x02, SRST = 0x04, HOB = 0x80 };

void vata_update_irq(struct vata *ata)
{
    bool high = vata_selected(ata)->irq && (ata->control & NIEN) == 0 && ata->decoded;
    if (high == ata->irq_high)
        return;
    ata->irq_high = high;
    if (high)
        ata->dma.status |= 4; /* PIIX3: the bus master notes each rising edge */
    irq_line_set(&ata->irq, high);
}

void vata_interrupt(struct vata *ata)
{
    vata_selected(ata)->irq = true;
    vata_update_irq(ata);
}

void vata_block_begin(struct vata *ata, bool interrupt)
{
    struct vata_transfer *t = &ata->transfer;
    struct vata_drive *drive = vata_selected(ata);
    t->left = t->rest < t->block ? t->rest : t->block;
    t->rest -= t->left;
    drive->status |= ATA_DRQ;
    if (t->packet) {
        drive->count[0] = ATAPI_TO_HOST;
        drive->lba[1][0] = (uint8_t)t->left;
        drive->lba[2][0] = (uint8_t)(t->left >> 8);
    }
    if (interrupt)
        vata_interrupt(ata);
}

void vata_data_end(struct vata *ata)
{
    struct vata_drive *drive = vata_selected(ata);
    ata->transfer.phase = VATA_IDLE;
    drive->status = ATA_DRDY | ATA_DSC;
    if (ata->transfer.packet)
        drive->count[0] = ATAPI_TO_HOST | ATAPI_COMMAND;
}

/* A DRQ block is through: the next one is ready at once. */
static void block_end(struct vata *ata)
{
    bool interrupt = ata->transfer.phase == VATA_OUT || ata->transfer.packet;
    if (ata->transfer.rest > 0) {
        vata_block_begin(ata, true);
        return;
    }
    vata_data_end(ata);
    if (interrupt)
        vata_interrupt(ata);
}

/* Words that the host takes from the data register; zeros where there are none. */
static void data_read(struct vata *ata, uint8_t *to, uint32_t bytes)
{
    struct vata_transfer *t = &ata->transfer;
    while (bytes > 0) {
        if (t->phase != VATA_IN || vata_selected(ata)->data == NULL) {
            memset(to, 0, bytes);
            return;
        }
        uint32_t part = bytes < t->left ? bytes : (uint32_t)t->left;
        memcpy(to, t->at, part);
        to += part;
        bytes -= part;
        t->at += part;
        t->left -= part;
        if (t->left == 0)
            block_end(ata);
    }
}

static void packet_write(struct vata *ata, const uint8_t *from, uint32_t bytes)
{
    struct vata_transfer *t = &ata->transfer;
    uint32_t part = bytes < t->left ? bytes : (uint32_t)t->left;
    memcpy(ata->packet + VATA_PACKET_BYTES - t->left, from, part);
    t->left -= part;
    if (t->left == 0)
        vata_packet(ata);
}

/* Words that the host puts there. A sector reaches the disk whole or not at all. */
static void data_write(struct vata *ata, const uint8_t *from, uint32_t bytes)
{
    struct vata_transfer *t = &ata->transfer;
    if (t->phase == VATA_PACKET)
        packet_write(ata, from, bytes);
    while (bytes > 0 && t->phase == VATA_OUT) {
        uint32_t at = (uint32_t)(0 - t->left) % VATA_SECTOR;
        uint32_t room = VATA_SECTOR - at;
        uint32_t part = bytes < room ? bytes : room;
        memcpy(ata->buffer + at, from, part);
        from += part;
        bytes -= part;
        t->left -= part;
        if (part == room) {
            memcpy(t->at, ata->buffer, VATA_SECTOR);
            t->at += VATA_SECTOR;
        }
        if (t->left == 0)
            block_end(ata);
    }
}

/* Reading Status, but not Alternate Status, takes the interrupt back. */
static uint8_t read_status(struct vata *ata, bool alternate)
{
    struct vata_drive *drive = vata_selected(ata);
    if (drive->data == NULL)
        return 0; /* "Device 0 only configurations": the first drive says so for the second */
    if (!alternate && drive->irq) {
        drive->irq = false;
        vata_update_irq(ata);
    }
    return drive->status;
}

static uint8_t read_register(struct vata *ata, unsigned reg)
{
    const struct vata_drive *drive = vata_selected(ata);
    unsigned old = (ata->control & HOB) != 0;
    if (!vata_has_drive(ata))
        return 0;
    if (drive->data == NULL) {
        drive = &ata->drive[0];
        if (drive->packet)
            return 0; /* its signature must not look like one of the second */
    }
    switch (reg) {
    case ERROR: return drive->error;
    case COUNT: return drive->count[old];
    case LBA_LOW:
    case LBA_MID:
    case LBA_HIGH: return drive->lba[reg - LBA_LOW][old];
    case DEVICE: return ata->device;
    default: return read_status(ata, false);
    }
}

/* The registers that are two deep. */
static void push(uint8_t pair[2], uint8_t value)
{
    pair[1] = pair[0];
    pair[0] = value;
}

/* "This register shall be written only when BSY and DRQ are zero": else it stays. But DEVICE RESET
 * ends a command whose data is on its way. */
static void write_while_busy(struct vata *ata, unsigned reg, uint8_t value)
{
    const struct vata_drive *drive = vata_selected(ata);
    if (drive->packet && reg == COMMAND && value == ATAPI_RESET && (drive->status & ATA_BSY) == 0)
        vata_command(ata, value);
}

static void write_register(struct vata *ata, unsigned reg, uint8_t value)
{
    struct vata_drive *selected = vata_selected(ata);
    if ((selected->status & (ATA_BSY | ATA_DRQ)) != 0) {
        write_while_busy(ata, reg, value);
        return;
    }
    ata->control &= (uint8_t)~HOB;
    if (reg == COMMAND) {
        vata_command(ata, value);
        return;
    }
    if (reg == DEVICE) {
        ata->device = value;
        vata_update_irq(ata);
        return;
    }
    for (unsigned i = 0; i < VATA_DRIVES; i++) {
        struct vata_drive *drive = &ata->drive[i];
        push(reg == FEATURES ? drive->features
             : reg == COUNT  ? drive->count
                             : drive->lba[reg - LBA_LOW],
             value);
    }
}

/* "Software reset protocol": busy while SRST is set, then as after EXECUTE DEVICE DIAGNOSTIC. */
static void write_control(struct vata *ata, uint8_t value)
{
    uint8_t changed = ata->control ^ value;
    ata->control = value & (HOB | SRST | NIEN);
    if ((changed & SRST) != 0) {
        ata->transfer.phase = VATA_IDLE;
        ata->device = 0;
        for (unsigned i = 0; i < VATA_DRIVES; i++) {
            ata->drive[i].irq = false;
            if ((value & SRST) != 0)
                ata->drive[i].status = ATA_BSY;
            else
                vata_drive_reset(&ata->drive[i]);
        }
    }
    vata_update_irq(ata);
}

/* The data register is 16 bits wide: a byte access moves a word too, a double word two. */
static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vata *ata = dev;
    uint32_t value = 0;
    if (!ata->decoded)
        return UINT32_MAX;
    if ((port & IS_CONTROL) != 0)
        return read_status(ata, true);
    if ((port & 7) == DATA) {
        data_read(ata, (uint8_t *)&value, bytes == 1 ? 2 : bytes);
        return value;
    }
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint32_t)read_register(ata, (port + i) & 7) << 8 * i;
    return value;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vata *ata = dev;
    if (!ata->decoded)
        return;
    if ((port & IS_CONTROL) != 0) {
        write_control(ata, (uint8_t)value);
        return;
    }
    if ((port & 7) == DATA) {
        data_write(ata, (uint8_t *)&value, bytes == 1 ? 2 : bytes);
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        write_register(ata, (port + i) & 7, (uint8_t)(value >> 8 * i));
}

static void read_string(void *dev, unsigned bytes, uint8_t *to, unsigned count)
{
    struct vata *ata = dev;
    if (bytes > 1 && ata->decoded) {
        data_read(ata, to, bytes * count);
        return;
    }
    for (unsigned i = 0; i < count; i++, to += bytes) {
        uint32_t value = read_port(ata, DATA, bytes);
        put_le(to, bytes, value);
    }
}

static void write_string(void *dev, unsigned bytes, const uint8_t *from, unsigned count)
{
    struct vata *ata = dev;
    if (bytes > 1 && ata->decoded) {
        data_write(ata, from, bytes * count);
        return;
    }
    for (unsigned i = 0; i < count; i++, from += bytes)
        write_port(ata, DATA, bytes, *from);
}

void vata_enable(struct vata *ata, bool decoded, bool bus_master)
{
    ata->decoded = decoded || !vata_has_drive(ata);
    ata->dma.enabled = bus_master;
    vata_update_irq(ata);
    vata_dma_go(ata);
}

enum status vata_init(struct vata *ata, unsigned channel,
                      const struct vata_image image[VATA_DRIVES], const struct guestmem *mem,
                      struct bus *bus, struct timers *timers, struct irq_line irq)
{
    const uint16_t base = channel == 0 ? COMMAND_BLOCK : COMMAND_BLOCK - SECOND_BELOW;
    *ata = (struct vata){.mem = mem, .timers = timers, .irq = irq};
    for (unsigned i = 0; i < VATA_DRIVES; i++) {
        if (image[i].data == NULL)
            continue;
        const uint32_t sector = image[i].is_cd ? VATA_CD_SECTOR : VATA_SECTOR;
        if (image[0].data == NULL || image[i].bytes == 0 || image[i].bytes % sector != 0)
            return ERR_BAD_INPUT;
        ata->drive[i].data = image[i].data;
        ata->drive[i].sectors = image[i].bytes / sector;
        ata->drive[i].packet = image[i].is_cd;
    }
    vata_dma_init(ata);
    for (unsigned i = 0; i < VATA_DRIVES; i++)
        vata_drive_reset(&ata->drive[i]);
    vata_enable(ata, true, true);
    enum status s =
        bus_add_ports(bus, &(struct port_range){base, base + 7, 4, ata, read_port, write_port});
    if (s == OK)
        s = bus_add_ports(bus, &(struct port_range){base + CONTROL, base + CONTROL, 1, ata,
                                                    read_port, write_port});
    if (s == OK)
        s = bus_add_string(bus, &(struct port_string){base, ata, read_string, write_string});
    return s;
}
