// SPDX-License-Identifier: BSD-2-Clause
// What a PC keyboard's scan codes type.
// link: drivers/host/keymap.c
#include "drivers/host/keymap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct keymap map;

/* The text that a sequence of codes types. */
static const char *type(const char *codes, size_t count)
{
    static char text[64];
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *s = keymap_decode(&map, (uint8_t)codes[i]);
        if (s != NULL)
            strcat(text, s);
    }
    return text;
}
#define TYPE(codes) type(codes, sizeof(codes) - 1)

static int renew(void **state)
{
    (void)state;
    map = (struct keymap){0};
    return 0;
}

static void test_letters_and_digits(void **state)
{
    (void)state;
    assert_string_equal(TYPE("\x1e\x9e\x30\xb0\x02\x82\x39\xb9\x1c"), "ab1 \r");
    assert_string_equal(TYPE("\x0e\x0f\x01\x2b\x29\x37\x35"), "\177\t\033\\`*/");
}

static void test_shift_and_caps(void **state)
{
    (void)state;
    assert_string_equal(TYPE("\x2a\x1e\x03\xaa\x1e"), "A@a");
    assert_string_equal(TYPE("\x36\x27\xb6\x27"), ":;");
    assert_string_equal(TYPE("\x3a\xba\x1e\x02\x2a\x1e\xaa"), "A1a");
    assert_string_equal(TYPE("\x3a\xba\x1e"), "a");
}

static void test_control(void **state)
{
    (void)state;
    assert_string_equal(TYPE("\x1d\x2e\x9d\x2e"), "\003c");
    assert_string_equal(TYPE("\xe0\x1d\x20\xe0\x9d\x20"), "\004d");
    assert_string_equal(TYPE("\x1d\x02\x9d"), "1");
}

static void test_extended(void **state)
{
    (void)state;
    assert_string_equal(TYPE("\xe0\x48\xe0\xc8\xe0\x4b"), "\033[A\033[D");
    assert_string_equal(TYPE("\xe0\x1c\xe0\x35"), "\r/");
    assert_string_equal(TYPE("\xe0\x2a\xe0\x53\xe0\xd3\xe0\xaa\x1e"), "\033[3~a"); /* framed */
    assert_string_equal(TYPE("\xe0\x5b"), "");                                     /* Windows */
    assert_string_equal(TYPE("\x3b\x3f\x44\x57\xe0\x52"),
                        "\033OP\033[15~\033[21~\033[23~\033[2~"); /* F1 F5 F10 F11 Ins */
    assert_string_equal(TYPE("\x38\x2d\xb8\x2d"), "\033xx");      /* Alt */
}

static void test_any_byte_is_harmless(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        const char *s = keymap_decode(&map, (uint8_t)(i * 40503u >> 5));
        assert_true(s == NULL || (strlen(s) >= 1 && strlen(s) <= KEYMAP_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_letters_and_digits, renew),
        cmocka_unit_test_setup(test_shift_and_caps, renew),
        cmocka_unit_test_setup(test_control, renew),
        cmocka_unit_test_setup(test_extended, renew),
        cmocka_unit_test_setup(test_any_byte_is_harmless, renew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
