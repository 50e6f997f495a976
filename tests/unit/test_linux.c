// link: guest/load/linux.c guest/load/flat.c guest/load/program.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The loaders of guest programs: what lands where, and every refusal. */
#include "tests/unit/program_test.h"

#include "guest/load/flat.h"
#include "guest/load/linux.h"

#define LOAD    0x1000000u
#define SETUP   (5u * 512)
#define PAYLOAD 0x4000u

static uint8_t kernel[SETUP + PAYLOAD];
static uint8_t ramdisk[5000];

static int set_up(void **state)
{
    (void)state;
    memset(kernel, 0x90, sizeof(kernel));
    kernel[0x1f1] = 4;
    put(kernel + 0x1f4, 4, PAYLOAD / 16);
    put(kernel + 0x1fe, 2, 0xaa55);
    put(kernel + 0x200, 2, 0x6aeb); /* the header ends at 0x26c */
    memcpy(kernel + 0x202, "HdrS", 4);
    put(kernel + 0x206, 2, 0x020f);
    kernel[0x211] = 1;
    put(kernel + 0x214, 4, 0x100000);
    put(kernel + 0x22c, 4, 0x7fffffff);
    put(kernel + 0x230, 4, 0x200000);
    kernel[0x234] = 1;
    put(kernel + 0x236, 2, 0x7f);
    put(kernel + 0x238, 4, 2047);
    put(kernel + 0x258, 8, LOAD);
    put(kernel + 0x260, 4, 0x100000);
    memset(ramdisk, 0x55, sizeof(ramdisk));
    program_set_up(kernel, sizeof(kernel));
    program.file[program.file_count++] =
        (struct program_file){ramdisk, sizeof(ramdisk), "ramdisk", ""};
    program.cmdline = "console=ttyS0";
    return 0;
}

static void refused(enum status expected, const char *text)
{
    program_refused(linux_load, expected, text);
}

static void test_loads(void **state)
{
    (void)state;
    assert_true(linux_recognize(&program));
    program_loads(linux_load);
    assert_int_equal(boot.rip, LOAD + 0x200);
    assert_int_equal(boot.rflags & 0x200, 0);
    assert_int_equal(boot.cs.selector, 0x10);
    assert_int_equal(boot.ss.selector, 0x18);
    assert_memory_equal(ram + LOAD, kernel + SETUP, PAYLOAD);

    const uint8_t *zp = ram + boot.rsi;
    assert_int_equal(zp[0x210], 0xff);
    assert_int_equal(get(zp + 0x006, 2), 0x5003);   /* video mode 3, 80 columns */
    assert_int_equal(get(zp + 0x00e, 3), 0x100119); /* 25 lines of 16, on a VGA */
    assert_int_equal(get(zp + 0x070, 8), LAYOUT_ACPI);
    assert_memory_equal(zp + 0x202, "HdrS", 4);
    assert_int_equal(zp[0x26b], 0x90);
    assert_int_equal(zp[0x26c], 0); /* nothing of the file behind its header */
    assert_string_equal((char *)ram + get(zp + 0x228, 4), "console=ttyS0");
    assert_int_equal(get(zp + 0x21c, 4), sizeof(ramdisk));
    const uint64_t rd = get(zp + 0x218, 4);
    assert_int_equal(rd, MEMORY - 8192);
    assert_memory_equal(ram + rd, ramdisk, sizeof(ramdisk));

    assert_int_equal(zp[0x1e8], 4);
    const uint8_t *last = zp + 0x2d0 + 3 * 20;
    assert_int_equal(get(last, 8), 0x100000);
    assert_int_equal(get(last + 8, 8), MEMORY - 0x100000);
    assert_int_equal(get(last + 16, 4), 1);
}

static void test_descriptors_and_page_tables(void **state)
{
    (void)state;
    program_loads(linux_load);
    assert_in_range(boot.gdtr.limit, 0x1f, 0xff);
    assert_int_equal(get(ram + boot.gdtr.base + 0x10, 8) >> 40 & 0x20ff, 0x209b); /* L, code */
    assert_int_equal(get(ram + boot.gdtr.base + 0x18, 8) >> 40 & 0x40ff, 0x4093); /* D, data */
    for (uint64_t a = 0; a < LAYOUT_4GIB; a += 0x3fffff) {                        /* identity */
        uint64_t e = get(ram + boot.cr3 + (a >> 39) * 8, 8);
        assert_int_equal(e & 3, 3);
        e = get(ram + (e & ~0xfffull) + (a >> 30 & 511) * 8, 8);
        assert_int_equal(e & 0x83, 3);
        e = get(ram + (e & ~0xfffull) + (a >> 21 & 511) * 8, 8);
        assert_int_equal(e, (a & ~0x1fffffull) | 0x83);
    }
}

static void test_ramdisk_limit(void **state)
{
    (void)state;
    put(kernel + 0x22c, 4, 0x27fffff); /* below the end of RAM */
    program_loads(linux_load);
    assert_int_equal(get(ram + boot.rsi + 0x218, 4), 0x2800000 - 8192);
    put(kernel + 0x22c, 4, LOAD);
    refused(ERR_NO_MEMORY, "ramdisk");
    program.file_count = 0;
    program_loads(linux_load);
    assert_int_equal(get(ram + boot.rsi + 0x218, 8), 0);
}

/* The header counts paragraphs of 16 bytes: the last one may be short. */
static void test_odd_size(void **state)
{
    (void)state;
    program.kernel.size -= 15;
    program_loads(linux_load);
}

static void test_bad_kernels(void **state)
{
    (void)state;
    program.kernel.size -= 16;
    refused(ERR_BAD_INPUT, "truncated");
    program.kernel.size = 0x230;
    refused(ERR_BAD_INPUT, "truncated");
    program.kernel.size = 100;
    refused(ERR_BAD_INPUT, "not a Linux bzImage");
    set_up(state);
    kernel[0x202] = 'X';
    refused(ERR_BAD_INPUT, "not a Linux bzImage");
    assert_false(linux_recognize(&program));
    set_up(state);
    kernel[0x1f1] = 255;
    refused(ERR_BAD_INPUT, "truncated");
    set_up(state);
    put(kernel + 0x206, 2, 0x0205);
    refused(ERR_UNSUPPORTED, "protocol is 2.05, older than 2.06");
    set_up(state);
    kernel[0x211] = 0;
    refused(ERR_BAD_INPUT, "zImage");
    set_up(state);
    kernel[0x201] = 0xff;
    refused(ERR_BAD_INPUT, "header");
    set_up(state);
    put(kernel + 0x258, 8, 0x1001000);
    refused(ERR_BAD_INPUT, "alignment");
    put(kernel + 0x258, 8, ~0ull << 12);
    refused(ERR_BAD_INPUT, "load address");
}

static void test_too_much(void **state)
{
    (void)state;
    put(kernel + 0x238, 4, 12);
    refused(ERR_BAD_INPUT, "command line has 13 characters, the kernel takes 12");
    put(kernel + 0x238, 4, 13);
    put(kernel + 0x260, 4, MEMORY);
    refused(ERR_NO_MEMORY, "needs 80 MiB");
    put(kernel + 0x260, 4, MEMORY - LOAD);
    refused(ERR_NO_MEMORY, "ramdisk");
    put(kernel + 0x260, 4, 0x100000);
    program.file[0].size = MEMORY;
    program.file[0].name = "boot/r.img";
    refused(ERR_NO_MEMORY, "for the ramdisk of 65536 KiB, boot/r.img");
}

/* Kernels without a 64-bit entry start in protected mode, at the start of their code. */
static void test_32bit_entry(void **state)
{
    (void)state;
    put(kernel + 0x236, 2, 0x7e);
    program_loads(linux_load);
    is_flat_protected_mode();
    assert_int_equal(boot.rip, LOAD);
    assert_int_equal(boot.rbx | boot.rbp | boot.rdi, 0);
    assert_int_equal(boot.cs.selector, 0x10);
    assert_int_equal(boot.ds.selector, 0x18);
    assert_memory_equal(ram + boot.rsi + 0x202, "HdrS", 4);
    assert_int_equal(get(ram + boot.rsi + 0x214, 4), LOAD);
    put(kernel + 0x236, 2, 0x7f);
    put(kernel + 0x206, 2, 0x020b); /* has no xloadflags */
    program_loads(linux_load);
    assert_int_equal(boot.rip, LOAD);
}

/* Before version 2.10 there is no preferred address. */
static void test_old_protocols(void **state)
{
    (void)state;
    put(kernel + 0x200, 2, 0x3aeb); /* the header ends at 0x23c */
    put(kernel + 0x206, 2, 0x0206);
    put(kernel + 0x258, 8, 0x9090909090909090);
    program_loads(linux_load);
    assert_int_equal(boot.rip, 0x200000); /* relocatable: aligned, not below 1 MiB */
    put(kernel + 0x230, 4, 0x1000);
    program_loads(linux_load);
    assert_int_equal(boot.rip, 0x100000);
    kernel[0x234] = 0;
    put(kernel + 0x214, 4, 0x300000);
    put(kernel + 0x230, 4, 0x90909090);
    program_loads(linux_load);
    assert_int_equal(boot.rip, 0x300000);
    assert_memory_equal(ram + 0x300000, kernel + SETUP, PAYLOAD);
    put(kernel + 0x200, 2, 0x39eb);
    refused(ERR_BAD_INPUT, "impossible length");
}

static uint8_t flat[0xa0000] = {[510] = 0x55, 0xaa, [600] = 7};

static void set_up_flat(uint64_t load, uint64_t entry, uint32_t mode, uint64_t size)
{
    program_set_up(flat, size);
    program.load = load;
    program.entry = entry;
    program.mode = mode;
}

static void test_flat(void **state)
{
    (void)state;
    set_up_flat(0x7c00, 0x7c00, 16, 601);
    assert_true(flat_recognize(&program));
    program_loads(flat_load);
    assert_int_equal(ram[0x7c00 + 600], 7);
    assert_int_equal(boot.rip, 0x7c00);
    assert_int_equal(boot.cs.base, 0);
    assert_int_equal(boot.cr0 & 0x80000001, 0);
    set_up_flat(0x7c00, 0x7c00, 16, LAYOUT_EBDA - 0x7c00);
    program_loads(flat_load);
    program.kernel.size++;
    program_refused(flat_load, ERR_BAD_INPUT, "the extended BIOS data area");
    program.kernel.size = 511;
    assert_false(flat_recognize(&program));
    set_up_flat(0x20000, 0x31234, 16, 0x20000); /* CS:IP */
    program_loads(flat_load);
    assert_int_equal(boot.cs.selector, 0x3000);
    assert_int_equal(boot.cs.base, 0x30000);
    assert_int_equal(boot.rip, 0x1234);
}

static void test_flat_modes(void **state)
{
    (void)state;
    set_up_flat(0x7c00, 0x7c10, 32, 601);
    program_loads(flat_load);
    is_flat_protected_mode();
    assert_int_equal(boot.rip, 0x7c10);
    set_up_flat(0x200000, 0x200000, 64, 601);
    program_loads(flat_load);
    assert_int_equal(boot.rip, 0x200000);
    assert_int_equal(boot.efer, 0x500);
    assert_int_equal(get(ram + boot.gdtr.base + boot.cs.selector, 8), 0x00af9b000000ffff);
    assert_int_equal(get(ram + boot.cr3, 8) & 3, 3);
}

static void test_flat_refusals(void **state)
{
    (void)state;
    static const struct {
        uint64_t load, entry;
        uint32_t mode, size;
        enum status status;
        const char *text;
    } bad[] = {
        {0x4ff, 0x4ff, 16, 1, ERR_BAD_INPUT, "BIOS data area"},
        {0x7c00, 0x7bff, 16, 600, ERR_BAD_INPUT, "entry 0x7bff is outside"},
        {0x7c00, 0x7c00 + 600, 16, 600, ERR_BAD_INPUT, "is outside"},
        {0x200000, 0x200000, 16, 600, ERR_BAD_INPUT, "real mode"},
        {0x90000, 0x90000, 64, 600, ERR_BAD_INPUT, "page tables"},
        {MEMORY - 599, MEMORY - 599, 32, 600, ERR_NO_MEMORY, "does not fit into 64 MiB"},
        {UINT64_MAX - 8, UINT64_MAX - 8, 64, 600, ERR_NO_MEMORY, "does not fit"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_up_flat(bad[i].load, bad[i].entry, bad[i].mode, bad[i].size);
        program_refused(flat_load, bad[i].status, bad[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_loads, set_up),
        cmocka_unit_test_setup(test_descriptors_and_page_tables, set_up),
        cmocka_unit_test_setup(test_ramdisk_limit, set_up),
        cmocka_unit_test_setup(test_odd_size, set_up),
        cmocka_unit_test_setup(test_bad_kernels, set_up),
        cmocka_unit_test_setup(test_too_much, set_up),
        cmocka_unit_test_setup(test_32bit_entry, set_up),
        cmocka_unit_test_setup(test_old_protocols, set_up),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_flat_modes),
        cmocka_unit_test(test_flat_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
