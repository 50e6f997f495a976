/* SPDX-License-Identifier: BSD-2-Clause */
/* One or two CPUs of fake_host.h that run vCPUs: sched_run() on each, in turns. */
#pragma once

#include "arch/panic.h"
#include "guest/vm/sched.h"
#include "tests/unit/fake_host.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FOREVER 20000 /* sleeps: a test that is stuck ends */

static unsigned sleeps;
static void (*while_asleep)(void); /* what somebody else does meanwhile */

_Noreturn void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/*
 * Two CPUs are two threads, one of which runs: they take turns where a guest exits or a CPU sleeps,
 * so that each run of a test is the same.
 */

#define AWAKE 0

static struct {
    uint32_t count;   /* CPUs of this test */
    pthread_t thread; /* CPU 1 */
    sem_t turn[2];
    uint64_t sleeps_until[2];
    unsigned wakes_seen[2];
    bool finished;
} cpus = {.count = 1};

static void other_cpu(void)
{
    const uint32_t self = fake_host.self;
    if (cpus.count == 1 || cpus.finished)
        return;
    fake_host.self = 1 - self;
    sem_post(&cpus.turn[1 - self]);
    sem_wait(&cpus.turn[self]);
}

static bool is_woken(uint32_t cpu)
{
    return fake_host.wakes[cpu] != cpus.wakes_seen[cpu];
}

static void sleep_among_two(uint64_t deadline)
{
    const uint32_t self = fake_host.self, other = 1 - self;
    cpus.sleeps_until[self] = deadline;
    while (!is_woken(self) && fake_host.now < deadline) {
        const bool both = !cpus.finished && cpus.sleeps_until[other] != AWAKE && !is_woken(other);
        if (both) {
            const uint64_t next = sooner(deadline, cpus.sleeps_until[other]);
            assert_true(next != UINT64_MAX); /* or nothing would ever happen */
            fake_host.now = next > fake_host.now ? next : fake_host.now;
        }
        other_cpu();
    }
    cpus.wakes_seen[self] = fake_host.wakes[self];
    cpus.sleeps_until[self] = AWAKE;
}

static void idle(uint64_t deadline)
{
    assert_int_not_equal(++sleeps, FOREVER);
    if (cpus.count == 2) {
        sleep_among_two(deadline);
        return;
    }
    if (while_asleep != NULL)
        while_asleep();
    else
        assert_true(deadline != UINT64_MAX); /* or nothing would ever happen */
    if (deadline != UINT64_MAX && deadline > fake_host.now)
        fake_host.now = deadline;
}

static void *second_cpu(void *ctx)
{
    sem_wait(&cpus.turn[1]);
    sched_run();
    cpus.finished = true;
    fake_host.self = 0;
    sem_post(&cpus.turn[0]);
    return ctx;
}

/* Until sched_stop(). */
static void run_cpus(void)
{
    if (cpus.count == 1) {
        sched_run();
        return;
    }
    cpus.finished = false;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sem_init(&cpus.turn[i], 0, 0), 0);
        cpus.sleeps_until[i] = AWAKE;
        cpus.wakes_seen[i] = 0;
    }
    assert_int_equal(pthread_create(&cpus.thread, NULL, second_cpu, NULL), 0);
    sched_run();
    while (!cpus.finished)
        other_cpu();
    pthread_join(cpus.thread, NULL);
}
