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
/* Guest states and exits by the fuzzer's choice: what is entered after an exit passes the checks of
 * VM entry. */
#include "tests/unit/vmcs_model.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs; /* a VM is used for some: making one takes far longer than a run */
    static bool made, assisted;
    const char *why;
    if (size == 0)
        return 0;
    if (!made || assisted != ((data[0] & 1) != 0) || ++runs % 1024 == 0) {
        if (made)
            vmcs_model_end();
        made = true;
        assisted = (data[0] & 1) != 0;
        vmcs_model_start(assisted);
    }
    if (vmcs_model_run(data + 1, size - 1, size, &why) == MODEL_BROKEN) {
        fprintf(stderr, "after %s: %s\n", vmcs_model_exit(), why);
        abort();
    }
    return 0;
}
