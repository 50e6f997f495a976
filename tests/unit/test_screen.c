// link: guest/pc/screen.c guest/monitor/ansi.c arch/format.c drivers/virt/vvga.c drivers/bus/bus.c
// link: drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* From the VGA's memory to a picture, and from that to what a terminal is sent. */
#include "guest/monitor/ansi.h"
#include "guest/pc/screen.h"

#include "tests/unit/device_test.h"

#include <stdio.h>
#include <stdlib.h>

static struct vvga vga;
static uint8_t memory[VVGA_MEMORY_BYTES];
static struct screen screen;
static struct ansi ansi;
static char sent[20000];
static size_t sent_length;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vvga_init(&vga, memory, &bus, &timers), OK);
    screen = (struct screen){0};
    ansi = (struct ansi){0};
    assert_true(screen_take(&screen, &vga));
    return 0;
}

static void put_at(unsigned cell, const char *text, uint8_t attribute)
{
    for (; *text != '\0'; text++, cell++) {
        memory[0x18000 + 2 * cell] = (uint8_t)*text;
        memory[0x18000 + 2 * cell + 1] = attribute;
    }
}

static void set(uint16_t port, uint8_t index, uint8_t value)
{
    out(port, index);
    out((uint16_t)(port + 1), value);
}

static void cursor_to(unsigned cell)
{
    set(0x3d4, 0x0e, (uint8_t)(cell >> 8));
    set(0x3d4, 0x0f, (uint8_t)cell);
}

static const char *line(unsigned row)
{
    static char text[SCREEN_LINE_BYTES];
    const size_t length = screen_line(&screen, row, text);
    assert_int_equal(length, strlen(text));
    return text;
}

static void send(void *ctx, const char *text, size_t length)
{
    (void)ctx;
    assert_true(sent_length + length < sizeof(sent));
    memcpy(sent + sent_length, text, length);
    sent_length += length;
    sent[sent_length] = '\0';
}

/* Takes the picture and returns what is sent of it. */
static const char *draw(void)
{
    sent_length = 0;
    sent[0] = '\0';
    (void)screen_take(&screen, &vga);
    while (!ansi_draw(&ansi, &screen, send, NULL))
        assert_true(sent_length < 16000);
    return sent;
}

static void picture(void **state)
{
    (void)state;
    assert_int_equal(screen.columns, 80);
    assert_int_equal(screen.rows, 25);
    assert_int_equal(screen.cursor, 0);
    assert_false(screen_take(&screen, &vga));
    put_at(80 * 24, "bottom  ", 0x07);
    cursor_to(80 * 24 + 6);
    assert_true(screen_take(&screen, &vga));
    assert_false(screen_take(&screen, &vga));
    assert_string_equal(line(24), "bottom");
    assert_string_equal(line(0), "");
    assert_int_equal(screen.cursor, 80 * 24 + 6);
    memory[0x18000 + 2 * 1999 + 1] = 0x17; /* only the last attribute */
    assert_true(screen_take(&screen, &vga));
    assert_false(screen_take(&screen, &vga));
}

static void scrolled_by_address(void **state)
{
    (void)state;
    put_at(160, "second", 7);
    put_at(0x4000 - 80, "before the wrap", 7);
    set(0x3d4, 0x0d, 80);
    assert_true(screen_take(&screen, &vga));
    assert_string_equal(line(1), "second");
    assert_int_equal(screen.cursor, 2000); /* above the screen */
    set(0x3d4, 0x0c, 0x3f);
    set(0x3d4, 0x0d, 0xb0);
    assert_true(screen_take(&screen, &vga));
    assert_string_equal(line(0), "before the wrap");
    assert_string_equal(line(3), "second");
    assert_int_equal(screen.cursor, 80);
    assert_false(screen_take(&screen, &vga));
    put_at(160, "2", 7);
    assert_true(screen_take(&screen, &vga));
    assert_string_equal(line(3), "2econd");
}

static void blanked(void **state)
{
    (void)state;
    put_at(0, "x", 7);
    assert_true(screen_take(&screen, &vga));
    set(0x3c4, 1, 0x20);
    assert_false(screen_take(&screen, &vga)); /* perhaps for a moment only */
    set(0x3c4, 1, 0x00);
    assert_false(screen_take(&screen, &vga));
    set(0x3c4, 1, 0x20);
    unsigned ticks = 1;
    while (!screen_take(&screen, &vga))
        assert_true(ticks++ < 5);
    assert_string_equal(line(0), "");
    assert_false(screen_take(&screen, &vga));
    set(0x3c4, 1, 0x00);
    assert_true(screen_take(&screen, &vga));
    assert_string_equal(line(0), "x");
    set(0x3ce, 6, 0x05);
    for (ticks = 0; ticks < 5; ticks++)
        (void)screen_take(&screen, &vga);
    assert_string_equal(line(0), "(a graphics mode, which is not shown)");
    set(0x3ce, 6, 0x0e);
    assert_true(screen_take(&screen, &vga));
    assert_string_equal(line(0), "x");
}

static void golden(void **state)
{
    (void)state;
    assert_string_equal(draw(), "\033[0;37;40m\033[?25l\033[2J\033[1;1H\033[?25h");
    assert_string_equal(draw(), "");
    put_at(0, "Hi", 0x07);
    cursor_to(2);
    assert_string_equal(draw(), "Hi");
    put_at(80 * 3 + 5, "\xc9\xcd\xbb", 0x1e); /* yellow on blue, where the VGA's blue is 1 */
    assert_string_equal(draw(), "\033[4;6H\033[0;93;44m\u2554\u2550\u2557\033[1;3H");
    put_at(1, "!", 0x84); /* red, blinking */
    assert_string_equal(draw(), "\033[1;2H\033[0;5;31;40m!");
    set(0x3d4, 0x0a, 0x20);
    put_at(85 + 160, "   ", 0x07);
    assert_string_equal(draw(), "\033[4;6H\033[0;37;40m\033[K\033[?25l");
    (void)in(0x3da);
    out(0x3c0, 0x30); /* bit 7 is a bright background instead */
    out(0x3c0, 0x04);
    assert_string_equal(draw(), "\033[0;37;40m\033[?25l\033[2J\033[1;1HH\033[0;31;100m!");
    put_at(79, "e", 0x07);
    put_at(80, "n", 0x07); /* at the margin terminals differ: addressed anew */
    assert_string_equal(draw(), "\033[1;80H\033[0;37;40me\033[2;1Hn");
}

static void erases_lines(void **state)
{
    (void)state;
    put_at(80, "some words here", 0x07);
    cursor_to(0);
    draw();
    put_at(84, "           ", 0x07);
    assert_string_equal(draw(), "\033[2;6H\033[K\033[1;1H");
    put_at(80 + 77, "abc", 0x07);
    draw();
    put_at(80 + 77, "   ", 0x07);
    assert_string_equal(draw(), "\033[2;78H   \033[1;1H");
    put_at(80, "    ", 0x17); /* another look is no erasing */
    assert_string_equal(draw(), "\033[2;1H\033[0;37;44m    \033[1;1H");
}

static void other_size(void **state)
{
    (void)state;
    draw();
    set(0x3d4, 0x09, 0x47);
    set(0x3d4, 0x0a, 0x06);
    put_at(80 * 49, "last", 0x07);
    assert_string_equal(draw(), "\033[0;37;40m\033[?25l\033[2J\033[50;1Hlast\033[1;1H\033[?25h");
    assert_int_equal(screen.rows, 50);
}

/* A full screen of changing attributes is sent in pieces, and is whole at the end. */
static void in_pieces(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        put_at(i, (char[]){(char)(33 + i % 90), 0}, (uint8_t)(i % 112));
    assert_true(screen_take(&screen, &vga));
    unsigned pieces = 1;
    bool whole;
    do {
        sent_length = 0;
        whole = ansi_draw(&ansi, &screen, send, NULL);
        assert_in_range(sent_length, 1, 6000);
        pieces++;
    } while (!whole && pieces < 100);
    assert_in_range(pieces, 3, 20);
    assert_memory_equal(ansi.cells, screen.cells, 4000);
    sent_length = 0;
    assert_true(ansi_draw(&ansi, &screen, send, NULL));
    assert_int_equal(sent_length, 0);
}

/* Every character is one valid letter of UTF-8, and those that look different are different. */
static void code_page(void **state)
{
    (void)state;
    char all[256][4];
    for (unsigned c = 0; c < 256; c++) {
        char text[4] = {0};
        const size_t length = screen_utf8((uint8_t)c, text);
        assert_int_equal(length, strlen(text));
        const uint8_t first = (uint8_t)text[0];
        assert_int_equal(length, first < 0x80 ? 1 : first >= 0xe0 ? 3 : 2);
        assert_true(first >= ' ' && first != 0x7f);
        memcpy(all[c], text, 4);
        for (unsigned d = 0; d < c; d++)
            assert_true(strcmp(all[d], text) != 0 || strcmp(text, " ") == 0);
    }
    assert_string_equal(all['A'], "A");
    assert_string_equal(all[1], "\u263a");
    assert_string_equal(all[0x7f], "\u2302");
    assert_string_equal(all[0x84], "\u00e4");
    assert_string_equal(all[0xb3], "\u2502");
    assert_string_equal(all[0xdb], "\u2588");
    assert_string_equal(all[0xe1], "\u00df");
    assert_string_equal(all[0xf8], "\u00b0");
    assert_string_equal(all[0xff], " ");
}

/* Any registers and any memory: nothing is read or written where nothing is. */
static void any_state(void **state)
{
    (void)state;
    srand(3);
    for (unsigned i = 0; i < 20000; i++) {
        static const uint16_t ports[] = {0x3d4, 0x3c4, 0x3ce, 0x3b4};
        set(ports[rand() % 4], (uint8_t)(rand() % 26), (uint8_t)rand());
        if (rand() % 16 == 0)
            out(0x3c2, (uint8_t)rand());
        if (rand() % 4 == 0)
            setup(state);
        set(0x3d4, 0x11, 0);
        set(0x3d4, (uint8_t)(rand() % 26), (uint8_t)rand());
        memory[rand() % VVGA_MEMORY_BYTES] = (uint8_t)rand();
        (void)screen_take(&screen, &vga);
        for (unsigned row = 0; row < screen.rows; row++)
            (void)line(row);
        sent_length = 0;
        (void)ansi_draw(&ansi, &screen, send, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(picture, setup),
        cmocka_unit_test_setup(scrolled_by_address, setup),
        cmocka_unit_test_setup(blanked, setup),
        cmocka_unit_test_setup(golden, setup),
        cmocka_unit_test_setup(erases_lines, setup),
        cmocka_unit_test_setup(other_size, setup),
        cmocka_unit_test_setup(in_pieces, setup),
        cmocka_unit_test(code_page),
        cmocka_unit_test_setup(any_state, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
