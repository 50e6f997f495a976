// SPDX-License-Identifier: BSD-2-Clause
// The log: whose a line is, and what a sink that comes late gets of what was said before.
// link: arch/log.c arch/format.c
#include "arch/log.h"
#include "arch/panic.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char got[3][65536];
static unsigned whose[3];

bool panic_is_active(void)
{
    return false;
}

static void take(unsigned sink, unsigned of, const char *text, size_t length)
{
    const size_t n = strlen(got[sink]);
    assert_true(n + length < sizeof(got[sink]) && length > 0);
    memcpy(got[sink] + n, text, length);
    whose[sink] = of;
}

static void first(unsigned of, const char *text, size_t length)
{
    take(0, of, text, length);
}

static void second(unsigned of, const char *text, size_t length)
{
    take(1, of, text, length);
}

static void third(unsigned of, const char *text, size_t length)
{
    take(2, of, text, length);
}

/* The second comes while all is kept still, the third when the oldest lines are not. */
static void late_sinks(void **state)
{
    (void)state;
    char note[80];
    log_line("before %u", 1);
    log_text_of(log_of_vm(3), "a part, ");
    log_line_of(log_of_vm(3), "its end");
    log_add_sink(first);
    assert_string_equal(got[0], "nadir: before 1\na part, nadir: its end\n");
    log_line_of(log_of_vm(3), "of a VM");
    assert_int_equal(whose[0], 4);
    log_line("of Nadir");
    assert_int_equal(whose[0], LOG_OF_NADIR);
    log_add_sink(second);
    assert_string_equal(got[1], got[0]);
    for (unsigned i = 0; i < 2000; i++)
        log_line("line %u", i);
    assert_string_equal(got[1], got[0]);
    log_add_sink(third);
    const char *rest = strchr(got[2], '\n') + 1;
    const size_t lost = strlen(got[0]) - strlen(rest);
    assert_in_range(strlen(rest), 16384 - 100, 16384);
    assert_string_equal(rest, got[0] + lost);
    assert_int_equal(got[0][lost - 1], '\n'); /* whole lines */
    snprintf(note, sizeof(note), "nadir: %zu bytes of the log are lost here\n", lost);
    assert_int_equal(strncmp(got[2], note, strlen(note)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(late_sinks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
