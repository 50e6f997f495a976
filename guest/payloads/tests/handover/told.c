/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the boot information of multiboot 1 and 2 and of PVH. */
#include "handover.h"

#define BOOTED_1  0x2badb002u
#define BOOTED_2  0x36d76289u
#define PVH_MAGIC 0x336ec578u
#define TEXT      0xb8000u

static const char *text(uint64_t at)
{
    return (const char *)at;
}

static void add_module(struct told *t, uint64_t from, uint64_t to, const char *string)
{
    if (t->modules < MAX_MODULES)
        t->module[t->modules++] = (struct module){from, to, string};
}

static void add_range(struct told *t, uint64_t from, uint64_t bytes, uint64_t type)
{
    if (t->ranges < MAX_RANGES)
        t->range[t->ranges++] = (struct range){from, from + bytes, type == 1};
}

/* Address, pitch, columns, rows, bits and type, which both versions of multiboot have in this form.
 */
static bool is_text_screen(uint64_t at)
{
    return get(at, 8) == TEXT && get(at + 8, 4) == 160 && get(at + 12, 4) == 80 &&
           get(at + 16, 4) == 25 && get(at + 20, 1) == 16 && get(at + 21, 1) == 2;
}

static void read_multiboot1(uint64_t info, struct told *t)
{
    const uint64_t flags = get(info, 4);
    t->protocol = "multiboot";
    if ((flags & 1) != 0) {
        t->lower_kib = (uint32_t)get(info + 4, 4);
        t->upper_kib = (uint32_t)get(info + 8, 4);
    }
    if ((flags & 4) != 0)
        t->cmdline = text(get(info + 16, 4));
    for (uint64_t i = 0; (flags & 8) != 0 && i < get(info + 20, 4); i++) {
        const uint64_t m = get(info + 24, 4) + 16 * i;
        add_module(t, get(m, 4), get(m + 4, 4), text(get(m + 8, 4)));
    }
    if ((flags & 32) != 0) {
        t->section_count = (unsigned)get(info + 28, 4);
        t->section_bytes = (unsigned)get(info + 32, 4);
        t->sections = get(info + 36, 4);
    }
    const uint64_t map = get(info + 48, 4), end = map + get(info + 44, 4);
    for (uint64_t e = map; (flags & 64) != 0 && e < end; e += get(e, 4) + 4)
        add_range(t, get(e + 4, 8), get(e + 12, 8), get(e + 20, 4));
    if ((flags & 512) != 0)
        t->loader = text(get(info + 64, 4));
    t->text_screen = (flags & 4096) != 0 && is_text_screen(info + 88);
}

static void read_tag(uint64_t tag, struct told *t)
{
    const uint64_t size = get(tag + 4, 4);
    switch (get(tag, 4)) {
    case 1: t->cmdline = text(tag + 8); break;
    case 2: t->loader = text(tag + 8); break;
    case 3: add_module(t, get(tag + 8, 4), get(tag + 12, 4), text(tag + 16)); break;
    case 4:
        t->lower_kib = (uint32_t)get(tag + 8, 4);
        t->upper_kib = (uint32_t)get(tag + 12, 4);
        break;
    case 6:
        for (uint64_t e = 16; e < size; e += get(tag + 8, 4))
            add_range(t, get(tag + e, 8), get(tag + e + 8, 8), get(tag + e + 16, 4));
        break;
    case 8: t->text_screen = is_text_screen(tag + 8); break;
    case 9:
        t->section_count = (unsigned)get(tag + 8, 4);
        t->section_bytes = (unsigned)get(tag + 12, 4);
        t->sections = tag + 20;
        break;
    case 15: t->rsdp = tag + 8; break; /* a copy */
    default: break;
    }
}

static void read_multiboot2(uint64_t info, struct told *t)
{
    t->protocol = "multiboot 2";
    for (uint64_t i = 8; i < get(info, 4) && get(info + i, 4) != 0;
         i += (get(info + i + 4, 4) + 7) & ~7ull)
        read_tag(info + i, t);
}

static void read_pvh(uint64_t info, struct told *t)
{
    t->protocol = "PVH";
    t->cmdline = text(get(info + 24, 8));
    t->rsdp = get(info + 32, 8);
    for (uint64_t i = 0; i < get(info + 12, 4); i++) {
        const uint64_t m = get(info + 16, 8) + 32 * i;
        add_module(t, get(m, 8), get(m, 8) + get(m + 8, 8), text(get(m + 16, 8)));
    }
    for (uint64_t i = 0; i < get(info + 48, 4); i++) {
        const uint64_t e = get(info + 40, 8) + 24 * i;
        add_range(t, get(e, 8), get(e + 8, 8), get(e + 16, 4));
    }
}

bool told_read(uint32_t eax, uint32_t ebx, struct told *told)
{
    if (eax == BOOTED_1)
        read_multiboot1(ebx, told);
    else if (eax == BOOTED_2)
        read_multiboot2(ebx, told);
    else if (ebx != 0 && get(ebx, 4) == PVH_MAGIC && get(ebx + 4, 4) == 1)
        read_pvh(ebx, told);
    else
        return false;
    return true;
}
