/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/bend.efi, in the place of boot/main.c: a hypervisor that starts no VMs, but calls a
 * function whose return address is another one when it returns, as an attacker would have it.
 * tests/system/test_astray.py reads what follows. */
#define vms_start bend
#include "boot/main.c"

static void go_astray(void)
{
    log_line("astray");
    power_off();
}

void __attribute__((noinline)) bend(void)
{
    void (*volatile * frame)(void) = __builtin_frame_address(0); /* RBP, then where to return to */
    uint64_t value;
    if (cpu_rdmsr_safe(MSR_IA32_VMX_BASIC, &value)) /* an exception is where it always was */
        log_line("VMX revision 0x%x", (uint32_t)value);
    (void)cpu_read_safe(0, &value); /* and one whose handler goes on elsewhere */
    frame[1] = go_astray;
}
