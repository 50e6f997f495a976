// link: guest/vm/vcpu_speculation.c
// link: tests/unit/vmcs_model.c tests/unit/fake_vmx.c tests/unit/vmx_fixture.c vmx/state.c
// link: vmx/exit.c vmx/exit_apic.c vmx/exit_cr.c vmx/exit_ept.c vmx/exit_event.c vmx/exit_io.c
// link: vmx/step.c vmx/ept_overlay.c
// link: vmx/vmcs.c vmx/vm.c vmx/a20.c vmx/ept.c vmx/inject.c vmx/caps.c vmx/fields.c vmx/vmcs_check.c
// link: vmx/vmcs_check_guest.c arch/format.c guest/cpu/event.c guest/vm/vcpu_inject.c
// link: guest/cpu/control.c guest/cpu/decode.c guest/cpu/alu.c guest/cpu/emulate.c
// link: guest/cpu/integer.c guest/cpu/guestwalk.c
// link: guest/cpu/task.c guest/cpu/msr_table.c guest/vm/vcpu_cpuid.c guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c
// link: guest/vm/vcpu_task_switch.c guest/vm/exit_memory.c guest/vm/exit_string_io.c
// link: guest/vm/linear.c guest/vm/step.c guest/vm/vcpu_x87.c guest/vm/breakpoint.c guest/vm/vlapic.c
// link: guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c guest/pc/cpuid_policy.c guest/pc/msr_policy.c
// link: drivers/bus/bus.c drivers/bus/timers.c mm/page_alloc.c mm/guestmem.c mm/mtrr.c
// link: guest/vm/step_device.c guest/vm/step_work.c guest/cpu/operands.c guest/cpu/operand_table.c
// link: guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Two hundred thousand guest states and exits, always the same ones: each leads to a state that the
 * CPU enters (tests/fuzz/fuzz_vmcs.c goes on from here). */
#include "tests/unit/vmcs_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define RUNS 100000

static void run_all(bool assisted)
{
    unsigned count[MODEL_BROKEN + 1] = {0};
    vmcs_model_start(assisted);
    for (uint64_t seed = 0; seed < RUNS; seed++) {
        const char *why;
        const enum model_outcome outcome = vmcs_model_run(NULL, 0, seed << 20, &why);
        if (outcome == MODEL_BROKEN)
            fail_msg("run %lu: after %s: %s", (unsigned long)seed, vmcs_model_exit(), why);
        if (outcome == MODEL_NO_STATE && count[outcome] == 0)
            print_message("run %lu is none (%s): %s\n", (unsigned long)seed, vmcs_model_exit(),
                          why);
        count[outcome]++;
    }
    vmcs_model_end();
    print_message("%u states: %u enter, %u inject, %u end the VM, %u are none\n", RUNS,
                  count[MODEL_ENTERS], count[MODEL_INJECTS], count[MODEL_ENDED],
                  count[MODEL_NO_STATE]);
    /* A model that has become too narrow would say little. */
    assert_in_range(count[MODEL_NO_STATE], 0, RUNS / 20);
    assert_in_range(count[MODEL_ENDED], 0, RUNS / 10);
    assert_in_range(count[MODEL_INJECTS], RUNS / 4, RUNS);
}

static void test_virtualized_apic(void **state)
{
    (void)state;
    run_all(true);
}

static void test_software_apic(void **state)
{
    (void)state;
    run_all(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtualized_apic),
        cmocka_unit_test(test_software_apic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
