// SPDX-License-Identifier: BSD-2-Clause
// Reports: any bytes inside a JSON string, and lines to a sink that may have no room.
// link: arch/report.c arch/format.c
#include "arch/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char got[600];
static bool room;
static unsigned whose;

static bool sink(unsigned of, const char *line, size_t length)
{
    whose = of;
    if (room && length < sizeof(got)) {
        memcpy(got, line, length);
        got[length] = '\0';
    }
    return room;
}

/* A guest's text cannot end the string, nor the line. */
static void strings(void **state)
{
    (void)state;
    char out[64];
    const size_t length = report_string(out, "a\"b\\c\n\x7f\xff ~", 10);
    assert_int_equal(length, strlen(out));
    assert_string_equal(out, "a\\u0022b\\u005cc\\u000a\\u007f\\u00ff ~");
    assert_int_equal(report_string(out, "x", 0), 0);
    assert_string_equal(out, "");
}

static void what_fits(void **state)
{
    (void)state;
    for (size_t size = 1; size < 100; size++) {
        char text[100], *out = malloc(size); /* exactly so much, for the sanitizer */
        memset(text, '\n', sizeof(text));
        assert_int_equal(report_string(out, text, report_string_fits(size)) / 6, (size - 1) / 6);
        free(out);
    }
}

static void lines(void **state)
{
    (void)state;
    assert_true(report_format("nobody listens\n"));
    report_set_sink(sink);
    assert_false(report_format("{\"a\": %u}\n", 1));
    room = true;
    assert_true(report_format("{\"a\": %u}\n", 2));
    assert_string_equal(got, "{\"a\": 2}\n");
    assert_true(report_line(3, "{}\n", 3));
    assert_int_equal(whose, 3);
    assert_string_equal(got, "{}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(what_fits),
        cmocka_unit_test(lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
