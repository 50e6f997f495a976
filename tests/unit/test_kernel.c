// link: guest/load/kernel.c guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/foreign.c guest/load/linux.c guest/load/multiboot.c
// link: guest/load/multiboot2.c guest/load/pvh.c guest/load/flat.c guest/load/segments.c
// link: guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which kind of kernel a file is, and the words for what is none. */
#include "tests/unit/elf_build.h"

#include "guest/load/kernel.h"

#define LOAD 0x400000u

static const struct kernel_kind *kind;

static void says(const char *text)
{
    kind = NULL;
    assert_int_not_equal(kernel_load(&program, TYPE_AUTO, &boot, &kind), OK);
    if (strstr(program.why, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", program.why, text);
}

static void is(const char *name)
{
    if (kernel_load(&program, TYPE_AUTO, &boot, &kind) != OK)
        fail_msg("refused: %s", program.why);
    assert_string_equal(kind->name, name);
}

static void set_multiboot(unsigned at, uint32_t magic)
{
    put(elf + at, 4, magic);
    put(elf + at + 4, 4, 0);
    put(elf + at + 8, 4, magic == 0x1badb002 ? 0u - magic : 16);
    if (magic != 0x1badb002)
        put(elf + at + 12, 4, 0u - magic - 16);
}

/* An ELF file of one segment, without any header of a boot protocol. */
static void make_elf(bool is64)
{
    elf_begin(is64, LOAD, 1);
    elf_set_part(0, (struct elf_part){1, 0x1000, LOAD, LOAD, 0x1000, 0x1000});
    program_set_up(elf, sizeof(elf));
}

static void test_kinds(void **state)
{
    (void)state;
    make_elf(false);
    set_multiboot(0x1000, 0x1badb002);
    is("multiboot");
    set_multiboot(0x1010, 0xe85250d6);
    is("multiboot 2");
    static uint8_t sector[512] = {[510] = 0x55, 0xaa};
    program_set_up(sector, sizeof(sector));
    program.load = program.entry = 0x7c00;
    program.mode = 16;
    is("flat");
    program.file_count = 1;
    says("takes neither ramdisk nor modules");
}

/* What is no kernel, by what it begins with (or has at an offset). */
static void test_formats(void **state)
{
    (void)state;
    static uint8_t file[0x9000];
    static const struct {
        unsigned at, bytes;
        const char *magic, *text;
    } formats[] = {
        {0, 2, "\x1f\x8b", "compressed by gzip"},
        {0, 6, "\xfd\x37zXZ", "compressed by xz"},
        {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd"},
        {0, 3, "BZh", "compressed by bzip2"},
        {0, 4, "\x04\x22\x4d\x18", "compressed by lz4"},
        {0, 4, "\x5d\0\0\0", "compressed by lzma"},
        {0, 4, "PK\x03\x04", "zip"},
        {0, 5, "07070", "initramfs belongs to the key ramdisk"},
        {0, 4, "QFI\xfb", "qcow2"},
        {0, 4, "KDMV", "VMDK"},
        {0, 8, "vhdxfile", "VHDX"},
        {64, 4, "\x7f\x10\xda\xbe", "VDI"},
        {0x8001, 5, "CD001", "an ISO image"},
        {512, 8, "EFI PART", "a GPT"},
        {257, 5, "ustar", "tar"},
        {56, 4, "ARM\x64", "64-bit ARM"},
        {56, 4, "RSC\x05", "RISC-V"},
        {0, 4, "\x27\x05\x19\x56", "U-Boot"},
        {0, 8, "ANDROID!", "Android"},
        {0, 8, "!<arch>\n", "library"},
        {0, 2, "#!", "script"},
        {0, 1, "x", "neither Linux bzImage"},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        memset(file, 0, sizeof(file));
        memcpy(file + formats[i].at, formats[i].magic, formats[i].bytes);
        program_set_up(file, sizeof(file));
        says(formats[i].text);
        program_set_up(file, formats[i].at + formats[i].bytes - 1); /* cut within the letters */
        says("neither Linux bzImage");
    }
    memset(file, 0, sizeof(file)); /* one that can be started from a disk has a boot sector, too */
    memcpy(file + 0x8001, "CD001", 5);
    file[510] = 0x55;
    file[511] = 0xaa;
    program_set_up(file, sizeof(file));
    says("an ISO image");
}

/* What begins with a boot sector, and is more than a flat program. */
static void test_disks(void **state)
{
    (void)state;
    static uint8_t disk[0x4000];
    memset(disk, 0, sizeof(disk));
    disk[510] = 0x55;
    disk[511] = 0xaa;
    program_set_up(disk, sizeof(disk));
    program.load = program.entry = 0x7c00;
    program.mode = 16;
    is("flat");
    disk[446 + 16] = 0x80; /* the second entry: 4 sectors at 28 */
    disk[446 + 16 + 4] = 0x83;
    put(disk + 446 + 16 + 8, 4, 28);
    put(disk + 446 + 16 + 12, 4, 4);
    says("a disk image with partitions; wants a BIOS");
    put(disk + 446 + 16 + 12, 4, 5);
    is("flat"); /* not all of it is there: bytes of code */
    put(disk + 446 + 16 + 12, 4, 4);
    disk[446] = 0x12;
    is("flat");
    disk[446] = 0;
    assert_int_equal(kernel_load(&program, TYPE_FLAT, &boot, &kind), OK);
    memset(disk + 446, 0, 64);

    put(disk + 11, 2, 512);
    put(disk + 19, 2, 32);
    memcpy(disk + 54, "FAT12   ", 8);
    says("a disk or floppy image with a FAT file system; wants a BIOS");
    put(disk + 19, 2, 33);
    is("flat");
    put(disk + 19, 2, 0);
    put(disk + 32, 4, 32);
    memcpy(disk + 54, "        ", 8);
    is("flat");
    memcpy(disk + 82, "FAT32   ", 8);
    says("a FAT file system");
    put(disk + 32, 4, 1);
    program_set_up(disk, 512); /* a boot sector and nothing else */
    program.load = program.entry = 0x7c00;
    program.mode = 16;
    is("flat");
}

static void test_uefi_program(void **state)
{
    (void)state;
    static uint8_t file[512] = "MZ";
    put(file + 0x3c, 4, 0x80);
    memcpy(file + 0x80, "PE\0", 4);
    program_set_up(file, sizeof(file));
    says("a UEFI program");
    put(file + 0x3c, 4, 0xffffffff);
    says("a program for DOS");
    put(file + 0x3c, 4, 509);
    says("a program for DOS");
}

/* ELF files that no boot protocol starts. */
static void test_elf_files(void **state)
{
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        make_elf(is64 != 0);
        says("an ELF file, without multiboot header and PVH note");
        put(elf + 16, 2, 1);
        says("an object file");
        put(elf + 16, 2, 4);
        says("a core file");
        put(elf + 16, 2, 2);
        put(elf + 18, 2, 243);
        says("another processor: RISC-V");
        make_elf(is64 != 0);
        elf_set_part(0, (struct elf_part){3, 0x1000, 0, 0, 28, 28}); /* an interpreter */
        says("runs in an operating system");
        elf_set_part(0, (struct elf_part){2, 0x1000, 0, 0, 28, 28}); /* dynamically linked */
        says("runs in an operating system");
        elf_set_part(0, (struct elf_part){4, 0x1000, 0, 0, 32, 32}); /* a note: for GNU/Linux */
        static const uint8_t note[32] = {4, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 'G', 'N', 'U'};
        memcpy(elf + 0x1000, note, sizeof(note));
        says("runs in an operating system");
    }
    make_elf(true);
    elf[5] = 2; /* big-endian */
    put(elf + 18, 2, 22 << 8);
    says("another processor: S/390");
    program_set_up(elf, 63);
    says("cut short");
    make_elf(false);
    set_multiboot(0x1000, 0x1badb002);
    put(elf + 16, 2, 1); /* not linked, but with its header in it */
    says("an object file");
}

/* Headers of multiboot that do not count, each with the reason. */
static void test_headers(void **state)
{
    (void)state;
    static const struct {
        uint32_t magic;
        unsigned at;
        const char *text;
    } bad[] = {
        {0x1badb002, 0x1002, "the multiboot header is at offset 0x1002, which is no multiple of 4"},
        {0x1badb002, 0x2000, "0x2000, and only the first 8192 bytes"},
        {0x1badb002, 0x1ff8, "0x1ff8, and only the first 8192 bytes"},
        {0xe85250d6, 0x1004,
         "the multiboot 2 header is at offset 0x1004, which is no multiple of 8"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make_elf(false);
        set_multiboot(bad[i].at, bad[i].magic);
        says(bad[i].text);
    }
    make_elf(false);
    set_multiboot(0x1000, 0x1badb002);
    put(elf + 0x1008, 4, 5);
    says("checksum is wrong: it is 0x5, and with its other fields must be 0xe4524ffe");
    make_elf(false);
    set_multiboot(0x1000, 0xe85250d6);
    put(elf + 0x100c, 4, 6);
    says("the multiboot 2 header's checksum is wrong: it is 0x6");
    make_elf(true);
    set_multiboot(0x1000, 0x1badb002);
    says("64-bit ELF file");
}

/* A file in Linux's format whose only entry is in real mode: iPXE's. */
static void test_16_bit_only(void **state)
{
    (void)state;
    static uint8_t file[8192];
    file[0x1f1] = 5;
    put(file + 0x1f4, 4, (sizeof(file) - 6 * 512) / 16);
    put(file + 0x1fe, 2, 0xaa55);
    file[0x201] = 0x65;
    memcpy(file + 0x202, "HdrS", 4);
    put(file + 0x206, 2, 0x207);
    file[0x211] = 1;
    put(file + 0x238, 4, 2047);
    program_set_up(file, sizeof(file));
    says("starts in 16-bit mode");
    put(file + 0x214, 4, 0x100000);
    is("Linux");
    put(file + 0x206, 2, 0x203);
    says("boot protocol is 2.03");
    put(file + 0x206, 2, 0x207);
    file[0x211] = 0;
    says("a zImage");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_formats),
        cmocka_unit_test(test_disks),       cmocka_unit_test(test_uefi_program),
        cmocka_unit_test(test_elf_files),   cmocka_unit_test(test_headers),
        cmocka_unit_test(test_16_bit_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
