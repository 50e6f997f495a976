/* SPDX-License-Identifier: BSD-2-Clause */
/* fw_cfg by QEMU's specification of it, its port interface. */
#include "drivers/virt/vfwcfg.h"

enum { SELECTOR = 0x510, DATA = 0x511 };
enum { FEATURE_PORTS = 1 };

static void put_big_endian(uint8_t *p, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static const struct vfwcfg_item *find(const struct vfwcfg *f, uint32_t key)
{
    for (uint32_t i = 0; i < f->items; i++)
        if (f->item[i].key == key)
            return &f->item[i];
    return NULL;
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
    const uint8_t *data = item->data != NULL ? item->data : (const uint8_t *)&item->small;
    return data[f->offset++];
}

/* The selector takes words only; data cannot be written. */
static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vfwcfg *f = dev;
    if (port != SELECTOR || bytes != 2)
        return;
    if (value >= VFWCFG_FIRST_FILE && f->refresh != NULL)
        f->refresh(f->ctx);
    f->selected = find(f, value);
    f->offset = 0;
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
    put_big_endian(f->directory.count, 4, f->files);
    put_big_endian(entry->bytes, 4, bytes);
    put_big_endian(entry->key, 2, key);
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

enum status vfwcfg_init(struct vfwcfg *f, struct bus *bus)
{
    static const char signature[4] = {'Q', 'E', 'M', 'U'};
    *f = (struct vfwcfg){.items = 0};
    add(f, VFWCFG_SIGNATURE, signature, sizeof(signature));
    vfwcfg_add_number(f, VFWCFG_FEATURES, FEATURE_PORTS, 4);
    add(f, VFWCFG_DIRECTORY, &f->directory, sizeof(f->directory));
    return bus_add_ports(bus, &(struct port_range){SELECTOR, DATA, 2, f, read_port, write_port});
}
