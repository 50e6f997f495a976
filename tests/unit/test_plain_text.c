// SPDX-License-Identifier: BSD-2-Clause
// What is left of a guest's text where others print, too.
// link: guest/monitor/plain_text.c
#include "guest/monitor/plain_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void makes(const char *from, const char *expected)
{
    struct plain_text text = {0};
    char out[200];
    size_t n = 0;
    for (; *from != '\0'; from++) {
        const unsigned more = plain_text_byte(&text, (uint8_t)*from, out + n);
        assert_in_range(more, 0, PLAIN_TEXT_MAX);
        n += more;
    }
    out[n] = '\0';
    assert_string_equal(out, expected);
}

static void plain(void **state)
{
    (void)state;
    makes("a\tb ~", "a\tb ~");
    makes("a\bb\x7f\rc\x07\x0b\x0c\x0e\x01", "abc");
}

static void sequences(void **state)
{
    (void)state;
    makes("[\033[0;32m  OK  \033[0m]", "[  OK  ]");
    makes("\033[2J\033[1;1Hnadir: x", "nadir: x");
    makes("\033[?25h\033[1A\033[2Ka", "a");
    makes("\033]0;title\007a\033]0;title\033\\b", "ab");
    makes("\033Pq#0\033\\a\0338\033cb\033(Bc", "abc");
    makes("\033Xstring\033\\a\033^string\033\\b\033_string\007c", "abc");
    makes("\033 Fa", "a"); /* an intermediate byte, and the final one */
    makes("\033[12\033[mA", "A");
    makes("\033", "");
    makes("\033[", "");
}

static void utf_8(void **state)
{
    (void)state;
    makes("\xc3\xa4 \xe2\x94\x80 \xf0\x9f\x98\x80 \xc2\xa0",
          "\xc3\xa4 \xe2\x94\x80 \xf0\x9f\x98\x80 \xc2\xa0");
    makes("\xc2\x9b"
          "2Ja",
          "?2Ja"); /* CSI as one character */
    makes("\x9b"
          "2Ja",
          "?2Ja"); /* and as a byte */
    makes("\xc0\x9b\xc1\xbf", "????");
    makes("\xe0\x82\x9b\xed\xa0\x80\xf0\x82\x82\x9b\xf4\x90\x80\x80\xf5", "?????");
    makes("\xe2\x94"
          "a\xe2\xc3\xa4\xff",
          "?a?\xc3\xa4?");
    makes("\xe2\033[0m\x94\x80", "\xe2\x94\x80");
    /* The first and the last of a length, and a lead byte where another should follow. */
    makes("\xe0\xa0\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
          "\xe0\xa0\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    makes("\xe2\x94\xc0", "??");
}

/* Nothing that is incomplete lasts beyond a line. */
static void line_ends(void **state)
{
    (void)state;
    struct plain_text text = {0};
    char out[PLAIN_TEXT_MAX];
    assert_int_equal(plain_text_byte(&text, 0x1b, out), 0);
    assert_int_equal(plain_text_byte(&text, ']', out), 0);
    plain_text_end(&text);
    assert_int_equal(plain_text_byte(&text, 'a', out), 1);
    assert_int_equal(plain_text_byte(&text, 0xe2, out), 0);
    plain_text_end(&text);
    assert_int_equal(plain_text_byte(&text, 'a', out), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(sequences),
        cmocka_unit_test(utf_8),
        cmocka_unit_test(line_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
