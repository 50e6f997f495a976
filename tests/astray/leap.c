/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/leap.efi, in the place of boot/main.c: a hypervisor that starts no VMs, but tells how
 * it makes indirect calls, and then calls what is no beginning of a function, as an attacker would
 * have it. tests/system/test_astray.py reads what follows. */
#define vms_start leap
#include "boot/main.c"

static void go_astray(void)
{
    log_line("astray");
    power_off();
}

static void tell_call(void)
{
    const uint8_t *after = __builtin_return_address(0);
    log_line("an indirect call: %02x", after[-5]); /* E8: of a thunk; 2E: a prefix */
}

void __attribute__((noinline)) leap(void)
{
    void (*volatile function)(void) = tell_call;
    function();
    volatile uint64_t to = (uint64_t)go_astray;
    to += 4;                       /* behind its ENDBR64 */
    function = (void (*)(void))to; /* NOLINT(performance-no-int-to-ptr) */
    function();
}
