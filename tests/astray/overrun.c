/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/overrun.efi, in the place of boot/main.c: a hypervisor that starts no VMs, but calls a
 * function that writes past its array, as a mistake would. tests/system/test_astray.py reads what
 * follows. */
#define vms_start overrun
#include "boot/main.c"

static void __attribute__((noinline)) fill(volatile char *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        at[i] = '*';
}

void __attribute__((noinline)) overrun(void)
{
    char text[16];
    fill(text, 6 * sizeof(text));
}
