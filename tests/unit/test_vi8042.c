// link: drivers/virt/vi8042.c drivers/virt/vps2kbd.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the keyboard controller and its keyboard. */
#include "drivers/virt/vi8042.h"

#include "tests/unit/device_test.h"

#include <stdio.h>

enum { DATA = 0x60, CMD = 0x64, PORT_A = 0x92, KEYBOARD = 1, MOUSE = 12 };

static struct vi8042 kbc;

static bool gate_on;

static void gate_set(void *vm, bool on)
{
    (void)vm;
    gate_on = on;
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vi8042_init(&kbc, &bus, &timers, pin_line(KEYBOARD), pin_line(MOUSE),
                                 power_recorder(), (struct a20_line){gate_set, NULL}),
                     OK);
    return 0;
}

static uint8_t ask(uint8_t command)
{
    out(CMD, command);
    assert_int_equal(in(CMD)&1, 1);
    return in(DATA);
}

static void tests_pass(void **state)
{
    (void)state;
    assert_int_equal(in(CMD), 0x14);
    assert_int_equal(ask(0xaa), 0x55);
    assert_int_equal(ask(0xab), 0x00);
    assert_int_equal(ask(0xa9), 0x00);
    assert_int_equal(ask(0xc0), 0x80);
    assert_int_equal(in(CMD)&1, 0);
}

static void configuration_byte(void **state)
{
    (void)state;
    out(CMD, 0x60);
    assert_int_equal(in(CMD)&8, 8);
    out(DATA, 0x45);
    assert_int_equal(in(CMD)&8, 0);
    assert_int_equal(ask(0x20), 0x45);
    out(CMD, 0xad);
    out(CMD, 0xa7);
    assert_int_equal(ask(0x20), 0x75);
    out(CMD, 0xae);
    out(CMD, 0xa8);
    assert_int_equal(ask(0x20), 0x45);
    out(CMD, 0x7f);
    out(DATA, 0xa5);
    assert_int_equal(ask(0x3f), 0xa5);
    assert_int_equal(ask(0x20), 0x45);
}

/* All that can be read within a second, against bytes in hexadecimal. */
static void expect(const char *bytes)
{
    char got[200] = "";
    size_t n = 0;
    for (unsigned i = 0; i < 1000; i++, wait_ticks(SECOND / 1000))
        while ((in(CMD)&1) && n + 4 < sizeof(got))
            n += (size_t)sprintf(got + n, "%s%02x", n ? " " : "", in(DATA));
    assert_string_equal(got, bytes);
}

static void keyboard(uint8_t byte, const char *answer)
{
    out(DATA, byte);
    expect(answer);
}

static void set_config(uint8_t value)
{
    out(CMD, 0x60);
    out(DATA, value);
}

static void keyboard_commands(void **state)
{
    (void)state;
    set_config(0x05); /* no translation */
    keyboard(0xff, "fa aa");
    keyboard(0xee, "ee");
    keyboard(0xfe, "ee");
    keyboard(0xf2, "fa ab 83");
    keyboard(0xfe, "83");
    keyboard(0xed, "fa");
    keyboard(0x05, "fa");
    assert_int_equal(kbc.kbd.leds, 5);
    keyboard(0xf3, "fa");
    keyboard(0x2b, "fa");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 02");
    keyboard(0xf0, "fa");
    keyboard(0x01, "fa");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 01");
    keyboard(0xf0, "fa");
    keyboard(0x03, "fa");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 03");
    keyboard(0xf0, "fa");
    keyboard(0x04, "fe"); /* there is none */
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 03");
    keyboard(0xed, "fa");
    keyboard(0xf4, "fa"); /* a command instead of the argument */
    assert_int_equal(kbc.kbd.leds, 5);
    keyboard(0xf6, "fa");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 02");
    keyboard(0xfa, "fa");
    keyboard(0xef, "fe");
    keyboard(0x12, "fe");
    set_config(0x45); /* translated, as Linux knows it */
    keyboard(0xf2, "fa ab 41");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 41");
}

static void press(unsigned key)
{
    assert_true(vi8042_key(&kbc, key));
    assert_true(vi8042_key(&kbc, key | KEY_RELEASED));
}

static void scan_codes(void **state)
{
    (void)state;
    press(0x1e); /* A */
    press(0x48 | KEY_EXTENDED);
    press(0x41); /* F7 */
    expect("1e 9e e0 48 e0 c8 41 c1");
    set_config(0x05);
    press(0x1e);
    press(0x48 | KEY_EXTENDED);
    press(0x41);
    press(0x58); /* F12 */
    expect("1c f0 1c e0 75 e0 f0 75 83 f0 83 07 f0 07");
    keyboard(0xf0, "fa");
    keyboard(0x01, "fa");
    press(0x1e);
    press(0x48 | KEY_EXTENDED);
    expect("1e 9e e0 48 e0 c8");
}

static void scan_code_set_3(void **state)
{
    (void)state;
    set_config(0x05);
    keyboard(0xf0, "fa");
    keyboard(0x03, "fa");
    press(0x1e); /* A: nothing at its release */
    press(0x2a); /* the left Shift */
    press(0x1d | KEY_EXTENDED);
    press(0x48 | KEY_EXTENDED); /* Up */
    press(0x48);                /* 8 of the number pad */
    press(0x41);                /* F7 */
    press(0x4a);                /* - of the number pad */
    press(0x5b | KEY_EXTENDED); /* beyond 0x7f, too */
    press(0x2a | KEY_EXTENDED); /* no key of set 3 */
    expect("1c 12 f0 12 58 63 75 37 84 8b");
    keyboard(0xf8, "fa"); /* all tell their release, then none, then all again */
    press(0x1e);
    press(0x5b | KEY_EXTENDED);
    expect("1c f0 1c 8b f0 8b");
    keyboard(0xf9, "fa");
    press(0x2a);
    expect("12");
    keyboard(0xfa, "fa");
    press(0x2a);
    expect("12 f0 12");
    keyboard(0xf7, "fa");
    press(0x2a);
    expect("12");
    keyboard(0xfc, "fa"); /* single ones */
    keyboard(0x1c, "fa");
    keyboard(0x8b, "fa");
    keyboard(0x90, "fe"); /* no key of set 3 ends it */
    keyboard(0x32, "fe");
    press(0x1e);
    press(0x5b | KEY_EXTENDED);
    press(0x30); /* B */
    expect("1c f0 1c 8b f0 8b 32");
    keyboard(0xfd, "fa");
    keyboard(0x1c, "fa");
    keyboard(0xfb, "fa");
    keyboard(0x8b, "fa");
    press(0x1e);
    press(0x5b | KEY_EXTENDED);
    expect("1c 8b");
    keyboard(0xf0, "fa"); /* they are set 3's alone, and stay */
    keyboard(0x02, "fa");
    press(0x1e);
    expect("1c f0 1c");
    keyboard(0xf6, "fa"); /* but for this: set 2 and its defaults */
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 02");
    keyboard(0xf0, "fa");
    keyboard(0x03, "fa");
    press(0x1e);
    press(0x3a); /* Caps Lock */
    expect("1c 14 f0 14");
    set_config(0x45); /* the 8042 takes all for set 2 */
    press(0x1e);
    press(0x2a);
    expect("1e 2a aa");
    keyboard(0xf0, "fa");
    keyboard(0x00, "fa 3f");
}

/* Each key but one has a code of its own in set 3. */
static void set_3_is_whole(void **state)
{
    (void)state;
    uint8_t seen[256] = {0};
    unsigned keys = 0;
    set_config(0x05);
    keyboard(0xf0, "fa");
    keyboard(0x03, "fa");
    for (unsigned key = 1; key <= (KEY_EXTENDED | 0x5d); key++) {
        if ((key & KEY_RELEASED) != 0)
            continue;
        assert_true(vi8042_key(&kbc, key));
        while ((in(0x64) & 1) != 0) {
            const uint8_t code = in(0x60);
            assert_true(code != 0 && code < 0x90);
            seen[code]++;
            keys++;
            wait_ticks(SECOND / 100);
        }
    }
    assert_int_equal(keys, 87 + 19);
    for (unsigned i = 0; i < 256; i++) /* Print Screen is two keys of set 1 */
        assert_true(seen[i] <= (i == 0x57 ? 2 : 1));
}

/* Each key of set 1 comes out as itself, whatever it was on the wire. */
static void translation_is_whole(void **state)
{
    (void)state;
    for (unsigned code = 1; code < 0x59; code++) {
        char want[8];
        if (code == 0x55) /* no key */
            continue;
        snprintf(want, sizeof(want), "%02x %02x", code, code | 0x80);
        press(code);
        expect(want);
    }
}

static void key_interrupts(void **state)
{
    (void)state;
    press(0x1e);
    assert_int_equal(pin_rises[KEYBOARD], 1);
    assert_int_equal(in(DATA), 0x1e);
    assert_false(pin_high[KEYBOARD]);
    assert_int_equal(in(CMD)&1, 0);
    assert_int_equal(in(DATA), 0x1e); /* the handler before this one reads it again */
    wait_ticks(SECOND / 1000);
    assert_int_equal(pin_rises[KEYBOARD], 2);
    assert_int_equal(ask(0x20), 0x45); /* an answer comes before a key, which is not lost */
    expect("9e");
    out(CMD, 0xad);
    press(0x1e);
    expect("");
    out(CMD, 0xae);
    expect("1e 9e");
    set_config(0x44);
    const unsigned rises = pin_rises[KEYBOARD];
    press(0x1e);
    expect("1e 9e");
    assert_int_equal(pin_rises[KEYBOARD], rises);
}

static void nothing_is_lost(void **state)
{
    (void)state;
    unsigned taken = 0, seen = 0;
    while (vi8042_key(&kbc, 0x1e))
        taken++;
    assert_true(taken >= 60);
    for (unsigned i = 0; i < 200; i++, wait_ticks(SECOND / 1000))
        seen += (in(CMD)&1) && in(DATA) == 0x1e;
    assert_int_equal(seen, taken);
    keyboard(0xf5, "fa");
    assert_false(vi8042_key(&kbc, 0x1e)); /* scanning is off: keys wait outside */
    keyboard(0xf4, "fa");
    press(0x1e);
    expect("1e 9e");
}

static void absent_mouse_times_out_at_once(void **state)
{
    (void)state;
    set_config(0x02); /* mouse interrupt only */
    out(CMD, 0xd4);
    out(DATA, 0xf2);
    assert_int_equal(in(CMD)&0x61, 0x61);
    assert_true(pin_high[MOUSE]);
    assert_false(pin_high[KEYBOARD]);
    (void)in(DATA);
    assert_int_equal(in(CMD)&0x61, 0);
    out(CMD, 0xd3); /* loop through the mouse's buffer, as drivers probe for it */
    out(DATA, 0x5a);
    assert_int_equal(in(CMD)&0x61, 0x21);
    assert_int_equal(in(DATA), 0x5a);
}

static void a20_gate(void **state)
{
    (void)state;
    assert_int_equal(in(PORT_A), 2);
    assert_true(gate_on);
    out(CMD, 0xd1);
    out(DATA, 0xdd);
    assert_int_equal(in(PORT_A), 0);
    assert_int_equal(ask(0xd0) & 3, 1);
    assert_false(gate_on);
    out(PORT_A, 2);
    assert_int_equal(ask(0xd0) & 3, 3);
    assert_true(gate_on);
    out(PORT_A, 0);
    assert_false(gate_on);
    out(CMD, 0xd1);
    out(DATA, 0xdf);
    assert_true(gate_on);
    out(CMD, 0xdd);
    assert_int_equal(in(PORT_A), 0);
    assert_false(gate_on);
    out(CMD, 0xdf);
    assert_int_equal(in(PORT_A), 2);
    assert_true(gate_on);
    assert_int_equal(power_end, VM_RUNS);
}

static void resets(void **state)
{
    (void)state;
    out(CMD, 0xff); /* pulses nothing */
    assert_int_equal(power_end, VM_RUNS);
    out(CMD, 0xfe);
    assert_int_equal(power_end, VM_RESET);
    power_end = VM_RUNS;
    out(CMD, 0xd1);
    out(DATA, 0x02);
    assert_int_equal(power_end, VM_RESET);
    power_end = VM_RUNS;
    out(PORT_A, 3);
    assert_int_equal(power_end, VM_RESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(tests_pass, setup),
        cmocka_unit_test_setup(configuration_byte, setup),
        cmocka_unit_test_setup(keyboard_commands, setup),
        cmocka_unit_test_setup(scan_codes, setup),
        cmocka_unit_test_setup(scan_code_set_3, setup),
        cmocka_unit_test_setup(set_3_is_whole, setup),
        cmocka_unit_test_setup(translation_is_whole, setup),
        cmocka_unit_test_setup(key_interrupts, setup),
        cmocka_unit_test_setup(nothing_is_lost, setup),
        cmocka_unit_test_setup(absent_mouse_times_out_at_once, setup),
        cmocka_unit_test_setup(a20_gate, setup),
        cmocka_unit_test_setup(resets, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
