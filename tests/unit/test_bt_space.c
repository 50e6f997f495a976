// link: guest/bt/space.c guest/ring3/roots.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* When the CPU's timer is armed before guest code runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/fault.h"
#include "guest/bt/bt.h"

static struct cpu cpu;
static struct bt_vcpu v;
static uint64_t now, armed_for;
static unsigned armed, ended_by; /* ended_by: the vector by which code of CPL 3 is left */

uint64_t physmap_base;

uint64_t cpu_rdtsc(void)
{
    return now;
}

uint64_t cpu_read_cr3(void)
{
    return 0;
}

void cpu_write_cr3(uint64_t value)
{
    (void)value;
}

void cpu_invlpg(uint64_t linear)
{
    (void)linear;
}

struct cpu *cpu_self(void)
{
    return &cpu;
}

void lapic_eoi(void)
{
}

void lapic_timer_arm(uint64_t tsc_deadline)
{
    armed_for = tsc_deadline;
    armed++;
}

unsigned ring3_enter(struct ring3_frame *frame)
{
    (void)frame;
    return ended_by;
}

const char *shadow_check_exit(struct shadow_cpu *shadow, struct shadow_place *where)
{
    (void)shadow;
    (void)where;
    return NULL;
}

/* What the rest of space.c calls, which is not tested here. */
#define NEVER(name)                         \
    void never_##name(void) __asm__(#name); \
    void never_##name(void)                 \
    {                                       \
        fail();                             \
    }
NEVER(bt_check_create)
NEVER(bt_code_check)
NEVER(bt_code_check_one)
NEVER(bt_code_create)
NEVER(bt_code_give_up)
NEVER(bt_code_written)
NEVER(guestwalk_examine)
NEVER(guestwalk_look)
NEVER(guestwalk_top)
NEVER(interrupt_handle_rare)
NEVER(log_line_of)
NEVER(panic)
NEVER(shadow_cpu_create)
NEVER(shadow_cpu_destroy)
NEVER(shadow_create)
NEVER(shadow_destroy)
NEVER(shadow_drop_all)
NEVER(shadow_fill)
NEVER(shadow_invalidate)
NEVER(shadow_switch)
NEVER(shadow_version)
NEVER(vcpu_inject_page_fault)
NEVER(vcpu_kick_all)
NEVER(vm_arm_alarm)
NEVER(vm_lock_shared)
NEVER(vm_unlock_shared)

/* Runs a moment later, until something comes that is no interrupt, or the one named. */
static unsigned armings(unsigned vector)
{
    static struct shadow shadow;
    v.space.roots.shadow.shadow = &shadow;
    const unsigned before = armed;
    now += 100;
    ended_by = vector;
    assert_int_equal(bt_space_run(&v, SHADOW_KERNEL, &v.frame), vector);
    return armed - before;
}

static void test_armed_once(void **state)
{
    (void)state;
    v.vcpu.timers.next = TIMER_NEVER;
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 0);
    v.vcpu.timers.next = 1000000;
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 1);
    assert_int_equal(armed_for, 1000000);
    assert_int_equal(armings(VECTOR_PAGE_FAULT), 0);
    assert_int_equal(armings(VECTOR_WAKE), 0);
    v.vcpu.timers.next = 900000;
    assert_int_equal(armings(VECTOR_PAGE_FAULT), 1);
    assert_int_equal(armed_for, 900000);
}

/* One that counts may come before it is due: and whether that has ended the guest's run or has come
 * to the hypervisor, there is none any more. */
static void test_armed_anew(void **state)
{
    (void)state;
    v.vcpu.timers.next = now + 1000000;
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 1);
    assert_int_equal(armings(VECTOR_TIMER), 0);
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 1);
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 0);
    interrupt_handle(VECTOR_TIMER);
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 1);
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 0);
    now += 1u << 30; /* what counts has come to its end before a time that is far away */
    assert_int_equal(armings(VECTOR_GENERAL_PROTECTION), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_armed_once),
        cmocka_unit_test(test_armed_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
