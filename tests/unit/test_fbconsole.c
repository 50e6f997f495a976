// SPDX-License-Identifier: BSD-2-Clause
// The framebuffer console: text, escape sequences, and no pixel outside of the screen.
// link: drivers/host/fbconsole.c drivers/host/font.c
#include "drivers/host/fbconsole.h"
#include "drivers/host/font.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 20 * 6 + 3, HEIGHT = 4 * 10 + 7, PITCH = 130 }; /* 20 columns, 4 rows */

static struct fbconsole fb;
static uint32_t *pixels;

/* A screen as a PC's firmware has it: blue is a pixel's lowest byte, or red is. */
static struct fbconsole_screen screen_of(void *p, uint64_t bytes, uint32_t width, uint32_t height,
                                         uint32_t pixels_per_line, bool red_first)
{
    return (struct fbconsole_screen){p,
                                     bytes,
                                     width,
                                     height,
                                     pixels_per_line,
                                     red_first ? 0xff : 0xff0000,
                                     0xff00,
                                     red_first ? 0xff0000 : 0xff};
}

static bool init(struct fbconsole *to, void *p, uint64_t bytes, uint32_t width, uint32_t height,
                 uint32_t pixels_per_line, bool red_first)
{
    const struct fbconsole_screen s =
        screen_of(p, bytes, width, height, pixels_per_line, red_first);
    return fbconsole_init(to, &s);
}

static int open_screen(void **state)
{
    (void)state;
    pixels = malloc(sizeof(uint32_t) * PITCH * HEIGHT);
    assert_true(init(&fb, pixels, sizeof(uint32_t) * PITCH * HEIGHT, WIDTH, HEIGHT, PITCH, false));
    assert_int_equal(fb.columns, 20);
    assert_int_equal(fb.rows, 4);
    return 0;
}

static int close_screen(void **state)
{
    (void)state;
    free(pixels);
    return 0;
}

static void type(const char *text)
{
    fbconsole_write(&fb, text, strlen(text));
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
}

/* Compares a row with a text and blanks behind it, in memory and in the pixels. */
static void check_row(uint32_t row, const char *text)
{
    for (uint32_t c = 0; c < fb.columns; c++) {
        char want = c < strlen(text) ? text[c] : ' ';
        assert_int_equal(fb.text[row * fb.columns + c], 0x0700 | want);
        for (unsigned y = 0; y < 8; y++) {
            for (unsigned x = 0; x < 5; x++)
                assert_int_equal(pixels[(row * 10 + y) * PITCH + c * 6 + x] != 0,
                                 font_cell_pixel((unsigned char)want, x, y));
        }
    }
}

static void plain_text(void **state)
{
    (void)state;
    type("hello\nab\tc\rX\n12\b3");
    check_row(0, "hello");
    check_row(1, "Xb      c");
    check_row(2, "13");
    check_row(3, "");
}

static void wraps_and_scrolls(void **state)
{
    (void)state;
    type("01234567890123456789");
    assert_int_equal(fb.row, 0); /* wraps with the next character only */
    type("ab\n2\n3\n4");
    check_row(0, "ab");
    check_row(1, "2");
    check_row(2, "3");
    check_row(3, "4");
    type("\b\b\b\b5\r\n\t\t\t\t\tq");
    check_row(3, "q");
}

static void escapes(void **state)
{
    (void)state;
    type("one\ntwo\nthree\x1b[0m\x1b[1;31m!\x1b[2;2Hxy\x1b[K");
    check_row(1, "txy");
    check_row(2, "three!");
    type("\x1b[1;3H\x1b[J");
    check_row(0, "on");
    check_row(1, "");
    type("z\x1b[2J\x1b[Hhome\x1b[6n\x1b"
         "Mok\x1b[9999999999;9999999999H$");
    check_row(0, "homeok");
    check_row(3, "                   $");
    type("\x1b[1\nA");
    assert_int_equal(fb.state, TEXT_PLAIN);
}

static uint32_t pixel(uint32_t row, uint32_t column, unsigned x, unsigned y)
{
    return pixels[(row * 10 + y) * PITCH + column * 6 + x];
}

/* A few cells at a time: each gets its turn, even if the text keeps moving. */
static void drawn_in_pieces(void **state)
{
    (void)state;
    const char *last = "abcd";
    fbconsole_write(&fb, "1\n2\n3\n4", 7);
    assert_false(fbconsole_refresh(&fb, 3));
    assert_true(pixel(2, 0, 2, 0) != 0 && fb.shown[60] == 0x0720);
    assert_true(fbconsole_refresh(&fb, 1));
    assert_true(fbconsole_refresh(&fb, 0));
    assert_int_equal(fb.shown[60], 0x0734);
    for (unsigned i = 0; i < 80; i++) {
        fbconsole_write(&fb, i % 2 != 0 ? "x\n" : "yy\n", i % 2 != 0 ? 2 : 3);
        (void)fbconsole_refresh(&fb, 1);
    }
    assert_int_not_equal(fb.shown[40] & 0xff, '3');
    assert_int_not_equal(fb.shown[60] & 0xff, '4');
    fbconsole_write(&fb, last, 4);
    for (unsigned i = 0; i < 80 && !fbconsole_refresh(&fb, 1); i++) {}
    check_row(3, last);
}

static void a_picture(void **state)
{
    (void)state;
    uint16_t cells[20 * 4];
    for (unsigned i = 0; i < 80; i++)
        cells[i] = 0x0720;
    cells[0] = 0x1edb;  /* yellow on blue, a full block */
    cells[1] = 0x9eb3;  /* a vertical line, blinking or on bright blue */
    cells[21] = 0x4f20; /* red background; the cursor turns it */
    type("old text");
    fbconsole_show(&fb, cells, 20, 4, 21, true);
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
    for (unsigned x = 0; x < 6; x++)
        assert_int_equal(pixel(0, 0, x, 9), 0xffff55);
    assert_int_equal(pixel(0, 1, 2, 0), 0xffff55);
    assert_int_equal(pixel(0, 1, 1, 0), 0x0000aa);
    assert_int_equal(pixel(1, 1, 0, 0), 0xffffff);
    assert_int_equal(pixel(0, 2, 0, 0), 0);
    fbconsole_show(&fb, cells, 20, 4, 80, false);
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
    assert_int_equal(pixel(0, 1, 1, 0), 0x5555ff);
    assert_int_equal(pixel(1, 1, 0, 0), 0xaa0000);
    fbconsole_show(&fb, cells, 10, 2, 20, false); /* smaller than the screen */
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
    assert_int_equal(fb.text[11], 0x0720);
    assert_int_equal(fb.row, 2);
    fbconsole_show(&fb, cells, 40, 2, 80, false); /* wider: cut */
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
}

static void letters_shrink_for_many_rows(void **state)
{
    (void)state;
    static uint16_t cells[80 * 50];
    uint32_t *p = malloc(1024 * 768 * 4);
    assert_true(init(&fb, p, 1024 * 768 * 4, 1024, 768, 1024, true));
    assert_true(fb.rows < 50);
    cells[80 * 49] = 0x41dc;
    fbconsole_show(&fb, cells, 80, 50, 4000, false);
    assert_true(fbconsole_refresh(&fb, UINT32_MAX));
    assert_true(fb.rows >= 50 && fb.columns >= 80);
    assert_int_equal(p[(49 * 10 + 9) * 1024], 0xaa0000); /* blue, where red is the lowest byte */
    free(p);
}

/* The same grey and white, whatever bits a colour has. */
static void depths(void **state)
{
    static const struct {
        uint32_t red, green, blue, grey, white, brown;
    } given[] = {
        {0xff, 0xff00, 0xff0000, 0xaaaaaa, 0xffffff, 0x0055aa},
        {0x3ff00000, 0xffc00, 0x3ff, 0x2aaaaaaa, 0x3fffffff, 0x2aa55400},
        {0xf8000000, 0x07e00000, 0x001f0000, 0xad550000, 0xffff0000, 0xaaa00000},
        {0xff000000, 0xff0000, 0xff00, 0xaaaaaa00, 0xffffff00, 0xaa550000},
    };
    (void)state;
    static const uint16_t cells[3] = {0x07db, 0x0fdb, 0x06db}; /* whole blocks */
    uint32_t *p = malloc(160 * 20 * 4);
    for (unsigned i = 0; i < 4; i++) {
        const struct fbconsole_screen s = {
            p, 160 * 20 * 4, 160, 20, 160, given[i].red, given[i].green, given[i].blue};
        assert_true(fbconsole_init(&fb, &s));
        fbconsole_show(&fb, cells, 3, 1, 99, false);
        assert_true(fbconsole_refresh(&fb, UINT32_MAX));
        assert_int_equal(p[0], given[i].grey);
        assert_int_equal(p[6], given[i].white);
        assert_int_equal(p[12], given[i].brown);
    }
    free(p);
}

static void any_bytes(void **state)
{
    (void)state;
    srand(2);
    for (int i = 0; i < 3000; i++) {
        char text[64];
        for (unsigned k = 0; k < sizeof(text); k++)
            text[k] = rand() % 3 ? "\x1b[;0123456789HJKf\n\t\b"[rand() % 20] : (char)rand();
        fbconsole_write(&fb, text, sizeof(text));
        assert_true(fbconsole_refresh(&fb, UINT32_MAX));
        assert_in_range(fb.row, 0, fb.rows - 1);
        assert_in_range(fb.column, 0, fb.columns);
    }
}

static void bad_screens(void **state)
{
    (void)state;
    struct fbconsole bad = {0};
    uint32_t p[4];
    assert_false(init(&bad, NULL, 1 << 30, 800, 600, 800, false));
    assert_false(init(&bad, p, sizeof(p), 800, 600, 800, false));
    assert_false(init(&bad, p, UINT64_MAX, 800, 600, 799, false));
    assert_false(init(&bad, p, UINT64_MAX, UINT32_MAX, 1, UINT32_MAX, false));
    assert_false(init(&bad, p, UINT64_MAX, 0, 0, 0, false));
    fbconsole_write(&bad, "x", 1); /* ignored */
    assert_true(fbconsole_refresh(&bad, UINT32_MAX));
}

static void large_screens(void **state)
{
    (void)state;
    const uint32_t sizes[][2] = {{1024, 768}, {1920, 1080}, {3840, 2160}, {1200, 3000}};
    for (unsigned i = 0; i < 4; i++) {
        uint32_t w = sizes[i][0], h = sizes[i][1];
        uint32_t *p = malloc((size_t)w * h * 4);
        assert_true(init(&fb, p, (uint64_t)w * h * 4, w, h, w, true));
        assert_true(fb.columns <= 160); /* a letter is large enough on any panel */
        assert_true(fb.columns >= 80 && fb.columns * fb.rows <= FBCONSOLE_MAX_CELLS);
        for (uint32_t k = 0; k < FBCONSOLE_MAX_CELLS + 100; k++)
            fbconsole_write(&fb, "#", 1);
        assert_true(fbconsole_refresh(&fb, UINT32_MAX));
        free(p);
    }
}

static void font_is_whole(void **state)
{
    (void)state;
    static uint64_t glyph[128];
    for (unsigned char c = 32; c < 128; c++) {
        for (unsigned bit = 0; bit < 40; bit++)
            glyph[c] |= (uint64_t)font_cell_pixel(c, bit % 5, bit / 5) << bit;
        assert_true(glyph[c] != 0 || c == 32 || c == 127);
        for (int d = 33; d < c && c < 127; d++)
            assert_true(glyph[c] != glyph[d]);
    }
    assert_int_equal(font_cell_pixel('L', 0, 0), 1);
    assert_int_equal(font_cell_pixel('L', 4, 0), 0);
    assert_int_equal(font_cell_pixel('L', 4, 6), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_text, open_screen, close_screen),
        cmocka_unit_test_setup_teardown(wraps_and_scrolls, open_screen, close_screen),
        cmocka_unit_test_setup_teardown(escapes, open_screen, close_screen),
        cmocka_unit_test_setup_teardown(drawn_in_pieces, open_screen, close_screen),
        cmocka_unit_test_setup_teardown(a_picture, open_screen, close_screen),
        cmocka_unit_test(letters_shrink_for_many_rows),
        cmocka_unit_test(depths),
        cmocka_unit_test_setup_teardown(any_bytes, open_screen, close_screen),
        cmocka_unit_test(bad_screens),
        cmocka_unit_test(large_screens),
        cmocka_unit_test(font_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
