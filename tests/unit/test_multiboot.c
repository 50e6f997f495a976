// link: guest/load/multiboot.c guest/load/multiboot2.c guest/load/segments.c guest/load/elf.c
// link: guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 1 and 2: what is handed over, where a kernel goes, and every refusal. */
#include "tests/unit/elf_build.h"

#include "guest/load/multiboot.h"
#include "guest/load/multiboot2.h"

#define HEADER 0x1000u /* of multiboot, in the file */
#define LOAD   0x400000u

static uint8_t file_a[3000], file_b[5000];

static void add_modules(void)
{
    memset(file_a, 0xaa, sizeof(file_a));
    memset(file_b, 0xbb, sizeof(file_b));
    program.file[0] = (struct program_file){file_a, sizeof(file_a), "../a", ""};
    program.file[1] = (struct program_file){file_b, sizeof(file_b), "/b", "second = 2"};
    program.file_count = 2;
}

/* Two segments, the second with a tail that is not in the file. */
static void make_elf(bool is64)
{
    elf_begin(is64, 0xc0400010, 2);
    elf_set_part(0, (struct elf_part){1, 0x1000, 0xc0400000, LOAD, 0x800, 0x800});
    elf_set_part(1, (struct elf_part){1, 0x1800, 0xc0401000, LOAD + 0x1000, 0x100, 0x2100});
    program_set_up(elf, sizeof(elf));
}

static void set_header1(uint32_t flags)
{
    put(elf + HEADER, 4, 0x1badb002);
    put(elf + HEADER + 4, 4, flags);
    put(elf + HEADER + 8, 4, 0u - 0x1badb002 - flags);
}

static void set_addresses(uint32_t header, uint32_t load, uint32_t end, uint32_t bss, uint32_t at)
{
    const uint32_t fields[] = {header, load, end, bss, at};
    memcpy(elf + HEADER + 12, fields, sizeof(fields));
}

static void make1(bool is64, uint32_t flags)
{
    make_elf(is64);
    set_header1(flags);
}

static const char *text_at(uint64_t at)
{
    assert_in_range(at, LAYOUT_BOOT_INFO, LAYOUT_BOOT_INFO_END - 1);
    return (const char *)ram + at;
}

static void check_elf_is_loaded(uint64_t at)
{
    assert_memory_equal(ram + at, elf + 0x1000, 0x800);
    assert_memory_equal(ram + at + 0x1000, elf + 0x1800, 0x100);
}

static void test_elf(void **state)
{
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        make1(is64 != 0, 0);
        assert_true(multiboot_recognize(&program));
        program_loads(multiboot_load);
        is_flat_protected_mode();
        assert_int_equal(boot.rax, 0x2badb002);
        assert_int_equal(boot.rip, LOAD + 0x10); /* the entry is a virtual address */
        check_elf_is_loaded(LOAD);
    }
    make1(true, 0);
    put(elf + 24, 8, LOAD + 0x20); /* and here a physical one */
    program_loads(multiboot_load);
    assert_int_equal(boot.rip, LOAD + 0x20);
}

/* Linkers put the file's headers as a segment before the first section. */
static void test_headers_below_1_mib(void **state)
{
    (void)state;
    make1(false, 0);
    elf_set_part(0, (struct elf_part){1, 0, 0xff000, 0xff000, 0x200, 0x200});
    put(elf + 24, 4, 0xff040);
    program_loads(multiboot_load);
    assert_memory_equal(ram + 0xff000, elf, 0x200);
}

static void test_info(void **state)
{
    (void)state;
    make1(false, 3);
    add_modules();
    program_loads(multiboot_load);
    const uint8_t *info = ram + boot.rbx;
    assert_int_equal(get(info, 4), 1 | 2 | 4 | 8 | 64 | 512);
    assert_int_equal(get(info + 12, 4), 0x8000ffff);
    assert_int_equal(get(info + 4, 4), 639);
    assert_int_equal(get(info + 8, 4), 63 * 1024);
    assert_string_equal(text_at(get(info + 16, 4)), "kernel one two");
    assert_string_equal(text_at(get(info + 64, 4)), "Nadir");

    assert_int_equal(get(info + 20, 4), 2);
    const uint8_t *m = ram + get(info + 24, 4);
    const uint64_t a = get(m, 4), b = get(m + 16, 4);
    assert_int_equal(a, LOAD + 0x4000); /* behind the segments, on a page */
    assert_int_equal(get(m + 4, 4), a + sizeof(file_a));
    assert_string_equal(text_at(get(m + 8, 4)), "../a");
    assert_int_equal(b, a + 0x1000);
    assert_string_equal(text_at(get(m + 24, 4)), "/b second = 2");
    assert_memory_equal(ram + a, file_a, sizeof(file_a));
    assert_memory_equal(ram + b, file_b, sizeof(file_b));

    static const uint64_t ranges[][3] = {{0, 0x9fc00, 1},
                                         {0x9fc00, 0x400, 2},
                                         {0xe0000, 0x20000, 2},
                                         {0x100000, MEMORY - 0x100000, 1}};
    const uint8_t *map = ram + get(info + 48, 4);
    assert_int_equal(get(info + 44, 4), 4 * 24);
    for (unsigned i = 0; i < 4; i++, map += 24) {
        assert_int_equal(get(map, 4), 20);
        assert_int_equal(get(map + 4, 8), ranges[i][0]);
        assert_int_equal(get(map + 12, 8), ranges[i][1]);
        assert_int_equal(get(map + 20, 4), ranges[i][2]);
    }
    assert_int_equal(get(info + 88, 8), 0); /* the screen was not asked for */
    make1(false, 4);
    program_loads(multiboot_load);
    info = ram + boot.rbx;
    assert_int_equal(get(info, 4) & 4096, 4096);
    assert_int_equal(get(info + 88, 8), 0xb8000);
    assert_int_equal(get(info + 96, 4), 160);
    assert_int_equal(get(info + 100, 4), 80);
    assert_int_equal(get(info + 104, 4), 25);
    assert_int_equal(get(info + 108, 2), 0x0210);
}

/* What the specifications leave open is as QEMU has it, or GRUB 2. */
static void test_loaders(void **state)
{
    (void)state;
    make1(false, 0);
    program_loads(multiboot_load);
    is_flat_protected_mode();
    assert_int_equal(boot.cs.selector, 0x08);
    assert_int_equal(boot.ds.selector | boot.es.selector | boot.fs.selector | boot.gs.selector,
                     0x10);
    assert_int_equal(boot.ss.selector, 0x10);
    assert_int_equal(boot.gdtr.limit, 5 * 8 - 1);
    assert_int_equal(get(ram + boot.gdtr.base + 0x18, 8), 0x00009e000000ffff); /* 16-bit code */
    assert_int_equal(get(ram + boot.gdtr.base + 0x20, 8), 0x000092000000ffff);
    assert_true(boot.gdtr.base >= 0xa0000); /* a kernel that uses all RAM keeps it */
    make1(false, 0);
    add_modules();
    program.loader = LOADER_GRUB2;
    program_loads(multiboot_load);
    is_flat_protected_mode();
    assert_int_equal(boot.cs.selector, 0x10);
    assert_int_equal(boot.ds.selector, 0x18);
    const uint8_t *info = ram + boot.rbx;
    assert_string_equal(text_at(get(info + 16, 4)), "one two");
    assert_string_equal(text_at(get(ram + get(info + 24, 4) + 24, 4)), "second = 2");
    assert_memory_equal(text_at(get(info + 64, 4)), "GRUB 2", 6);
}

/* By QEMU's example, unless the user says that it is meant. */
static void test_64_bit_elf(void **state)
{
    (void)state;
    make1(true, 0);
    program.type_named = false;
    program_refused(multiboot_load, ERR_UNSUPPORTED, "64-bit ELF file");
    program.loader = LOADER_GRUB2;
    program_loads(multiboot_load);
    make1(true, 1u << 16); /* address fields: it is no ELF file then */
    set_addresses(LOAD + HEADER, LOAD + HEADER, 0, 0, LOAD + HEADER);
    program.type_named = false;
    program_loads(multiboot_load);
}

/* As programs do that have a part in real mode. */
static void test_below_1_mib(void **state)
{
    (void)state;
    make1(false, 1u << 16);
    set_addresses(0x8000 + HEADER, 0x8000, 0x8000 + 0x600, 0x68000, 0x8180);
    program_loads(multiboot_load);
    assert_int_equal(boot.rip, 0x8180);
    assert_in_range(boot.rbx, 0x68000, 0x9fc00);
}

#define SECTIONS 0x2200u /* their headers, in the file */

/* Code that is loaded, symbols and their names that are not, and a section without contents. */
static const struct elf_section sections[] = {
    {1, 6, 0xc0400000, 0x1000, 0x800},
    {2, 0, 0, 0x2104, 0x30},
    {3, 0, 0, 0x2140, 0x11},
    {8, 0, 7, 0xffffffff, 0x1000},
};

static uint64_t section_address(const uint8_t *headers, unsigned i)
{
    const unsigned width = elf_is64 ? 8 : 4;
    return get(headers + (i + 1) * 0x40 + 8 + width, width);
}

/* The headers where the kernel finds them: what is left over has an address, and is there. */
static void check_sections(const uint8_t *headers, uint64_t piece)
{
    assert_int_equal(section_address(headers, 0), 0xc0400000);
    assert_int_equal(section_address(headers, 1), piece + 0x104);
    assert_int_equal(section_address(headers, 2), piece + 0x140);
    assert_int_equal(section_address(headers, 3), 7);
    assert_memory_equal(ram + piece + 0x104, elf + 0x2104, 0x30 + 0x11);
}

static void make_sections(void)
{
    for (unsigned i = 0; i < 0x80; i++)
        elf[0x2100 + i] = (uint8_t)i;
    elf_set_sections(SECTIONS, sections, 4);
    add_modules();
}

static void test_sections(void **state)
{
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        make1(is64 != 0, 0);
        make_sections();
        program_loads(multiboot_load);
        const uint8_t *info = ram + boot.rbx;
        assert_int_equal(get(info, 4) & 48, 32);
        assert_int_equal(get(info + 20, 4), 2); /* modules, before which they are not */
        assert_int_equal(get(info + 28, 4), 5);
        assert_int_equal(get(info + 32, 4), 0x40);
        assert_int_equal(get(info + 36, 4), LOAD + 0x7200);
        assert_int_equal(get(info + 40, 4), 4);
        check_sections(ram + LOAD + 0x7200, LOAD + 0x7000);
        assert_int_equal(program.file_count, 2);
    }
    make1(true, 1u << 16); /* address fields: then it is no ELF file */
    make_sections();
    set_addresses(LOAD + HEADER, LOAD + HEADER, 0, 0, LOAD + HEADER);
    program_loads(multiboot_load);
    assert_int_equal(get(ram + boot.rbx, 4) & 48, 0);
}

/* Malformed ones, and those for which there is no room, are not told. */
static void test_bad_sections(void **state)
{
    (void)state;
    static const struct {
        unsigned at, bytes;
        uint64_t value;
    } bad[] = {
        {40, 8, ELF_BYTES - 0x13f},
        {40, 8, ~0ull},
        {58, 2, 0x3f},
        {58, 2, 0xffff},
        {60, 2, 0xffff},
        {60, 2, 0},
        {SECTIONS + 0x80 + 24, 8, ELF_BYTES - 0x2f},
        {SECTIONS + 0x80 + 24, 8, ~0ull},
        {SECTIONS + 0x80 + 32, 8, ~0ull},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make1(true, 0);
        make_sections();
        put(elf + bad[i].at, bad[i].bytes, bad[i].value);
        program_loads(multiboot_load);
        if ((get(ram + boot.rbx, 4) & 48) != 0)
            fail_msg("%zu: told", i);
    }
    static uint8_t big[MEMORY];
    make1(true, 0);
    make_sections();
    program.file_count = 1;
    program.file[0] = (struct program_file){big, MEMORY - LOAD - 0x4000, "big", ""};
    program_loads(multiboot_load);
    assert_int_equal(get(ram + boot.rbx, 4) & 48, 0);
    assert_int_equal(get(ram + boot.rbx + 20, 4), 1);
}

/* They win over the ELF header, and need none. */
static void test_address_fields(void **state)
{
    (void)state;
    make1(false, 1u << 16);
    set_addresses(LOAD + 0x100, LOAD, LOAD + 0x600, LOAD + 0x3001, LOAD + 0x180);
    add_modules();
    program_loads(multiboot_load);
    assert_int_equal(boot.rip, LOAD + 0x180);
    assert_memory_equal(ram + LOAD, elf + HEADER - 0x100, 0x600);
    assert_int_equal(get(ram + LOAD + 0x600, 8), 0);
    assert_int_equal(get(ram + get(ram + boot.rbx + 24, 4), 4), LOAD + 0x4000);
    memset(elf, 0, 4);
    set_addresses(LOAD + 0x100, LOAD, 0, 0, LOAD + 0x180); /* to the end of the file, no more */
    program_loads(multiboot_load);
    assert_memory_equal(ram + LOAD, elf + HEADER - 0x100, ELF_BYTES - (HEADER - 0x100));
    assert_int_equal(get(ram + get(ram + boot.rbx + 24, 4), 4), LOAD + 0x3000);
}

static void test_bad_headers(void **state)
{
    (void)state;
    make1(false, 0);
    elf[HEADER + 8]++;
    assert_false(multiboot_recognize(&program));
    program_refused(multiboot_load, ERR_BAD_INPUT,
                    "checksum is wrong: it is 0xe4524fff, and with its other fields must be "
                    "0xe4524ffe");
    elf[HEADER] = 0;
    program_refused(multiboot_load, ERR_BAD_INPUT, "no multiboot header");
    make1(false, 0x8008);
    program_refused(multiboot_load, ERR_UNSUPPORTED, "flags 0x8008");
    make1(false, 1u << 20); /* may be ignored */
    program_loads(multiboot_load);
    make1(false, 0); /* not on a multiple of 4 */
    memmove(elf + HEADER + 2, elf + HEADER, 12);
    memset(elf + HEADER, 0, 2);
    program_refused(multiboot_load, ERR_BAD_INPUT, "offset 0x1002, which is no multiple of 4");
    make1(false, 0);
    program.kernel.size = HEADER + 11;
    program_refused(multiboot_load, ERR_BAD_INPUT, "no multiboot header");
    make1(false, 1u << 16);
    program.kernel.size = HEADER + 31;
    program_refused(multiboot_load, ERR_BAD_INPUT, "cut short");
    static uint8_t late[16384];
    memcpy(late + 8184, elf + HEADER, 12); /* not whole in the first 8 KiB */
    program_set_up(late, sizeof(late));
    program_refused(multiboot_load, ERR_BAD_INPUT,
                    "at offset 0x1ff8, and only the first 8192 bytes of the file are searched");
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const struct {
        uint32_t header, load, end, bss, entry;
        const char *text;
    } bad[] = {
        {LOAD, LOAD + 1, 0, 0, LOAD, "before the file's begin"},
        {LOAD + HEADER + 1, LOAD, 0, 0, LOAD, "before the file's begin"},
        {LOAD, LOAD, LOAD - 1, 0, LOAD, "ascending"},
        {LOAD, LOAD, LOAD + 9, LOAD + 8, LOAD, "ascending"},
        {LOAD, LOAD, LOAD + ELF_BYTES, 0, LOAD, "outside the file"},
        {LOAD, LOAD, 0, 0, LOAD - 1, "entry"},
        {LOAD, LOAD, 0, 0, LOAD + ELF_BYTES - HEADER, "entry"},
        {0xfffff000, 0xfffff000, 0, 0, 0xfffff000, "does not fit"},
        {0x9f000, 0x9f000, 0, 0, 0x9f000, "extended BIOS data"},
        {0x70fff, 0x70fff, 0, 0, 0x70fff, "boot information"},
        {0x95fff, 0x95fff, 0, 0, 0x95fff, "page tables"},
        {0x100, 0x100, 0, 0, 0x100, "BIOS data area"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make1(false, 1u << 16);
        set_addresses(bad[i].header, bad[i].load, bad[i].end, bad[i].bss, bad[i].entry);
        const enum status status = multiboot_load(&program, &boot);
        assert_int_not_equal(status, OK);
        if (strstr(program.why, bad[i].text) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", program.why, bad[i].text);
    }
}

static void test_bad_elf(void **state)
{
    (void)state;
    static const struct {
        struct elf_part part;
        uint64_t entry;
        const char *text;
    } bad[] = {
        {{1, 0x1000, LOAD, LOAD, 0x801, 0x800}, LOAD, "longer in the file"},
        {{1, ELF_BYTES - 1, LOAD, LOAD, 2, 2}, LOAD, "outside the file"},
        {{1, ~0ull, LOAD, LOAD, 2, 2}, LOAD, "outside the file"},
        {{1, 0x1000, LOAD, LOAD, 0, ~0ull}, LOAD, "wraps"},
        {{1, 0x1000, LOAD, LOAD + 0x1001, 2, 0x80}, LOAD, "overlap"},
        {{1, 0x1000, LOAD, LOAD - 1, 2, 0x8000}, LOAD - 1, "overlap"},
        {{1, 0x1000, LOAD + 0x8000, LOAD + 0x8000, 2, 0x80}, LOAD + 0x8080, "entry"},
        {{1, 0x1000, MEMORY - 1, MEMORY - 1, 2, 2}, MEMORY - 1, "does not fit into 64 MiB"},
        {{1, 0x1000, 0xa0000, 0xa0000, 2, 2}, 0xa0000, "screen's memory"},
        {{1, 0x1000, 0xf1fff, 0xf1fff, 2, 2}, 0xf1fff, "ACPI and MP tables"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make1(true, 0);
        elf_set_part(0, bad[i].part);
        put(elf + 24, 8, bad[i].entry);
        const enum status status = multiboot_load(&program, &boot);
        assert_int_not_equal(status, OK);
        if (strstr(program.why, bad[i].text) == NULL)
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, program.why, bad[i].text);
    }
    static const struct {
        unsigned at, bytes;
        uint64_t value;
        const char *text;
    } bytes[] = {
        {0, 1, 0, "not an ELF file"},     {4, 1, 3, "another processor"},
        {5, 1, 2, "another processor"},   {18, 2, 183, "another processor: AArch64"},
        {16, 2, 5, "no executable"},      {16, 2, 1, "not linked"},
        {16, 2, 4, "core file"},          {32, 8, ELF_BYTES - 0x6f, "lie outside"},
        {32, 8, ~0ull, "lie outside"},    {54, 2, 0x37, "no program headers"},
        {56, 2, 0, "no program headers"}, {0x40, 4, 2, "entry"},
    };
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        make1(true, 0);
        put(elf + bytes[i].at, bytes[i].bytes, bytes[i].value);
        program_refused(multiboot_load, ERR_BAD_INPUT, bytes[i].text);
    }
    elf_begin(true, LOAD, 33);
    set_header1(0);
    for (unsigned i = 0; i < 33; i++)
        elf_set_part(i, (struct elf_part){1, 0x1000, LOAD + i * 16, LOAD + i * 16, 16, 16});
    program_refused(multiboot_load, ERR_BAD_INPUT, "more than 32 segments");
}

static void test_too_much(void **state)
{
    (void)state;
    static char line[70000];
    static uint8_t big[MEMORY];
    memset(line, 'x', sizeof(line) - 1);
    make1(false, 0);
    program.file[0] = (struct program_file){big, MEMORY - LOAD - 0x4000, "big", ""};
    program.file_count = 1;
    program_loads(multiboot_load);
    program.file[0].size++;
    program_refused(multiboot_load, ERR_NO_MEMORY, "do not fit beside the kernel");
    program.file_count = 0;
    program.cmdline = line + sizeof(line) - 2048;
    program_loads(multiboot_load);
    program.cmdline = line;
    program_refused(multiboot_load, ERR_BAD_INPUT, "too long");
    program.cmdline = "";
    add_modules();
    program.file[1].string = line;
    program_refused(multiboot_load, ERR_BAD_INPUT, "too long");
}

/* --- version 2 --- */

static unsigned header_length;

static void add_words(unsigned count, const uint32_t *words)
{
    header_length = (header_length + 7) & ~7u;
    memcpy(elf + HEADER + header_length, words, count * 4);
    header_length += count * 4;
}

#define ADD_TAG(type, ...)                                                       \
    do {                                                                         \
        const uint32_t words[] = {type, 0, __VA_ARGS__};                         \
        add_words(sizeof(words) / 4, words);                                     \
        put(elf + HEADER + header_length - sizeof(words) + 4, 4, sizeof(words)); \
    } while (0)

static void begin2(bool is64)
{
    make_elf(is64);
    header_length = 16;
}

static void end2(void)
{
    const uint32_t end[] = {0, 8};
    add_words(2, end);
    put(elf + HEADER, 4, 0xe85250d6);
    put(elf + HEADER + 4, 4, 0);
    put(elf + HEADER + 8, 4, header_length);
    put(elf + HEADER + 12, 4, 0u - 0xe85250d6 - header_length);
}

/* The n-th tag of a type in the information. */
static const uint8_t *tag_of(uint32_t type, unsigned n)
{
    const uint8_t *info = ram + boot.rbx;
    const uint32_t total = (uint32_t)get(info, 4);
    assert_int_equal(boot.rbx % 8, 0);
    assert_int_equal(get(info + 4, 4), 0);
    for (uint32_t i = 8; i < total; i += (get(info + i + 4, 4) + 7) & ~7u) {
        if (get(info + i, 4) == type && n-- == 0)
            return info + i;
        if (get(info + i, 4) == 0)
            assert_int_equal(i + 8, total);
    }
    return NULL;
}

static void test_info2(void **state)
{
    (void)state;
    begin2(true);
    ADD_TAG(1, 1, 2, 3, 4, 6, 8, 14, 15, 21, 5);
    ADD_TAG(6);
    ADD_TAG(4, 3);
    ADD_TAG(5, 1024, 768, 32);
    ADD_TAG(7);
    ADD_TAG(1000 | 1 << 16, 5); /* optional */
    end2();
    add_modules();
    assert_true(multiboot2_recognize(&program));
    program_loads(multiboot2_load);
    is_flat_protected_mode();
    assert_int_equal(boot.rax, 0x36d76289);
    assert_int_equal(boot.rip, LOAD + 0x10);
    check_elf_is_loaded(LOAD);
    assert_string_equal((const char *)tag_of(1, 0) + 8, "kernel one two");
    assert_string_equal((const char *)tag_of(2, 0) + 8, "Nadir");
    const uint8_t *m = tag_of(3, 1);
    assert_int_equal(get(m + 4, 4), 16 + 3 + 11);
    assert_int_equal(get(m + 8, 4), LOAD + 0x5000);
    assert_int_equal(get(m + 12, 4), LOAD + 0x5000 + sizeof(file_b));
    assert_string_equal((const char *)m + 16, "/b second = 2");
    assert_null(tag_of(3, 2));
    assert_int_equal(get(tag_of(4, 0) + 8, 4), 639);
    assert_int_equal(get(tag_of(4, 0) + 12, 4), 63 * 1024);
    const uint8_t *map = tag_of(6, 0);
    assert_int_equal(get(map + 4, 4), 16 + 4 * 24);
    assert_int_equal(get(map + 8, 8), 24);
    assert_int_equal(get(map + 16 + 3 * 24, 8), 0x100000);
    assert_int_equal(get(map + 16 + 3 * 24 + 8, 8), MEMORY - 0x100000);
    assert_int_equal(get(map + 16 + 3 * 24 + 16, 8), 1);
    assert_int_equal(get(tag_of(8, 0) + 8, 8), 0xb8000);
    assert_int_equal(get(tag_of(8, 0) + 28, 2), 0x0210);
    assert_int_equal(get(tag_of(14, 0) + 4, 4), 28);
    assert_int_equal(get(tag_of(15, 0) + 4, 4), 44);
    assert_memory_equal(tag_of(15, 0) + 8, "RSD PTR ", 8);
    assert_null(tag_of(21, 0));
    assert_int_equal(get(tag_of(0, 0) + 4, 4), 8);
}

static void test_sections2(void **state)
{
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        begin2(is64 != 0);
        end2();
        make_sections();
        program_loads(multiboot2_load);
        const uint8_t *tag = tag_of(9, 0);
        assert_non_null(tag);
        assert_int_equal(get(tag + 4, 4), 20 + 5 * 0x40);
        assert_int_equal(get(tag + 8, 4), 5);
        assert_int_equal(get(tag + 12, 4), 0x40);
        assert_int_equal(get(tag + 16, 4), 4);
        check_sections(tag + 20, LOAD + 0x7000);
    }
    put(elf + 60, 2, 0xffff);
    program_loads(multiboot2_load);
    assert_null(tag_of(9, 0));
}

static void test_address_tags(void **state)
{
    (void)state;
    begin2(false);
    ADD_TAG(2, LOAD + 0x100, LOAD, LOAD + 0x600, LOAD + 0x3000);
    ADD_TAG(3, LOAD + 0x180);
    end2();
    program_loads(multiboot2_load);
    assert_int_equal(boot.rip, LOAD + 0x180);
    assert_memory_equal(ram + LOAD, elf + HEADER - 0x100, 0x600);
    begin2(false);
    ADD_TAG(2, LOAD + HEADER, 0xffffffff, 0, 0); /* the whole file */
    ADD_TAG(3, LOAD);
    end2();
    program_loads(multiboot2_load);
    assert_memory_equal(ram + LOAD, elf, ELF_BYTES);
    begin2(true);
    ADD_TAG(3, LOAD + 0x44); /* wins over the ELF header's */
    end2();
    program_loads(multiboot2_load);
    assert_int_equal(boot.rip, LOAD + 0x44);
}

static void check_moved(uint32_t min, uint32_t max, uint32_t align, uint32_t preference,
                        uint64_t expected)
{
    begin2(true);
    ADD_TAG(10, min, max, align, preference);
    end2();
    program_loads(multiboot2_load);
    assert_int_equal(boot.rip, expected + 0x10);
    check_elf_is_loaded(expected);
    assert_int_equal(get(tag_of(21, 0) + 8, 4), expected);
}

static void test_relocatable(void **state)
{
    (void)state;
    check_moved(0, 0xffffffff, 0x1000, 0, LOAD);
    check_moved(0, 0xffffffff, 0x1000, 1, 0x100000);
    check_moved(0x123000, 0xffffffff, 0x200000, 1, 0x200000);
    check_moved(0, 0xffffffff, 0x200000, 2, MEMORY - 0x200000);
    check_moved(0, 0x8fffff, 0x1000, 2, 0x900000 - 0x4000);
    check_moved(0x800000, 0xffffffff, 0x1000, 0, 0x800000);
    check_moved(0, 0x3fffff, 0x1000, 0, 0x100000);
    begin2(true); /* at the end of memory, and what goes with it at the beginning */
    ADD_TAG(10, 0, 0xffffffff, 0x1000, 2);
    end2();
    add_modules();
    program_loads(multiboot2_load);
    assert_int_equal(get(tag_of(3, 0) + 8, 4), 0x100000);
    assert_int_equal(get(tag_of(3, 1) + 8, 4), 0x101000);
    begin2(true);
    ADD_TAG(10, MEMORY - 0x1000, 0xffffffff, 0x1000, 0);
    end2();
    program_refused(multiboot2_load, ERR_NO_MEMORY, "relocatable");
}

static void test_bad_tags(void **state)
{
    (void)state;
    begin2(false);
    ADD_TAG(11, 0);
    end2();
    program_refused(multiboot2_load, ERR_UNSUPPORTED, "header tag 11");
    begin2(false);
    ADD_TAG(1, 6, 22);
    end2();
    program_refused(multiboot2_load, ERR_UNSUPPORTED, "information tag 22");
    begin2(false);
    ADD_TAG(1 | 1 << 16, 22); /* optional */
    end2();
    program_loads(multiboot2_load);
    begin2(false);
    ADD_TAG(2, LOAD, LOAD, 0, 0);
    end2();
    program_refused(multiboot2_load, ERR_BAD_INPUT, "no entry address");
    begin2(false);
    ADD_TAG(3);
    end2();
    program_refused(multiboot2_load, ERR_BAD_INPUT, "tag 3 is too short");
    begin2(false);
    ADD_TAG(3, LOAD);
    end2();
    put(elf + HEADER + 20, 4, 0x100);
    program_refused(multiboot2_load, ERR_BAD_INPUT, "tag is cut short");
    put(elf + HEADER + 20, 4, 0);
    program_refused(multiboot2_load, ERR_BAD_INPUT, "tag is cut short");
    begin2(false);
    ADD_TAG(10, 8, 7, 1, 0);
    end2();
    program_refused(multiboot2_load, ERR_BAD_INPUT, "relocatable");
    begin2(false);
    ADD_TAG(10, 0, 7, 3, 0);
    end2();
    program_refused(multiboot2_load, ERR_BAD_INPUT, "relocatable");
}

static void test_bad_headers2(void **state)
{
    (void)state;
    begin2(false);
    end2();
    elf[HEADER + 12]++;
    assert_false(multiboot2_recognize(&program));
    program_refused(multiboot2_load, ERR_BAD_INPUT, "checksum");
    elf[HEADER] = 0;
    program_refused(multiboot2_load, ERR_BAD_INPUT, "no multiboot 2 header");
    begin2(false);
    end2();
    put(elf + HEADER + 4, 4, 4); /* MIPS */
    put(elf + HEADER + 12, 4, get(elf + HEADER + 12, 4) - 4);
    program_refused(multiboot2_load, ERR_UNSUPPORTED, "another processor");
    begin2(false);
    end2();
    program.kernel.size = HEADER + header_length - 1;
    program_refused(multiboot2_load, ERR_BAD_INPUT, "header is cut short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elf),
        cmocka_unit_test(test_headers_below_1_mib),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_bad_sections),
        cmocka_unit_test(test_loaders),
        cmocka_unit_test(test_64_bit_elf),
        cmocka_unit_test(test_below_1_mib),
        cmocka_unit_test(test_address_fields),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_bad_elf),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_info2),
        cmocka_unit_test(test_sections2),
        cmocka_unit_test(test_address_tags),
        cmocka_unit_test(test_relocatable),
        cmocka_unit_test(test_bad_tags),
        cmocka_unit_test(test_bad_headers2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
