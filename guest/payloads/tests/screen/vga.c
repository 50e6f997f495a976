/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a VGA in text mode, and its memory. */
#include "screen.h"

#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

enum { ATTRIBUTE = 0x3c0, MISC_WRITE = 0x3c2, SEQUENCER = 0x3c4, DAC_READ = 0x3c7, DAC_WRITE, DAC };
enum { MISC_READ = 0x3cc, GRAPHICS = 0x3ce, CRTC = 0x3d4, STATUS = 0x3da, MONO_CRTC = 0x3b4 };
enum { PATIENCE = 200000000 }; /* ticks: more than a frame of 1/70 s on any CPU */

static const char CRTC_RULE[] = "VGA, CRT controller", ATTRIBUTE_RULE[] = "VGA, attributes";

static uint8_t get(uint16_t port, uint8_t index)
{
    port_out8(port, index);
    return port_in8((uint16_t)(port + 1));
}

static void set(uint16_t port, uint8_t index, uint8_t value)
{
    port_out8(port, index);
    port_out8((uint16_t)(port + 1), value);
}

static void set_attribute(uint8_t index, uint8_t value)
{
    (void)port_in8(STATUS); /* an index is next */
    port_out8(ATTRIBUTE, index);
    port_out8(ATTRIBUTE, value);
}

static uint8_t get_attribute(uint8_t index)
{
    (void)port_in8(STATUS);
    port_out8(ATTRIBUTE, index);
    return port_in8(ATTRIBUTE + 1);
}

static void set_mode_3(void)
{
    static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,
                                   0x4f, 0x0d, 0x0e, 0,    0,    0,    0,    0x9c, 0x8e,
                                   0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t sequencer[] = {3, 0, 3, 0, 2};
    static const uint8_t graphics[] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff};
    static const uint8_t attribute[] = {0,    1,    2,    3,    4,    5,    0x14,
                                        7,    0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
                                        0x3e, 0x3f, 0x0c, 0,    0x0f, 8,    0};
    port_out8(MISC_WRITE, 0x67);
    for (uint8_t i = 0; i < sizeof(sequencer); i++)
        set(SEQUENCER, i, sequencer[i]);
    set(CRTC, 17, 0x0e);
    for (uint8_t i = 0; i < sizeof(crtc); i++)
        set(CRTC, i, crtc[i]);
    for (uint8_t i = 0; i < sizeof(graphics); i++)
        set(GRAPHICS, i, graphics[i]);
    for (uint8_t i = 0; i < sizeof(attribute); i++)
        set_attribute(i, attribute[i]);
    port_out8(ATTRIBUTE, 0x20); /* the screen is on */
}

static void check_crtc(void)
{
    test_equal(get(CRTC, 1), 0x4f, "the last column of 80", CRTC_RULE);
    test_equal(get(CRTC, 9), 0x4f, "16 lines a character", CRTC_RULE);
    set(CRTC, 1, 0x27);
    test_equal(get(CRTC, 1), 0x4f, "registers 0 to 7 are protected", CRTC_RULE);
    set(CRTC, 7, 0);
    test_equal(get(CRTC, 7), 0x0f, "but for bit 8 of the line compare", CRTC_RULE);
    set(CRTC, 7, 0x10);
    set(CRTC, 17, 0x0e);
    set(CRTC, 1, 0x27);
    test_equal(get(CRTC, 1), 0x27, "and are not without the bit", CRTC_RULE);
    set(CRTC, 1, 0x4f);
    set(CRTC, 17, 0x8e);
    port_out16(CRTC, 0x120e);
    port_out16(CRTC, 0x340f);
    test_equal(get(CRTC, 14), 0x12, "index and data in one OUT", CRTC_RULE);
    test_equal(get(CRTC, 15), 0x34, "cursor address, low", CRTC_RULE);
    test_equal(port_in8(CRTC), 15, "the index reads back", CRTC_RULE);
}

static void check_attributes(void)
{
    test_equal(get_attribute(0x16 & 0x10), 0x0c, "mode control", ATTRIBUTE_RULE);
    set_attribute(0x05, 0x2d);
    test_equal(get_attribute(0x05), 0x2d, "the palette while its address is the CPU's",
               ATTRIBUTE_RULE);
    set_attribute(0x05, 0x05);
    set_attribute(0x30, 0x04);
    test_equal(get_attribute(0x30), 0x04, "blinking off", ATTRIBUTE_RULE);
    set_attribute(0x30, 0x0c);
    test_equal(port_in8(ATTRIBUTE), 0x30, "the index with the palette's address source",
               ATTRIBUTE_RULE);
}

static void check_dac(void)
{
    static const char RULE[] = "VGA, DAC";
    port_out8(DAC_WRITE, 0x40);
    for (uint8_t i = 0; i < 6; i++)
        port_out8(DAC, (uint8_t)(10 + i));
    port_out8(DAC_READ, 0x40);
    bool same = true;
    for (uint8_t i = 0; i < 6; i++)
        same = port_in8(DAC) == 10 + i && same;
    test_check(same, "two entries, one after the other", RULE);
    test_equal(port_in8(DAC_READ) & 3, 3, "its state: reading", RULE);
    port_out8(DAC_WRITE, 0x40);
    test_equal(port_in8(DAC_READ) & 3, 0, "its state: writing", RULE);
}

static void check_memory(void)
{
    static const char RULE[] = "VGA, display memory";
    volatile uint16_t *text = (volatile uint16_t *)0xb8000;
    volatile uint8_t *font = (volatile uint8_t *)0xa0000 + 'A' * 32;
    text[0] = 0x1741;
    text[0x3fff] = 0x2f5a;
    test_check(text[0] == 0x1741 && text[0x3fff] == 0x2f5a, "32 KiB of text", RULE);

    set(SEQUENCER, 2, 4); /* plane 2, in its own order, at 0xa0000 */
    set(SEQUENCER, 4, 6);
    set(GRAPHICS, 4, 2);
    set(GRAPHICS, 5, 0);
    set(GRAPHICS, 6, 4);
    const uint8_t before = font[3];
    font[3] = 0x5a;
    test_equal(font[3], 0x5a, "a font is loaded and read back", RULE);
    font[3] = before;
    set(SEQUENCER, 2, 3);
    set(SEQUENCER, 4, 2);
    set(GRAPHICS, 4, 0);
    set(GRAPHICS, 5, 0x10);
    set(GRAPHICS, 6, 0x0e);
    test_check(text[0] == 0x1741 && text[0x3fff] == 0x2f5a, "and the text has not changed", RULE);
}

static bool see(uint8_t mask, uint8_t value)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < PATIENCE;)
        if ((port_in8(STATUS) & mask) == value)
            return true;
    return false;
}

static void check_status(void)
{
    static const char RULE[] = "VGA, input status 1";
    test_check(see(8, 0) && see(8, 8) && see(8, 0), "vertical retrace comes and goes", RULE);
    test_check(see(1, 0) && see(1, 1) && see(1, 0), "display enable comes and goes", RULE);
    test_equal(port_in8(MISC_READ), 0x67, "miscellaneous output reads back", RULE);
    port_out8(MISC_WRITE, 0x66);
    port_out8(MONO_CRTC, 15);
    test_equal(port_in8(MONO_CRTC + 1), 0x34, "the CRTC moves to 0x3b4 in monochrome", RULE);
    port_out8(MISC_WRITE, 0x67);
}

void check_vga(void)
{
    set_mode_3();
    check_crtc();
    check_attributes();
    check_dac();
    check_memory();
    check_status();
}
