// link: drivers/virt/vflash.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the flash chip's commands. */
#include "drivers/virt/vflash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BASE 0xffe00000u

static uint8_t memory[2 * VFLASH_BLOCK];
static struct vflash flash;
static bool array_mode;
static unsigned changes;

static void mode_changed(void *ctx, bool array)
{
    assert_ptr_equal(ctx, memory);
    array_mode = array;
    changes++;
}

static int setup(void **state)
{
    (void)state;
    memset(memory, 0xff, sizeof(memory));
    flash = (struct vflash){.base = {BASE},
                            .bytes = sizeof(memory),
                            .memory = memory,
                            .mode_changed = mode_changed,
                            .ctx = memory};
    changes = 0;
    array_mode = true;
    vflash_init(&flash);
    return 0;
}

static uint8_t rd(uint32_t offset)
{
    return (uint8_t)vflash_read(&flash, gpa(BASE + offset), 1);
}

static void wr(uint32_t offset, uint8_t value)
{
    vflash_write(&flash, gpa(BASE + offset), 1, value);
}

/* How firmware finds out that this is flash, and neither ROM nor RAM: a byte that is none of the
 * commands' numbers; status cleared; status read; back. */
static void probing(void **state)
{
    (void)state;
    memory[0x10] = 0x8d;
    wr(0x10, 0x50);
    assert_int_equal(rd(0x10), 0x8d);
    assert_true(array_mode);
    wr(0x10, 0x70);
    assert_false(array_mode);
    assert_int_equal(rd(0x10), 0);
    wr(0x10, 0xff);
    assert_true(array_mode);
    assert_int_equal(rd(0x10), 0x8d);
    assert_int_equal(changes, 2);
}

static void programming_clears_bits(void **state)
{
    (void)state;
    wr(5, 0x10);
    wr(5, 0xf0);
    assert_int_equal(rd(5), 0x80);
    wr(5, 0x40);
    wr(5, 0x3c);
    wr(5, 0xff);
    assert_int_equal(rd(5), 0x30);
    assert_int_equal(memory[4], 0xff);
    wr(5, 0x40);
    wr(5, 0xff); /* data, and no command */
    assert_false(array_mode);
    assert_int_equal(memory[5], 0x30);
}

static void erasing(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    wr(VFLASH_BLOCK + 7, 0x20);
    wr(VFLASH_BLOCK + 7, 0xd0);
    assert_int_equal(rd(0), 0x80);
    wr(0, 0xff);
    for (unsigned i = 0; i < sizeof(memory); i++)
        assert_int_equal(rd(i), i < VFLASH_BLOCK ? 0 : 0xff);
    wr(0, 0x20);
    wr(0, 0xff); /* not confirmed */
    assert_int_equal(rd(0), 0xb0);
    wr(0, 0x50);
    assert_int_equal(rd(0), 0);
    wr(0, 0xff);
    memory[0] = 0x12;
    assert_int_equal(rd(0), 0x12);
    wr(0, 0x98); /* no CFI */
    wr(0, 0x70);
    assert_int_equal(rd(0), 0x30);
}

static void identity_and_wide_accesses(void **state)
{
    (void)state;
    wr(0, 0x90);
    assert_int_equal(vflash_read(&flash, gpa(BASE), 4), 0x1689);
    vflash_write(&flash, gpa(BASE), 2, 0x70ff); /* read array, read status */
    assert_int_equal(vflash_read(&flash, gpa(BASE + sizeof(memory) - 8), 8), 0x8080808080808080);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(probing, setup),
        cmocka_unit_test_setup(programming_clears_bits, setup),
        cmocka_unit_test_setup(erasing, setup),
        cmocka_unit_test_setup(identity_and_wide_accesses, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
