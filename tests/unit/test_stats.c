// link: guest/vm/stats.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounts of a VM: each tick of its vCPUs is on one of them. */
#include "guest/vm/stats.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/report.h"
#include "guest/vm/engine.h"
#include "guest/vm/vcpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void sched_look(void)
{
}

enum { EVENTS = 3, COUNTERS = 2, BEGAN = 1000, ENDED = 11000 };

static char logged[4096], reported[8192];
static struct vm vm;
static struct vcpu vcpus[2];
static uint64_t now;

void log_line_of(unsigned of, const char *format, ...)
{
    va_list args;
    const size_t length = strlen(logged);
    (void)of;
    va_start(args, format);
    vsnprintf(logged + length, sizeof(logged) - length, format, args);
    va_end(args);
    strncat(logged, "\n", sizeof(logged) - strlen(logged) - 1);
}

bool report_line(unsigned of, const char *text, size_t length)
{
    (void)of;
    memcpy(reported, text, length);
    reported[length] = '\0';
    return true;
}

uint64_t cpu_rdtsc(void)
{
    return now;
}

static const char *event_name(unsigned event)
{
    return event == 0 ? "one" : event == 1 ? "two" : "three";
}

/* The second and the third are of one class. */
static enum event_class event_class(unsigned event)
{
    return event == 0 ? CLASS_IO : CLASS_PAGE_TABLES;
}

static const char *counter_name(unsigned counter)
{
    return counter == 0 ? "apples" : "pears";
}

static uint64_t counter(const struct vm *of, unsigned counter)
{
    return counter == 0 ? 3000000000 + of->vcpu_count : 0;
}

static void memory(const struct vm *v, struct engine_memory *out)
{
    (void)v;
    *out = (struct engine_memory){.table_pages = 0};
}

static const struct engine engine = {.name = "fake",
                                     .event_count = EVENTS,
                                     .event_name = event_name,
                                     .event_class = event_class,
                                     .counter_count = COUNTERS,
                                     .counter_name = counter_name,
                                     .counter = counter,
                                     .memory = memory};

/* A number of the report. */
static uint64_t number(const char *key)
{
    char quoted[40];
    snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = strstr(reported, quoted);
    if (at == NULL)
        fail_msg("no %s in %s", key, reported);
    return strtoull(at + strlen(quoted), NULL, 10);
}

static int set_up(void **state)
{
    (void)state;
    logged[0] = reported[0] = '\0';
    now = 0;
    memset(vcpus, 0, sizeof(vcpus));
    vm = (struct vm){.name = "test",
                     .engine = &engine,
                     .end = VM_POWEROFF,
                     .vcpu_count = 2,
                     .cpu_count = 1,
                     .tsc_first_entry = BEGAN,
                     .tsc_end = ENDED};
    for (unsigned i = 0; i < 2; i++) {
        vcpus[i].vm = &vm;
        vcpus[i].engine = &engine;
        vm.vcpu[i] = &vcpus[i];
        for (unsigned of = ACTIVITY_ACTIVE + 1; of < ACTIVITY_COUNT; of++)
            vcpus[i].tsc_waited[of] = 100 * of + i;
        vcpus[i].stats.count[0] = vcpus[i].stats.count[1] = 1;
        vcpus[i].stats.tsc_root[0] = 1000;
        vcpus[i].stats.tsc_root[1] = 10;
    }
    return 0;
}

static void each_tick_is_on_one_account(void **state)
{
    (void)state;
    stats_report(&vm);
    const uint64_t hlt = number("tsc_hlt"), io = number("tsc_wait_io"),
                   x87 = number("tsc_wait_x87"), sipi = number("tsc_wait_sipi"),
                   sleep = number("tsc_wait_sleep");
    assert_int_equal(hlt, 2 * 100 * ACTIVITY_HLT + 1);
    assert_int_equal(io, 2 * 100 * ACTIVITY_WAIT_FOR_IO + 1);
    assert_int_equal(x87, 2 * 100 * ACTIVITY_FROZEN + 1);
    assert_int_equal(sipi, 2 * 100 * ACTIVITY_WAIT_FOR_SIPI + 1);
    assert_int_equal(sleep, 2 * 100 * ACTIVITY_SLEEP + 1);
    assert_int_equal(number("tsc_idle"), hlt + io + x87 + sipi + sleep);
    assert_int_equal(number("tsc_root"), 2020);
    assert_int_equal(number("tsc_idle") + number("tsc_root") + number("tsc_guest_or_ready"),
                     2 * (ENDED - BEGAN));
}

static void one_that_runs(void **state)
{
    (void)state;
    vm.tsc_end = 0;
    now = 21000;
    stats_report(&vm);
    assert_int_equal(number("tsc_end"), 21000);
    assert_int_equal(number("tsc_idle") + number("tsc_root") + number("tsc_guest_or_ready"),
                     2 * (21000 - BEGAN));
}

static void what_people_read(void **state)
{
    (void)state;
    vcpus[0].tsc_waited[ACTIVITY_WAIT_FOR_SIPI] = vcpus[1].tsc_waited[ACTIVITY_WAIT_FOR_SIPI] = 0;
    vcpus[0].tsc_waited[ACTIVITY_HLT] = vcpus[1].tsc_waited[ACTIVITY_HLT] = 0;
    stats_print(&vm);
    assert_non_null(strstr(logged, "10000 ticks from first entry to end on 1 CPU: 20.20 % in root "
                                   "mode, 0.00 % waiting in HLT, "));
    assert_non_null(strstr(logged, "waiting for a device to take more"));
    assert_non_null(strstr(logged, "waiting at x87 errors"));
    assert_null(strstr(logged, "start-up IPI"));
}

static void classes_and_counters(void **state)
{
    (void)state;
    vcpus[0].stats.count[2] = 5;
    vcpus[1].stats.tsc_root[2] = 700;
    stats_report(&vm);
    assert_non_null(strstr(reported, "\"exits\": {\"one\": {\"count\": 2, \"tsc_root\": 2000}, "
                                     "\"two\": {\"count\": 2, \"tsc_root\": 20}, "
                                     "\"three\": {\"count\": 5, \"tsc_root\": 700}}, "));
    assert_non_null(strstr(reported, "\"classes\": {\"io\": {\"count\": 2, \"tsc_root\": 2000}, "
                                     "\"page_tables\": {\"count\": 7, \"tsc_root\": 720}}, "));
    assert_non_null(
        strstr(reported, "\"counters\": {\"apples\": 3000000002, \"pears\": 0}, \"switches"));
    stats_print(&vm);
    assert_non_null(strstr(logged, "      2000     1000  io\n"));
    assert_non_null(strstr(logged, "       700      140  page_tables\n"));
    assert_non_null(strstr(logged, "test: apples                             3000000002\n"));
    assert_null(strstr(logged, "pears"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_tick_is_on_one_account, set_up),
        cmocka_unit_test_setup(one_that_runs, set_up),
        cmocka_unit_test_setup(what_people_read, set_up),
        cmocka_unit_test_setup(classes_and_counters, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
