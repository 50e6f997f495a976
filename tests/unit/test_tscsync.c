// SPDX-License-Identifier: BSD-2-Clause
// Counters that are together, apart, and cannot be moved: what both CPUs conclude.
// link: arch/tscsync.c
// libs: -lpthread
#include "arch/cpu.h"
#include "arch/tscsync.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t time_passed, adjust; /* the follower's MSR, which moves its counter */
static __thread bool is_follower;
static uint64_t follower_offset;
static bool can_adjust, follower_says;
static struct tsc_sync sync_state;

uint64_t cpu_rdtsc(void)
{
    const uint64_t now = __atomic_add_fetch(&time_passed, 10, __ATOMIC_SEQ_CST);
    return is_follower ? now + follower_offset + adjust : now;
}

uint64_t cpu_rdmsr(uint32_t msr)
{
    assert_true(is_follower && msr == MSR_IA32_TSC_ADJUST);
    return adjust;
}

void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    assert_true(is_follower && can_adjust && msr == MSR_IA32_TSC_ADJUST);
    adjust = value;
}

static void *follow(void *unused)
{
    is_follower = true;
    follower_says = tsc_sync_run(&sync_state, TSC_FOLLOWER, can_adjust);
    return unused;
}

static bool meet(uint64_t offset, bool adjustable)
{
    pthread_t other;
    time_passed = 1ull << 40;
    adjust = 77; /* firmware's */
    follower_offset = offset - adjust;
    can_adjust = adjustable;
    sync_state = (struct tsc_sync){.rounds = 50};
    assert_int_equal(pthread_create(&other, NULL, follow, NULL), 0);
    const bool leader_says = tsc_sync_run(&sync_state, TSC_LEADER, false);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(leader_says, follower_says);
    return leader_says;
}

static void together(void **state)
{
    (void)state;
    assert_true(meet(0, true));
    assert_int_equal(adjust, 77); /* left alone */
    assert_true(meet(0, false));
}

/* All of it is seen, but for what passes between two readings. */
static void apart(void **state)
{
    const int64_t offsets[] = {123456789, -123456789, 1ll << 35, -(1ll << 35)};
    (void)state;
    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_true(meet((uint64_t)offsets[i], true));
        const int64_t left = offsets[i] + (int64_t)adjust - 77;
        assert_in_range(left + 10, 0, 20);
        assert_false(meet((uint64_t)offsets[i], false));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(together), cmocka_unit_test(apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
