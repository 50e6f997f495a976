// link: drivers/virt/vvga.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The VGA's registers, and the view that they make. */
#include "drivers/virt/vvga.h"

#include "tests/unit/device_test.h"

enum { CRTC = 0x3d4, ATTRIBUTE = 0x3c0, SEQUENCER = 0x3c4, GRAPHICS = 0x3ce, STATUS = 0x3da };

static struct vvga vga;
static struct vvga_view view;
static uint8_t memory[VVGA_MEMORY_BYTES];

static int setup(void **state)
{
    (void)state;
    start_machine();
    memset(memory, 0, sizeof(memory));
    assert_int_equal(vvga_init(&vga, memory, &bus, &timers), OK);
    return 0;
}

static void set(uint16_t port, uint8_t index, uint8_t value)
{
    out(port, index);
    out((uint16_t)(port + 1), value);
}

static uint8_t get(uint16_t port, uint8_t index)
{
    out(port, index);
    return in((uint16_t)(port + 1));
}

static void look(void)
{
    vvga_get_view(&vga, &view);
}

static void starts_in_mode_3(void **state)
{
    (void)state;
    look();
    assert_true(view.text && view.on && view.blinks && view.cursor_on);
    assert_int_equal(view.columns, 80);
    assert_int_equal(view.rows, 25);
    assert_int_equal(view.pitch, 80);
    assert_int_equal(view.start, 0);
    assert_int_equal(view.split, 25);
    assert_int_equal(view.cursor, 0);
    assert_int_equal(view.window, 0x18000);
    assert_int_equal(memory[0x18000], ' ');
    assert_int_equal(memory[0x1ffff], 7);
    assert_int_equal(memory[0x17fff], 0);
    assert_int_equal(in(0x3cc), 0x67);
}

static void cursor_and_start(void **state)
{
    (void)state;
    bus_port_write(&bus, CRTC, 2, 0x070e); /* index and data in one access, as many do */
    set(CRTC, 0x0f, 0xcf);
    set(CRTC, 0x0c, 0x41);
    set(CRTC, 0x0d, 0x40);
    look();
    assert_int_equal(view.cursor, 0x7cf);
    assert_int_equal(view.start, 0x0140); /* addresses wrap at 16 Ki cells */
    assert_int_equal(get(CRTC, 0x0c), 0x41);
    set(CRTC, 0x0a, 0x2d);
    look();
    assert_false(view.cursor_on);
    set(CRTC, 0x0a, 0x0f);
    look();
    assert_false(view.cursor_on); /* begins below its end */
    assert_int_equal(get(CRTC, 0x30), 0);
}

static void geometry(void **state)
{
    (void)state;
    set(CRTC, 0x09, 0x47); /* 8 lines a character */
    look();
    assert_int_equal(view.rows, 50);
    set(CRTC, 0x09, 0x4f);
    set(CRTC, 0x01, 0x27); /* protected */
    look();
    assert_int_equal(view.columns, 80);
    set(CRTC, 0x11, 0x0e);
    set(CRTC, 0x01, 0x27);
    set(CRTC, 0x13, 0x14);
    look();
    assert_int_equal(view.columns, 40);
    assert_int_equal(view.pitch, 40);
    set(CRTC, 0x12, 0xdf); /* 480 lines */
    set(CRTC, 0x09, 0x0f);
    set(CRTC, 0x07, 0x1f);
    set(CRTC, 0x18, 0x9f); /* from line 160 on, cell 0 */
    set(CRTC, 0x07, 0x0f);
    look();
    assert_int_equal(view.rows, 30);
    assert_int_equal(view.split, 10);
    set(CRTC, 0x09, 0x8f);
    look();
    assert_int_equal(view.rows, 15); /* every line twice */
    set(CRTC, 0x01, 0xff);
    look();
    assert_false(view.text);
}

static void protection(void **state)
{
    (void)state;
    set(CRTC, 0x07, 0x00);
    assert_int_equal(get(CRTC, 0x07), 0x0f); /* bit 4 alone has changed */
    set(CRTC, 0x00, 0x11);
    assert_int_equal(get(CRTC, 0x00), 0x5f);
    set(CRTC, 0x08, 0x03);
    assert_int_equal(get(CRTC, 0x08), 0x03);
}

static void attribute_flip_flop(void **state)
{
    (void)state;
    (void)in(STATUS);
    out(ATTRIBUTE, 0x10);
    out(ATTRIBUTE, 0x04);
    look();
    assert_false(view.blinks);
    assert_false(view.on); /* the palette is the CPU's while bit 5 of the index is clear */
    out(ATTRIBUTE, 0x03);
    (void)in(STATUS); /* an index is due again */
    out(ATTRIBUTE, 0x03);
    out(ATTRIBUTE, 0x7f);
    assert_int_equal(in(ATTRIBUTE + 1), 0x3f);
    out(ATTRIBUTE, 0x20 | 0x03);
    look();
    assert_true(view.on);
    out(ATTRIBUTE, 0x11); /* data, but the palette is closed */
    assert_int_equal(in(ATTRIBUTE + 1), 0x3f);
    assert_int_equal(in(ATTRIBUTE), 0x23);
    out(ATTRIBUTE, 0x3f);
    out(ATTRIBUTE, 0xff);
    assert_int_equal(in(ATTRIBUTE + 1), 0);
}

static void dac(void **state)
{
    (void)state;
    out(0x3c7, 7);
    assert_int_equal(in(0x3c7), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(in(0x3c9), 0x2a);
    out(0x3c8, 255);
    assert_int_equal(in(0x3c7), 0);
    for (unsigned i = 0; i < 6; i++)
        out(0x3c9, (uint8_t)(0x81 + i));
    assert_int_equal(in(0x3c8), 1);
    out(0x3c7, 255);
    for (unsigned i = 0; i < 6; i++) /* from 255 it goes on at 0 */
        assert_int_equal(in(0x3c9), 1 + i);
    assert_int_equal(in(0x3c6), 0xff);
}

static void windows(void **state)
{
    (void)state;
    set(GRAPHICS, 6, 0x0a); /* mono text */
    look();
    assert_int_equal(view.window, 0x10000);
    set(GRAPHICS, 6, 0x04); /* a font is loaded at 0xa0000: the text stays where it is */
    set(SEQUENCER, 4, 0x06);
    set(SEQUENCER, 2, 0x04);
    look();
    assert_true(view.text);
    assert_int_equal(view.window, 0x10000);
    set(GRAPHICS, 6, 0x0e);
    look();
    assert_int_equal(view.window, 0x18000);
    set(GRAPHICS, 6, 0x05);
    look();
    assert_false(view.text);
    set(GRAPHICS, 6, 0xff);
    assert_int_equal(get(GRAPHICS, 6), 0x0f);
    assert_int_equal(get(SEQUENCER, 4), 0x06);
}

static void mono_and_colour_ports(void **state)
{
    (void)state;
    assert_int_equal(in(0x3b5), 0xff);
    assert_int_equal(in(0x3ba), 0xff);
    set(0x3b4, 0x0e, 5); /* not there */
    assert_int_equal(get(CRTC, 0x0e), 0);
    out(0x3c2, 0x66);
    set(0x3b4, 0x0e, 5);
    assert_int_equal(get(0x3b4, 0x0e), 5);
    assert_int_equal(in(CRTC + 1), 0xff);
    assert_int_not_equal(in(0x3ba), 0xff);
    out(0x3ba, 3);
    assert_int_equal(in(0x3ca), 3);
}

/* Who waits for either edge of either bit sees it within a frame. */
static void retrace(void **state)
{
    (void)state;
    unsigned edges[2] = {0};
    uint8_t before = in(STATUS);
    for (uint64_t t = 0; t < SECOND; t += 4000, wait_ticks(4000)) {
        const uint8_t now = in(STATUS);
        assert_int_equal(now & ~9, 0);
        edges[0] += (now ^ before) & 1;
        edges[1] += (now ^ before) >> 3 & 1;
        assert_true((now & 9) != 8);
        before = now;
    }
    assert_in_range(edges[1], 138, 142); /* 70 Hz */
    assert_in_range(edges[0], 2 * 27000, 2 * 31469);
}

static void screen_off(void **state)
{
    (void)state;
    set(SEQUENCER, 1, 0x20);
    look();
    assert_true(view.text && !view.on);
    assert_int_equal(get(SEQUENCER, 1), 0x20);
    assert_int_equal(get(SEQUENCER, 6), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(starts_in_mode_3, setup),
        cmocka_unit_test_setup(cursor_and_start, setup),
        cmocka_unit_test_setup(geometry, setup),
        cmocka_unit_test_setup(protection, setup),
        cmocka_unit_test_setup(attribute_flip_flop, setup),
        cmocka_unit_test_setup(dac, setup),
        cmocka_unit_test_setup(windows, setup),
        cmocka_unit_test_setup(mono_and_colour_ports, setup),
        cmocka_unit_test_setup(retrace, setup),
        cmocka_unit_test_setup(screen_off, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
