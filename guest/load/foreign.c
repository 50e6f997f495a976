/* SPDX-License-Identifier: BSD-2-Clause */
/* What is no kernel, and what to do with it. */
#include "guest/load/foreign.h"

#include "arch/bytes.h"
#include "arch/string.h"

#define COMPRESSED(by) "compressed by " by "; unpack it first"
#define DISK(format)                                                                           \
    "a disk image in the format " format "; `qemu-img convert -O raw` makes one that the key " \
    "disk takes, with firmware"
#define FOR_BIOS " wants a BIOS: let firmware (SeaBIOS) start it, as its disk"

/* The first that fits: what is told of the inside of a file comes before what is told of it whole.
 */
static const struct format {
    uint32_t at, bytes;
    const char *magic;
    const char *what;
} formats[] = {
    {56, 4, "ARM\x64", "a Linux kernel for 64-bit ARM"},
    {56, 4, "RSC\x05", "a Linux kernel for RISC-V"},
    {0x8001, 5, "CD001", "an ISO image; let firmware (SeaBIOS) start it, as its cdrom"},
    {512, 8, "EFI PART", "a disk image with a GPT;" FOR_BIOS},
    {257, 5, "ustar", "a tar archive; unpack it first"},
    {0, 2, "\x1f\x8b", COMPRESSED("gzip")},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     COMPRESSED("xz")},
    {0, 4, "\x28\xb5\x2f\xfd", COMPRESSED("zstd")},
    {0, 3, "BZh", COMPRESSED("bzip2")},
    {0, 4, "\x04\x22\x4d\x18", COMPRESSED("lz4")},
    {0, 4, "\x02\x21\x4c\x18", COMPRESSED("lz4")},
    {0, 4, "\x5d\0\0\0", COMPRESSED("lzma")},
    {0, 5, "\x89LZO\0", COMPRESSED("lzop")},
    {0, 4, "PK\x03\x04", "a zip archive; unpack it first"},
    {0, 6, "7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"},
    {0, 5, "07070", "a cpio archive; an initramfs belongs to the key ramdisk"},
    {0, 4, "hsqs", "a file system (SquashFS), no kernel"},
    {0, 4, "QFI\xfb", DISK("qcow2")},
    {0, 4, "KDMV", DISK("VMDK")},
    {0, 8, "vhdxfile", DISK("VHDX")},
    {0, 8, "conectix", DISK("VHD")},
    {64, 4, "\x7f\x10\xda\xbe", DISK("VDI")},
    {0, 4, "\x27\x05\x19\x56", "an image for U-Boot; take the kernel that is in it"},
    {0, 8, "ANDROID!", "a boot image of Android; take the kernel that is in it"},
    {0, 4, "\xd0\x0d\xfe\xed", "a device tree, or an image for U-Boot, no kernel"},
    {0, 8, "!<arch>\n", "a library or package (ar), no kernel"},
    {0, 4, "\xcf\xfa\xed\xfe", "a Mach-O file; link an ELF file instead"},
    {0, 4, "\xce\xfa\xed\xfe", "a Mach-O file; link an ELF file instead"},
    {0, 2, "#!", "a script, no kernel"},
};

enum { PE_POINTER = 0x3c, SECTOR = 512 };

/* A UEFI program is a PE file; so is a Linux kernel, but that is recognised before. */
static const char *name_pe(const struct program_file *file)
{
    if (file->size < PE_POINTER + 4 || memcmp(file->data, "MZ", 2) != 0)
        return NULL;
    const uint32_t at = get_le32(file->data + PE_POINTER);
    if (at > file->size - 4 || memcmp(file->data + at, "PE\0\0", 4) != 0)
        return "a program for DOS";
    return "a UEFI program (PE); let firmware (OVMF) start it, or take the kernel that is in it";
}

/* Whether a boot sector has a partition table (the MBR's), of which each entry is empty or names a
 * part of the file. The code of another one that looks like that can be given `type = flat`. */
static bool has_partitions(const struct program_file *file)
{
    enum { TABLE = 446, ENTRIES = 4, BYTES = 16, ACTIVE = 0x80 };
    static const uint8_t empty[BYTES];
    unsigned used = 0;
    for (unsigned i = 0; i < ENTRIES; i++) {
        const uint8_t *entry = file->data + TABLE + i * BYTES;
        const uint64_t first = get_le32(entry + 8), sectors = get_le32(entry + 12);
        if (memcmp(entry, empty, BYTES) == 0)
            continue;
        if ((entry[0] & ~ACTIVE) != 0 || entry[4] == 0 || first == 0 || sectors == 0 ||
            first + sectors > file->size / SECTOR)
            return false;
        used++;
    }
    return used != 0;
}

/* Whether it is the boot sector of a FAT file system, all of which is in the file. */
static bool has_fat(const struct program_file *file)
{
    const uint8_t *sector = file->data;
    uint64_t sectors = get_le16(sector + 19);
    if (sectors == 0)
        sectors = get_le32(sector + 32);
    return get_le16(sector + 11) == SECTOR && sectors != 0 && sectors <= file->size / SECTOR &&
           (memcmp(sector + 54, "FAT1", 4) == 0 || memcmp(sector + 82, "FAT32", 5) == 0);
}

static const char *name_disk(const struct program_file *file)
{
    if (file->size <= SECTOR || file->data[510] != 0x55 || file->data[511] != 0xaa)
        return NULL;
    if (has_partitions(file))
        return "a disk image with partitions;" FOR_BIOS;
    return has_fat(file) ? "a disk or floppy image with a FAT file system;" FOR_BIOS : NULL;
}

bool foreign_explain(struct program *p)
{
    const struct program_file *file = &p->kernel;
    const char *what = NULL;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]) && what == NULL; i++) {
        const struct format *f = &formats[i];
        if (file->size >= f->at + f->bytes && memcmp(file->data + f->at, f->magic, f->bytes) == 0)
            what = f->what;
    }
    if (what == NULL)
        what = name_pe(file);
    if (what == NULL)
        what = name_disk(file);
    if (what != NULL)
        (void)program_refuse(p, ERR_BAD_INPUT, "%s", what);
    return what != NULL;
}
