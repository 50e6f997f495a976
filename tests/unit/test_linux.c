// link: guest/linux.c guest/flat.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The loaders of guest programs: what lands where, and every refusal. */
#include "guest/flat.h"
#include "guest/layout.h"
#include "guest/linux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY  (64u << 20)
#define LOAD    0x1000000u
#define SETUP   (5u * 512)
#define PAYLOAD 0x4000u

uint64_t physmap_base;

static uint8_t *ram;
static struct guestmem mem;
static uint8_t kernel[SETUP + PAYLOAD];
static uint8_t ramdisk[5000];
static struct linux_image image;
static struct boot_state boot;
static char why[160];

static void put(uint8_t *p, unsigned bytes, uint64_t v)
{
    memcpy(p, &v, bytes);
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static int set_up(void **state)
{
    (void)state;
    ram = calloc(1, MEMORY);
    mem = (struct guestmem){0};
    guestmem_add(&mem, gpa(0), MEMORY, ram);
    memset(kernel, 0x90, sizeof(kernel));
    kernel[0x1f1] = 4;
    put(kernel + 0x1f4, 4, PAYLOAD / 16);
    put(kernel + 0x1fe, 2, 0xaa55);
    put(kernel + 0x200, 2, 0x6aeb); /* the header ends at 0x26c */
    memcpy(kernel + 0x202, "HdrS", 4);
    put(kernel + 0x206, 2, 0x020f);
    kernel[0x211] = 1;
    put(kernel + 0x22c, 4, 0x7fffffff);
    put(kernel + 0x230, 4, 0x200000);
    kernel[0x234] = 1;
    put(kernel + 0x236, 2, 0x7f);
    put(kernel + 0x238, 4, 2047);
    put(kernel + 0x258, 8, LOAD);
    put(kernel + 0x260, 4, 0x100000);
    memset(ramdisk, 0x55, sizeof(ramdisk));
    image = (struct linux_image){kernel,          sizeof(kernel), ramdisk,    sizeof(ramdisk),
                                 "console=ttyS0", MEMORY,         LAYOUT_ACPI};
    why[0] = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(ram);
    return 0;
}

static void renew(void **state)
{
    tear_down(state);
    set_up(state);
}

static void refused(enum status expected, const char *text)
{
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), expected);
    if (strstr(why, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, text);
}

static void test_loads(void **state)
{
    (void)state;
    assert_true(linux_recognize(kernel, sizeof(kernel)));
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), OK);
    assert_int_equal(boot.rip, LOAD + 0x200);
    assert_int_equal(boot.rflags & 0x200, 0);
    assert_int_equal(boot.cs.selector, 0x10);
    assert_int_equal(boot.ss.selector, 0x18);
    assert_memory_equal(ram + LOAD, kernel + SETUP, PAYLOAD);

    const uint8_t *zp = ram + boot.rsi;
    assert_int_equal(zp[0x210], 0xff);
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
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), OK);
    assert_int_equal(boot.gdtr.limit, 31);
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
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), OK);
    assert_int_equal(get(ram + boot.rsi + 0x218, 4), 0x2800000 - 8192);
    put(kernel + 0x22c, 4, LOAD);
    refused(ERR_NO_MEMORY, "ramdisk");
    image.ramdisk_size = 0;
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), OK);
    assert_int_equal(get(ram + boot.rsi + 0x218, 8), 0);
}

/* The header counts paragraphs of 16 bytes: the last one may be short. */
static void test_odd_size(void **state)
{
    (void)state;
    image.kernel_size -= 15;
    assert_int_equal(linux_load(&mem, &image, &boot, why, sizeof(why)), OK);
}

static void test_bad_kernels(void **state)
{
    (void)state;
    image.kernel_size -= 16;
    refused(ERR_BAD_INPUT, "truncated");
    image.kernel_size = 0x230;
    refused(ERR_BAD_INPUT, "truncated");
    image.kernel_size = 100;
    refused(ERR_BAD_INPUT, "not a Linux bzImage");
    renew(state);
    kernel[0x202] = 'X';
    refused(ERR_BAD_INPUT, "not a Linux bzImage");
    assert_false(linux_recognize(kernel, sizeof(kernel)));
    renew(state);
    kernel[0x1f1] = 255;
    refused(ERR_BAD_INPUT, "truncated");
    renew(state);
    put(kernel + 0x206, 2, 0x020b);
    refused(ERR_BAD_INPUT, "2.12");
    renew(state);
    put(kernel + 0x236, 2, 0);
    refused(ERR_UNSUPPORTED, "32-bit");
    renew(state);
    kernel[0x211] = 0;
    refused(ERR_BAD_INPUT, "zImage");
    renew(state);
    kernel[0x201] = 0xff;
    refused(ERR_BAD_INPUT, "header");
    renew(state);
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
    image.ramdisk_size = MEMORY;
    refused(ERR_NO_MEMORY, "ramdisk");
}

static void test_flat(void **state)
{
    (void)state;
    static uint8_t big[0xa0000] = {[510] = 0x55, 0xaa, [600] = 7};
    assert_int_equal(flat_load(&mem, big, 601, &boot, why, sizeof(why)), OK);
    assert_int_equal(ram[0x7c00 + 600], 7);
    assert_int_equal(boot.rip, 0x7c00);
    assert_int_equal(boot.cs.base, 0);
    assert_int_equal(boot.cr0 & 0x80000001, 0);
    assert_int_equal(flat_load(&mem, big, sizeof(big), &boot, why, sizeof(why)), ERR_BAD_INPUT);
    assert_int_equal(flat_load(&mem, big, 511, &boot, why, sizeof(why)), ERR_BAD_INPUT);
    assert_non_null(strstr(why, "neither"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors_and_page_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ramdisk_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_odd_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_kernels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flat, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
