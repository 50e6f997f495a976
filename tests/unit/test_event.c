// link: guest/cpu/event.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Double and triple faults, against the SDM's table "Conditions for Generating a Double Fault". */
#include "guest/cpu/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DF_INFO (EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 8u)

static struct event exception(unsigned vector)
{
    return (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | vector,
                          .error = 0x18};
}

/* Classes by the SDM's table "Interrupt and Exception Classes". */
static int class_of(unsigned vector)
{
    switch (vector) {
    case 0:
    case 10:
    case 11:
    case 12:
    case 13:
    case 21: return 1;
    case 14:
    case 20: return 2;
    default: return 0;
    }
}

static void test_every_pair(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 32; first++) {
        for (unsigned second = 0; second < 32; second++) {
            const struct event before = exception(first);
            struct event e = exception(second);
            const bool alive = event_combine(&before, &e);
            if (first == 8) {
                assert_int_equal(alive, class_of(second) == 0);
                continue;
            }
            assert_true(alive);
            const bool twice = (class_of(first) == 1 && class_of(second) == 1) ||
                               (class_of(first) == 2 && class_of(second) != 0);
            assert_int_equal(e.info, twice ? DF_INFO : exception(second).info);
            assert_int_equal(e.error, twice ? 0 : 0x18);
        }
    }
}

/* Interrupts, NMIs and software events are no first exception; nor is none. */
static void test_other_events(void **state)
{
    (void)state;
    static const uint32_t types[] = {EVENT_INTERRUPT, EVENT_NMI, EVENT_SOFTWARE_INTERRUPT,
                                     EVENT_PRIVILEGED_SOFTWARE, EVENT_SOFTWARE_EXCEPTION};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const struct event before = {.info = EVENT_VALID | types[i] | 14};
        struct event e = exception(13);
        assert_true(event_combine(&before, &e));
        assert_int_equal(e.info, exception(13).info);
    }
    const struct event none = {0};
    struct event e = exception(13);
    assert_true(event_combine(&none, &e));
    assert_int_equal(e.info, exception(13).info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_other_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
