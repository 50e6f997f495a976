// link: guest/bt/compute.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes of an instruction that the processor has executed for a guest of bt, or has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest/bt/bt.h"
#include "guest/ring3/compute.h"

/* The pages of single instructions are a fake here: ring3_compute(). */
void bt_space_need_window(struct bt_vcpu *v)
{
    (void)v;
}

static struct bt_vcpu v;
static struct vm vm;
static enum ring3_result answer;
static enum vm_end end;
static char why[200];
static unsigned computed, injected, ferr;

uint64_t cpu_rdtsc(void)
{
    return 0;
}

enum ring3_result ring3_compute(struct ring3_window *window, const struct emulate_env *env,
                                const struct compute *what, const uint8_t *bytes)
{
    assert_ptr_equal(window, &v.window);
    assert_ptr_equal(env, &v.env.integer);
    assert_ptr_equal(what, &v.env.compute);
    assert_ptr_equal(bytes, v.env.bytes);
    return answer;
}

void interpret_computed(struct interpret_env *env)
{
    assert_ptr_equal(env, &v.env);
    computed++;
}

void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector)
{
    assert_ptr_equal(vcpu, &v.vcpu);
    injected = vector;
}

enum exit_action vcpu_x87_error(struct vcpu *vcpu, bool interrupts, bool nmis)
{
    assert_ptr_equal(vcpu, &v.vcpu);
    ferr = 1 + interrupts + 2 * nmis;
    return EXIT_SAME;
}

void vm_end_format(struct vm *of, enum vm_end how, uint32_t code, const char *format, ...)
{
    va_list arguments;
    assert_ptr_equal(of, &vm);
    assert_int_equal(code, 0);
    end = how;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
}

static void run(enum ring3_result how)
{
    answer = how;
    end = VM_RUNS;
    computed = injected = ferr = 0;
    why[0] = '\0';
    v.x87_again = false;
    bt_compute(&v);
}

static int setup(void **state)
{
    (void)state;
    memset(&v, 0, sizeof(v));
    v.vcpu.vm = &vm;
    return 0;
}

static void test_done_and_raised(void **state)
{
    (void)state;
    run(RING3_DONE);
    assert_true(computed == 1 && injected == 0 && end == VM_RUNS);
    run(RING3_RAISED);
    assert_true(computed == 0 && injected == 0 && end == VM_RUNS);
    assert_int_equal(v.vcpu.stats.count[BT_COMPUTED], 2);
}

/* The instruction comes again, behind #MF, or the interrupt that a PC makes of FERR#. */
static void test_x87_error(void **state)
{
    (void)state;
    v.state.cr0 = CR0_NE;
    run(RING3_X87_ERROR);
    assert_true(injected == VECTOR_X87_ERROR && ferr == 0 && computed == 0 && v.x87_again);
    v.state.cr0 = 0;
    v.state.rflags = RFLAGS_IF;
    v.state.interruptibility = BLOCKED_BY_NMI;
    run(RING3_X87_ERROR);
    assert_true(injected == 0 && ferr == 2 && computed == 0 && v.x87_again);
}

static void lose(uint8_t length, const char *expected)
{
    for (unsigned i = 0; i < length; i++)
        v.env.bytes[i] = (uint8_t)(0x0f + 0x11 * i);
    v.env.length = length;
    v.window.frame.vector = VECTOR_PAGE_FAULT;
    v.window.frame.cr2 = 0xffff860000003000;
    run(RING3_LOST);
    assert_true(computed == 0 && injected == 0);
    assert_int_equal(end, VM_CRASH);
    assert_string_equal(why, expected);
}

/* What no part of the engine knows ends its VM, and the reason says where that is and what. The
 * address is the linear one. */
static void test_unknown_instruction(void **state)
{
    (void)state;
    v.state.rip = 0xffffffff81000010;
    v.state.efer = EFER_LMA;
    v.state.cs.access = ACCESS_L;
    lose(3, "bt cannot execute the instruction at 0xffffffff81000010: 0f 20 31 (exception 14, "
            "CR2 0xffff860000003000)");
    lose(INSN_MAX_BYTES,
         "bt cannot execute the instruction at 0xffffffff81000010: "
         "0f 20 31 42 53 64 75 86 97 a8 b9 ca db ec fd (exception 14, CR2 0xffff860000003000)");
    v.state = (struct cpu_state){.rip = 0x12, .cs.base = 0xffff0};
    lose(1, "bt cannot execute the instruction at 0x100002: 0f (exception 14, CR2 "
            "0xffff860000003000)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_done_and_raised, setup),
        cmocka_unit_test_setup(test_x87_error, setup),
        cmocka_unit_test_setup(test_unknown_instruction, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
