/* SPDX-License-Identifier: BSD-2-Clause */
/* fw_cfg by QEMU's specification of it: its ports and its DMA. */
#include "drivers/virt/vfwcfg.h"

#include "arch/bytes.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA_HIGH = 0x514, DMA_LOW = 0x518, DMA_LAST = 0x51b };
enum { FEATURE_PORTS = 1, FEATURE_DMA = 2 };
/* A descriptor: these three, big-endian. */
enum { DMA_CONTROL = 4, DMA_LENGTH = 4, DMA_ADDRESS = 8, DMA_BYTES = 16 };
enum { CONTROL_ERROR = 1, CONTROL_READ = 2, CONTROL_SELECT = 8, CONTROL_WRITE = 16 };
/* Reads past an item's end give zeros; by DMA so many, lest a guest keep its host CPU busy. */
#define DMA_MAX_ZEROS 0x10000u

static const struct vfwcfg_item *find(const struct vfwcfg *f, uint32_t key)
{
    for (uint32_t i = 0; i < f->items; i++)
        if (f->item[i].key == key)
            return &f->item[i];
    return NULL;
}

static const uint8_t *item_data(const struct vfwcfg_item *item)
{
    return item->data != NULL ? item->data : (const uint8_t *)&item->small;
}

static void select(struct vfwcfg *f, uint32_t key)
{
    if (key >= VFWCFG_FIRST_FILE && f->refresh != NULL)
        f->refresh(f->ctx);
    f->selected = find(f, key);
    f->offset = 0;
}

/* Both ports give data; reads past the end give zeros. */
static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vfwcfg *f = dev;
    (void)port;
    (void)bytes;
    const struct vfwcfg_item *item = f->selected;
    if (item == NULL || f->offset >= item->bytes)
        return 0;
    return item_data(item)[f->offset++];
}

/* The selector takes words only; data cannot be written. */
static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vfwcfg *f = dev;
    if (port == SELECTOR && bytes == 2)
        select(f, value);
}

/* False: some of [to, to + bytes) is no RAM. */
static bool write_zeros(const struct guestmem *mem, gpa_t to, uint64_t bytes)
{
    static const uint8_t zeros[512];
    bool ok = true;
    for (uint64_t n; bytes > 0 && ok; bytes -= n, to.v += n) {
        n = bytes < sizeof(zeros) ? bytes : sizeof(zeros);
        ok = guestmem_write(mem, to, zeros, n);
    }
    return ok;
}

/* Moves on in the selected item, by READ copying what is passed. False: an error. */
static bool transfer(struct vfwcfg *f, uint32_t control, uint64_t bytes, gpa_t to)
{
    const struct vfwcfg_item *item = f->selected;
    const uint64_t left = item != NULL ? item->bytes - f->offset : 0;
    const uint64_t there = bytes < left ? bytes : left;
    if ((control & CONTROL_READ) != 0) {
        if (bytes - there > DMA_MAX_ZEROS)
            return false;
        if (there > 0 && !guestmem_write(f->mem, to, item_data(item) + f->offset, there))
            return false;
        if (!write_zeros(f->mem, gpa(to.v + there), bytes - there))
            return false;
    } else if ((control & CONTROL_WRITE) != 0) {
        return false;
    }
    f->offset += there; /* for SKIP there is nothing else to do */
    return true;
}

/* The descriptor is read once, and its control word says at the end how it went. */
static void run_dma(struct vfwcfg *f, gpa_t at)
{
    uint8_t d[DMA_BYTES], result[DMA_CONTROL];
    bool ok = guestmem_read(f->mem, at, d, sizeof(d));
    if (ok) {
        const uint32_t control = (uint32_t)get_be(d, DMA_CONTROL);
        if ((control & CONTROL_SELECT) != 0)
            select(f, control >> 16);
        ok = transfer(f, control, get_be(d + DMA_CONTROL, DMA_LENGTH),
                      gpa(get_be(d + DMA_CONTROL + DMA_LENGTH, DMA_ADDRESS)));
    }
    put_be(result, sizeof(result), ok ? 0 : CONTROL_ERROR);
    (void)guestmem_write(f->mem, at, result, sizeof(result)); /* no RAM: nobody to tell */
}

/* The register reads as a signature. */
static uint32_t read_dma(void *dev, uint16_t port, unsigned bytes)
{
    static const char signature[] = "QEMU CFG";
    (void)dev;
    return (uint32_t)get_le(&signature[port - DMA_HIGH], bytes);
}

/* Written in two halves, the second of which starts a transfer. */
static void write_dma(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vfwcfg *f = dev;
    const uint32_t half = __builtin_bswap32(value);
    if (bytes != 4 || (port != DMA_HIGH && port != DMA_LOW))
        return;
    if (port == DMA_LOW)
        run_dma(f, gpa((uint64_t)f->dma_high << 32 | half));
    f->dma_high = port == DMA_HIGH ? half : 0;
}

static struct vfwcfg_item *add(struct vfwcfg *f, uint32_t key, const void *data, uint64_t bytes)
{
    struct vfwcfg_item *item = &f->item[f->items++];
    *item = (struct vfwcfg_item){.key = (uint16_t)key, .data = data, .bytes = bytes};
    return item;
}

void vfwcfg_add_number(struct vfwcfg *f, uint16_t key, uint64_t value, unsigned bytes)
{
    add(f, key, NULL, bytes)->small = value;
}

static struct vfwcfg_item *add_file(struct vfwcfg *f, const char *name, const void *data,
                                    uint64_t bytes)
{
    uint32_t key = VFWCFG_FIRST_FILE + f->files;
    struct vfwcfg_entry *entry = &f->directory.entry[f->files++];
    put_be(f->directory.count, 4, f->files);
    put_be(entry->bytes, 4, bytes);
    put_be(entry->key, 2, key);
    for (unsigned i = 0; i < VFWCFG_NAME - 1 && name[i] != '\0'; i++)
        entry->name[i] = name[i];
    return add(f, key, data, bytes);
}

void vfwcfg_add_file(struct vfwcfg *f, const char *name, const void *data, uint64_t bytes)
{
    (void)add_file(f, name, data, bytes);
}

void vfwcfg_add_file_number(struct vfwcfg *f, const char *name, uint64_t value, unsigned bytes)
{
    add_file(f, name, NULL, bytes)->small = value;
}

enum status vfwcfg_init(struct vfwcfg *f, struct bus *bus, const struct guestmem *mem)
{
    static const char signature[4] = {'Q', 'E', 'M', 'U'};
    *f = (struct vfwcfg){.mem = mem};
    add(f, VFWCFG_SIGNATURE, signature, sizeof(signature));
    vfwcfg_add_number(f, VFWCFG_FEATURES, FEATURE_PORTS | FEATURE_DMA, 4);
    add(f, VFWCFG_DIRECTORY, &f->directory, sizeof(f->directory));
    static const struct port_range ports[] = {
        {SELECTOR, DATA, 2, NULL, read_port, write_port},
        {DMA_HIGH, DMA_LAST, 4, NULL, read_dma, write_dma},
    };
    return bus_add_port_table(bus, f, ports, 2);
}
