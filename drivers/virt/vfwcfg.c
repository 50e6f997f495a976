/* SPDX-License-Identifier: BSD-2-Clause */
/* fw_cfg by QEMU's specification of it: its ports and its DMA. */
#include "drivers/virt/vfwcfg.h"

#include "arch/bytes.h"
#include "arch/nospec.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA_HIGH = 0x514, DMA_LOW = 0x518, DMA_LAST = 0x51b };
enum { FEATURE_PORTS = 1, FEATURE_DMA = 2 };
/* A descriptor: these three, big-endian. */
enum { DMA_CONTROL = 4, DMA_LENGTH = 4, DMA_ADDRESS = 8, DMA_BYTES = 16 };
enum { CONTROL_ERROR = 1, CONTROL_READ = 2, CONTROL_SELECT = 8, CONTROL_WRITE = 16 };
#define PORTION 4096u /* bytes, in which it has no look at the clock */

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
    return item_data(item)[index_nospec(f->offset++, item->bytes)];
}

/* The selector takes words only; data cannot be written. */
static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vfwcfg *f = dev;
    if (port == SELECTOR && bytes == 2)
        select(f, value);
}

/* Moves on in the selected item, at most by a portion, by READ copying what is passed. False: some
 * of the memory is no RAM. */
static bool transfer_portion(struct vfwcfg *f)
{
    static const uint8_t zeros[PORTION];
    const struct vfwcfg_item *item = f->selected;
    const uint64_t there = item != NULL ? item->bytes - f->offset : 0;
    const uint8_t *from = there != 0 ? item_data(item) + f->offset : zeros;
    uint64_t bytes = f->dma.left < PORTION ? f->dma.left : PORTION;
    if (there != 0 && there < bytes)
        bytes = there;
    if (!guestmem_write(f->mem, f->dma.to, from, bytes))
        return false;
    f->offset += there != 0 ? bytes : 0;
    f->dma.to.v += bytes;
    f->dma.left -= bytes;
    return true;
}

/* The control word says how it went; where it is no RAM, there is nobody to tell. */
static void finish_dma(struct vfwcfg *f, bool ok)
{
    uint8_t result[DMA_CONTROL];
    put_be(result, sizeof(result), ok ? 0 : CONTROL_ERROR);
    (void)guestmem_write(f->mem, f->dma.descriptor, result, sizeof(result));
}

/* As far as time allows. */
static void run_dma(struct vfwcfg *f)
{
    const uint64_t start = timers_now(f->timers);
    bool ok = true;
    while (f->dma.left > 0 && (ok = transfer_portion(f)))
        if (f->dma.left > 0 && timers_work_is_over(f->timers, start)) {
            timers_arm(f->timers, &f->timer, timers_now(f->timers));
            return;
        }
    finish_dma(f, ok);
}

static void go_on(void *dev, uint64_t now)
{
    struct vfwcfg *f = dev;
    (void)now;
    run_dma(f);
    if (!vfwcfg_is_busy(f))
        f->work.busy(f->work.dev, false);
}

/* Whether both ends are RAM: a transfer in portions is not to find out when it has written most. */
static bool may_write(const struct vfwcfg *f, gpa_t to, uint64_t bytes)
{
    return bytes == 0 || (to.v + bytes - 1 >= to.v && guestmem_is_writable(f->mem, to) &&
                          guestmem_is_writable(f->mem, gpa(to.v + bytes - 1)));
}

/* What it asks for: to READ, or else to SKIP, which takes no time. False: to WRITE, an error. */
static bool begin_dma(struct vfwcfg *f, const uint8_t descriptor[DMA_BYTES])
{
    const uint32_t control = (uint32_t)get_be(descriptor, DMA_CONTROL);
    const uint64_t bytes = get_be(descriptor + DMA_CONTROL, DMA_LENGTH);
    f->dma.to = gpa(get_be(descriptor + DMA_CONTROL + DMA_LENGTH, DMA_ADDRESS));
    f->dma.left = (control & CONTROL_READ) != 0 ? bytes : 0;
    if ((control & CONTROL_SELECT) != 0)
        select(f, control >> 16);
    if ((control & (CONTROL_READ | CONTROL_WRITE)) == 0 && f->selected != NULL) {
        const uint64_t left = f->selected->bytes - f->offset;
        f->offset += bytes < left ? bytes : left;
    }
    if (!may_write(f, f->dma.to, f->dma.left)) {
        f->dma.left = 0;
        return false;
    }
    return (control & (CONTROL_READ | CONTROL_WRITE)) != CONTROL_WRITE;
}

/* The descriptor is read once. */
static void start_dma(struct vfwcfg *f, gpa_t at)
{
    uint8_t descriptor[DMA_BYTES];
    f->dma.descriptor = at;
    if (guestmem_read(f->mem, at, descriptor, sizeof(descriptor)) && begin_dma(f, descriptor))
        run_dma(f);
    else
        finish_dma(f, false);
    if (vfwcfg_is_busy(f))
        f->work.busy(f->work.dev, true);
}

/* The register reads as a signature. */
static uint32_t read_dma(void *dev, uint16_t port, unsigned bytes)
{
    static const char signature[] = "QEMU CFG";
    (void)dev;
    return (uint32_t)get_le(&signature[port - DMA_HIGH], bytes);
}

/* Written in two halves, the second of which starts a transfer, but during one: no CPU that waits
 * for its own can write here. */
static void write_dma(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vfwcfg *f = dev;
    const uint32_t half = __builtin_bswap32(value);
    if (bytes != 4 || (port != DMA_HIGH && port != DMA_LOW) || vfwcfg_is_busy(f))
        return;
    if (port == DMA_LOW)
        start_dma(f, gpa((uint64_t)f->dma_high << 32 | half));
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

enum status vfwcfg_init(struct vfwcfg *f, struct bus *bus, const struct guestmem *mem,
                        struct timers *timers, struct work_line work)
{
    static const char signature[4] = {'Q', 'E', 'M', 'U'};
    *f = (struct vfwcfg){.mem = mem, .timers = timers, .work = work};
    f->timer = (struct timer){.fire = go_on, .dev = f, .deadline = TIMER_NEVER};
    timers_add(timers, &f->timer);
    add(f, VFWCFG_SIGNATURE, signature, sizeof(signature));
    vfwcfg_add_number(f, VFWCFG_FEATURES, FEATURE_PORTS | FEATURE_DMA, 4);
    add(f, VFWCFG_DIRECTORY, &f->directory, sizeof(f->directory));
    static const struct port_range ports[] = {
        {SELECTOR, DATA, 2, NULL, read_port, write_port},
        {DMA_HIGH, DMA_LAST, 4, NULL, read_dma, write_dma},
    };
    return bus_add_port_table(bus, f, ports, 2);
}
