/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of an ATA channel and programmed data transfer (ATA/ATAPI-6: "I/O register
 * descriptions", "PIO data-in command protocol", "PIO data-out command protocol"). */
#include "drivers/virt/vata.h"

#include "arch/bytes.h"
#include "arch/string.h"

enum { COMMAND_BLOCK = 0x1f0, CONTROL = 0x3f6 };
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
    uint32_t sectors = t->sectors < t->block ? t->sectors : t->block;
    t->left = sectors * VATA_SECTOR;
    t->sectors -= sectors;
    vata_selected(ata)->status |= ATA_DRQ;
    if (interrupt)
        vata_interrupt(ata);
}

void vata_data_end(struct vata *ata)
{
    ata->transfer.phase = VATA_IDLE;
    vata_selected(ata)->status = ATA_DRDY | ATA_DSC;
}

/* A DRQ block is through: the next one is ready at once. */
static void block_end(struct vata *ata)
{
    bool out = ata->transfer.phase == VATA_OUT;
    if (ata->transfer.sectors > 0) {
        vata_block_begin(ata, true);
        return;
    }
    vata_data_end(ata);
    if (out)
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
        uint32_t part = bytes < t->left ? bytes : t->left;
        memcpy(to, t->at, part);
        to += part;
        bytes -= part;
        t->at += part;
        t->left -= part;
        if (t->left == 0)
            block_end(ata);
    }
}

/* Words that the host puts there. A sector reaches the disk whole or not at all. */
static void data_write(struct vata *ata, const uint8_t *from, uint32_t bytes)
{
    struct vata_transfer *t = &ata->transfer;
    while (bytes > 0 && t->phase == VATA_OUT) {
        uint32_t at = (0 - t->left) % VATA_SECTOR;
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
    struct vata_disk *disk = vata_selected(ata);
    if (disk->data == NULL)
        return 0; /* "Device 0 only configurations": the first disk says so for the second */
    if (!alternate && disk->irq) {
        disk->irq = false;
        vata_update_irq(ata);
    }
    return disk->status;
}

static uint8_t read_register(struct vata *ata, unsigned reg)
{
    const struct vata_disk *disk = vata_selected(ata);
    unsigned old = (ata->control & HOB) != 0;
    if (!vata_has_disk(ata))
        return 0;
    if (disk->data == NULL)
        disk = &ata->disk[0];
    switch (reg) {
    case ERROR: return disk->error;
    case COUNT: return disk->count[old];
    case LBA_LOW:
    case LBA_MID:
    case LBA_HIGH: return disk->lba[reg - LBA_LOW][old];
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

static void write_register(struct vata *ata, unsigned reg, uint8_t value)
{
    struct vata_disk *selected = vata_selected(ata);
    /* "This register shall be written only when BSY and DRQ are zero": else it stays. */
    if ((selected->status & (ATA_BSY | ATA_DRQ)) != 0)
        return;
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
    for (unsigned i = 0; i < VATA_DISKS; i++) {
        struct vata_disk *disk = &ata->disk[i];
        push(reg == FEATURES ? disk->features
             : reg == COUNT  ? disk->count
                             : disk->lba[reg - LBA_LOW],
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
        for (unsigned i = 0; i < VATA_DISKS; i++) {
            ata->disk[i].irq = false;
            if ((value & SRST) != 0)
                ata->disk[i].status = ATA_BSY;
            else
                vata_disk_reset(&ata->disk[i]);
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
    if (port == CONTROL)
        return read_status(ata, true);
    if (port == COMMAND_BLOCK) {
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
    if (port == CONTROL) {
        write_control(ata, (uint8_t)value);
        return;
    }
    if (port == COMMAND_BLOCK) {
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
        uint32_t value = read_port(ata, COMMAND_BLOCK, bytes);
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
        write_port(ata, COMMAND_BLOCK, bytes, *from);
}

void vata_enable(struct vata *ata, bool decoded, bool bus_master)
{
    ata->decoded = decoded;
    ata->dma.enabled = bus_master;
    vata_update_irq(ata);
    vata_dma_go(ata);
}

enum status vata_init(struct vata *ata, const struct vata_image image[VATA_DISKS],
                      const struct guestmem *mem, struct bus *bus, struct timers *timers,
                      struct irq_line irq)
{
    *ata = (struct vata){.mem = mem, .timers = timers, .irq = irq};
    for (unsigned i = 0; i < VATA_DISKS; i++) {
        if (image[i].data == NULL)
            continue;
        if (image[0].data == NULL || image[i].bytes == 0 || image[i].bytes % VATA_SECTOR != 0)
            return ERR_BAD_INPUT;
        ata->disk[i].data = image[i].data;
        ata->disk[i].sectors = image[i].bytes / VATA_SECTOR;
    }
    vata_dma_init(ata);
    for (unsigned i = 0; i < VATA_DISKS; i++)
        vata_disk_reset(&ata->disk[i]);
    vata_enable(ata, true, true);
    enum status s = bus_add_ports(
        bus, &(struct port_range){COMMAND_BLOCK, COMMAND_BLOCK + 7, 4, ata, read_port, write_port});
    if (s == OK)
        s = bus_add_ports(bus,
                          &(struct port_range){CONTROL, CONTROL, 1, ata, read_port, write_port});
    if (s == OK)
        s = bus_add_string(bus,
                           &(struct port_string){COMMAND_BLOCK, ata, read_string, write_string});
    return s;
}
