/* SPDX-License-Identifier: BSD-2-Clause */
/* The Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), 64-bit entry. */
#include "guest/linux.h"
#include "arch/log.h"
#include "arch/string.h"
#include "guest/layout.h"

/* Offsets in the file and in the zero page, which holds a copy of the setup header. */
enum { ZP_RSDP = 0x070, ZP_E820_COUNT = 0x1e8, ZP_E820 = 0x2d0, ZP_SIZE = 0x1000 };
enum { HDR_START = 0x1f1, HDR_SETUP_SECTS = 0x1f1, HDR_BOOT_FLAG = 0x1fe };
enum { HDR_SYSSIZE = 0x1f4 }; /* protected-mode code in 16-byte units */
enum { HDR_JUMP = 0x201 };    /* the header ends this many bytes after 0x202 */
enum { HDR_MAGIC = 0x202, HDR_VERSION = 0x206, HDR_LOADER_TYPE = 0x210, HDR_LOADFLAGS = 0x211 };
enum { HDR_RAMDISK = 0x218, HDR_RAMDISK_SIZE = 0x21c, HDR_CMDLINE = 0x228, HDR_INITRD_MAX = 0x22c };
enum { HDR_ALIGNMENT = 0x230, HDR_RELOCATABLE = 0x234, HDR_XLOADFLAGS = 0x236 };
enum { HDR_CMDLINE_SIZE = 0x238, HDR_PREF_ADDRESS = 0x258, HDR_INIT_SIZE = 0x260 };
enum { HDR_END_MIN = 0x264 }; /* up to init_size */
enum { HDR_END_MAX = 0x290 }; /* what the zero page has room for */

enum { MAGIC_HDRS = 0x53726448, BOOT_FLAG = 0xaa55, LOADER_UNDEFINED = 0xff, ENTRY_64 = 0x200 };
enum { VERSION_MIN = 0x020c }; /* the first with xloadflags */
enum { LOADED_HIGH = 0x01, XLF_KERNEL_64 = 0x01, E820_RAM = 1, E820_RESERVED = 2 };

/* The checked numbers of a kernel's header. */
struct header {
    uint64_t payload_offset, payload_size; /* protected-mode code in the file */
    uint64_t load, init_size;              /* guest-physical address; bytes needed from there */
    uint64_t initrd_max;                   /* highest address of the ramdisk's last byte */
    uint32_t cmdline_max;                  /* without terminator */
    uint32_t end;                          /* of the setup header in the file */
};

/* Little-endian, at any alignment. */
static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static void put(uint8_t *p, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

bool linux_recognize(const uint8_t *file, uint64_t size)
{
    return size >= HDR_VERSION && get(file + HDR_MAGIC, 4) == MAGIC_HDRS;
}

/* What is wrong with the file itself; NULL: nothing. */
static const char *parse_header(const uint8_t *file, uint64_t size, struct header *h)
{
    if (size < HDR_VERSION || get(file + HDR_MAGIC, 4) != MAGIC_HDRS ||
        get(file + HDR_BOOT_FLAG, 2) != BOOT_FLAG)
        return "not a Linux bzImage";
    if (size < HDR_END_MIN)
        return "the kernel is truncated";
    if (get(file + HDR_VERSION, 2) < VERSION_MIN)
        return "the kernel's boot protocol is older than 2.12 (Linux 3.8)";
    if ((file[HDR_LOADFLAGS] & LOADED_HIGH) == 0)
        return "a zImage, not a bzImage";

    const uint64_t setup_sectors = file[HDR_SETUP_SECTS] != 0 ? file[HDR_SETUP_SECTS] : 4;
    h->payload_offset = (setup_sectors + 1) * 512;
    h->payload_size = get(file + HDR_SYSSIZE, 4) * 16;
    if (h->payload_size <= ENTRY_64 || size < h->payload_offset)
        return "the kernel is truncated";
    /* The size counts whole paragraphs; some programs, memtest86+ for one, end within the last. */
    if (size - h->payload_offset < h->payload_size) {
        if (h->payload_size - (size - h->payload_offset) >= 16)
            return "the kernel is truncated";
        h->payload_size = size - h->payload_offset;
    }
    h->end = HDR_MAGIC + file[HDR_JUMP];
    if (h->end < HDR_END_MIN || h->end > HDR_END_MAX || h->end > h->payload_offset)
        return "the kernel's setup header has an impossible length";

    const uint64_t alignment = get(file + HDR_ALIGNMENT, 4);
    h->load = get(file + HDR_PREF_ADDRESS, 8);
    h->init_size = get(file + HDR_INIT_SIZE, 4);
    h->initrd_max = get(file + HDR_INITRD_MAX, 4);
    h->cmdline_max = (uint32_t)get(file + HDR_CMDLINE_SIZE, 4);
    if (h->load < LAYOUT_MIB || h->load >= LAYOUT_HOLE || h->load % PAGE_SIZE != 0 ||
        h->init_size < h->payload_size)
        return "the kernel's load address or size is impossible";
    if (file[HDR_RELOCATABLE] != 0 &&
        (alignment == 0 || (alignment & (alignment - 1)) != 0 || h->load % alignment != 0))
        return "the kernel's alignment is impossible";
    return NULL;
}

static void add_e820(uint8_t *zero_page, uint64_t from, uint64_t to, uint32_t type)
{
    if (from >= to)
        return;
    uint8_t *entry = zero_page + ZP_E820 + 20 * zero_page[ZP_E820_COUNT]++;
    put(entry, 8, from);
    put(entry + 8, 8, to - from);
    put(entry + 16, 4, type);
}

static void fill_zero_page(uint8_t *zp, const struct linux_image *image, const struct header *h,
                           uint64_t ramdisk)
{
    memcpy(zp + HDR_START, image->kernel + HDR_START, h->end - HDR_START);
    zp[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
    put(zp + HDR_CMDLINE, 4, LAYOUT_CMDLINE);
    put(zp + HDR_RAMDISK, 4, ramdisk);
    put(zp + HDR_RAMDISK_SIZE, 4, image->ramdisk_size);
    put(zp + ZP_RSDP, 8, image->rsdp);

    add_e820(zp, 0, LAYOUT_EBDA, E820_RAM);
    add_e820(zp, LAYOUT_EBDA, LAYOUT_LOW_RAM_END, E820_RESERVED);
    add_e820(zp, LAYOUT_ACPI, LAYOUT_MIB, E820_RESERVED); /* ACPI tables, never given back */
    add_e820(zp, LAYOUT_MIB, layout_below_4g(image->memory_bytes), E820_RAM);
    add_e820(zp, LAYOUT_4GIB, LAYOUT_4GIB + layout_above_4g(image->memory_bytes), E820_RAM);
}

/* Identity map of 4 GiB in 2 MiB pages: more than the protocol asks, and any CPU has it. */
static bool write_page_tables(const struct guestmem *mem)
{
    uint64_t *table = guestmem_window(mem, gpa(LAYOUT_PAGE_TABLES), 6 * PAGE_SIZE);
    if (table == NULL)
        return false;
    const uint64_t present_writable = 3, large = 0x80;
    memset(table, 0, 2 * PAGE_SIZE);
    table[0] = (LAYOUT_PAGE_TABLES + PAGE_SIZE) | present_writable;
    for (uint64_t i = 0; i < 4; i++)
        table[512 + i] = (LAYOUT_PAGE_TABLES + (2 + i) * PAGE_SIZE) | present_writable;
    for (uint64_t i = 0; i < 4 * 512; i++)
        table[1024 + i] = i * PAGE_SIZE_2M | large | present_writable;
    return true;
}

/* The highest page-aligned place below 4 GiB that the kernel accepts; 0: none above `floor`. */
static uint64_t place_ramdisk(const struct linux_image *image, const struct header *h,
                              uint64_t floor)
{
    uint64_t end = layout_below_4g(image->memory_bytes);
    if (end > h->initrd_max + 1)
        end = h->initrd_max + 1;
    if (image->ramdisk_size > end)
        return 0;
    const uint64_t base = (end - image->ramdisk_size) & ~(PAGE_SIZE - 1);
    return base >= floor ? base : 0;
}

static enum status write_all(const struct guestmem *mem, const struct linux_image *image,
                             const struct header *h, uint64_t ramdisk, size_t cmdline_length)
{
    /* Null, unused, 64-bit code (0x10), data (0x18). */
    static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    uint8_t *zero_page = guestmem_window(mem, gpa(LAYOUT_ZERO_PAGE), ZP_SIZE);
    if (zero_page == NULL || !write_page_tables(mem))
        return ERR_NO_MEMORY;
    memset(zero_page, 0, ZP_SIZE);
    fill_zero_page(zero_page, image, h, ramdisk);
    const bool written =
        guestmem_write(mem, gpa(LAYOUT_GDT), gdt, sizeof(gdt)) &&
        guestmem_write(mem, gpa(LAYOUT_CMDLINE), image->cmdline, cmdline_length + 1) &&
        guestmem_write(mem, gpa(h->load), image->kernel + h->payload_offset, h->payload_size) &&
        (image->ramdisk_size == 0 ||
         guestmem_write(mem, gpa(ramdisk), image->ramdisk, image->ramdisk_size));
    return written ? OK : ERR_NO_MEMORY;
}

enum status linux_load(const struct guestmem *mem, const struct linux_image *image,
                       struct boot_state *state, char *why, size_t why_size)
{
    struct header h;
    const char *wrong = parse_header(image->kernel, image->kernel_size, &h);
    if (wrong != NULL) {
        format_text(why, why_size, "%s", wrong);
        return ERR_BAD_INPUT;
    }
    if ((image->kernel[HDR_XLOADFLAGS] & XLF_KERNEL_64) == 0) {
        format_text(why, why_size, "a 32-bit Linux kernel; only x86-64 kernels can be started");
        return ERR_UNSUPPORTED;
    }
    const size_t cmdline_length = strlen(image->cmdline);
    if (cmdline_length > h.cmdline_max) {
        format_text(why, why_size, "the command line has %zu characters, the kernel takes %u",
                    cmdline_length, h.cmdline_max);
        return ERR_BAD_INPUT;
    }
    const uint64_t kernel_end = h.load + h.init_size;
    const uint64_t needed_mib = (kernel_end + LAYOUT_MIB - 1) / LAYOUT_MIB;
    if (kernel_end > layout_below_4g(image->memory_bytes)) {
        format_text(why, why_size, "the kernel needs %lu MiB of memory at least, the VM has %lu",
                    needed_mib, image->memory_bytes >> 20);
        return ERR_NO_MEMORY;
    }
    const uint64_t ramdisk = image->ramdisk_size != 0 ? place_ramdisk(image, &h, kernel_end) : 0;
    if (image->ramdisk_size != 0 && ramdisk == 0) {
        format_text(why, why_size,
                    "no room for the ramdisk of %lu KiB behind the kernel in %lu MiB of memory",
                    image->ramdisk_size / 1024, image->memory_bytes >> 20);
        return ERR_NO_MEMORY;
    }
    const enum status s = write_all(mem, image, &h, ramdisk, cmdline_length);
    if (s != OK) {
        format_text(why, why_size, "the guest's memory does not hold what the loader places");
        return s;
    }
    *state = boot_state_long_mode(h.load + ENTRY_64, LAYOUT_PAGE_TABLES);
    state->rsi = LAYOUT_ZERO_PAGE;
    state->rsp = LAYOUT_BOOT_SECTOR;
    state->gdtr = (struct boot_table){LAYOUT_GDT, 4 * 8 - 1};
    return OK;
}
