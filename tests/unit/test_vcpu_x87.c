// link: guest/vm/vcpu_x87.c drivers/virt/vferr.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* x87 errors with CR0.NE = 0, on the x87 unit of the machine that runs the test. */
#include "drivers/virt/vferr.h"
#include "guest/vm/vcpu.h"

#include "arch/cpu.h"
#include "tests/unit/device_test.h"

#define DIVISION 0x37b /* control word: division by zero is not masked */

static struct vm vm;
static struct vcpu vcpu;
static struct vferr ferr;
static bool can_watch, watched;

static bool watch(struct vcpu *which, bool on)
{
    assert_ptr_equal(which, &vcpu);
    watched = on && can_watch;
    return can_watch;
}

static const struct engine engine = {.watch = watch};

void vm_arm_alarm(struct vm *which)
{
    (void)which;
    fail();
}

void vm_lock_shared(struct vm *which)
{
    (void)which;
    fail();
}

void vm_unlock_shared(struct vm *which)
{
    (void)which;
    fail();
}

/* The engine: a step is over. */
static void step_over(void)
{
    assert_true(watched);
    assert_true(vcpu.x87.asserted);
    vcpu_x87_stepped(&vcpu);
}

static void divide_by_zero(void)
{
    cpu_fldcw(DIVISION);
    __asm__ volatile("fld1; fldz; fdivrp; fnstsw %%ax" : : : "ax");
    assert_int_equal(cpu_fnstsw() & 0x84, 0x84);
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    vm = (struct vm){.vcpu_count = 1, .engine = &engine, .ferr = {vferr_set, &ferr}};
    vm.timers.next = vm.alarm_armed = TIMER_NEVER;
    vcpu = (struct vcpu){.vm = &vm, .engine = &engine};
    can_watch = true;
    watched = false;
    assert_int_equal(vferr_init(&ferr, &bus, pin_line(13)), OK);
    __asm__ volatile("fninit");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    __asm__ volatile("fninit");
    return 0;
}

static void error_freezes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        const bool open = i & 1, nmi = i & 2;
        setup(NULL);
        divide_by_zero();
        assert_int_equal(vcpu_x87_error(&vcpu, open, nmi), EXIT_SAME);
        assert_int_equal(vcpu.activity, ACTIVITY_FROZEN);
        assert_int_equal(vcpu.halted_open, open);
        assert_int_equal(vcpu.halted_nmi, nmi);
        assert_true(vcpu.attention && pin_high[13]);
        assert_int_equal(cpu_fnstcw(), DIVISION); /* nothing of it is changed */
        assert_int_equal(cpu_fnstsw() & 0x80, 0x80);
    }
}

static void cleared_error_ends_it(void **state)
{
    (void)state;
    divide_by_zero();
    (void)vcpu_x87_error(&vcpu, true, true);
    step_over(); /* of the handler's instructions */
    step_over();
    assert_true(watched);
    out(0xf0, 0);
    step_over();
    __asm__ volatile("fnclex");
    step_over();
    assert_false(watched || vcpu.x87.asserted || ferr.asserted || ferr.ignored);
    vcpu.activity = ACTIVITY_ACTIVE;
    divide_by_zero();
    (void)vcpu_x87_error(&vcpu, true, true);
    assert_int_equal(vcpu.activity, ACTIVITY_FROZEN);
    assert_int_equal(pin_rises[13], 2);
}

static void ignored_error_lets_one_pass(void **state)
{
    (void)state;
    divide_by_zero();
    (void)vcpu_x87_error(&vcpu, true, true);
    step_over();
    out(0xf0, 0);
    vcpu.activity = ACTIVITY_ACTIVE;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(vcpu_x87_error(&vcpu, true, true), EXIT_SAME);
        assert_int_equal(vcpu.activity, ACTIVITY_ACTIVE);
        __asm__ volatile("fwait; fnop; fld1; fstp %st(0)"); /* none of them faults */
        step_over();
        assert_int_equal(cpu_fnstcw(), DIVISION);
        assert_int_equal(cpu_fnstsw() & 0x84, 0x84);
    }
    /* One that loads a control word of its own keeps it, and if it differs in the masks alone. */
    static const uint16_t words[] = {0x360, 0x37b, 0x37f};
    for (unsigned i = 0; i < 3; i++) {
        __asm__ volatile("fninit");
        divide_by_zero();
        (void)vcpu_x87_error(&vcpu, true, true);
        cpu_fldcw(words[i]);
        const bool open = words[i] != 0x37f;
        vcpu_x87_stepped(&vcpu);
        assert_int_equal(cpu_fnstcw(), words[i]);
        assert_int_equal(watched, open);
    }
    assert_int_equal(pin_rises[13], 1);
}

/* Without steps nobody sees when the error goes: the port then ignores none. */
static void without_steps_all_freeze(void **state)
{
    (void)state;
    can_watch = false;
    for (unsigned i = 1; i <= 3; i++) {
        divide_by_zero();
        (void)vcpu_x87_error(&vcpu, true, true);
        assert_int_equal(vcpu.activity, ACTIVITY_FROZEN);
        assert_int_equal(pin_rises[13], i);
        out(0xf0, 0);
        vcpu.activity = ACTIVITY_ACTIVE;
        __asm__ volatile("fnclex");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(error_freezes),
        TEST(cleared_error_ends_it),
        TEST(ignored_error_lets_one_pass),
        TEST(without_steps_all_freeze),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
