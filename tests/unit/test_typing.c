// SPDX-License-Identifier: BSD-2-Clause
// What a terminal sends as keys, and that the way back gives the same.
// link: drivers/host/typing.c drivers/host/keymap.c
#include "drivers/host/keymap.h"
#include "drivers/host/typing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATIENCE 50

static struct typing typing;
static uint64_t now;
static char keys[400];

static int renew(void **state)
{
    (void)state;
    typing = (struct typing){0};
    return 0;
}

/* The keys that wait, in set 1: "2a 1e 9e aa". */
static const char *take(void)
{
    int key;
    size_t n = 0;
    keys[0] = '\0';
    while ((key = typing_next(&typing)) >= 0 && n + 8 < sizeof(keys))
        n += (size_t)sprintf(keys + n, "%s%s%02x", n ? " " : "", key & TYPED_EXTENDED ? "e0 " : "",
                             key & 0xff);
    return keys;
}

/* The keys of some bytes that come together. */
static const char *type(const char *text)
{
    static char all[400];
    all[0] = '\0';
    for (; *text != '\0'; text++) {
        typing_byte(&typing, (uint8_t)*text, now);
        typing_tick(&typing, now, PATIENCE);
        if (typing.count == 0)
            continue;
        if (all[0] != '\0')
            strcat(all, " ");
        strcat(all, take());
    }
    return all;
}

static void characters(void **state)
{
    (void)state;
    assert_string_equal(type("a1 \r"), "1e 9e 02 82 39 b9 1c 9c");
    assert_string_equal(type("A*"), "2a 1e 9e aa 2a 09 89 aa");
    assert_string_equal(type("\n\b\x7f\t"), "1c 9c 0e 8e 0e 8e 0f 8f");
    assert_string_equal(type("\x03\x1c"), "1d 2e ae 9d 1d 2b ab 9d");
    assert_string_equal(type("\x1f"), "2a 1d 0c 8c 9d aa");
    assert_string_equal(type("\xc3\xa9"), ""); /* no such key */
}

static void sequences(void **state)
{
    (void)state;
    assert_string_equal(type("\033[A\033[B\033OC\033OD"),
                        "e0 48 e0 c8 e0 50 e0 d0 e0 4d e0 cd e0 4b e0 cb");
    assert_string_equal(type("\033[H\033[4~\033[3~"), "e0 47 e0 c7 e0 4f e0 cf e0 53 e0 d3");
    assert_string_equal(type("\033OP\033[15~\033[24~\033[[E"), "3b bb 3f bf 58 d8 3f bf");
    assert_string_equal(type("\033[1;5C\033[Z"), "1d e0 4d e0 cd 9d 2a 0f 8f aa");
    assert_string_equal(type("\033[3;4~"), "2a 38 e0 53 e0 d3 b8 aa");
    assert_string_equal(type("\033x"), "38 2d ad b8");
    assert_string_equal(type("\033[999999999999999~\033[?25h\033[17;99999;5Rz"),
                        "38 1d 3d bd 9d b8 2c ac"); /* too large a modifier is cut */
    assert_string_equal(type("\033[2\rz"), "1c 9c 2c ac");
}

static void a_lone_escape(void **state)
{
    (void)state;
    assert_true(typing_is_idle(&typing));
    assert_string_equal(type("\033"), "");
    assert_false(typing_is_idle(&typing)); /* time will make a key of it */
    now += PATIENCE;
    typing_tick(&typing, now, PATIENCE);
    assert_string_equal(take(), "01 81");
    assert_string_equal(type("[A"), "1a 9a 2a 1e 9e aa");
    assert_string_equal(type("\033\033"), "01 81");
    now += PATIENCE;
    typing_tick(&typing, now, PATIENCE);
    assert_string_equal(take(), "01 81");
    assert_string_equal(type("\033["), "");
    now += PATIENCE;
    typing_tick(&typing, now, PATIENCE);
    assert_string_equal(take(), "");
    assert_string_equal(type("A"), "2a 1e 9e aa");
}

/* Whatever a PC's keyboard types comes out of the terminal as the same keys. */
static void there_and_back(void **state)
{
    (void)state;
    struct keymap map = {0};
    for (unsigned c = 1; c < 128; c++) {
        char back[64] = "";
        if (c == 0x1b || c == '\n' || c == '\b')
            continue; /* a sequence's beginning, and those for which Enter and Backspace stand */
        typing_byte(&typing, (uint8_t)c, now);
        int key;
        while ((key = typing_next(&typing)) >= 0) {
            const char *s = keymap_decode(&map, (uint8_t)key);
            if (s != NULL)
                strcat(back, s);
        }
        assert_string_equal(back, ((char[]){(char)c, 0}));
    }
}

static void any_bytes(void **state)
{
    (void)state;
    srand(4);
    for (unsigned i = 0; i < 200000; i++) {
        const uint8_t byte = rand() % 2 ? (uint8_t) "\033[O1;~A[2"[rand() % 9] : (uint8_t)rand();
        typing_byte(&typing, byte, now);
        assert_true(typing.count <= 8);
        int key;
        while ((key = typing_next(&typing)) >= 0)
            assert_in_range(key & 0x7f, 1, 0x58);
        now += (uint64_t)(rand() % 30);
        typing_tick(&typing, now, PATIENCE);
        while (typing_next(&typing) >= 0)
            ;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(characters, renew),    cmocka_unit_test_setup(sequences, renew),
        cmocka_unit_test_setup(a_lone_escape, renew), cmocka_unit_test_setup(there_and_back, renew),
        cmocka_unit_test_setup(any_bytes, renew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
