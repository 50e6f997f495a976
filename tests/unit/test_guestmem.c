// link: mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest RAM by slots: bounds, overflow, holes, slots that touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/guestmem.h"

static uint8_t *low, *mid, *top;
static struct guestmem mem;

static int setup(void **s)
{
    (void)s;
    low = calloc(1, 0x1000); /* exact heap blocks: ASan sees a byte too far */
    mid = calloc(1, 0x1000);
    top = calloc(1, 0x1000);
    memset(&mem, 0, sizeof(mem));
    assert_int_equal(guestmem_add(&mem, gpa(0x5000), 0x1000, top), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0), 0x1000, low), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0x1000), 0x1000, mid), OK);
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    free(low);
    free(mid);
    free(top);
    return 0;
}

static void test_copies(void **s)
{
    (void)s;
    uint8_t data[0x2000], back[0x2000];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    assert_true(guestmem_write(&mem, gpa(0), data, 0x2000)); /* crosses two that touch */
    assert_memory_equal(low, data, 0x1000);
    assert_memory_equal(mid, data + 0x1000, 0x1000);
    assert_true(guestmem_read(&mem, gpa(0), back, 0x2000));
    assert_memory_equal(back, data, 0x2000);
    assert_true(guestmem_read(&mem, gpa(0xfff), back, 2));
    assert_int_equal(back[0], data[0xfff]);
    assert_int_equal(back[1], data[0x1000]);
    assert_true(guestmem_read(&mem, gpa(0x5fff), back, 1));

    /* A few bytes across the edge of two slots that touch, and not one more. */
    memset(back, 0xee, sizeof(back));
    assert_true(guestmem_read(&mem, gpa(0xff8), back, 16));
    assert_memory_equal(back, data + 0xff8, 16);
    for (unsigned i = 16; i < sizeof(back); i++)
        assert_int_equal(back[i], 0xee);
    assert_true(guestmem_write(&mem, gpa(0xff8), back + 16, 16));
    assert_memory_equal(low, data, 0xff8);
    assert_memory_equal(low + 0xff8, back + 16, 8);
    assert_memory_equal(mid, back + 16, 8);
    assert_memory_equal(mid + 8, data + 0x1008, 0x1000 - 8);
    assert_true(guestmem_read(&mem, gpa(0x9999), back, 0));
}

static void test_bounds(void **s)
{
    (void)s;
    uint8_t b[0x3000] = {0};
    assert_false(guestmem_read(&mem, gpa(0x2000), b, 1));
    assert_false(guestmem_read(&mem, gpa(0x1fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(0x4fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(0x5fff), b, 2));
    assert_false(guestmem_write(&mem, gpa(0x5fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(UINT64_MAX), b, 2)); /* wraps to 0 */
    assert_false(guestmem_read(&mem, gpa(0x5001), b, SIZE_MAX));
    struct guestmem none = {0};
    assert_false(guestmem_read(&none, gpa(0), b, 1));
}

static void test_window(void **s)
{
    (void)s;
    assert_ptr_equal(guestmem_window(&mem, gpa(0x1000), 0x1000), mid);
    assert_ptr_equal(guestmem_window(&mem, gpa(0x5010), 0xff0), top + 0x10);
    assert_null(guestmem_window(&mem, gpa(0x5010), 0xff1));
    assert_null(guestmem_window(&mem, gpa(0xfff), 2)); /* two slots */
    assert_null(guestmem_window(&mem, gpa(0x2000), 0));
    assert_null(guestmem_window(&mem, gpa(0x5010), SIZE_MAX));
    assert_null(guestmem_window(&mem, gpa(UINT64_MAX), 1));
}

static void test_read_only(void **s)
{
    (void)s;
    const uint8_t data[0x1100] = {1, 2, 3, 4};
    uint8_t back[8];
    guestmem_set_read_only(&mem, gpa(0x1040), 0x80, true); /* a 64th is 64 bytes */
    assert_true(guestmem_is_writable(&mem, gpa(0x103f)));
    assert_false(guestmem_is_writable(&mem, gpa(0x1040)));
    assert_false(guestmem_is_writable(&mem, gpa(0x10bf)));
    assert_true(guestmem_is_writable(&mem, gpa(0x10c0)));
    assert_false(guestmem_is_writable(&mem, gpa(0x9000)));
    assert_true(guestmem_write(&mem, gpa(0x1000), data, 0x40));
    assert_int_equal(mid[1], 2);
    assert_false(guestmem_write(&mem, gpa(0x1000), data, 0x41));
    assert_int_equal(mid[0x40], 0);
    assert_false(guestmem_write(&mem, gpa(0x10a0), data, 1));
    assert_false(guestmem_write(&mem, gpa(0), data, 0x1000 + 0x41)); /* from another slot */
    assert_true(guestmem_read(&mem, gpa(0x1040), back, 8));
    assert_true(guestmem_write(&mem, gpa(0x10c0), data, 0x1000 - 0xc0));
    guestmem_set_read_only(&mem, gpa(0x1040), 0x80, false);
    assert_true(guestmem_write(&mem, gpa(0x1000), data, 0x1000));
    guestmem_set_read_only(&mem, gpa(0x5000), 0x1000, true);
    assert_int_equal(mem.slot[2].read_only, UINT64_MAX);
    assert_false(guestmem_write(&mem, gpa(0x5fff), data, 1));
}

/* Every 64th by itself, in the first slot, and in one that begins at no multiple of its 64ths. */
static void test_read_only_64ths(void **s)
{
    (void)s;
    enum { BASE = 0x21000, SIZE = 0x20000, PART = SIZE / 64 };
    uint8_t *rom = calloc(1, SIZE), zeros[3 * PART] = {0}, ones[3 * PART];
    memset(ones, 1, sizeof(ones));
    assert_int_equal(guestmem_add(&mem, gpa(BASE), SIZE, rom), OK);
    for (unsigned i = 1; i < 63; i++) {
        uint64_t part = BASE + i * PART;
        guestmem_set_read_only(&mem, gpa(part), PART, true);
        for (uint64_t at = part - PART; at < part + 2 * PART; at += PART / 2) {
            bool writable = at < part || at >= part + PART;
            assert_int_equal(guestmem_is_writable(&mem, gpa(at)), writable);
            assert_int_equal(guestmem_write(&mem, gpa(at), zeros, PART / 2), writable);
        }
        /* From the middle of the part before, up to its end, beyond it, and behind. */
        assert_true(guestmem_write(&mem, gpa(part - 100), ones, 100));
        assert_false(guestmem_write(&mem, gpa(part - 100), ones, 101));
        assert_false(guestmem_write(&mem, gpa(part - 100), ones, PART + 200));
        assert_false(guestmem_write(&mem, gpa(part + PART - 1), ones, 2));
        assert_true(guestmem_write(&mem, gpa(part + PART), ones, 1));
        assert_memory_equal(rom + i * PART, zeros, PART);
        guestmem_set_read_only(&mem, gpa(part), PART, false);
        assert_true(guestmem_write(&mem, gpa(part - PART), zeros, 3 * PART));
    }
    free(rom);

    guestmem_set_read_only(&mem, gpa(0), 0x40, true);
    assert_false(guestmem_is_writable(&mem, gpa(0x3f)));
    assert_false(guestmem_write(&mem, gpa(0), ones, 1));
    assert_true(guestmem_is_writable(&mem, gpa(0x40)));
    assert_true(guestmem_is_writable(&mem, gpa(0x1000)));
}

static void test_add_rejects(void **s)
{
    (void)s;
    assert_int_equal(guestmem_add(&mem, gpa(0x1800), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x4800), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x5000), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), 0, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), 0x1000, NULL), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), UINT64_MAX, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x800), 0x100, top), ERR_BAD_INPUT); /* in the first */
    assert_int_equal(guestmem_add(&mem, gpa(0x1000), 0x100, top), ERR_BAD_INPUT);
    struct guestmem all = {0};
    assert_int_equal(guestmem_add(&all, gpa(0x8000), UINT64_MAX - 0x7fff, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&all, gpa(0x8000), UINT64_MAX - 0x8000, top), OK);
    for (unsigned i = 3; i < GUESTMEM_MAX_SLOTS; i++)
        assert_int_equal(guestmem_add(&mem, gpa(0x10000 * i), 0x1000, top), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0x7000000), 0x1000, top), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only_64ths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_rejects, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
