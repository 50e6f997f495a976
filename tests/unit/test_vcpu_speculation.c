// link: guest/vm/vcpu_speculation.c guest/cpu/msr_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* IA32_SPEC_CTRL, IA32_PRED_CMD and IA32_ARCH_CAPABILITIES, as CPUID shows them or not. */
#include "arch/cpu.h"
#include "guest/vm/vcpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static unsigned barriers, opened;

static void open_control(struct vcpu *vcpu)
{
    (void)vcpu;
    opened++;
}

static const struct engine engine = {.open_spec_control = open_control};
static struct vm vm;
static struct vcpu vcpu = {.vm = &vm, .engine = &engine};

void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    assert_true(msr == MSR_IA32_PRED_CMD && value == 1);
    barriers++;
}

static void show(uint32_t edx)
{
    vm = (struct vm){.arch_capabilities = 0x6b};
    vm.cpuid.count = 2;
    vm.cpuid.entry[1] = (struct cpuid_entry){.leaf = 7, .edx = edx};
    vm.cpuid.first[7] = 1;
    vcpu.spec_control = 0;
    assert_int_equal(vcpu_speculation_open(&vm), OK);
}

static bool get(uint32_t msr, uint64_t *value)
{
    const struct msr_range *r = msr_table_find(&vm.msrs, msr);
    return r->read != NULL && r->read(&vcpu, msr, value);
}

static bool set(uint32_t msr, uint64_t value)
{
    const struct msr_range *r = msr_table_find(&vm.msrs, msr);
    return r->write != NULL && r->write(&vcpu, msr, value);
}

static void test_all(void **state)
{
    (void)state;
    uint64_t value;
    show(1u << 26 | 1u << 27 | 1u << 29 | 1u << 31);
    for (uint64_t bits = 0; bits < 8; bits++) {
        assert_true(set(0x48, bits) && get(0x48, &value) && value == bits);
        assert_int_equal(vcpu.spec_control, bits);
    }
    for (unsigned bit = 3; bit < 64; bit++)
        assert_false(set(0x48, 1ull << bit));
    assert_int_equal(vcpu.spec_control, 7);
    assert_true(get(0x10a, &value) && value == 0x6b);
    assert_false(set(0x10a, 0x6b));
    assert_false(get(0x49, &value));
    assert_true(set(0x49, 0));
    assert_int_equal(barriers, 0);
    assert_true(set(0x49, 1));
    assert_int_equal(barriers, 1);
    assert_false(set(0x49, 2));
}

static void test_some(void **state)
{
    (void)state;
    uint64_t value;
    show(1u << 31); /* SSBD alone */
    assert_true(set(0x48, 4) && get(0x48, &value) && value == 4);
    assert_false(set(0x48, 1) || set(0x48, 2) || set(0x49, 1) || get(0x10a, &value));
    show(0);
    assert_false(set(0x48, 0) || get(0x48, &value) || set(0x49, 0) || get(0x10a, &value));
}

/* Who writes often is asked no more: once, as refused writes do not count. */
static void test_many(void **state)
{
    (void)state;
    show(1u << 26);
    vcpu.spec_control_writes = 0;
    opened = 0;
    for (unsigned i = 0; i < 15; i++) {
        assert_true(set(0x48, i & 1));
        assert_false(set(0x48, 2));
    }
    assert_int_equal(opened, 0);
    assert_true(set(0x48, 1));
    assert_int_equal(opened, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
