// SPDX-License-Identifier: BSD-2-Clause
// Which graphics modes the loader takes: orders and depths of colours, long lines, wrong sizes.
// link: boot/efi_pixels.c
#include "boot/efi_pixels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { BASE = 0x80000000, BYTES = 2048 * 800 * 4 };

static void formats(void **state)
{
    static const struct {
        struct pixel_mode mode;
        bool good;
        uint32_t red, blue;
    } given[] = {
        {{1280, 800, 1280, PIXELS_RGBX, 1, 2, 4, 8}, true, 0xff, 0xff0000}, /* masks: not meant */
        {{1280, 800, 2048, PIXELS_BGRX, 0, 0, 0, 0}, true, 0xff0000, 0xff}, /* long lines */
        {{1280, 800, 1280, PIXELS_BLT_ONLY, 0xff, 0xff00, 0xff0000, 0}, false, 0, 0},
        {{1280, 800, 1280, 17, 0xff, 0xff00, 0xff0000, 0}, false, 0, 0},
        {{1280, 800, 1280, PIXELS_MASKS, 0xff0000, 0xff00, 0xff, 0xff000000}, true, 0xff0000, 0xff},
        {{1280, 800, 1280, PIXELS_MASKS, 0x3ff00000, 0xffc00, 0x3ff, 0xc0000000}, /* 10 bits */
         true,
         0x3ff00000,
         0x3ff},
        {{1280, 800, 1280, PIXELS_MASKS, 0xff00, 0xff0000, 0xff000000, 0xff},
         true,
         0xff00,
         0xff000000},
        {{1280, 800, 1280, PIXELS_MASKS, 0xf800, 0x7e0, 0x1f, 0}, false, 0, 0},    /* 16 bits */
        {{1280, 800, 1280, PIXELS_MASKS, 0xff0000, 0xff00, 0xff, 0}, false, 0, 0}, /* 24 bits */
        {{1280, 800, 1280, PIXELS_MASKS, 0xff0000, 0xff0000, 0xff, 0xff000000}, false, 0, 0},
        {{1280, 800, 1280, PIXELS_MASKS, 0xff0000, 0xff00, 0xff00, 0xff000000}, false, 0, 0},
        {{1280, 800, 1280, PIXELS_MASKS, 0, 0xff00, 0xff, 0xff000000}, false, 0, 0},
        {{1280, 800, 1280, PIXELS_MASKS, 0xff0f0000, 0xff00, 0xff, 0}, false, 0, 0}, /* gaps */
        {{1280, 800, 1280, PIXELS_MASKS, 0xffffff00, 0xfe, 0x1, 0}, false, 0, 0},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        struct handoff_framebuffer fb = {0};
        assert_int_equal(pixels_are_linear(&given[i].mode), given[i].good);
        assert_int_equal(pixels_take(&given[i].mode, BASE, BYTES, &fb), given[i].good);
        assert_int_equal(fb.red, given[i].red);
        assert_int_equal(fb.blue, given[i].blue);
        assert_int_equal(fb.width, given[i].good ? given[i].mode.width : 0);
        assert_int_equal(fb.pixels_per_line, given[i].good ? given[i].mode.per_line : 0);
    }
}

static void places(void **state)
{
    (void)state;
    struct handoff_framebuffer fb;
    const struct pixel_mode mode = {1280, 800, 2048, PIXELS_BGRX, 0, 0, 0, 0};
    assert_true(pixels_take(&mode, 0x4000000000, BYTES, &fb)); /* above 4 GiB */
    assert_false(pixels_take(&mode, BASE, BYTES - 1, &fb));
    assert_false(pixels_take(&mode, 0, BYTES, &fb));
    assert_false(pixels_take(&mode, BASE + 1, BYTES, &fb));
    assert_false(pixels_take(&mode, UINT64_MAX - 3, BYTES, &fb));
    assert_false(pixels_take(&mode, BASE, UINT64_MAX, &fb));
    const struct pixel_mode odd[] = {{1280, 800, 1279, PIXELS_BGRX, 0, 0, 0, 0},
                                     {0, 800, 2048, PIXELS_BGRX, 0, 0, 0, 0},
                                     {1280, 0, 2048, PIXELS_BGRX, 0, 0, 0, 0},
                                     {1, 0x40000000, UINT32_MAX, PIXELS_BGRX, 0, 0, 0, 0}};
    for (unsigned i = 0; i < 4; i++)
        assert_false(pixels_take(&odd[i], BASE, BYTES, &fb));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats), cmocka_unit_test(places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
