/* SPDX-License-Identifier: BSD-2-Clause */
/* The Linux/x86 boot protocol (Documentation/arch/x86/boot.rst): 64-bit entry, or 32-bit entry. */
#include "guest/load/linux.h"
#include "arch/bytes.h"
#include "arch/string.h"

/* Offsets in the file and in the zero page, which holds a copy of the setup header. */
enum { ZP_VIDEO_MODE = 0x006, ZP_COLUMNS, ZP_ROWS = 0x00e, ZP_IS_VGA, ZP_FONT_LINES };
enum { ZP_RSDP = 0x070, ZP_E820_COUNT = 0x1e8, ZP_E820 = 0x2d0, ZP_SIZE = 0x1000 };
enum { HDR_START = 0x1f1, HDR_SETUP_SECTS = 0x1f1, HDR_BOOT_FLAG = 0x1fe };
enum { HDR_SYSSIZE = 0x1f4 }; /* protected-mode code in 16-byte units */
enum { HDR_JUMP = 0x201 };    /* the header ends this many bytes after 0x202 */
enum { HDR_MAGIC = 0x202, HDR_VERSION = 0x206, HDR_LOADER_TYPE = 0x210, HDR_LOADFLAGS = 0x211 };
enum { HDR_RAMDISK = 0x218, HDR_RAMDISK_SIZE = 0x21c, HDR_CMDLINE = 0x228, HDR_INITRD_MAX = 0x22c };
enum { HDR_ALIGNMENT = 0x230, HDR_RELOCATABLE = 0x234, HDR_XLOADFLAGS = 0x236 };
enum { HDR_CMDLINE_SIZE = 0x238, HDR_PREF_ADDRESS = 0x258, HDR_INIT_SIZE = 0x260 };
enum { HDR_CODE32_START = 0x214, HDR_END_MIN = 0x23c /* up to cmdline_size */ };
enum { HDR_END_PREFERRED = 0x264 }; /* up to init_size */
enum { HDR_END_MAX = 0x290 };       /* what the zero page has room for */

enum { MAGIC_HDRS = 0x53726448, BOOT_FLAG = 0xaa55, LOADER_UNDEFINED = 0xff, ENTRY_64 = 0x200 };
/* The first version with cmdline_size, with pref_address and init_size, and with xloadflags. */
enum { VERSION_MIN = 0x0206, VERSION_PREFERRED = 0x020a, VERSION_XLOADFLAGS = 0x020c };
enum { LOADED_HIGH = 0x01, XLF_KERNEL_64 = 0x01 };

/* The checked numbers of a kernel's header. */
struct header {
    uint64_t payload_offset, payload_size; /* protected-mode code in the file */
    uint64_t load, init_size;              /* guest-physical address; bytes needed from there */
    uint64_t initrd_max;                   /* highest address of the ramdisk's last byte */
    uint32_t cmdline_max;                  /* without terminator */
    uint32_t end;                          /* of the setup header in the file */
    bool entry64;
};

bool linux_recognize(struct program *p)
{
    const uint8_t *file = p->kernel.data;
    return p->kernel.size >= HDR_LOADER_TYPE && get_le32(file + HDR_MAGIC) == MAGIC_HDRS &&
           get_le16(file + HDR_BOOT_FLAG) == BOOT_FLAG;
}

/* Where the kernel is to be, and how much it needs there. What is wrong with that; NULL: nothing.
 */
static const char *parse_place(const uint8_t *file, uint32_t version, struct header *h)
{
    const uint64_t alignment = get_le32(file + HDR_ALIGNMENT);
    const bool relocatable = file[HDR_RELOCATABLE] != 0;
    if (relocatable && (alignment == 0 || (alignment & (alignment - 1)) != 0))
        return "the kernel's alignment is impossible";
    h->init_size = h->payload_size;
    if (version >= VERSION_PREFERRED) {
        h->load = get_le64(file + HDR_PREF_ADDRESS);
        h->init_size = get_le32(file + HDR_INIT_SIZE);
    } else if (relocatable) {
        h->load = alignment > LAYOUT_MIB ? alignment : LAYOUT_MIB;
    } else {
        h->load = get_le32(file + HDR_CODE32_START);
    }
    if (h->load == 0) /* iPXE's .lkrn, say */
        return "a program in Linux's file format that starts in 16-bit mode, and wants a BIOS: let "
               "firmware (SeaBIOS) boot it from a disk";
    if (h->load < LAYOUT_MIB || h->load >= LAYOUT_HOLE || h->load % PAGE_SIZE != 0 ||
        h->init_size < h->payload_size)
        return "the kernel's load address or size is impossible";
    if (relocatable && h->load % alignment != 0)
        return "the kernel's load address does not have its alignment";
    return NULL;
}

/* What is wrong with the file itself; NULL: nothing. */
static const char *parse_header(const uint8_t *file, uint64_t size, struct header *h)
{
    const uint32_t version = get_le16(file + HDR_VERSION);
    const bool preferred = version >= VERSION_PREFERRED;
    if (size < (preferred ? HDR_END_PREFERRED : HDR_END_MIN))
        return "the kernel is truncated";
    if ((file[HDR_LOADFLAGS] & LOADED_HIGH) == 0)
        return "a zImage, not a bzImage";

    const uint64_t setup_sectors = file[HDR_SETUP_SECTS] != 0 ? file[HDR_SETUP_SECTS] : 4;
    h->payload_offset = (setup_sectors + 1) * 512;
    h->payload_size = (uint64_t)get_le32(file + HDR_SYSSIZE) * 16;
    if (h->payload_size <= ENTRY_64 || size < h->payload_offset)
        return "the kernel is truncated";
    /* The size counts whole paragraphs; some programs, memtest86+ for one, end within the last. */
    if (size - h->payload_offset < h->payload_size) {
        if (h->payload_size - (size - h->payload_offset) >= 16)
            return "the kernel is truncated";
        h->payload_size = size - h->payload_offset;
    }
    h->end = HDR_MAGIC + file[HDR_JUMP];
    if (h->end < (preferred ? HDR_END_PREFERRED : HDR_END_MIN) || h->end > HDR_END_MAX ||
        h->end > h->payload_offset)
        return "the kernel's setup header has an impossible length";
    h->initrd_max = get_le32(file + HDR_INITRD_MAX);
    h->cmdline_max = get_le32(file + HDR_CMDLINE_SIZE);
    h->entry64 = version >= VERSION_XLOADFLAGS && (file[HDR_XLOADFLAGS] & XLF_KERNEL_64) != 0;
    return parse_place(file, version, h);
}

static void fill_zero_page(uint8_t *zp, const struct program *p, const struct header *h,
                           uint64_t ramdisk)
{
    memcpy(zp + HDR_START, p->kernel.data + HDR_START, h->end - HDR_START);
    zp[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
    put_le(zp + HDR_CODE32_START, 4, h->load);
    put_le(zp + HDR_CMDLINE, 4, LAYOUT_CMDLINE);
    put_le(zp + HDR_RAMDISK, 4, ramdisk);
    put_le(zp + HDR_RAMDISK_SIZE, 4, p->file_count != 0 ? p->file[0].size : 0);
    put_le(zp + ZP_RSDP, 8, p->rsdp.v);
    zp[ZP_VIDEO_MODE] = 3; /* as vvga_init() leaves the screen, with the cursor at the top */
    zp[ZP_COLUMNS] = 80;
    zp[ZP_ROWS] = 25;
    zp[ZP_IS_VGA] = 1;
    zp[ZP_FONT_LINES] = 16;
    zp[ZP_E820_COUNT] = (uint8_t)program_put_memory_map(p->memory_bytes, zp + ZP_E820, 20);
}

/* The highest page-aligned place below 4 GiB that the kernel accepts; 0: none above `floor`. */
static uint64_t place_ramdisk(const struct program *p, const struct header *h, uint64_t floor)
{
    uint64_t end = layout_below_4g(p->memory_bytes);
    if (end > h->initrd_max + 1)
        end = h->initrd_max + 1;
    if (p->file[0].size > end)
        return 0;
    const uint64_t base = (end - p->file[0].size) & ~(PAGE_SIZE - 1);
    return base >= floor ? base : 0;
}

static enum status write_all(struct program *p, const struct header *h, uint64_t ramdisk)
{
    uint8_t *zero_page = guestmem_window(p->mem, gpa(LAYOUT_BOOT_INFO), ZP_SIZE);
    if (zero_page == NULL)
        return program_refuse(p, ERR_NO_MEMORY, "no memory for the zero page");
    memset(zero_page, 0, ZP_SIZE);
    fill_zero_page(zero_page, p, h, ramdisk);
    if (guestmem_write(p->mem, gpa(LAYOUT_CMDLINE), p->cmdline, strlen(p->cmdline) + 1) &&
        program_write(p, gpa(h->load), p->kernel.data + h->payload_offset, h->payload_size) &&
        (ramdisk == 0 || program_write(p, gpa(ramdisk), p->file[0].data, p->file[0].size)))
        return OK;
    return program_refuse(p, ERR_NO_MEMORY,
                          "the guest's memory does not hold what the loader places");
}

/* Whether everything has room; the ramdisk's place, or 0. */
static enum status check_room(struct program *p, const struct header *h, uint64_t *ramdisk)
{
    const size_t cmdline_length = strlen(p->cmdline);
    if (cmdline_length > h->cmdline_max || cmdline_length >= CONFIG_MAX_CMDLINE)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the command line has %zu characters, the kernel takes %u",
                              cmdline_length, h->cmdline_max);
    const uint64_t kernel_end = h->load + h->init_size;
    if (kernel_end > layout_below_4g(p->memory_bytes))
        return program_refuse(p, ERR_NO_MEMORY,
                              "the kernel needs %llu MiB of memory at least, the VM has %llu",
                              (unsigned long long)((kernel_end + LAYOUT_MIB - 1) / LAYOUT_MIB),
                              (unsigned long long)(p->memory_bytes / LAYOUT_MIB));
    *ramdisk = p->file_count != 0 ? place_ramdisk(p, h, kernel_end) : 0;
    if (p->file_count != 0 && *ramdisk == 0)
        return program_refuse(
            p, ERR_NO_MEMORY,
            "no room behind the kernel in %llu MiB of memory for the ramdisk of %llu KiB, %s",
            (unsigned long long)(p->memory_bytes / LAYOUT_MIB),
            (unsigned long long)(p->file[0].size / 1024), p->file[0].name);
    return OK;
}

enum status linux_load(struct program *p, struct cpu_state *state)
{
    struct header h;
    uint64_t ramdisk = 0;
    if (!linux_recognize(p))
        return program_refuse(p, ERR_BAD_INPUT, "not a Linux bzImage");
    const uint8_t *version = p->kernel.data + HDR_VERSION;
    if (get_le16(version) < VERSION_MIN)
        return program_refuse(
            p, ERR_UNSUPPORTED,
            "the kernel's boot protocol is %u.%02u, older than 2.06 (Linux 2.6.22)", version[1],
            version[0]);
    const char *wrong = parse_header(p->kernel.data, p->kernel.size, &h);
    if (wrong != NULL)
        return program_refuse(p, ERR_BAD_INPUT, "%s", wrong);
    enum status s = check_room(p, &h, &ramdisk);
    if (s == OK)
        s = write_all(p, &h, ramdisk);
    if (s != OK)
        return s;
    if (h.entry64) {
        *state = cpu_state_long_mode(h.load + ENTRY_64, LAYOUT_PAGE_TABLES);
        s = program_write_page_tables(p);
    } else {
        *state = cpu_state_protected_mode((uint32_t)h.load);
    }
    state->rsi = LAYOUT_BOOT_INFO;
    state->rsp = LAYOUT_BOOT_SECTOR;
    return s == OK ? program_write_gdt(p, state) : s;
}
